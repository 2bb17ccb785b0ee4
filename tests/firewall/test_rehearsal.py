import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NS, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.packet import Raw
from scapy.utils import PcapWriter, wrpcap

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.clients import DefaultAction, Device, Group, Membership, OnFault
from gate_core.names import NameSet
from gate_core.policy import Action, DatedException, Policy, Scope
from gate_core.snapshot import NO_LISTS
from gate_core.timetable import Span
from gate_firewall.dissect import read_capture
from gate_firewall.rehearsal import By, Client, Direction, Outcome, Rehearsal

SHARED = Path(os.environ.get("SCHOOLGATE_SHARED", Path(__file__).parents[3] / "shared"))
CAPTURES = SHARED / "data" / "captures"
captures = pytest.mark.skipif(
    not CAPTURES.is_dir(),
    reason=f"../shared is absent: no captures at {CAPTURES}; SCHOOLGATE_SHARED may say where they are",
)

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
DAY = Span(AT - timedelta(hours=1), AT + timedelta(hours=23))
PUPIL, STAFF, ISOLATED, ROUTER = (f"00:00:5e:00:53:{n}" for n in ("10", "20", "40", "01"))
HERE, THERE, OTHER = "10.77.0.10", "203.0.113.5", "203.0.113.6"
BLOCKED, ALLOWED = "games.example", "maths.example"
GROUPS = {
    "ks2": Group("ks2", "Pupils", 2, SHIPPED_CELLS["ks2"]),
    "staff": Group("staff", "Staff", 3, SHIPPED_CELLS["staff"], quic=True, on_fault=OnFault.OPEN),
    "unknown": Group("unknown", "Unknown", 6, {}, default=DefaultAction.BLOCK),
}
POLICY = Policy(
    version=1,
    groups=GROUPS,
    rows=ROWS,
    unknown_group="unknown",
    index=NO_LISTS,
    devices={
        PUPIL: Device(PUPIL, "laptop", "ks2"),
        STAFF: Device(STAFF, "office", "staff"),
        ISOLATED: Device(ISOLATED, "found", "ks2", isolated=True),
    },
    exceptions=(
        DatedException("x", Scope.SCHOOL, "", NameSet.of((BLOCKED,)), Action.BLOCK, DAY, "test"),
    ),
)
EVERYBODY_STAFF = replace(POLICY, devices={}, unknown_group="staff")
EVERYBODY_PUPIL = replace(POLICY, devices={}, unknown_group="ks2")


def rehearse(path, policy=POLICY, client="", at=AT):
    """Return the steps of a capture, and the rehearsal."""
    if ":" in client and client.count(":") == 5:
        who = Client(mac=client)
    else:
        who = Client(address=ip_address(client).packed if client else None)
    rehearsal = Rehearsal(policy, at, who)
    steps = [step for frame in read_capture(path) if (step := rehearsal.take(frame))]
    return steps, rehearsal


@pytest.fixture
def act(tmp_path):
    """Take frames through a rehearsal; return its steps."""

    def act(*frames, **how):
        path = tmp_path / "capture"
        wrpcap(str(path), frames)
        return rehearse(path, **how)[0]

    return act


def said(steps):
    return [(step.by, step.outcome) for step in steps]


OUT, IN = Ether(src=PUPIL, dst=ROUTER), Ether(src=ROUTER, dst=PUPIL)
PASSES = (By.KERNEL, Outcome.PASSES)
REFUSED = (By.KERNEL, Outcome.BLOCKED)
ASKED = (By.CLASSIFIER, Outcome.PASSES)
BLOCKS = (By.CLASSIFIER, Outcome.BLOCKED)
DROPPED = (By.KERNEL, Outcome.DROPPED)
NOT_SENT = (By.NOBODY, Outcome.UNTOLD)


def connection(*payloads, port=80, frame=None, answer=b"HTTP/1.1 200 OK\r\n\r\n", sport=40_000):
    """Return the frames of a connection in which the client sends ``payloads``, and each is acknowledged."""
    out, back = (OUT, IN) if frame is None else frame
    up = IP(src=HERE, dst=THERE)
    down = IP(src=THERE, dst=HERE)
    frames = [
        out / up / TCP(sport=sport, dport=port, flags="S", seq=100),
        back / down / TCP(sport=port, dport=sport, flags="SA", seq=500, ack=101),
        out / up / TCP(sport=sport, dport=port, flags="A", seq=101, ack=501),
    ]
    sent = 101
    for payload in payloads:
        frames.append(
            out / up / TCP(sport=sport, dport=port, flags="PA", seq=sent, ack=501) / payload
        )
        sent += len(payload)
        frames.append(back / down / TCP(sport=port, dport=sport, flags="A", seq=501, ack=sent))
    return [
        *frames,
        back / down / TCP(sport=port, dport=sport, flags="PA", seq=501, ack=sent) / answer,
    ]


