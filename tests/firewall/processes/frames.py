"""Send frames, given in hexadecimal, from interface eth0."""

import socket
import sys

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
    sending.bind(("eth0", 0))
    for text in sys.argv[1:]:
        sending.send(bytes.fromhex(text))
