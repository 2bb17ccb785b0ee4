"""A name service of the box that answers each datagram alike. Prints a line when it listens."""

import selectors
import socket

selector = selectors.DefaultSelector()
for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
    listening = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listening.bind((address, 53))
    selector.register(listening, selectors.EVENT_READ)
print("listening", flush=True)
while True:
    for key, _ in selector.select():
        _, asker = key.fileobj.recvfrom(2000)
        key.fileobj.sendto(b"from the box", asker)