def request(name):
    return f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


def test_blocked_request_is_told_packet_by_packet(act):
    steps = act(*connection(request(BLOCKED)[:20], request(BLOCKED)[20:]))
    assert said(steps) == [ASKED, PASSES, PASSES, ASKED, PASSES, BLOCKS, REFUSED, REFUSED]
    assert [(s.number, s.direction, s.flags, s.length_octets) for s in steps[:4]] == [
        (1, Direction.OUT, ("SYN",), 0),
        (2, Direction.IN, ("SYN", "ACK"), 0),
        (3, Direction.OUT, ("ACK",), 0),
        (4, Direction.OUT, ("PSH", "ACK"), 20),
    ]
    assert (steps[0].source, steps[0].destination) == (f"{HERE}:40000", f"{THERE}:80")
    assert steps[3].read == "an HTTP request, not complete after 20 octets"
    assert steps[5].read == f"an HTTP request for {BLOCKED}"
    event = steps[5].event
    assert (event.name, event.action, event.rule_id, event.group) == (
        BLOCKED, "block", "exception:x", "ks2",
    )  # fmt: skip
    assert [s.event for s in steps if s is not steps[5]] == [None] * 7


def test_allowed_name_waits_until_the_server_has_it(act):
    steps = act(*connection(request(ALLOWED)))
    assert said(steps) == [ASKED, PASSES, PASSES, ASKED, ASKED, PASSES]
    assert "once the other side has acknowledged it" in steps[3].why
    assert steps[4].read == f"an HTTP request for {ALLOWED}; the other side goes by it"
    assert [(s.event.name, s.event.action) for s in steps if s.event] == [(ALLOWED, "allow")]


def test_summary_counts_each_flow(tmp_path):
    path = tmp_path / "capture"
    wrpcap(
        str(path),
        connection(request(BLOCKED)) + connection(request(ALLOWED), sport=40_001),
    )
    _, rehearsal = rehearse(path)
    first, second = rehearsal.flows()
    assert (first.initiator, first.responder, first.protocol) == (
        f"{HERE}:40000", f"{THERE}:80", "TCP",
    )  # fmt: skip
    assert (first.packets, first.asked, first.octets) == (6, 2, len(request(BLOCKED)) + 19)
    assert (first.event.name, second.event.name) == (BLOCKED, ALLOWED)
    assert second.asked == 3


def test_vlan_and_fragments_change_nothing_but_what_is_said(act):
    tagged = (OUT / Dot1Q(vlan=7), IN / Dot1Q(vlan=7))
    plain = act(*connection(request(BLOCKED)))
    steps = act(*connection(request(BLOCKED), frame=tagged))
    assert {s.vlan for s in steps} == {7}
    assert [replace(s, vlan=None) for s in steps] == [
        replace(s, since_s=t.since_s) for s, t in zip(plain, steps, strict=True)
    ]
    datagram = IP(src=HERE, dst=THERE, id=9) / UDP(sport=40_000, dport=4000) / bytes(2000)
    parts = [OUT / part for part in fragment(datagram, 600)]
    in_parts, whole = act(*parts), act(OUT / datagram)
    assert said(in_parts[:-1]) == [(By.KERNEL, Outcome.HELD)] * (len(parts) - 1)
    assert (in_parts[-1].outcome, in_parts[-1].why) == (whole[0].outcome, whole[0].why)


def test_flow_without_beginning_is_blocked_each_time(act):
    data = OUT / IP(src=HERE, dst=THERE) / TCP(sport=1, dport=443, flags="PA", seq=5) / b"x"
    back = IN / IP(src=THERE, dst=HERE) / TCP(sport=443, dport=1, flags="PA", seq=5) / b"x"
    steps = act(data, data, back)
    assert said(steps) == [BLOCKS, BLOCKS, NOT_SENT]
    assert steps[0].read == "a flow whose beginning is not in the capture"
    assert steps[0].event.reason == "unknown-flow"


