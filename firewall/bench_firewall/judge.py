"""Measures the CPU time of judging a packet, without the way that it then goes through the kernel.

Packets of new TLS flows wait in two queues of this process: one judges them in full, the other accepts them unseen by the same
binding. What passes ends in the namespace. Prints both figures and their ratio.

The lists hold as many addresses as there are Tor relays, and each flow goes to an address of its own that is none of them.
"""

from __future__ import annotations

import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

from netfilterqueue import NetfilterQueue

from bench.processes import enter_own_network
from bench_firewall.ways import count
from gate_appliance.lists.compile import Compilation
from gate_appliance.lists.index import open_index
from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.categories import CategoryIndex
from gate_core.clients import Device, Group, OnFault
from gate_core.policy import Policy
from gate_firewall.classify import Classifier, Moment, Sighting
from gate_firewall.marks import NEW, parse_request
from gate_firewall.packet import SYN, parse_packet
from gate_firewall.queue import Faults, Judge, Queue, Settler
from gate_firewall.queues import LISTING

ROUNDS = 100
FLOWS = 150
NAMES = 1000
MAC = "00:00:5e:00:53:10"
CLIENT, SERVERS = IPv4Address("10.77.0.10"), IPv4Address("198.18.0.0")
RELAYS, RELAYS_APART = IPv4Address("45.0.0.0"), 4099
LISTED = 10_000
QUEUES = (10, 11)
SO_SNDBUFFORCE = 32

# The packets end in the namespace, behind the queue; nobody answers them.
RULES = """*mangle
:OUTPUT ACCEPT [0:0]
:INPUT DROP [0:0]
-A OUTPUT -p tcp --dport 443 -m mark --mark 1 -j NFQUEUE --queue-num 10
-A OUTPUT -p tcp --dport 443 -m mark --mark 2 -j NFQUEUE --queue-num 11
COMMIT
"""
SET_UP = (
    ("ip route add 198.18.0.0/15 dev lo", ""),
    ("iptables-nft-restore", RULES),
)


def hello(name: str) -> bytes:
    """Return a ClientHello of the size browsers send: 1.7 kB with a post-quantum key share."""

    def extension(kind: int, content: bytes) -> bytes:
        return struct.pack("!HH", kind, len(content)) + content

    host = name.encode()
    names = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    protocols = struct.pack("!HB2sB8s", 12, 2, b"h2", 8, b"http/1.1")
    extensions = extension(51, bytes(1250)) + extension(0, names) + extension(16, protocols)
    extensions += extension(21, bytes(186))
    body = b"\3\3" + bytes(32) + b"\0" + b"\0\2\x13\1" + b"\1\0"
    body += struct.pack("!H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


def packet(port: int, sequence: int, flags: int, payload: bytes) -> bytes:
    """Return an IPv4 packet with a TCP segment; the kernel fills in the header's checksum and nobody checks the other."""
    tcp = struct.pack("!HHIIBBHHH", port, 443, sequence, 1, 5 << 4, flags, 65535, 0, 0)
    length = 20 + len(tcp) + len(payload)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, 6, 0)
    return ip + CLIENT.packed + (SERVERS + port).packed + tcp + payload


def flow(port: int) -> list[bytes]:
    """Return what is queued of one new flow: the SYN, and a hello in two segments."""
    octets = hello(f"www{port % NAMES}.example.org")
    return [
        packet(port, 999, 0x02, b""),
        packet(port, 1000, 0x18, octets[:1400]),
        packet(port, 2400, 0x18, octets[1400:]),
    ]


def lists() -> CategoryIndex:
    """Return compiled lists of addresses alone."""
    with tempfile.TemporaryDirectory() as folder, Compilation(Path(folder)) as compilation:
        compilation.begin("tor")
        for number in range(LISTED):
            compilation.take(f"{RELAYS + number * RELAYS_APART}/32")
        return open_index(compilation.finish().path, None)


def judge() -> Judge:
    """Return what the firewall does with a packet, with a policy of one group."""
    policy = Policy(
        version=1,
        groups={"ks2": Group("ks2", "Pupils", 2, SHIPPED_CELLS["ks2"])},
        rows=ROWS,
        unknown_group="ks2",
        index=lists(),
        devices={MAC: Device(MAC, "laptop", "ks2")},
    )
    classifier = Classifier(lambda _: None, policy, epoch=1)
    # As in the service, which reads the clock once for many packets.
    now = Moment(datetime.fromtimestamp(time.time(), UTC), time.monotonic())

    def judged(octets: bytes, mark: int, _sender: bytes | None, _last: bool) -> int | None:
        # As the rules say of a SYN.
        mark |= NEW if octets[33] == SYN else 0
        seen = Sighting(parse_packet(octets), parse_request(mark), mark, MAC, now)
        return classifier.judge(seen).mark

    return judged


def measure() -> None:
    """Take turns between both queues, so that a busy machine slows both alike."""
    faults = Faults()
    plain = NetfilterQueue()
    plain.bind(QUEUES[0], lambda raw: raw.accept())
    spent: dict[int, list[float]] = {number: [] for number in QUEUES}
    with (
        Queue(QUEUES[1], Settler(judge(), OnFault.CLOSED, faults, time.monotonic)) as full,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sending,
    ):
        # What waits in a queue counts as unsent.
        sending.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16_000_000)
        for turn in range(ROUNDS):
            packets = [p for n in range(FLOWS) for p in flow(1024 + turn * FLOWS + n)]
            for number in QUEUES:
                sending.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1 + QUEUES.index(number))
                for each in packets:
                    sending.sendto(each, (str(SERVERS), 0))
                start = time.process_time()
                if number == QUEUES[0]:
                    plain.run(block=False)
                else:
                    for _ in range(1 + len(packets) // 256):
                        full.serve()
                spent[number].append((time.process_time() - start) / len(packets) * 1e6)
        if lost := count(LISTING.read_text()).lost:
            sys.exit(f"bench: {lost} packets were lost, the figures mean nothing")
    plain.unbind()
    accepted, judged = (statistics.median(spent[number]) for number in QUEUES)
    sys.stdout.write(
        f"accepted unseen: {accepted:.1f} us a packet\n"
        f"judged in full:  {judged:.1f} us a packet ({3 * judged:.0f} us a new TLS flow)\n"
        f"ratio:           {judged / accepted:.2f}\n"
    )


def main() -> None:
    """Enter a network of its own and measure inside it."""
    enter_own_network(())
    for command, text in SET_UP:
        subprocess.run(command.split(), input=text, text=True, check=True)  # noqa: S603  # fixed commands
    measure()


if __name__ == "__main__":
    main()
