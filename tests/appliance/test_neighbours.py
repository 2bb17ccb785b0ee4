import errno
import json
import os
import socket
import struct
import subprocess
import sys
import uuid
from contextlib import closing, suppress
from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_appliance.neighbours import (
    KernelNeighbours,
    MalformedRoutesError,
    Neighbour,
    OwnNetwork,
    Routes,
    parse_neighbour,
    parse_network,
)

MAC = "02:00:5e:00:53:01"
INCOMPLETE, REACHABLE, FAILED = 0x01, 0x02, 0x20


def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def neighbour(address, mac=MAC, state=REACHABLE, family=None):
    packed = ip_address(address).packed
    family = family or (socket.AF_INET if len(packed) == 4 else socket.AF_INET6)
    head = struct.pack("=BxxxiHBB", family, 2, state, 0, 1)
    return head + attribute(1, packed) + attribute(2, bytes.fromhex(mac.replace(":", "")))


def own(address, family=socket.AF_INET):
    interface = ip_interface(address)
    head = struct.pack("=BBBBI", family, interface.network.prefixlen, 0, 0, 7)
    return head + attribute(1, interface.packed)


def message(kind, content=b"", sequence=1):
    return struct.pack("=IHHII", 16 + len(content), kind, 2, sequence, 0) + content


