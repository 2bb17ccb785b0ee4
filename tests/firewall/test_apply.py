"""nftables itself judges the rules, and the kernel what they let pass where nobody listens at the queues."""

import os
import re
import ssl
import subprocess
import sys
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from scapy.layers.dhcp6 import DHCP6_Solicit
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6MLReport2, ICMPv6ND_NS, ICMPv6ND_RA, IPv6
from scapy.layers.l2 import ARP, LLC, STP, Dot1Q, Dot3, Ether
from scapy.packet import Raw

from gate_firewall.ruleset import (
    Epoch,
    Handoff,
    Rates,
    RulesetConfig,
    build,
    build_epoch,
    build_removal,
)

pytestmark = pytest.mark.netns

EPOCH = Epoch(7, "policy 3 until changed", frozenset({"00:00:5e:00:53:20"}))
LOAD = """
from gate_firewall import apply
from gate_firewall.ruleset import Epoch, Handoff, RulesetConfig
config = RulesetConfig(Handoff.IPTABLES)
print(apply.read_epoch())
for number in (7, 8):
    apply.load(config, Epoch(number, "policy 3 until changed", frozenset({"00:00:5e:00:53:20"})))
print(apply.read_epoch())
apply.load_epoch(Epoch(9, "policy 4 until changed"))
print(apply.read_epoch())
apply.unload(Handoff.IPTABLES)
print(apply.read_epoch())
"""


def nft(host, text, *options):
    return host.run("nft", *options, "-f", "-", input=text, check=False)


def test_build_is_accepted_by_nftables(empty_host):
    done = nft(empty_host, build(RulesetConfig(Handoff.IPTABLES), EPOCH), "-c")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("workers", [1, 4])
def test_build_with_queue_is_accepted_by_nftables(empty_host, workers):
    done = nft(empty_host, build(RulesetConfig(Handoff.NFT, workers=workers), EPOCH), "-c")

    # A kernel without CONFIG_NFT_QUEUE knows no such expression; all else it must accept.
    faults = [line.split("Error: ")[1] for line in done.stderr.splitlines() if "Error: " in line]
    lines = [line.strip() for line in done.stderr.splitlines() if "queue" in line]
    assert len(faults) == len(lines)
    assert set(faults) <= {"Could not process rule: No such file or directory"}