def test_download_without_beginning_becomes_a_reset_and_stays_blocked(act):
    back = IN / IP(src=THERE, dst=HERE) / TCP(sport=443, dport=1, flags="PA", seq=5) / b"x"
    steps = act(back, back)
    assert said(steps) == [BLOCKS, REFUSED]
    assert "turned into a reset" in steps[0].why


def test_segments_that_fit_no_flow_are_dropped(act):
    flags = ("SA", "R", "RA", "FA", "")
    assert said(
        act(*(OUT / IP(src=HERE, dst=THERE) / TCP(sport=n, flags=f) for n, f in enumerate(flags)))
    ) == [DROPPED] * len(flags)


def test_second_syn_of_a_judged_flow_is_refused_and_of_a_closed_one_begins_anew(act):
    frames = connection(request(ALLOWED))
    again = frames[0]
    assert said(act(*frames, again))[-1] == REFUSED
    fins = [
        OUT / IP(src=HERE, dst=THERE) / TCP(sport=40_000, dport=80, flags="FA", seq=200),
        IN / IP(src=THERE, dst=HERE) / TCP(sport=80, dport=40_000, flags="FA", seq=600),
    ]
    assert said(act(*frames, *fins, again))[-1] == ASKED


def test_unreadable_flow_says_why(act):
    twice = connection(request(BLOCKED)[:30])
    other = OUT / IP(src=HERE, dst=THERE) / TCP(sport=40_000, dport=80, flags="PA", seq=101)
    steps = act(*twice[:4], other / request(ALLOWED)[:30])
    assert said(steps)[-1] == BLOCKS
    assert steps[-1].read.startswith("unreadable: a segment from 0 to 30 that differs")
    assert steps[-1].event.reason == "unreadable"


def test_dns_is_redirected_whoever_is_asked(act):
    query = UDP(sport=40_000, dport=53) / DNS(qd=DNSQR(qname=BLOCKED))
    answer = IP(src=THERE, dst=HERE) / UDP(sport=53, dport=40_000) / b"an answer"
    steps = act(OUT / IP(src=HERE, dst=THERE) / query, IN / answer)
    assert said(steps) == [(By.KERNEL, Outcome.REDIRECTED)] * 2


@pytest.mark.parametrize("transport", [UDP(sport=1, dport=853), TCP(sport=1, dport=853, flags="S")])
def test_dns_over_tls_and_quic_are_refused_unasked(act, transport):
    assert said(act(OUT / IP(src=HERE, dst=THERE) / transport)) == [REFUSED]


def test_refused_datagrams_are_dropped_unasked_for_a_while(act):
    frames = [
        OUT / IP(src=HERE, dst=THERE) / UDP(sport=40_000, dport=443) / b"not QUIC" for _ in range(3)
    ]
    for frame, at in zip(frames, (100.0, 129.0, 131.0), strict=True):
        frame.time = at
    assert said(act(*frames)) == [BLOCKS, DROPPED, BLOCKS]


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        pytest.param(Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff") / ARP(), PASSES, id="arp"),
        pytest.param(OUT / PPPoE() / PPP() / IP(), DROPPED, id="pppoe"),
        pytest.param(OUT / Dot1Q() / Dot1Q() / IP(), DROPPED, id="qinq"),
        pytest.param(OUT / IP(src=HERE, dst="224.0.0.251") / UDP(dport=5353), PASSES, id="mdns"),
        pytest.param(
            Ether(src=PUPIL, dst="ff:ff:ff:ff:ff:ff") / IP(src=HERE, dst=THERE) / UDP(),
            DROPPED,
            id="to one in a frame for all",
        ),
        pytest.param(
            OUT / IP(src=HERE, dst="10.77.0.1") / UDP(sport=68, dport=67) / BOOTP(),
            PASSES,
            id="dhcp",
        ),
        pytest.param(OUT / IP(src=HERE, dst=THERE) / ICMP() / bytes(128), PASSES, id="ping"),
        pytest.param(OUT / IP(src=HERE, dst=THERE) / ICMP() / bytes(129), BLOCKS, id="long ping"),
        pytest.param(OUT / IP(src=HERE, dst=THERE) / ICMP(type=3), PASSES, id="icmp error"),
        pytest.param(OUT / IP(src=HERE, dst=THERE) / GRE() / IP(), BLOCKS, id="gre"),
        pytest.param(
            OUT / IPv6(src="fd77::10", dst="2001:db8:113::5") / ICMPv6EchoRequest(),
            PASSES,
            id="ping6",
        ),
        pytest.param(
            OUT / IPv6(src="fd77::10", dst="fd77::1") / ICMPv6ND_NS(), PASSES, id="neighbours"
        ),
        pytest.param(
            Ether(src=ISOLATED, dst=ROUTER) / IP(src="10.77.0.40", dst=THERE) / TCP(flags="S"),
            DROPPED,
            id="isolated",
        ),
        pytest.param(Ether(src=ROUTER, dst=ISOLATED) / ARP(), DROPPED, id="arp to isolated"),
        pytest.param(OUT / Raw(b"\x45\0\0\xff"), DROPPED, id="malformed"),
        pytest.param(
            OUT / IP(src=HERE, dst=THERE) / UDP(sport=123, dport=123) / (b"\x23" + bytes(47)),
            ASKED,
            id="time",
        ),
    ],
)
def test_single_packet(act, frame, expected):
    if Raw in frame and frame[Raw].load == b"\x45\0\0\xff":
        frame.type = 0x0800
    steps = act(frame)
    assert said(steps) == [expected]
    assert steps[0].why


