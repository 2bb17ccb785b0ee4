"""The whole firewall between real hosts."""

import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from scapy.layers.dhcp6 import DHCP6_Advertise
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_RA, IPv6
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Raw

pytestmark = pytest.mark.netns

PUPIL, STAFF = "00:00:5e:00:53:10", "00:00:5e:00:53:20"
WEB = "203.0.113.5"
WEB6 = "2001:db8:113::5"
BOTH = pytest.mark.parametrize("address", [WEB, WEB6])
RESET_IN_HANDSHAKE = 35
RESET_WHILE_RECEIVING = 56
TIMED_OUT = 28
WHOLE = (0, "from the internet\n")


def udp(host, address, port, count=1, payload="00"):
    """Send datagrams from as many ports; a test that counts on new flows has a port that no other test uses."""
    done = host.python("udp", address, str(port), str(count), payload, stdout=subprocess.PIPE)
    return int(done.communicate(timeout=30)[0])


def tcp(host, address, port, what, *, size=10_000, ttl=64):
    done = host.python("tcp", address, str(port), str(size), str(ttl), what, stdout=subprocess.PIPE)
    return done.communicate(timeout=30)[0].decode().strip()


def router_mac(school):
    return school.internet.run("cat", "/sys/class/net/lan/address").stdout.strip()