def test_build_epoch_is_accepted_on_top(empty_host):
    rules = build(RulesetConfig(Handoff.IPTABLES), EPOCH)
    done = nft(
        empty_host, rules + build_epoch(Epoch(8, "policy 4 until changed")) + build_removal(), "-c"
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_load_replaces_what_is_there_and_unload_leaves_nothing(empty_host):
    done = empty_host.run(sys.executable, "-c", LOAD)
    rules = empty_host.run("nft", "list", "ruleset").stdout

    assert done.stdout.splitlines() == [
        "None",
        "KernelEpoch(number=8, label='policy 3 until changed')",
        "KernelEpoch(number=9, label='policy 4 until changed')",
        "None",
    ]
    assert "schoolgate" not in rules
    assert "queue" not in rules


def test_load_raises_what_the_tool_says(empty_host):
    text = "from gate_firewall import apply\napply._pipe(apply._NFT, 'nonsense')"
    done = empty_host.run(sys.executable, "-c", text, check=False)

    assert "OSError: nft -f -: " in done.stderr


PROCESSES = Path(__file__).parent / "processes"
WEB = "203.0.113.5"
WEB6 = "2001:db8:113::5"
WEB_4, WEB_6 = ip_address(WEB).packed, ip_address(WEB6).packed
PUPIL, STAFF = "00:00:5e:00:53:10", "00:00:5e:00:53:20"
CLOSED = """
from gate_core.config import BridgeConfig
from gate_firewall import apply, bridge
from gate_firewall.ruleset import Epoch, Rates, RulesetConfig
ports = BridgeConfig(addresses=("10.77.0.2/24", "fd77::2/64"), gateways=("10.77.0.1", "fd77::1"))
handoff = apply.choose_handoff("auto")
config = RulesetConfig(handoff, gateways=ports.gateways, **{changes})
bridge.raise_bridge(ports)
for _ in range({times}):
    apply.load(config, Epoch(1, "policy 1 until changed", guests=frozenset((4,))))
apply.enforce_sysctls(ports.name)
bridge.join_ports(ports)
"""
FLOOD = """
import contextlib, socket
print("sending", flush=True)
while True:
    for address, family in (("203.0.113.5", socket.AF_INET), ("2001:db8:113::5", socket.AF_INET6)):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(family, kind | socket.SOCK_NONBLOCK) as each:
                with contextlib.suppress(OSError):
                    each.connect((address, 7000))
                    each.send(b"<flood>")
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:
    sending.bind((sys.argv[1], 0))
    for text in sys.argv[2:]:
        sending.send(bytes.fromhex(text))
"""


@pytest.fixture(scope="module")
def wired(school):
    """A second school whose box has bridge and rules, and nobody at the queues."""
    wired = type(school)(f"sgfw{os.getpid()}-closed")
    try:
        wired.build()
        servers = wired.internet.python(
            "internet", WEB, WEB6, "198.51.100.53", stdout=subprocess.PIPE
        )
        with servers:
            assert servers.stdout.readline() == b"listening\n"
            yield wired
            servers.kill()
    finally:
        wired.raze()


def close(school, *, times=1, **changes):
    """Load the rules so many times, and bring the bridge up if it is not."""
    school.box.run(sys.executable, "-c", CLOSED.format(changes=changes, times=times), timeout=60)


@pytest.fixture
def closed(wired):
    close(wired)
    return wired


def send(host, interface, *frames):
    host.run(sys.executable, "-c", SEND, interface, *(bytes(frame).hex() for frame in frames))


class Captured:
    """What comes in by an interface of ``host``."""

    def __init__(self, host, interface):
        capture = (sys.executable, str(PROCESSES / "capture.py"), interface)
        self._process = host.start("timeout", "20", *capture, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"listening\n"

    def until(self, *ends):
        """Return the frames up to the first that holds one of ``ends``."""
        came = [b""]
        while not any(end in came[-1] for end in ends):
            line = self._process.stdout.readline()
            assert line, came[-5:]
            came.append(bytes.fromhex(line.decode()))
        return came

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self._process:
            self._process.kill()


LAST = (
    Ether(src=STAFF, dst="ff:ff:ff:ff:ff:ff")
    / ARP(psrc="10.77.0.20", pdst="10.77.0.9")
    / Raw("<last>")
)


def arrived(school, sender, port, receiver, frames):
    """Send the named ``frames``, and return the names of those that came through the box."""
    with Captured(*receiver) as captured:
        send(sender, port, *(frame / Raw(f"<{name}>") for name, frame in frames.items()), LAST)
        came = b"".join(captured.until(b"<last>"))
    return [name for name in frames if f"<{name}>".encode() in came]


def tagged(frames):
    return {
        f"tagged {name}": Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=7) / frame.payload
        for name, frame in frames.items()
        if isinstance(frame, Ether)
    }


def test_load_exempts_what_a_network_lives_by(closed):
    everybody = Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff")
    some, some6 = (Ether(src=PUPIL, dst=mac) for mac in ("01:00:5e:00:00:fb", "33:33:00:00:00:01"))
    own = "fe80::10"
    frames = {
        "arp": everybody / ARP(psrc="10.77.0.10", pdst="10.77.0.1"),
        "dhcp": everybody / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67),
        "broadcast": everybody / IP(src="10.77.0.10", dst="10.77.0.255") / UDP(dport=9),
        "mdns": some / IP(src="10.77.0.10", dst="224.0.0.251") / UDP(sport=5353, dport=5353),
        "mdns6": some6 / IPv6(src=own, dst="ff02::fb") / UDP(sport=5353, dport=5353),
        "igmp": some / IP(src="10.77.0.10", dst="224.0.0.22", proto=2),
        "mld": some6 / IPv6(src=own, dst="ff02::16") / ICMPv6MLReport2(),
        "neighbour": some6 / IPv6(src=own, dst="ff02::1:ff00:1") / ICMPv6ND_NS(tgt="fd77::1"),
        "dhcp6": some6 / IPv6(src=own, dst="ff02::1:2") / UDP(sport=546, dport=547) / DHCP6_Solicit(),
    }  # fmt: skip
    loop = Dot3(src=PUPIL, dst="01:80:c2:00:00:00") / LLC(dsap=0x42, ssap=0x42, ctrl=3) / STP()
    frames |= tagged(frames) | {"stp": loop}

    assert arrived(closed, closed.pupil, "eth0", (closed.internet, "lan"), frames) == list(frames)