def test_what_the_capture_lacks_is_not_judged(tmp_path):
    path = tmp_path / "capture"
    frames = [bytes(frame) for frame in connection(request(BLOCKED))]
    with PcapWriter(str(path), linktype=1) as writer:
        writer.write_header(None)
        for octets in frames:
            writer.write_packet(octets[:60], caplen=len(octets[:60]), wirelen=len(octets))
    steps, rehearsal = rehearse(path)
    assert said(steps) == [ASKED, PASSES, PASSES, NOT_SENT, PASSES, NOT_SENT]
    missing = len(frames[3]) - 60
    assert steps[3].why.startswith(f"the capture lacks {missing} octets of this packet")
    assert [flow.event for flow in rehearsal.flows()] == [None]


ANSWER = IPv6(src="2001:db8:113::5", dst="2001:db8:77::10") / UDP(sport=443, dport=1) / b"x"


def test_side_is_told_by_known_device_network_or_client(act):
    unknown = Ether(src=ROUTER, dst="00:00:5e:00:53:99") / ANSWER
    assert act(IN / ANSWER)[0].direction is Direction.IN
    network = ip_network("2001:db8:77::/64")
    known = replace(POLICY, networks={network: Membership("ks2")})
    assert act(unknown, policy=known)[0].direction is Direction.IN
    for client in ("2001:db8:77::10", "00:00:5e:00:53:99"):
        assert act(unknown, client=client)[0].direction is Direction.IN
    for client in ("2001:db8:113::5", ROUTER):
        assert act(unknown, client=client)[0].direction is Direction.OUT


def test_side_is_else_that_of_who_opens_the_flow(tmp_path):
    path = tmp_path / "capture"
    frame = Ether(src=ROUTER, dst=ROUTER)
    up, down = IP(src=THERE, dst=OTHER), IP(src=OTHER, dst=THERE)
    first, second = {"sport": 1, "dport": 443}, {"sport": 2, "dport": 443}
    frames = [
        frame / up / TCP(**first, flags="S"),
        frame / down / TCP(sport=443, dport=1, flags="SA"),
        frame / up / TCP(**first, flags="A"),
        # A capture that begins behind the first packet of its flow.
        frame / down / TCP(sport=443, dport=2, flags="SA"),
        frame / up / TCP(**second, flags="PA") / b"x",
        frame / up / UDP(**first) / b"x",
        frame / down / UDP(sport=443, dport=1) / b"x",
    ]
    wrpcap(str(path), frames)
    steps, rehearsal = rehearse(path, EVERYBODY_STAFF)
    expected = [Direction.OUT, Direction.IN, Direction.OUT, Direction.IN]
    assert [s.direction for s in steps] == [*expected, Direction.OUT, Direction.OUT, Direction.IN]
    assert rehearsal.guessed == len(frames)