@pytest.fixture
def kernel():
    """The kernel's end of a socket, and what reads at the other."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with closing(Routes(ours)) as routes, its:
        yield its, routes


@given(st.binary(max_size=64))
def test_parse_gives_a_value_or_malformed(octets):
    for parse in (parse_neighbour, parse_network):
        with suppress(MalformedRoutesError):
            parse(octets)


@given(st.data())
def test_parse_of_altered_messages_gives_a_value_or_malformed(data):
    for parse, good in ((parse_neighbour, neighbour("192.0.2.1")), (parse_network, own("::1/64"))):
        octets = bytearray(good[: data.draw(st.integers(0, len(good)))])
        if octets:
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        with suppress(MalformedRoutesError):
            parse(bytes(octets))


@pytest.mark.parametrize("address", ["192.0.2.1", "fe80::1"])
def test_parse_neighbour_knows_both_families(address):
    assert parse_neighbour(neighbour(address)) == Neighbour(ip_address(address), MAC)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(neighbour("192.0.2.1", state=FAILED), id="failed"),
        pytest.param(neighbour("192.0.2.1", mac="00:00:00:00:00:00"), id="no link-layer address"),
        pytest.param(neighbour("192.0.2.1", mac="02:00:5e:00"), id="tunnel"),
        pytest.param(neighbour("192.0.2.1", family=socket.AF_BRIDGE), id="forwarding table"),
    ],
)
def test_parse_neighbour_passes_over_what_tells_no_device(content):
    assert parse_neighbour(content) is None


def test_parse_network_passes_over_other_families():
    assert parse_network(own("192.0.2.1/24")) == OwnNetwork(
        ip_address("192.0.2.1"), ip_network("192.0.2.0/24"), 7
    )
    assert parse_network(own("192.0.2.1/24", family=45)) is None


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"\2\0", "parsing 2 octets: 0200: too few"),
        (neighbour("192.0.2.1")[:-3], "length 10"),
        (neighbour("192.0.2.1") + b"\0\0\0\0", "parsing 4 octets: 00000000: length 0"),
    ],
)
def test_parse_neighbour_says_what_it_could_not_read(content, part):
    with pytest.raises(MalformedRoutesError, match=part):
        parse_neighbour(content)


def test_neighbours_are_read_from_many_datagrams_until_done(kernel):
    its, routes = kernel
    its.send(message(28, neighbour("192.0.2.1")) + message(28, neighbour("192.0.2.2")))
    its.send(message(28, neighbour("fe80::1")))
    its.send(message(3, bytes(4)))
    found = [str(n.address) for n in routes.neighbours()]
    assert found == ["192.0.2.1", "192.0.2.2", "fe80::1"]
    # Length, RTM_GETNEIGH, NLM_F_REQUEST and NLM_F_DUMP, first; an empty struct ndmsg.
    assert its.recv(4096) == struct.pack("=IHHII", 28, 30, 0x301, 1, 0) + bytes(12)


def test_neighbours_pass_over_what_is_left_of_an_earlier_reading(kernel):
    its, routes = kernel
    its.send(message(28, neighbour("192.0.2.1"), sequence=0) + message(3, bytes(4), sequence=0))
    its.send(message(28, neighbour("192.0.2.2")) + message(3, bytes(4)))
    assert [str(n.address) for n in routes.neighbours()] == ["192.0.2.2"]


def test_neighbour_asks_for_one_address_and_no_more(kernel):
    its, routes = kernel
    # What is left of an earlier reading is passed over.
    its.send(message(28, neighbour("192.0.2.2"), sequence=0))
    its.send(message(28, neighbour("192.0.2.1")))
    assert routes.neighbour(ip_address("192.0.2.1"), 7) == Neighbour(ip_address("192.0.2.1"), MAC)
    # Length, RTM_GETNEIGH, NLM_F_REQUEST, first; struct ndmsg with the link; NDA_DST.
    head = struct.pack("=IHHII", 36, 30, 0x001, 1, 0) + struct.pack("=BxxxiHBB", 2, 7, 0, 0, 0)
    assert its.recv(4096) == head + attribute(1, ip_address("192.0.2.1").packed)


@pytest.mark.parametrize("state", [INCOMPLETE, FAILED])
def test_neighbour_is_none_while_the_kernel_knows_no_mac_address(kernel, state):
    its, routes = kernel
    its.send(message(28, neighbour("192.0.2.1", state=state)))
    assert routes.neighbour(ip_address("192.0.2.1"), 7) is None


@pytest.mark.parametrize("code", [errno.ENOENT, errno.ENODEV])
def test_neighbour_is_none_where_there_is_no_entry_or_no_link(kernel, code):
    its, routes = kernel
    its.send(message(2, struct.pack("=i", -code)))
    assert routes.neighbour(ip_address("2001:db8::1"), 7) is None


def test_neighbour_raises_what_the_kernel_refuses_with(kernel):
    its, routes = kernel
    its.send(message(2, struct.pack("=i", -errno.EOPNOTSUPP)))
    with pytest.raises(OSError, match="reading the kernel's neighbours") as raised:
        routes.neighbour(ip_address("192.0.2.1"), 7)
    assert raised.value.errno == errno.EOPNOTSUPP


def test_neighbour_never_waits_for_the_kernel(kernel):
    _, routes = kernel
    with pytest.raises(BlockingIOError):
        routes.neighbour(ip_address("192.0.2.1"), 7)


@pytest.mark.parametrize("kind", [2, 3])
def test_neighbours_raise_what_the_kernel_refuses_with(kernel, kind):
    its, routes = kernel
    its.send(message(kind, struct.pack("=i", -errno.EBUSY)))
    with pytest.raises(OSError, match="reading the kernel's neighbours") as raised:
        routes.neighbours()
    assert raised.value.errno == errno.EBUSY


def test_networks_raise_what_is_cut_short(kernel):
    its, routes = kernel
    its.send(message(20, own("192.0.2.1/24"))[:-4])
    with pytest.raises(MalformedRoutesError, match="length 32"):
        routes.networks()


def test_mac_of_loopback_is_none():
    with closing(KernelNeighbours()) as table:
        assert table.mac(ip_address("127.0.0.1")) is None
        assert table.mac(ip_address("::1")) is None


DEVICE = "02:00:5e:00:53:99"
NAMESPACES = """
ip netns add {0}
ip netns add {0}-far
ip -n {0} link set lo up
ip -n {0} link add eth0 type veth peer name far0 netns {0}-far
ip -n {0} link set eth0 up
ip -n {0} addr add 192.0.2.1/24 dev eth0
ip -n {0} addr add 198.51.100.1 peer 198.51.100.2/32 dev eth0
ip -n {0} addr add 2001:db8::1/64 dev eth0 nodad
ip -n {0}-far link set far0 address 02:00:5e:00:53:99 up
ip -n {0}-far addr add 192.0.2.99/24 dev far0
ip -n {0}-far addr add 2001:db8::99/64 dev far0 nodad
"""


class Host:
    def __init__(self, name):
        self.name = name

    def run(self, *command, **options):
        command = ("ip", "netns", "exec", self.name, *command)
        return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout

    def python(self, code):
        return json.loads(self.run(sys.executable, "-c", code))


@pytest.fixture
def host():
    """A host with a device on the other end of its cable."""
    if os.geteuid():
        pytest.skip("needs root: makes network namespaces")
    name = f"gate-neigh-{uuid.uuid4().hex[:8]}"
    subprocess.run(["sh", "-ec", NAMESPACES.format(name)], check=True)
    yield Host(name)
    for each in (name, f"{name}-far"):
        subprocess.run(["ip", "netns", "del", each], check=True)


@pytest.mark.netns
def test_entries_and_networks_are_those_that_ip_tells(host):
    # 900 entries are more than the kernel tells in one datagram.
    lines = [
        f"neigh add 192.0.2.{n % 250 + 2} lladdr 02:00:5e:00:53:{n % 250:02x} dev eth0 nud {nud}"
        for n, nud in enumerate(("permanent", "stale", "reachable", "noarp", "failed"))
    ]
    lines += [
        f"neigh add 2001:db8::{n:x} lladdr 02:00:5e:00:{n >> 8:02x}:{n & 255:02x} dev eth0"
        for n in range(0x100, 0x100 + 900)
    ]
    host.run("ip", "-batch", "-", input="\n".join(lines))
    told = {
        (entry["dst"], entry["lladdr"])
        for entry in json.loads(host.run("ip", "-j", "neigh"))
        if "lladdr" in entry and not {"NOARP", "FAILED", "INCOMPLETE"} & set(entry["state"])
    }
    addresses = {
        (
            str(ip_network(f"{a.get('address', a['local'])}/{a['prefixlen']}", strict=False)),
            link["ifindex"],
        )
        for link in json.loads(host.run("ip", "-j", "addr"))
        for a in link["addr_info"]
    }

    entries, networks = host.python(
        "import json, socket\n"
        "from gate_appliance.neighbours import Routes\n"
        "routes = Routes(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))\n"
        "entries = [(str(n.address), n.mac) for n in routes.neighbours()]\n"
        "print(json.dumps([entries, [(str(n.network), n.link) for n in routes.networks()]]))"
    )
    assert len(told) >= 903
    assert {tuple(entry) for entry in entries} == told
    assert {"192.0.2.0/24", "198.51.100.2/32", "2001:db8::/64", "127.0.0.0/8"} <= dict(
        addresses
    ).keys()
    assert {tuple(network) for network in networks} == addresses


FIND = """
import json, time
from ipaddress import ip_address
from gate_appliance.neighbours import KernelNeighbours