@contextmanager
def capture(host, interface):
    """Give a function that returns the frames that came since, when a last one has come that holds ``end``."""
    process = host.python("capture", interface, stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"listening\n"

        def frames(end):
            found = [b""]
            while end not in found[-1]:
                found.append(bytes.fromhex(process.stdout.readline().decode()))
            return found

        yield frames
        process.kill()


class Download:
    """Curl on an endless body."""

    def __init__(self, host, name="maths.example", address=WEB):
        self._process = host.start(
            *("curl", "-skN", "--noproxy", "*", "--max-time", "20"),
            *("--resolve", f"{name}:443:{address}", f"https://{name}/endless"),
            stdout=subprocess.PIPE,
        )
        self.receive()

    def receive(self, octets=5000):
        """Wait until so much more has come; False where it has ended instead."""
        return len(self._process.stdout.read(octets)) == octets

    def end(self):
        """Read until somebody cuts it; return curl's exit code."""
        while self._process.stdout.read(100_000):
            pass
        self._process.stdout.close()
        return self._process.wait(10)

    def stop(self):
        self._process.kill()
        self.end()


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_run_passes_an_allowed_name(school, gate, address, scheme):
    assert school.pupil.browse("maths.example", scheme=scheme, address=address) == WHOLE


@BOTH
def test_run_resets_a_blocked_server_name(school, gate, address):
    code, _ = school.pupil.browse("games.example", address=address)

    assert code == RESET_IN_HANDSHAKE


@BOTH
def test_run_resets_a_blocked_host(school, gate, address):
    code, _ = school.pupil.browse("games.example", scheme="http", address=address)

    assert code == RESET_WHILE_RECEIVING


def test_run_records_name_rule_and_device(school, gate):
    school.pupil.browse("games.example")

    assert gate.wait_for_event(name="games.example", kind="tls") == {
        "action": "block",
        "kind": "tls",
        "name": "games.example",
        "rule_id": "exception:x0",
        "group": "ks2",
        "mac": "00:00:5e:00:53:10",
    }


@BOTH
@pytest.mark.parametrize("size", [1, 100])
def test_run_reads_a_hello_in_small_segments(school, gate, address, size):
    blocked = tcp(school.pupil, address, 443, "tls:games.example", size=size)
    allowed = tcp(school.pupil, address, 443, "tls:maths.example", size=size)

    assert (blocked, allowed[:2]) == ("reset", "16")


@BOTH
def test_run_lets_a_closed_group_speak_only_tls_and_http_on_web_ports(school, gate, address):
    assert tcp(school.pupil, address, 443, b"SSH-2.0-x\r\n".hex()) == "reset"
    assert tcp(school.pupil, address, 80, b"SSH-2.0-x\r\n".hex()) == "reset"


@BOTH
def test_run_decides_other_protocols_by_the_default(school, gate, address):
    assert tcp(school.pupil, address, 7000, b"ping".hex()) == b"ping".hex()
    assert bytes.fromhex(tcp(school.pupil, address, 2222, "")) == b"220 banner\r\n"
    assert udp(school.pupil, address, 9000) == 1


@BOTH
def test_run_tells_what_an_allowed_flow_carried(school, gate, address):
    family, client, headers = (
        ("ipv6", "fd77::10", 48) if ":" in address else ("ipv4", "10.77.0.10", 28)
    )
    assert udp(school.pupil, address, 9001, payload="00" * 100) == 1
    school.box.run("conntrack", "-D", "-f", family, "-p", "udp", "--dport", "9001")

    gate.wait_for(["ended", client, f"{address} 9001/udp", headers + 100, headers + 100])


@BOTH
def test_run_closes_quic_where_the_group_has_none(school, gate, address):
    assert udp(school.pupil, address, 443) == 0
    assert udp(school.staff, address, 443) == 1


@BOTH
def test_run_closes_encrypted_dns_for_all(school, gate, address):
    assert tcp(school.staff, address, 853, "16") in ("reset", "refused")
    assert udp(school.staff, address, 853) == 0


@BOTH
def test_run_redirects_queries_to_whatever_address(school, gate, address):
    with school.box.python("resolver", stdout=subprocess.PIPE) as resolver:
        assert resolver.stdout.readline() == b"listening\n"
        asking = school.pupil.python("ask", address, stdout=subprocess.PIPE)
        answer = asking.communicate(timeout=10)[0]
        resolver.kill()

    assert answer == b"from the box\n"


@BOTH
def test_run_cuts_a_running_download_in_a_pause(school, gate, policy, address):
    pupils, staffs = (
        Download(school.pupil, address=address),
        Download(school.staff, address=address),
    )
    gate.enforce(policy(2, paused=("ks2",)))

    assert pupils.end() == RESET_WHILE_RECEIVING
    assert staffs.receive()
    staffs.stop()


def test_run_cuts_only_what_a_new_policy_blocks(school, gate, policy):
    maths, history = Download(school.pupil), Download(school.pupil, "history.example")
    gate.enforce(policy(2, blocked=("maths.example",)))

    assert maths.end() == RESET_WHILE_RECEIVING
    assert history.receive()
    history.stop()


def test_run_brings_back_what_a_policy_allows_again(school, gate, policy):
    gate.enforce(policy(2, paused=("ks2",)))
    assert school.pupil.browse("maths.example")[0] == RESET_IN_HANDSHAKE
    gate.enforce(policy(3))

    assert school.pupil.browse("maths.example") == WHOLE


def test_run_killed_lets_nothing_new_of_a_closed_group_pass(school, policy):
    with school.gate(policy()) as gate:
        download = Download(school.pupil)
        gate.end(kill=True)

        assert school.pupil.browse("maths.example")[0] == TIMED_OUT
        assert udp(school.pupil, WEB, 9001, 20) == 0
        assert school.staff.browse("maths.example") == WHOLE
        assert download.receive()  # judged before
    with school.gate(policy()):
        assert school.pupil.browse("maths.example") == WHOLE
        assert download.receive()  # the same policy: the verdict still holds
    with school.gate(policy(2)):
        # Under another one it would have to be judged again, and nobody knows its name any more.
        assert download.end() == RESET_WHILE_RECEIVING


def test_run_killed_lets_nothing_new_of_a_paused_room_pass(school, policy):
    plain = policy(2, paused=("ks2",))
    office = replace(plain.devices[STAFF], room="office")
    pause = replace(plain.pauses[0], groups=frozenset(), rooms=frozenset(("office",)))
    paused = replace(plain, devices={STAFF: office}, pauses=(pause,))
    with school.gate(paused) as gate:
        gate.end(kill=True)

        assert udp(school.staff, WEB, 9004, 20) == 0


def unjudged(host):
    """Return how many packets have passed unjudged, by the kernel's count."""
    listing = host.run("nft", "list", "counter", "inet", "schoolgate", "unjudged").stdout
    return int(re.search(r"packets (\d+)", listing)[1])


def test_run_with_a_full_queue_lets_only_the_open_group_pass(school, gate):
    before = unjudged(school.box)
    gate.signal(signal.SIGSTOP)
    try:
        pupils = udp(school.pupil, WEB, 9002, 6000)
        passed = unjudged(school.box) - before
        staffs = udp(school.staff, WEB, 9002, 6000)
    finally:
        gate.signal(signal.SIGCONT)

    assert (pupils, passed) == (0, 0)
    # Some answers may be lost on the way back.
    assert 0 < staffs <= unjudged(school.box) - before


def test_run_again_goes_on_counting_what_passed_unjudged(school, policy):
    with school.gate(policy()) as gate:
        before = unjudged(school.box)
        gate.end(kill=True)
        assert udp(school.staff, WEB, 9004, 20) == 20
        passed = unjudged(school.box)
    with school.gate(policy()):
        assert unjudged(school.box) == passed >= before + 20


def test_run_without_a_hand_off_to_the_queue_lets_nothing_pass(school, gate):
    # As in the moment between the two transactions of a start.
    school.box.run("iptables-nft", "-t", "mangle", "-F")
    try:
        assert udp(school.pupil, WEB, 9003, 20) == 0
        assert udp(school.pupil, WEB6, 9003, 20) == 20
    finally:
        gate.end()


def test_run_again_never_lets_a_packet_pass(school, policy):
    with school.gate(policy()):
        sending = school.pupil.python("udp", WEB, "443", "20000", stdout=subprocess.PIPE)
    for _ in range(5):
        with school.gate(policy()) as gate:
            gate.end(kill=True)
    answered = sending.communicate(timeout=60)[0]

    assert int(answered) == 0


def test_run_opens_nothing_of_the_box_to_the_router(school, gate):
    listening = (
        "import socket; s = socket.create_server(('10.77.0.2', 8443)); print('ready', flush=True)\n"
        "while True: s.accept()[0].sendall(b'pages')"
    )
    with school.box.start(sys.executable, "-c", listening, stdout=subprocess.PIPE) as server:
        assert server.stdout.readline() == b"ready\n"
        from_switch = tcp(school.pupil, "10.77.0.2", 8443, "")
        from_router = tcp(school.internet, "10.77.0.2", 8443, "")
        server.kill()

    assert (bytes.fromhex(from_switch), from_router) == (b"pages", "silence")


def test_run_refuses_tls_to_the_box_at_once(school, gate):
    assert tcp(school.pupil, "10.77.0.2", 443, "16") == "refused"


def test_run_lifts_the_hops_of_what_it_reads(school, gate):
    with capture(school.internet, "lan") as frames:
        tcp(school.pupil, WEB, 7000, b"first octets".hex(), ttl=2)
        frame = frames(b"first octets")[-1]

    assert frame[14 + 8] == 64


def test_run_drops_frames_that_nothing_can_look_into(school, gate):
    ethernet = Ether(src=PUPIL, dst=router_mac(school))

    def datagram(port, text):
        return IP(src="10.77.0.10", dst=WEB) / UDP(sport=40_000, dport=port) / Raw(text)

    frames = {
        "one tag, allowed": ethernet / Dot1Q(vlan=7) / datagram(9000, "one tag, allowed"),
        "one tag, refused": ethernet / Dot1Q(vlan=7) / datagram(443, "one tag, refused"),
        "two tags": ethernet / Dot1Q(vlan=7) / Dot1Q(vlan=8) / datagram(9000, "two tags"),
        "provider's tag": ethernet / Dot1AD(vlan=7) / datagram(9000, "provider's tag"),
        "pppoe": ethernet / PPPoE(sessionid=1) / PPP() / datagram(9000, "pppoe"),
        "neither": Ether(src=PUPIL, dst=ethernet.dst, type=0x8137) / Raw("neither".ljust(60)),
        "last": ethernet / datagram(9000, "last"),
    }
    with capture(school.internet, "lan") as captured:
        sending = school.pupil.python("frames", *(bytes(frame).hex() for frame in frames.values()))
        assert sending.wait(10) == 0
        came = b"".join(captured(b"last"))

    assert [text for text in frames if text.encode() in came] == ["one tag, allowed", "last"]


@pytest.fixture
def isolate(school, gate, policy):
    """Isolate the pupil."""

    def isolated():
        plain = policy(2)
        devices = {**plain.devices, PUPIL: replace(plain.devices[PUPIL], isolated=True)}
        gate.enforce(replace(plain, devices=devices))

    return isolated


def test_run_lets_nothing_out_of_an_isolated_device(school, isolate):
    everybody = Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff")
    router = Ether(src=PUPIL, dst=router_mac(school))
    frames = {
        "arp": everybody / ARP(op=1, psrc="10.77.0.10", pdst="10.77.0.1"),
        "dhcp": everybody / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67),
        "broadcast": everybody / IP(src="10.77.0.10", dst="10.77.0.255") / UDP(dport=9),
        "tagged": everybody / Dot1Q(vlan=7) / ARP(op=1, psrc="10.77.0.10", pdst="10.77.0.9"),
        "time": router / IP(src="10.77.0.10", dst=WEB) / UDP(dport=123),
        "ping": router / IPv6(src="fd77::10", dst=WEB6) / ICMPv6EchoRequest(),
    }
    last = Ether(src=STAFF, dst=everybody.dst) / IP(src="10.77.0.20", dst="10.77.0.255")
    isolate()
    with capture(school.internet, "lan") as beyond, capture(school.box, "br0") as within:
        built = [bytes(f / Raw(f"<{text}>")).hex() for text, f in frames.items()]
        assert school.pupil.python("frames", *built).wait(10) == 0
        ending = bytes(last / UDP(dport=9) / Raw("<last>")).hex()
        assert school.staff.python("frames", ending).wait(10) == 0
        came = beyond(b"<last>") + within(b"<last>")

    assert [f for f in came if f[6:12] == bytes.fromhex(PUPIL.replace(":", ""))] == []


