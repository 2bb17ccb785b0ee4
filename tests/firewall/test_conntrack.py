import json
import socket
import struct
import subprocess
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_firewall.conntrack import BATCH, Carried, End, EndSocket, MalformedEndError, parse_end

# A datagram of 128 octets that nobody answered, as Linux 6.18 tells of its end.
LINUX_6_18 = bytes.fromhex(
    "d400000002010000000000005c5a0000020000003400018014000180080001007f000001080002007f000001"
    "1c000280050001001100000006000200cb7500000600030029cd00003400028014000180080001007f000001"
    "080002007f0000011c0002800500010011000000060002" + "0029cd000006000300cb75000008000c00e30dda7b"
    "0800030000000208080007000000001d1c0009800c00010000000000000000010c0002000000000000000080"
    "1c000a800c00010000000000000000000c00020000000000000000000800080012345678"
)
ICMPV6 = 58


def attribute(kind, *parts):
    value = b"".join(parts)
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(*attributes, family=socket.AF_INET6, kind=0x102):
    body = struct.pack("!BBH", family, 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def tuple_of(initiator, responder, *protocol):
    first = 1 if len(initiator) == 4 else 3
    ip = attribute(1, attribute(first, initiator), attribute(first + 1, responder))
    return attribute(1, ip, attribute(2, *protocol))


ONE, OTHER = (ip_address(f"2001:db8::{n}").packed for n in (1, 2))
TCP_PORTS = (attribute(1, b"\6"), attribute(2, b"\xc0\x00"), attribute(3, b"\x01\xbb"))


def test_parse_end_reads_what_linux_says():
    loopback = ip_address("127.0.0.1").packed
    assert parse_end(LINUX_6_18) == End(
        17, loopback, 52085, loopback, 10701, Carried(1, 128), Carried(0, 0), 0x12345678
    )


def test_parse_end_reads_both_ways_of_ipv6():
    def carried(kind, packets, octets):
        return attribute(kind, attribute(1, packets.to_bytes(8)), attribute(2, octets.to_bytes(8)))

    got = parse_end(
        message(
            attribute(99, b"what a later kernel may say"),
            tuple_of(ONE, OTHER, *TCP_PORTS),
            carried(9, 7, 900),
            carried(10, 2**33, 2**40),
        )
    )
    assert got == End(6, ONE, 49152, OTHER, 443, Carried(7, 900), Carried(2**33, 2**40), 0)


def test_parse_end_does_without_ports_and_counters():
    got = parse_end(message(tuple_of(ONE, OTHER, attribute(1, bytes([ICMPV6])))))
    assert got == End(ICMPV6, ONE, 0, OTHER, 0, Carried(0, 0), Carried(0, 0), 0)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(LINUX_6_18[:-1], id="cut"),
        pytest.param(LINUX_6_18 + b"\0", id="more behind it"),
        pytest.param(message(tuple_of(ONE, OTHER, *TCP_PORTS), kind=0x100), id="a new flow"),
        pytest.param(message(), id="no flow"),
        pytest.param(message(tuple_of(ONE, OTHER)), id="no protocol"),
        pytest.param(message(tuple_of(ONE, OTHER, attribute(1))), id="empty protocol"),
        pytest.param(message(tuple_of(ONE[:5], OTHER, *TCP_PORTS)), id="short address"),
        pytest.param(
            message(tuple_of(ONE, OTHER, *TCP_PORTS), family=socket.AF_INET), id="other family"
        ),
        pytest.param(message(struct.pack("=HH", 3, 1)), id="attribute without a header"),
        pytest.param(message(struct.pack("=HH", 9, 1)), id="attribute beyond the end"),
        pytest.param(message(b"\0\0"), id="half an attribute"),
    ],
)
def test_parse_end_refuses(octets):
    with pytest.raises(MalformedEndError):
        parse_end(octets)


@given(st.data())
def test_parse_end_gives_a_value_or_its_error_for_any_octets(data):
    octets = bytearray(LINUX_6_18)
    for at in data.draw(st.lists(st.integers(16, len(octets) - 1), max_size=4)):
        octets[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([bytes(octets), message(bytes(octets[20:60]))]))
    try:
        end = parse_end(cut)
    except MalformedEndError:
        return
    assert len(end.initiator) == len(end.responder)
    assert min(end.sent + end.received + (end.mark, end.initiator_port)) >= 0


SEND = """
import socket, sys
to, octets, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as s:
    for port in range(first, first + count):
        s.sendto(bytes(octets), (to, port))
"""

RULES = """
table inet t {
    chain output {
        type filter hook output priority 0
        ct mark set 0x12345678
    }
}
"""


@pytest.fixture
def host(empty_host):
    empty_host.ip("link set lo up")
    empty_host.run("nft", "-f", "-", input=RULES)
    for name in ("acct", "events"):
        empty_host.run("sysctl", "-w", f"net.netfilter.nf_conntrack_{name}=1")
    return empty_host


def listen(host, *arguments):
    ends = host.python("ends", *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert ends.stdout.readline() == "listening\n"
    return ends


def told(ends):
    """End it; return what it has told since, and its counts."""
    ends.stdin.close()
    return map(json.loads, ends.stdout.readlines())


def send(host, to, octets, first, count=1):
    host.run("python3", "-c", SEND, to, str(octets), str(first), str(count))


@pytest.mark.netns
def test_the_kernel_tells_what_flows_carried(host):
    with listen(host) as ends:
        send(host, "127.0.0.1", 100, 9000)
        send(host, "::1", 100, 9001)
        for family in ("ipv4", "ipv6"):
            host.run("conntrack", "-F", "-f", family)
        *flows, counts = told(ends)
    v4, v6 = (ip_address(a).packed.hex() for a in ("127.0.0.1", "::1"))
    udp = [flow for flow in flows if flow[0] == 17]
    assert [17, v4, v4, 9000, [1, 128], [0, 0], 0x12345678] in udp
    assert [17, v6, v6, 9001, [1, 148], [0, 0], 0x12345678] in udp
    assert counts == {"conntrack": {"ends": len(flows), "malformed": 0, "overruns": 0}}


@pytest.mark.netns
def test_ends_that_the_kernel_had_no_room_for_are_counted_and_later_ones_told(host):
    with listen(host, "4096") as ends:
        send(host, "127.0.0.1", 1, 9000, 500)
        host.run("conntrack", "-F", "-f", "ipv4")
        while json.loads(ends.stdout.readline())[3] < 9000:
            pass
        send(host, "127.0.0.1", 1, 8000)
        host.run("conntrack", "-F", "-f", "ipv4")
        *flows, counts = told(ends)
    assert 8000 in [flow[3] for flow in flows]
    assert counts["conntrack"]["overruns"] > 0
    assert counts["conntrack"]["ends"] < 500


class Kernel:
    """In the place of a netlink socket: more ends than fit into a batch."""

    def __init__(self):
        self.left = 2 * BATCH

    def recv(self, _size):
        self.left -= 1
        return LINUX_6_18

    def setsockopt(self, *_):
        pass

    bind = close = setsockopt


def test_serve_leaves_the_rest_for_the_next_round(monkeypatch):
    kernel, got = Kernel(), []
    monkeypatch.setattr(socket, "socket", lambda *_: kernel)
    EndSocket(got.append).serve()
    assert (len(got), kernel.left) == (BATCH, BATCH)