def test_packets_of_guessed_sides_and_left_out_are_counted(tmp_path):
    path = tmp_path / "capture"
    inside = OUT / IP(src=HERE, dst="10.77.0.20") / TCP(flags="S")
    outside = Ether(src=ROUTER, dst=ROUTER) / IP(src=THERE, dst=OTHER) / TCP(flags="S")
    wrpcap(str(path), [outside, inside])
    _, rehearsal = rehearse(path, EVERYBODY_PUPIL)
    assert (rehearsal.guessed, rehearsal.others) == (2, 0)
    steps, rehearsal = rehearse(path, EVERYBODY_PUPIL, client=HERE)
    assert (len(steps), rehearsal.guessed, rehearsal.others) == (1, 0, 1)


NAMED = replace(GROUPS["ks2"], named_only=True, safe_search=True)
NAMED_ONLY = replace(POLICY, groups=GROUPS | {"ks2": NAMED})


def answered(name, *records):
    """Return the frames of a query and its answer."""
    asked = DNSQR(qname=name)
    up = IP(src=HERE, dst="10.77.0.1") / UDP(sport=5000, dport=53)
    down = IP(src="10.77.0.1", dst=HERE) / UDP(sport=53, dport=5000)
    rows = [DNSRR(rrname=o, type=t, rdata=d, ttl=60) for o, t, d in records]
    return [OUT / up / DNS(qd=asked), IN / down / DNS(qr=1, qd=asked, an=rows)]


@pytest.mark.parametrize(
    ("answers", "rule_id"),
    [
        pytest.param([], "default:ks2", id="none in the capture"),
        pytest.param(answered(ALLOWED, (ALLOWED, "A", THERE)), "default:ks2", id="of this name"),
        pytest.param(answered(ALLOWED, (ALLOWED, "A", OTHER)), "unasked:ks2", id="elsewhere"),
        pytest.param(
            answered("c.example", ("c.example", "A", THERE)), "unasked:ks2", id="of another name"
        ),
        pytest.param(
            answered(ALLOWED, (ALLOWED, "CNAME", "c.example"), ("c.example", "A", THERE)),
            "default:ks2",
            id="by an alias",
        ),
    ],
)
def test_answers_in_the_capture_count_as_given(act, answers, rule_id):
    steps = act(*answers, *connection(request(ALLOWED)), policy=NAMED_ONLY)
    assert next(s.event.rule_id for s in steps if s.event) == rule_id


def test_answer_says_what_it_gives(act):
    steps = act(*answered(ALLOWED, (ALLOWED, "A", THERE), (ALLOWED, "AAAA", "2001:db8::5")))
    assert [s.read for s in steps] == [
        f"asks for {ALLOWED} A",
        f"for {ALLOWED}: {THERE}, 2001:db8::5",
    ]


@pytest.mark.parametrize(
    ("safe", "rule_id"),
    [(None, "default:ks2"), (THERE, "default:ks2"), (OTHER, "safesearch:google")],
)
def test_answer_of_a_safe_version_pins_its_addresses(act, safe, rule_id):
    engine, target = "www.google.com", "forcesafesearch.google.com"
    alias = [(engine, "CNAME", target), (target, "A", safe)] if safe else []
    answers = answered(engine, *alias, (engine, "A", THERE))
    steps = act(*answers, *connection(request(engine)), policy=NAMED_ONLY)
    assert next(s.event.rule_id for s in steps if s.event) == rule_id


def test_flows_are_bounded_and_the_latest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr("gate_firewall.rehearsal.MAX_FLOWS", 3)
    path = tmp_path / "capture"
    up = OUT / IP(src=HERE, dst=THERE)
    wrpcap(str(path), [up / TCP(sport=n, dport=443, flags="S") for n in (1, 2, 3, 1, 4)])
    _, rehearsal = rehearse(path)
    assert [flow.initiator for flow in rehearsal.flows()] == [f"{HERE}:{n}" for n in (3, 1, 4)]
    assert rehearsal.forgotten == 1


