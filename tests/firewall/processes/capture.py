"""Print every frame that comes in by INTERFACE, in hexadecimal, a line each; first a line when it listens."""

import socket
import sys

ETH_P_ALL = 3
# A tag that the kernel took off a frame comes beside it (packet(7), PACKET_AUXDATA).
SOL_PACKET, PACKET_AUXDATA = 263, 8

with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as listening:
    listening.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    listening.bind((sys.argv[1], ETH_P_ALL))
    print("listening", flush=True)
    while True:
        octets, _, _, sender = listening.recvmsg(2000, 200)
        if sender[2] != socket.PACKET_OUTGOING:
            print(octets.hex(), flush=True)
