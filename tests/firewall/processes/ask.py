"""Send one datagram to port 53 of ADDRESS and print what answers."""

import socket
import sys

address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as asking:
    asking.settimeout(3)
    asking.connect((address, 53))
    asking.send(b"query")
    print(asking.recv(2000).decode())