@captures
@pytest.mark.parametrize(
    ("path", "kind", "name"),
    [
        ("suricata-verify/quic-frag", "QUIC", "token.services.mozilla.com"),
        ("suricata-verify/quic-frag-unordered", "QUIC", "mastodon.social"),
        ("suricata-verify/quic-frag-wait", "QUIC", "www.google.com"),
        ("suricata-verify/quic-retry-multiple", "QUIC", "public-api.wordpress.com"),
        ("suricata-verify/tls-client-hello-frag-mtu300", "TLS", "www.google.com"),
        ("zeek/chrome-1250-tls-x25519-kyber", "TLS", "lh3.google.com"),
        ("zeek/tls13-ech", "TLS", "cloudflare-ech.com"),
        (
            "zeek/quic-multiple-initial-fragmented-crypto-only-initial",
            "QUIC",
            "googleads.g.doubleclick.net",
        ),
        ("zeek/quicv2-echo-443", "QUIC", "localhost"),
    ],
)
def test_capture_gives_its_name(path, kind, name):
    steps, _ = rehearse(CAPTURES / f"{path}.pcap", EVERYBODY_STAFF)
    assert any(s.read.startswith(f"a {kind} hello for {name}") for s in steps)
    assert name in {s.event.name for s in steps if s.event}
    asked = [s for s in steps if s.by is By.CLASSIFIER]
    assert len(asked) < 15
    # The flow that was allowed is the kernel's from then on.
    assert any(s.by is By.KERNEL and s.outcome is Outcome.PASSES for s in steps) or len(steps) < 4


@captures
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("zeek/tls13-ech", "which is Encrypted ClientHello (ECH)"),
        (
            "zeek/chrome-1250-tls-x25519-kyber",
            "a TLS hello for lh3.google.com, with an ECH, GREASE or real: the name outside decides",
        ),
    ],
)
def test_capture_with_ech_says_what_is_known_of_it(path, words):
    steps, _ = rehearse(CAPTURES / f"{path}.pcap", EVERYBODY_STAFF)
    assert any(words in s.read for s in steps)


@captures
def test_capture_of_dns_over_quic_is_refused():
    steps, rehearsal = rehearse(CAPTURES / "zeek/quicdoq.pcap", EVERYBODY_STAFF)
    (flow,) = rehearsal.flows()
    assert flow.why == "DNS over TLS or QUIC, to its own port: refused for all"
    assert {(s.direction, s.outcome) for s in steps} == {
        (Direction.OUT, Outcome.BLOCKED),
        (Direction.IN, Outcome.UNTOLD),
    }


@captures
def test_pupil_s_quic_is_blocked_where_the_group_has_none():
    steps, _ = rehearse(CAPTURES / "suricata-verify/quic-frag.pcap", EVERYBODY_PUPIL)
    assert steps[0].outcome is Outcome.BLOCKED
    assert steps[0].event.reason == "quic"
    assert {s.by for s in steps[1:]} <= {By.KERNEL, By.NOBODY}


def queued(school):
    """Return how many packets the kernel has handed to the classifier so far."""
    lines = school.box.run("cat", "/proc/net/netfilter/nfnetlink_queue").stdout.splitlines()
    # net/netfilter/nfnetlink_queue.c, seq_show: the eighth column counts them.
    return sum(int(line.split()[7]) for line in lines)


@pytest.mark.netns
def test_rehearsal_asks_and_decides_as_the_kernel_and_the_firewall_did(
    school, policy, tmp_path_factory
):
    path = tmp_path_factory.mktemp("recorded") / "capture.pcap"
    gate = school.gate(policy())
    before = queued(school)
    recorder = school.box.python("record", "lan0", str(path), stdout=subprocess.PIPE)
    with recorder:
        assert recorder.stdout.readline() == b"listening\n"
        # Not an allowed site by HTTP: its answer comes while the classifier is asked about the acknowledgement before it.
        visits = ((ALLOWED, "https"), (BLOCKED, "http"), (BLOCKED, "https"))
        for (name, scheme), address in product(visits, (THERE, "2001:db8:113::5")):
            school.pupil.browse(name, scheme=scheme, address=address)
        school.pupil.run("ping", "-c1", "-W1", THERE, check=False)
        end = b"the end of the recording".hex()
        for payload, port in (("00" * 30, 4000), ("c0" * 1200, 443), ("00" * 9, 853), (end, 4001)):
            school.pupil.python("udp", THERE, str(port), "1", payload).wait(30)
        recorder.wait(30)
    asked = queued(school) - before
    gate.wait_for_event(kind="udp/4001")
    now = datetime.now(UTC)  # noqa: TID251  # the firewall under test has the real clock
    steps, rehearsal = rehearse(path, policy(), PUPIL, now)
    fields = ("action", "kind", "name", "rule_id", "group", "mac")
    told = [[getattr(s.event, field) for field in fields] for s in steps if s.event]
    assert sorted(told) == sorted(gate.events)
    assert sum(flow.asked for flow in rehearsal.flows()) == asked > 10
