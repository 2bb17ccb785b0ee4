"""What one device may have: of a narrow line, of the classifier's time, and of what passes unjudged."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from appliance import CONFIG_FILE, Appliance
from clients import curl
from laboratory import Laboratory
from plan import BOX, LAPTOP, ROUTER, STAFF, TABLET, UNRESOLVED, UNRESOLVED_V6, Host
from sites import ALLOWED

from gate_core.config import FirewallConfig

LINE_MBIT = 16
DOWNLOADS = 12
"""Of the greedy device at once; the modest one has one."""
SETTLED_S, MEASURED_S = 3.0, 5.0
URL = "http://files.example/slow?seconds=60&rate=4000000"


def received(lab: Laboratory, client: str) -> int:
    [port] = json.loads(lab.run(client, ["ip", "-j", "-s", "link", "show", "eth0"]).stdout)
    return int(port["stats64"]["rx"]["bytes"])


def modest_share(school: Appliance, *limits: str) -> float:
    """Return what part of all that is received the modest device gets."""
    lab = school.lab
    with lab.path(CONFIG_FILE).open("a") as file:
        file.write("\n".join(("[firewall]", *limits, "")))
    rate = ["rate", f"{LINE_MBIT}mbit", "burst", "32kb", "latency", "50ms"]
    lab.run(ROUTER.name, ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *rate], check=True)
    school.start()
    school.wait_until_filtering()
    school.place_devices()
    school.wait_until_filtering()
    assert curl(lab, TABLET.name, "http://files.example/").status == 200
    fetch = ["curl", "-sS", "-o", "/dev/null", URL]
    running = [lab.popen(LAPTOP.name, fetch) for _ in range(DOWNLOADS)]
    running.append(lab.popen(TABLET.name, fetch))
    try:
        time.sleep(SETTLED_S)
        before = [received(lab, client.name) for client in (LAPTOP, TABLET)]
        time.sleep(MEASURED_S)
        after = [received(lab, client.name) for client in (LAPTOP, TABLET)]
    finally:
        for process in running:
            process.terminate()
            process.wait(10)
    greedy, modest = (a - b for a, b in zip(after, before, strict=True))
    assert greedy + modest > LINE_MBIT * 125_000 * MEASURED_S / 3, "the line was not in use"
    return modest / (greedy + modest)


def test_without_limits_a_greedy_device_takes_the_line(fresh_school: Appliance) -> None:
    assert modest_share(fresh_school) < 0.25


def test_a_limit_leaves_the_rest_of_the_line_to_others(fresh_school: Appliance) -> None:
    """A quarter of the line: what is dropped behind the line has used it, so that half of it would leave others a third."""
    assert modest_share(fresh_school, f"device_down_mbit = {LINE_MBIT // 4}") > 0.35


# Distinct flows, as fast as it goes; says how many datagrams were sent.
DATAGRAMS = """
import itertools, socket, sys, time
address, seconds = sys.argv[1], float(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
    end = time.monotonic() + seconds
    for sent in itertools.count():
        if time.monotonic() > end:
            break
        out.sendto(b"octets", (address, 1024 + sent % 60_000))
print(sent)
"""
FLOOD_S = 4.0


def queued(lab: Laboratory) -> int:
    """Return how many packets the classifier has been asked about."""
    listing = lab.run(BOX.name, ["cat", "/proc/net/netfilter/nfnetlink_queue"], check=True).stdout
    # Its eighth column numbers them.
    return sum(int(line.split()[7]) for line in listing.splitlines())


def test_one_device_s_flood_leaves_the_queue_to_others(school: Appliance) -> None:
    lab = school.lab
    before = queued(lab)
    argv = [sys.executable, "-c", DATAGRAMS, UNRESOLVED, f"{FLOOD_S}"]
    flood = lab.popen(LAPTOP.name, argv)
    # Meanwhile, one after another.
    pages = [curl(lab, TABLET.name, f"https://{ALLOWED}/").status for _ in range(10)]
    text, _ = flood.communicate(timeout=30)
    asked = queued(lab) - before

    assert pages == [200] * len(pages)
    limit = FirewallConfig().packet_rate
    # What it may have at once, what comes again meanwhile, and the other's pages.
    assert asked < limit * (FLOOD_S + 2) + 1000
    assert int(text) > 2 * asked, "a flood that the limit does not touch shows nothing"


@pytest.fixture
def arrived(lab: Laboratory) -> Iterator[Callable[[], int]]:
    """Count what comes to the router of pings and questions for the time."""
    rules = """table inet slow {
        counter those { }
        chain in {
            type filter hook prerouting priority -300;
            iifname "eth0" icmp type echo-request counter name those
            iifname "eth0" icmpv6 type echo-request counter name those
            iifname "eth0" udp dport 123 counter name those
        }
    }"""
    lab.run(ROUTER.name, ["nft", "-f", "-"], input=rules, check=True)

    def count() -> int:
        argv = ["nft", "-j", "reset", "counter", "inet", "slow", "those"]
        [_, its] = json.loads(lab.run(ROUTER.name, argv, check=True).stdout)["nftables"]
        return int(its["counter"]["packets"])

    yield count
    lab.run(ROUTER.name, ["nft", "delete", "table", "inet", "slow"], check=True)


TIMES = """
import socket, sys, time
address = sys.argv[1]
with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as out:
    for _ in range(400):
        out.sendto(b"\\x23" + bytes(47), (address, 123))
        time.sleep(0.002)
"""


@pytest.mark.parametrize("address", [UNRESOLVED, UNRESOLVED_V6])
@pytest.mark.parametrize("what", ["ping", "time"])
def test_what_passes_unrecorded_is_no_way_for_much(
    lab: Laboratory, arrived: Callable[[], int], what: str, address: str
) -> None:
    """Be it to an address that nobody asked for, and in a pause."""
    argv = {
        "ping": ["ping", "-q", "-c", "400", "-i", "0.002", "-W", "1", address],
        "time": [sys.executable, "-c", TIMES, address],
    }[what]
    # Another test's may be counted still.
    lab.wait_for(
        lambda: lab.run(TABLET.name, ["ping", "-c", "1", "-W", "1", address]).returncode == 0,
        "a ping",
        10,
    )
    arrived()
    started = time.monotonic()
    lab.run(LAPTOP.name, argv, timeout_s=30)
    elapsed = time.monotonic() - started

    assert 10 <= arrived() <= 40 + 20 * elapsed < 200
    assert lab.run(TABLET.name, ["ping", "-c", "1", "-W", "2", address]).returncode == 0


MADE_UP = """
import socket, struct, sys
from scapy.all import Ether, ICMP, IP, Raw
there, source, target, count = sys.argv[1:]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
    link.bind(("eth0", 0))
    ping = bytes(IP(src=source, dst=target) / ICMP(id=9) / Raw(b"x" * 32))
    head = bytes(Ether(dst=there, type=0x800))
    for number in range(int(count)):
        mac = b"\\x02\\0\\0\\0" + struct.pack("!H", number % 5000)
        link.send(head[:6] + mac + head[12:] + ping)
"""


@pytest.fixture
def crowd(school: Appliance) -> Iterator[list[str]]:
    """Send, from the laptop, 20,000 pings of 5,000 devices that are none: more than any set holds."""
    yield [sys.executable, "-c", MADE_UP, ROUTER.mac, LAPTOP.v4, UNRESOLVED, "20000"]
    for name in ("tagged", "untagged"):
        flush = ["nft", "flush", "set", "bridge", "schoolgate", name]
        school.lab.run(BOX.name, flush, check=True)


def test_made_up_devices_have_one_limit_together(
    school: Appliance, arrived: Callable[[], int], crowd: list[str]
) -> None:
    """Those whom the policy names keep theirs, and the box goes on to say that it filters."""
    lab = school.lab
    arrived()
    started = time.monotonic()
    lab.run(LAPTOP.name, crowd, timeout_s=60, check=True)
    elapsed = time.monotonic() - started

    assert 10 <= arrived() <= 100 + 80 * elapsed < 5000
    for client in (LAPTOP, TABLET):
        ping = ["ping", "-c", "1", "-W", "2", UNRESOLVED]
        assert lab.run(client.name, ping).returncode == 0
    # Longer than the firewall takes to tell of all of them, and than a part may be silent.
    for _ in range(12):
        time.sleep(1)
        assert school.status()["filtering"]


@pytest.fixture
def heard(lab: Laboratory) -> Iterator[Callable[[], int]]:
    """Count what comes to the laptop of errors, and of answers of DHCP."""
    rules = """table inet heard {
        counter those { }
        chain in {
            type filter hook prerouting priority -300;
            icmp type destination-unreachable counter name those
            udp dport 68 counter name those
        }
    }"""
    lab.run(LAPTOP.name, ["nft", "-f", "-"], input=rules, check=True)

    def count() -> int:
        argv = ["nft", "-j", "list", "counter", "inet", "heard", "those"]
        [_, its] = json.loads(lab.run(LAPTOP.name, argv, check=True).stdout)["nftables"]
        return int(its["counter"]["packets"])

    yield count
    lab.run(LAPTOP.name, ["nft", "delete", "table", "inet", "heard"], check=True)


SCAPY = f"""
import time
from scapy.all import *
conf.verb = 0
link = conf.L2socket(iface="eth0")
def send(packet, there="{LAPTOP.mac}", here="{ROUTER.mac}", times=1):
    for _ in range(times):
        link.send(Ether(src=here, dst=there) / packet)
ping = IP(src="{LAPTOP.v4}", dst="{UNRESOLVED}") / ICMP(id=7) / Raw(b"x" * 32)
"""


def frames(lab: Laboratory, host: str, text: str) -> None:
    lab.run(host, [sys.executable, "-c", SCAPY + text], timeout_s=30, check=True)


def test_errors_from_outside_are_no_way_for_much(lab: Laboratory, heard: Callable[[], int]) -> None:
    """Whoever gets a ping can answer it with errors of any size."""
    frames(lab, LAPTOP.name, f'send(ping, "{ROUTER.mac}", "{LAPTOP.mac}")')
    started = time.monotonic()
    error = f'IP(src="{UNRESOLVED}", dst="{LAPTOP.v4}") / ICMP(type=3, code=1) / ping'
    frames(lab, ROUTER.name, f'send({error} / Raw(b"x" * 1000), times=400)')

    assert 10 <= heard() <= 40 + 20 * (time.monotonic() - started) < 300


def test_answers_of_dhcp_to_all_have_no_limit_together(
    lab: Laboratory, heard: Callable[[], int]
) -> None:
    answer = (
        f'IP(src="{ROUTER.v4}", dst="255.255.255.255") / UDP(sport=67, dport=68) / Raw(b"x" * 300)'
    )
    frames(lab, ROUTER.name, f'send({answer}, "ff:ff:ff:ff:ff:ff", times=200)')

    lab.wait_for(lambda: heard() == 200, "all answers", 5)


SELF_ANSWERED = f"""
there = dict(src="{LAPTOP.v4}", dst="{UNRESOLVED}")
back = dict(src="{UNRESOLVED}", dst="{LAPTOP.v4}")
def out(data):
    send(IP(**there) / UDP(sport=23456, dport=123) / Raw(data), "{ROUTER.mac}", "{LAPTOP.mac}")
    time.sleep(0.3)
out(b"\\x23" + bytes(47))
send(IP(**back) / UDP(sport=123, dport=23456) / Raw(b"answer"), "{ROUTER.mac}", "{LAPTOP.mac}")
time.sleep(0.3)
for _ in range(5):
    out(b"tunnel")
"""


def test_whoever_answers_himself_opens_no_tunnel(
    lab: Laboratory, arrived: Callable[[], int]
) -> None:
    """The question for the time arrives, and nothing behind it."""
    arrived()
    frames(lab, LAPTOP.name, SELF_ANSWERED)

    assert arrived() == 1


# Neighbour discovery, but with an address of the internet, to which the router would carry it on.
NEIGHBOURS = """
import sys, time
from scapy.all import Ether, ICMPv6Unknown, IPv6, Raw, conf
mac, router, source, address = sys.argv[1:]
link = conf.L2socket(iface="eth0")
for kind in (133, 135, 136):
    frame = Ether(src=mac, dst=router) / IPv6(src=source, dst=address) / ICMPv6Unknown(type=kind)
    octets = bytes(frame / Raw(bytes(100)))
    for _ in range(200):
        link.outs.send(octets)
"""


def test_neighbour_discovery_is_no_way_out(lab: Laboratory) -> None:
    rules = f"""table inet neighbours {{
        counter those {{ }}
        chain in {{
            type filter hook prerouting priority -300;
            ip6 daddr {UNRESOLVED_V6} meta l4proto ipv6-icmp counter name those
        }}
    }}"""
    lab.run(ROUTER.name, ["nft", "-f", "-"], input=rules, check=True)
    try:
        ends = [LAPTOP.mac, ROUTER.mac, LAPTOP.v6, UNRESOLVED_V6]
        started = time.monotonic()
        lab.run(LAPTOP.name, [sys.executable, "-c", NEIGHBOURS, *ends], check=True)
        elapsed = time.monotonic() - started
        argv = ["nft", "-j", "list", "counter", "inet", "neighbours", "those"]
        [_, its] = json.loads(lab.run(ROUTER.name, argv, check=True).stdout)["nftables"]
    finally:
        lab.run(ROUTER.name, ["nft", "delete", "table", "inet", "neighbours"], check=True)

    assert its["counter"]["packets"] <= 40 + 20 * elapsed < 400


# Connections that say nothing, for a minute; a line says how many there are.
CONNECTIONS = """
import contextlib, socket, sys, time
name, count = sys.argv[1], int(sys.argv[2])
ends = [end[4] for end in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)]
assert {len(end) for end in ends} == {2, 4}, "both families"
with contextlib.ExitStack() as opened:
    got = 0
    for number in range(count):
        try:
            opened.enter_context(socket.create_connection(ends[number % len(ends)][:2], 5))
            got += 1
        except ConnectionRefusedError:
            pass
    print(got, flush=True)
    time.sleep(60)
"""
OPEN = 60
"""What one device may have open."""


def test_one_device_s_connections_leave_the_table_to_others(fresh_school: Appliance) -> None:
    school, lab = fresh_school, fresh_school.lab
    with lab.path(CONFIG_FILE).open("a") as file:
        file.write(f"[firewall]\ndevice_flows = {OPEN}\n")
    school.start()
    school.wait_until_filtering()
    school.place_devices()
    school.wait_until_filtering()

    def status(client: Host) -> int:
        return curl(lab, client.name, f"https://{ALLOWED}/", deadline_s=5).status

    assert status(LAPTOP) == 200
    argv = [sys.executable, "-c", CONNECTIONS, "files.example", f"{OPEN + 30}"]
    greedy = lab.popen(LAPTOP.name, argv)
    try:
        assert greedy.stdout
        # What it had before counts, unless it has ended.
        assert OPEN - 10 <= int(greedy.stdout.readline()) <= OPEN
        assert (status(LAPTOP), status(TABLET), status(STAFF)) == (0, 200, 200)
    finally:
        greedy.terminate()
        greedy.communicate(timeout=30)
    lab.wait_for(lambda: status(LAPTOP) == 200, "a connection, once others have ended", 30)
