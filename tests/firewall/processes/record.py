"""Write every frame that passes INTERFACE, either way, to FILE in pcap; print a line when it listens.

Ends with a frame that holds "the end of the recording".
"""

import socket
import sys
import time

from scapy.utils import PcapWriter

ETH_P_ALL = 3

with (
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as listening,
    PcapWriter(sys.argv[2], linktype=1) as writer,
):
    writer.write_header(None)
    listening.bind((sys.argv[1], ETH_P_ALL))
    print("listening", flush=True)
    octets = b""
    while b"the end of the recording" not in octets:
        octets = listening.recv(70_000)
        writer.write_packet(octets, sec=time.time())