def test_run_sends_nothing_to_an_isolated_device(school, isolate):
    download = Download(school.pupil)
    for host, port in ((school.box, "br0"), (school.internet, "lan")):
        host.ip(f"neigh replace 10.77.0.10 lladdr {PUPIL} dev {port} nud permanent")
    try:
        school.internet.run("ping", "-c1", "-W1", "10.77.0.10")
        isolate()
        with capture(school.pupil, "eth0") as captured:
            for host in (school.box, school.internet):
                assert host.run("ping", "-c1", "-W1", "10.77.0.10", check=False).returncode == 1
            ending = Ether(src=STAFF, dst=PUPIL) / IP(dst="10.77.0.10") / UDP() / Raw("<last>")
            assert school.staff.python("frames", bytes(ending).hex()).wait(10) == 0
            came = captured(b"<last>")
    finally:
        for host, port in ((school.box, "br0"), (school.internet, "lan")):
            host.ip(f"neigh del 10.77.0.10 dev {port}")
        download.stop()

    to_it = [f for f in came if f[:6] == bytes.fromhex(PUPIL.replace(":", ""))]
    assert [f[6:12].hex(":") for f in to_it] == [STAFF]


def test_run_tells_in_which_vlan_a_device_speaks(school, gate):
    sending = (
        "import socket, sys\n"
        "with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sending:\n"
        "    sending.bind(('lan', 0))\n"
        "    sending.send(bytes.fromhex(sys.argv[1]))"
    )
    router = router_mac(school)
    arp = ARP(op=1, psrc="10.77.0.10", pdst="10.77.0.9")
    from_router = Ether(src=router, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=20) / arp
    school.internet.run(sys.executable, "-c", sending, bytes(from_router).hex())
    told = []
    for vlan in (20, 30, 0):
        tag = Dot1Q(vlan=vlan) / arp if vlan else arp
        frame = bytes(Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff") / tag).hex()
        end = time.monotonic() + 20
        gate.vlans.clear()
        while (PUPIL, vlan) not in gate.vlans:
            assert time.monotonic() < end, gate.vlans
            assert school.pupil.python("frames", frame).wait(10) == 0
        told += gate.vlans

    assert router not in dict(told)


def test_run_passes_frames_of_devices_that_do_not_fit_into_the_vlans(school, gate):
    macs = ", ".join(f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}" for n in range(2000))
    nft = ("nft", "-f", "-")
    school.box.run(*nft, input=f"add element bridge schoolgate untagged {{ {macs} }}")
    arp = ARP(op=1, psrc="10.77.0.10", pdst="10.77.0.9")
    senders = [f"02:00:00:01:00:{n:02x}" for n in range(100)]
    try:
        with capture(school.internet, "lan") as captured:
            frames = [Ether(src=s, dst="ff:ff:ff:ff:ff:ff") / arp / Raw(f"<{s}>") for s in senders]
            frames.append(
                Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff") / Dot1Q(vlan=7) / arp / Raw("<last>")
            )
            assert school.pupil.python("frames", *(bytes(f).hex() for f in frames)).wait(10) == 0
            came = captured(b"<last>")
        learnt = school.box.run("nft", "list", "set", "bridge", "schoolgate", "untagged").stdout
    finally:
        school.box.run(*nft, input="flush set bridge schoolgate untagged")

    assert senders[-1] not in learnt
    assert [f[6:12].hex(":") for f in came if f[6:9] == b"\2\0\0" and f[9]] == senders


def test_run_has_no_way_round_by_frames_for_all(school, gate):
    """A router that takes a broadcast frame for its own would pass on what it holds."""
    ethernet = Ether(src="00:00:5e:00:53:10", dst="ff:ff:ff:ff:ff:ff")
    datagram = IP(src="10.77.0.10", dst=WEB) / UDP(sport=40_001, dport=9000) / Raw("for all")
    last = IP(src="10.77.0.10", dst="10.77.0.255") / UDP(sport=40_001, dport=9000) / Raw("last")
    with capture(school.internet, "lan") as captured:
        sending = school.pupil.python(
            "frames", *(bytes(ethernet / d).hex() for d in (datagram, last))
        )
        assert sending.wait(10) == 0
        came = b"".join(captured(b"last"))

    assert b"for all" not in came


@pytest.mark.parametrize("tag", [None, 0, 7])
def test_run_lets_nobody_on_the_switch_side_speak_for_the_router(school, gate, tag):
    ethernet = Ether(src="00:00:5e:00:53:10", dst="ff:ff:ff:ff:ff:ff")
    if tag is not None:
        ethernet /= Dot1Q(vlan=tag)
    own, all_hosts = "fe80::10", "ff02::1"
    frames = {
        "arp": ARP(op=2, psrc="10.77.0.1", pdst="10.77.0.2"),
        "arp, asking": ARP(op=1, psrc="10.77.0.1", pdst="10.77.0.2"),
        "from its address": IP(src="10.77.0.1", dst="10.77.0.255") / UDP(dport=9),
        "from its address, ipv6": IPv6(src="fd77::1", dst=all_hosts) / UDP(dport=9),
        "neighbour": IPv6(src=own, dst=all_hosts) / ICMPv6ND_NA(tgt="fd77::1"),
        "router": IPv6(src=own, dst=all_hosts) / ICMPv6ND_RA(),
        "dhcp": IP(src="10.77.0.10", dst="255.255.255.255") / UDP(sport=67, dport=68),
        "dhcp6": IPv6(src=own, dst=all_hosts) / UDP(sport=547, dport=546) / DHCP6_Advertise(),
        "own arp": ARP(op=2, hwsrc=ethernet.src, psrc="10.77.0.10", pdst="10.77.0.2"),
        "own neighbour": IPv6(src=own, dst=all_hosts) / ICMPv6ND_NA(tgt=own),
        "last": IP(src="10.77.0.10", dst="10.77.0.255") / UDP(dport=9),
    }
    built = [bytes(ethernet / f / Raw(f"<{text}>")).hex() for text, f in frames.items()]
    with capture(school.internet, "lan") as captured:
        assert school.pupil.python("frames", *built).wait(10) == 0
        came = b"".join(captured(b"<last>"))

    passed = [text for text in frames if f"<{text}>".encode() in came]
    assert passed == ["own arp", "own neighbour", "last"]


@pytest.mark.parametrize(("octets", "answered"), [(56, True), (128, True), (129, False)])
@BOTH
def test_run_lets_pupils_ping_with_little(school, gate, address, octets, answered):
    done = school.pupil.run("ping", "-c1", "-W1", "-s", str(octets), address, check=False)

    assert (done.returncode == 0) is answered


def test_run_heeds_no_redirects(school, gate):
    names = ("accept_redirects", "accept_source_route")
    files = [f"/proc/sys/net/{f}/conf/br0/{n}" for f in ("ipv4", "ipv6") for n in names]
    files.append("/proc/sys/net/ipv4/conf/all/accept_redirects")

    assert school.box.run("cat", *files).stdout.split() == ["0"] * 5


def test_run_keeps_others_bits_of_marks(school, gate):
    school.box.run("nft", "-f", "-", input=OTHERS)
    try:
        assert school.pupil.browse("maths.example") == WHOLE
        counted = school.box.run("nft", "list", "table", "inet", "others").stdout
    finally:
        school.box.run("nft", "delete", "table", "inet", "others")

    assert re.search(r"ct mark & 0x00f00fff == 0x00100abc counter packets [1-9]", counted)


OTHERS = """
table inet others {
    chain set_mark {
        type filter hook forward priority -190; policy accept;
        ct state new ct mark set ct mark | 0xabc
    }
    chain look {
        type filter hook forward priority 100; policy accept;
        ct mark & 0x00f00fff == 0x00100abc counter
    }
}
"""