address = ip_address({address!r})
table = KernelNeighbours()
first = table.mac(address)
solicited = table.solicit(address)
until = time.monotonic() + {seconds}
while (found := table.mac(address)) is None and time.monotonic() < until:
    time.sleep(0.001)
print(json.dumps([first, solicited, found]))
"""


@pytest.mark.netns
@pytest.mark.parametrize("address", ["192.0.2.99", "2001:db8::99", "fe80::5eff:fe00:5399"])
def test_mac_of_a_device_that_the_kernel_has_not_met_is_known_once_it_is_solicited(host, address):
    assert host.python(FIND.format(address=address, seconds=10)) == [None, True, DEVICE]


@pytest.mark.netns
@pytest.mark.parametrize("address", ["192.0.2.98", "2001:db8::98"])
def test_mac_is_none_where_nobody_is(host, address):
    assert host.python(FIND.format(address=address, seconds=0.3)) == [None, True, None]


@pytest.mark.netns
@pytest.mark.parametrize(
    "address", ["203.0.113.9", "2001:db8:1::9", "192.0.2.1", "2001:db8::1", "::1"]
)
def test_nobody_is_solicited_who_is_no_neighbour(host, address):
    assert host.python(FIND.format(address=address, seconds=0)) == [None, False, None]


@pytest.mark.netns
def test_mac_is_found_where_a_route_leads_to_neighbours(host):
    host.run("ip", "route", "add", "203.0.113.0/24", "dev", "eth0")
    host.run("ip", "neigh", "add", "203.0.113.9", "lladdr", MAC, "dev", "eth0")
    assert host.python(FIND.format(address="203.0.113.9", seconds=0)) == [MAC, False, MAC]


@pytest.mark.netns
def test_mac_of_forged_addresses_never_reads_the_whole_table(host):
    dumps, unknown = host.python(
        "import json\n"
        "from ipaddress import ip_address\n"
        "from gate_appliance.neighbours import KernelNeighbours, Routes\n"
        "dumps = []\n"
        "whole = Routes.neighbours\n"
        "Routes.neighbours = lambda self: dumps.append(1) or whole(self)\n"
        "table = KernelNeighbours()\n"
        "forged = [ip_address('2001:db8::1:0') + n for n in range(2000)]\n"
        "unknown = [table.mac(f) is None and table.solicit(f) for f in forged]\n"
        "print(json.dumps([len(dumps), sum(unknown)]))"
    )
    assert dumps == 0
    # More entries than net.ipv6.neigh.default.gc_thresh3 the kernel does not make.
    assert unknown >= 1000