def test_load_lets_the_router_speak_for_itself(closed):
    everybody = Ether(src="00:00:5e:00:53:01", dst="ff:ff:ff:ff:ff:ff")
    everybody6 = Ether(src=everybody.src, dst="33:33:00:00:00:01")
    frames = {
        "arp": everybody / ARP(op=2, psrc="10.77.0.1", pdst="10.77.0.10"),
        "dhcp": everybody / IP(src="10.77.0.1", dst="255.255.255.255") / UDP(sport=67, dport=68),
        "router": everybody6 / IPv6(src="fe80::1", dst="ff02::1") / ICMPv6ND_RA(),
    }
    frames |= tagged(frames)

    assert arrived(closed, closed.internet, "lan", (closed.pupil, "eth0"), frames) == list(frames)


@pytest.mark.parametrize("tag", [False, True])
def test_load_lets_nothing_of_a_flow_pass_unasked(closed, tag):
    router = closed.internet.run("cat", "/sys/class/net/lan/address").stdout.strip()
    own, everybody = Ether(src=PUPIL, dst=router), Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff")
    address, address6 = IP(src="10.77.0.10", dst=WEB), IPv6(src="fd77::10", dst=WEB6)
    layers = {
        "syn": TCP(dport=443, flags="S"),
        "ack": TCP(dport=443, flags="A"),
        "datagram": UDP(dport=443),
        "time": UDP(dport=123),
    }
    frames = {
        f"{name} {family.name} {ethernet.dst}": ethernet / family / layer
        for ethernet in (own, everybody)
        for family in (address, address6)
        for name, layer in layers.items()
    }
    frames = tagged(frames) if tag else frames

    assert len(frames) == 16
    assert arrived(closed, closed.pupil, "eth0", (closed.internet, "lan"), frames) == []


def test_load_again_and_again_lets_no_new_flow_pass(closed):
    flood = (sys.executable, "-c", FLOOD)
    with (
        Captured(closed.internet, "lan") as captured,
        closed.pupil.start(*flood, stdout=subprocess.PIPE) as flooding,
    ):
        assert flooding.stdout.readline() == b"sending\n"
        close(closed, times=50)
        still_sending = flooding.poll() is None
        flooding.kill()
        send(closed.pupil, "eth0", LAST)
        end = captured.until(b"<last>", WEB_4, WEB_6)[-1]

    assert still_sending
    assert b"<last>" in end


