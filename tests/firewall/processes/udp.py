"""Send datagrams, each a flow of its own, and print how many were answered: ADDRESS PORT COUNT [HEX]."""

import select
import socket
import sys
import time
from contextlib import suppress

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
payload = bytes.fromhex(sys.argv[4]) if len(sys.argv) > 4 else b"hello"
family = socket.AF_INET6 if ":" in address else socket.AF_INET
answered = 0
for start in range(0, count, 500):
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(min(500, count - start))]
    for each in sockets:
        each.connect((address, port))
        with suppress(ConnectionRefusedError):
            each.send(payload)
    waiting = select.poll()
    for each in sockets:
        waiting.register(each, select.POLLIN)
    by_descriptor = {each.fileno(): each for each in sockets}
    end = time.monotonic() + (1.0 if start + 500 >= count else 0.0)
    while by_descriptor:
        ready = waiting.poll(max(0, end - time.monotonic()) * 1000)
        for descriptor, _ in ready:
            with suppress(OSError):
                answered += bool(by_descriptor[descriptor].recv(2000))
            waiting.unregister(descriptor)
            del by_descriptor[descriptor]
        if not ready:
            break
    for each in sockets:
        each.close()
print(answered)