@pytest.mark.parametrize("address", [WEB, WEB6])
@pytest.mark.parametrize(("name", "passes"), [("maths.example", True), ("games.example", False)])
def test_load_filters_a_tagged_flow_like_any_other(school, gate, address, name, passes):
    """The kernel of a build machine may lack 802.1Q, so that the frames of both ends are made here."""
    router = school.internet.run("cat", "/sys/class/net/lan/address").stdout.strip()
    port = 30_000 + 2 * passes + (address == WEB6)
    own, there = ("10.77.0.10", WEB) if address == WEB else ("fd77::10", WEB6)
    ip = IP if address == WEB else IPv6
    out = Ether(src=PUPIL, dst=router) / Dot1Q(vlan=7) / ip(src=own, dst=there)
    back = Ether(src=router, dst=PUPIL) / Dot1Q(vlan=7) / ip(src=there, dst=own)
    ports, ports_back = {"sport": port, "dport": 443}, {"sport": 443, "dport": port}
    hello = Raw(client_hello(name))
    with Captured(school.internet, "lan") as captured, Captured(school.pupil, "eth0") as returned:
        send(school.pupil, "eth0", out / TCP(**ports, flags="S", seq=1000))
        captured.until(port.to_bytes(2) + (443).to_bytes(2) + (1000).to_bytes(4))
        send(school.internet, "lan", back / TCP(**ports_back, flags="SA", seq=5000, ack=1001))
        returned.until((5000).to_bytes(4) + (1001).to_bytes(4))
        send(school.pupil, "eth0", out / TCP(**ports, flags="PA", seq=1001, ack=5001) / hello)
        if not passes:
            gate.wait_for_event(name=name, action="block")
            send(school.pupil, "eth0", LAST)
        end = captured.until(name.encode(), b"<last>")[-1]

    assert (name.encode() in end) is passes


def client_hello(name):
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


LISTEN = """
import socket, threading
def answer(listening):
    while True:
        with listening.accept()[0] as connection:
            connection.sendall(b"pages")
for port in (80, 8443):
    listening = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=answer, args=(listening,)).start()
print("ready", flush=True)
"""
PAGES = b"pages".hex()


def connect(host, address, port, octets=b""):
    asking = host.python("tcp", address, str(port), "100", "64", octets.hex(), stdout=subprocess.PIPE)  # fmt: skip
    return asking.communicate(timeout=10)[0].decode().strip()


@pytest.fixture
def pages(wired):
    """The box's pages, which staff alone may see."""
    close(wired, pages_from=("10.77.0.16/28", "fd77::20/128"))
    with wired.box.start(sys.executable, "-c", LISTEN, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        yield wired
        process.kill()


@pytest.mark.parametrize("box", ["10.77.0.2", "fd77::2"])
def test_load_opens_the_pages_to_the_named_networks_alone(pages, box):
    assert connect(pages.staff, box, 8443) == PAGES
    assert connect(pages.pupil, box, 8443) == "refused"
    assert connect(pages.pupil, box, 80) == PAGES


@pytest.mark.parametrize("box", ["10.77.0.2", "fd77::2"])
def test_load_opens_nothing_of_the_box_to_the_router(pages, box):
    assert connect(pages.internet, box, 80) == "silence"
    assert pages.internet.run("ping", "-c1", "-W1", box, check=False).returncode == 1
    assert pages.pupil.run("ping", "-c1", "-W1", box).returncode == 0


WATCHED = """
table inet others {{
    chain set_mark {{
        type filter hook forward priority -190; policy accept;
        tcp dport {{ 2222, 7000 }} ct state new ct mark set 0x01100000
        tcp dport {{ 2222, 7000 }} ct state established ct mark set {mark}
    }}
}}
"""


@pytest.mark.parametrize("address", [WEB, WEB6])
@pytest.mark.parametrize(
    ("mark", "hears", "is_heard"),
    [
        pytest.param("0x01100000", True, True, id="accepted"),
        pytest.param("0x01500000", True, False, id="watched"),
        pytest.param("0x02500000", False, False, id="watched in an older epoch"),
    ],
)
def test_load_asks_about_what_the_initiator_of_a_watched_flow_sends(
    closed, address, mark, hears, is_heard
):
    """Nobody is there to be asked, so that what is asked about does not arrive."""
    closed.box.run("nft", "-f", "-", input=WATCHED.format(mark=mark))
    try:
        banner = connect(closed.pupil, address, 2222)
        echo = connect(closed.pupil, address, 7000, b"octets")
    finally:
        closed.box.run("nft", "delete", "table", "inet", "others")

    assert (banner != "silence", echo != "silence") == (hears, is_heard)


PASSED = """
table inet others {{
    chain set_mark {{
        type filter hook forward priority -190; policy accept;
        ct mark set {mark}
    }}
    chain count {{
        type filter hook forward priority 30; policy accept;
        ether saddr {pupil} udp dport 9009 counter
        ether saddr {staff} udp dport 9009 counter
        ether daddr {pupil} udp dport 9009 counter
    }}
}}
"""
SENT = 3000
DATAGRAMS = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
    for _ in range({count}):
        sending.sendto(bytes(1400), ("{address}", 9009))
"""


def count_passed(school, mark):
    """Send as fast as can be from and to the pupil, then a little from staff; return how many datagrams left the box."""
    tables = PASSED.format(mark=mark, pupil=PUPIL, staff=STAFF)
    school.box.run("nft", "-f", "-", input=tables)
    try:
        for host, count, address in (
            (school.pupil, SENT, WEB),
            (school.internet, SENT, "10.77.0.10"),
            (school.staff, 50, WEB),
        ):
            text = DATAGRAMS.format(count=count, address=address)
            host.run(sys.executable, "-c", text)
        listing = school.box.run("nft", "list", "chain", "inet", "others", "count").stdout
    finally:
        school.box.run("nft", "delete", "table", "inet", "others")
    counts = [int(n) for n in re.findall(r"counter packets (\d+)", listing)]
    return dict(zip(("pupil up", "staff up", "pupil down"), counts, strict=True))


ACCEPTED, ACCEPTED_GUEST = "0x01102000", "0x01104000"
BURST = 262_144 // 1428


@pytest.mark.parametrize(
    ("changes", "mark", "way"),
    [
        pytest.param({"up": Rates(1)}, ACCEPTED, "up", id="device, up"),
        pytest.param({"down": Rates(1)}, ACCEPTED, "down", id="device, down"),
        pytest.param({"up": Rates(1)}, ACCEPTED_GUEST, "up", id="guest as others, up"),
        pytest.param({"up": Rates(0, 1)}, ACCEPTED_GUEST, "up", id="guest, up"),
        pytest.param({"down": Rates(0, 1)}, ACCEPTED_GUEST, "down", id="guest, down"),
    ],
)
def test_load_limits_what_one_device_takes(wired, changes, mark, way):
    close(wired, **changes)
    passed = count_passed(wired, mark)

    assert BURST // 2 < passed[f"pupil {way}"] < SENT // 2
    assert passed["staff up"] == 50


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        pytest.param({}, ACCEPTED, id="no limits"),
        pytest.param({"up": Rates(0, 1)}, ACCEPTED, id="limits of guests"),
        pytest.param({"up": Rates(1, 1000)}, ACCEPTED_GUEST, id="guest with more"),
    ],
)
def test_load_limits_nobody_else(wired, changes, mark):
    close(wired, **changes)

    passed = count_passed(wired, mark)

    assert passed["pupil up"] > SENT // 2
    assert passed["pupil down"] > SENT // 2


@pytest.mark.parametrize(
    ("mbit", "fair"),
    [(0, ["fq_codel"]), (100, ["cake bandwidth 95000kbit besteffort dual-dsthost", "fq_codel"])],
)
def test_queue_fairly_takes_the_best_the_kernel_has(empty_host, mbit, fair):
    empty_host.ip("link add lan0 type veth peer name far")
    text = f"from gate_firewall import apply\nprint(apply.queue_fairly('lan0', {mbit}, 'dsthost'))"
    said = empty_host.run(sys.executable, "-c", text).stdout.strip()
    had = []
    for discipline in fair:
        command = f"tc qdisc replace dev lan0 root {discipline}".split()
        done = empty_host.run(*command, check=False)
        # What tc itself can't read it refuses in other words.
        assert done.returncode == 0 or "kind is unknown" in done.stderr
        had += [discipline] if done.returncode == 0 else []

    assert said == (had[0] if had else "")
