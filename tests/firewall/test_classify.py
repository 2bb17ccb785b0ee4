import hashlib
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.categories import BY_ID
from gate_core.clients import DefaultAction, Device, Group, OnFault
from gate_core.direct import DirectService
from gate_core.given import Given
from gate_core.names import NameSet
from gate_core.pins import Pin, render_pins
from gate_core.policy import Action, DatedException, Pause, Policy, Scope
from gate_core.snapshot import NO_LISTS
from gate_core.timetable import Span
from gate_firewall.classify import Classifier, Learnt, Moment, Sighting
from gate_firewall.flows import FlowKey, render_address
from gate_firewall.given import GivenTable
from gate_firewall.marks import Answer, Request
from gate_firewall.packet import ACK, SYN, TCP, UDP, Packet
from gate_firewall.pins import Pins

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
DAY = Span(AT - timedelta(hours=1), AT + timedelta(hours=23))
PUPIL, STAFF, ISOLATED, ROUTER = (f"00:00:5e:00:53:{n}" for n in ("10", "20", "40", "01"))
ADDRESSES = {mac: ip_address(f"10.77.0.{mac[-2:]}").packed for mac in (PUPIL, STAFF, ISOLATED)}
SERVER = ip_address("203.0.113.5").packed
GROUPS = {
    "ks2": Group("ks2", "Pupils", 2, SHIPPED_CELLS["ks2"]),
    "staff": Group("staff", "Staff", 3, SHIPPED_CELLS["staff"], quic=True, on_fault=OnFault.OPEN),
    "unknown": Group("unknown", "Unknown", 6, {}, default=DefaultAction.BLOCK),
}


def build_policy(version=1, *, paused=(), blocked="games.example", groups=None, direct=()):
    return Policy(
        version=version,
        groups=GROUPS | (groups or {}),
        rows=ROWS,
        unknown_group="unknown",
        index=NO_LISTS,
        devices={
            PUPIL: Device(PUPIL, "laptop", "ks2"),
            STAFF: Device(STAFF, "office", "staff"),
            ISOLATED: Device(ISOLATED, "found", "ks2", isolated=True),
        },
        essential=NameSet.of(("essential.example",)),
        exceptions=(
            DatedException(
                "x", Scope.SCHOOL, "", NameSet.of((blocked,)), Action.BLOCK, DAY, "test"
            ),
        ),
        pauses=tuple(Pause("p", frozenset((group,)), DAY, "button") for group in paused),
        direct=direct,
    )


class Flow:
    """A flow through a classifier, packet by packet; each call gives the answer."""

    def __init__(
        self, classifier, mac=PUPIL, port=443, *, source_port=40_000, protocol=TCP, inbound=False
    ):
        self._classifier = classifier
        self._mac = mac
        self._ends = (ADDRESSES[mac], source_port), (SERVER, port)
        if inbound:
            self._ends = (SERVER, 50_000), (ADDRESSES[mac], port)
        self._inbound = inbound
        self._protocol = protocol
        self._sent = 1000
        self.now_s = 5.0
        self.events = []

    def packet(
        self,
        payload=b"",
        *,
        flags=ACK,
        reply=False,
        decided=False,
        new=False,
        sequence=0,
        acknowledged=0,
        later_fragment=False,
        same_side=False,
        unshaken=False,
    ):
        (source, source_port), (destination, port) = self._ends[::-1] if reply else self._ends
        from_router = (reply and not same_side) != self._inbound
        packet = Packet(
            source, destination, self._protocol, source_port, port, sequence, acknowledged, flags,
            payload, whole=True, later_fragment=later_fragment,
        )  # fmt: skip
        seen = Sighting(
            packet,
            Request(from_router, reply, decided, new, unshaken),
            0x0080_0ABC,
            ROUTER if from_router else self._mac,
            Moment(AT, self.now_s),
        )
        verdict = self._classifier.judge(seen)
        if verdict.event:
            self.events.append(verdict.event)
        self.mark = verdict.mark
        return verdict.answer

    def waits(self, payload, *, flags=ACK, sequence=1000):
        """Tell whether the verdict on what is sent first waits for the sinkhole."""
        (source, source_port), (destination, port) = self._ends
        packet = Packet(
            source, destination, self._protocol, source_port, port, sequence, 0, flags,
            payload, whole=True, later_fragment=False,
        )  # fmt: skip
        request = Request(False, False, False, bool(flags & SYN))
        seen = Sighting(packet, request, 0, self._mac, Moment(AT, 5.0), False)
        verdict = self._classifier.judge(seen)
        self.mark = verdict.mark
        return verdict.waits

    def open(self):
        return self.packet(flags=SYN, sequence=self._sent - 1, new=True)

    def send(self, payload, **how):
        sequence = self._sent
        self._sent += len(payload)
        return self.packet(payload, sequence=sequence, **how)

    def acknowledge(self, **how):
        return self.packet(reply=True, acknowledged=self._sent, **how)

    def send_all(self, payload):
        """Return the answer to ``payload`` when the server has it."""
        answer = self.send(payload)
        if answer is Answer.UNANSWERED:
            return self.acknowledge(payload=SERVER_HELLO)
        return self.acknowledge() if answer is Answer.PENDING else answer


WIREGUARD = b"\1\0\0\0" + bytes(range(1, 129)) + bytes(16)
"""A handshake initiation, as far as anybody can tell."""
SERVER_HELLO = b"\x16\3\3\0\x60\2\0\0\x5c\3\3" + bytes(32 + 0x5C - 34)
# RFC 8446, section 4.1.3
RETRY = SERVER_HELLO[:11] + hashlib.sha256(b"HelloRetryRequest").digest() + SERVER_HELLO[43:]


@pytest.fixture
def classifier():
    return Classifier({}.get, build_policy(), epoch=7)


def request(name, method="GET"):
    return f"{method} / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()


def hello(name):
    host = name.encode()
    names = struct.pack("!HBH", len(host) + 3, 0, len(host)) + host
    extension = struct.pack("!HH", 0, len(names)) + names if name else b""
    body = (
        b"\3\3"
        + bytes(32)
        + b"\0"
        + b"\0\2\x13\1"
        + b"\1\0"
        + struct.pack("!H", len(extension))
        + extension
    )
    message = b"\1" + len(body).to_bytes(3) + body
    return b"\x16\3\1" + struct.pack("!H", len(message)) + message


@pytest.mark.parametrize(
    ("write", "name", "answer"),
    [
        (hello, "maths.example", Answer.UNANSWERED),
        (request, "maths.example", Answer.PENDING),
        (hello, "games.example", Answer.BLOCK),
        (request, "games.example", Answer.BLOCK),
    ],
)
def test_judge_reads_on_until_the_name_is_known(classifier, write, name, answer):
    flow = Flow(classifier)
    octets = write(name)

    assert [flow.open(), flow.send(octets[:20]), flow.send(octets[20:])] == [
        Answer.NONE,
        Answer.NONE,
        answer,
    ]


def test_judge_marks_with_epoch_and_group_and_keeps_others_bits(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("games.example"))

    assert flow.mark == 0x0720_2ABC


def test_judge_drops_what_was_on_its_way_when_a_device_was_isolated(classifier):
    flow = Flow(classifier, ISOLATED)
    flow.packet(hello("a.example"), decided=True)
    assert flow.mark is None
    flow.packet(hello("a.example"), decided=True, reply=True)
    assert flow.mark is None


def test_judge_names_the_person(classifier):
    policy = build_policy(2)
    laptop = replace(policy.devices[PUPIL], person="2b-07")
    classifier.take(replace(policy, devices={PUPIL: laptop}), 8)
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("games.example"))
    assert [event.person for event in flow.events] == ["2b-07"]


def test_judge_records_a_flow_once(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("games.example"))
    flow.packet(reply=True, decided=True)
    (event,) = flow.events

    assert (event.name, event.kind, event.action, event.rule_id) == (
        "games.example",
        "tls",
        "block",
        "exception:x",
    )
    assert (event.address, event.mac, event.device, event.group) == (
        "10.77.0.10",
        PUPIL,
        "laptop",
        "ks2",
    )
    assert (event.at_ms, event.version) == (AT.timestamp() * 1000, 1)


@pytest.mark.parametrize(
    ("mac", "port", "payload", "answer", "rule_id"),
    [
        pytest.param(PUPIL, 443, b"NICK a\r\n", Answer.BLOCK, "not-web:ks2", id="pupil, no tls"),
        pytest.param(PUPIL, 80, b"NICK a\r\n", Answer.BLOCK, "not-web:ks2", id="pupil, no http"),
        pytest.param(
            PUPIL, 22, b"NICK a\r\n", Answer.ACCEPT, "default:ks2", id="pupil, other port"
        ),
        pytest.param(STAFF, 443, b"NICK a\r\n", Answer.ACCEPT, "default:staff", id="staff, no tls"),
        pytest.param(
            PUPIL, 443, b"\x16\3\1\0\0", Answer.BLOCK, "unreadable:ks2", id="pupil, malformed"
        ),
        pytest.param(
            STAFF, 443, b"\x16\3\1\0\0", Answer.ACCEPT, "unreadable:staff", id="staff, malformed"
        ),
        pytest.param(
            PUPIL, 8443, hello("games.example"), Answer.BLOCK, "exception:x", id="tls, other port"
        ),
        pytest.param(
            PUPIL, 443, b"SSH-2.0-x\r\n", Answer.BLOCK, "matrix:bypass:ks2", id="pupil, ssh"
        ),
        pytest.param(ISOLATED, 22, b"SSH-2.0", Answer.BLOCK, f"isolated:{ISOLATED}", id="isolated"),
    ],
)
def test_judge_of_what_has_no_name(classifier, mac, port, payload, *, answer, rule_id):
    flow = Flow(classifier, mac, port)
    flow.open()

    assert (flow.send_all(payload), flow.events[0].rule_id) == (answer, rule_id)


@pytest.mark.parametrize(("port", "answer"), [(443, Answer.BLOCK), (25, Answer.ACCEPT)])
def test_judge_of_a_server_that_speaks_first(classifier, port, answer):
    flow = Flow(classifier, port=port)
    flow.open()

    assert flow.packet(b"220 hello", reply=True, acknowledged=1000) is answer


@pytest.mark.parametrize(("mac", "answer"), [(PUPIL, Answer.BLOCK), (STAFF, Answer.ACCEPT)])
def test_judge_of_a_hello_that_is_never_complete(classifier, mac, answer):
    flow = Flow(classifier, mac)
    flow.open()
    flow.send(hello("games.example")[:40])

    assert flow.packet(b"answer", reply=True) is answer


def test_judge_of_a_retransmission_that_differs(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.packet(hello("maths.example")[:-5], sequence=1000)

    assert flow.packet(hello("games.example")[50:], sequence=1050) is Answer.BLOCK
    assert flow.events[0].rule_id == "unreadable:ks2"


@pytest.mark.parametrize(("mac", "answer"), [(PUPIL, Answer.BLOCK), (STAFF, Answer.ACCEPT)])
def test_judge_of_a_flow_whose_beginning_it_did_not_see(classifier, mac, answer):
    assert Flow(classifier, mac, source_port=1).send(b"middle") is answer
    assert Flow(classifier, mac, source_port=2).packet(reply=True, decided=True) is answer


def test_judge_takes_a_client_that_it_never_saw_from_the_neighbours():
    classifier = Classifier({ip_address("10.77.0.20"): STAFF}.get, build_policy(), epoch=7)

    assert Flow(classifier, STAFF).packet(reply=True, decided=True) is Answer.ACCEPT
    assert Flow(classifier, PUPIL).packet(reply=True, decided=True) is Answer.BLOCK


def test_take_judges_running_flows_again_by_their_name(classifier):
    flows = {
        name: Flow(classifier, source_port=port)
        for port, name in enumerate(("a.example", "essential.example"), 40_000)
    }
    for name, flow in flows.items():
        flow.open()
        flow.send_all(hello(name))
    classifier.take(build_policy(2, paused=("ks2",)), epoch=8)

    assert [flow.packet(reply=True, decided=True) for flow in flows.values()] == [
        Answer.BLOCK,
        Answer.ACCEPT,
    ]
    assert [flow.mark >> 24 for flow in flows.values()] == [8, 8]
    assert [event.rule_id for event in flows["a.example"].events] == ["default:ks2", "pause:p"]


def test_take_lets_a_flow_go_on_that_a_later_policy_allows(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send_all(hello("a.example"))
    classifier.take(build_policy(2, paused=("ks2",)), epoch=8)
    flow.packet(decided=True)
    classifier.take(build_policy(3), epoch=9)

    assert flow.packet(decided=True) is Answer.ACCEPT


def test_judge_forgets_a_flow_when_its_ports_are_used_again(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send_all(hello("maths.example"))
    again = Flow(classifier)

    assert again.open() is Answer.NONE
    assert again.send(hello("games.example")) is Answer.BLOCK


def test_judge_takes_the_school_s_end_for_the_client_of_an_inbound_flow():
    classifier = Classifier({ip_address("10.77.0.20"): STAFF}.get, build_policy(), epoch=7)
    flow = Flow(classifier, STAFF, inbound=True)
    flow.open()
    flow.send(hello("office.example"))

    assert (flow.events[0].device, flow.events[0].address) == ("office", "10.77.0.20")


@pytest.mark.parametrize(
    ("mac", "port", "payload", "answer", "rule_id"),
    [
        pytest.param(PUPIL, 443, b"quic", Answer.BLOCK, "quic:ks2", id="quic, closed"),
        pytest.param(PUPIL, 9000, b"game", Answer.ACCEPT, "default:ks2", id="another port"),
        pytest.param(
            PUPIL, 123, b"tunnel", Answer.ACCEPT, "default:ks2", id="no question for the time"
        ),
        pytest.param(
            PUPIL, 123, b"\x23" + bytes(68), Answer.ACCEPT, "default:ks2", id="too long for one"
        ),
        pytest.param(
            ISOLATED, 123, b"\x23" + bytes(47), Answer.BLOCK, f"isolated:{ISOLATED}", id="isolated"
        ),
    ],
)
def test_judge_of_datagrams(classifier, mac, port, payload, *, answer, rule_id):
    flow = Flow(classifier, mac, port, protocol=UDP)

    assert (flow.packet(payload), flow.events[0].rule_id) == (answer, rule_id)


def test_judge_gives_the_time_in_a_pause_and_nothing_else_on_its_ports():
    classifier = Classifier({}.get, build_policy(paused=("ks2",)), epoch=1)
    time = Flow(classifier, port=123, protocol=UDP)

    assert time.packet(b"\x23" + bytes(47)) is Answer.NONE
    assert time.packet(b"\x24" + bytes(67), reply=True) is Answer.NONE
    assert time.packet(b"tunnel") is Answer.BLOCK
    assert time.packet(b"\x23" + bytes(1000)) is Answer.BLOCK
    assert [event.rule_id for event in time.events] == ["pause:p"]


@pytest.mark.parametrize(("port", "answer"), [(9000, Answer.NONE), (443, Answer.NONE)])
def test_judge_answers_who_began_a_flow_of_datagrams(port, answer):
    """Not who has sent something with that address since."""
    classifier = Classifier({}.get, build_policy(paused=("ks2",)), epoch=1)
    flow = Flow(classifier, STAFF, port, protocol=UDP)
    first = flow.packet(b"hello")
    forged = Flow(classifier, PUPIL, 9999, protocol=UDP)
    forged._ends = (ADDRESSES[STAFF], 1), (SERVER, 9999)

    assert forged.packet(b"x") is Answer.BLOCK
    assert [first, flow.packet(b"hello", reply=True)] == [answer, answer]


def test_judge_records_datagrams_again_only_when_they_are_blocked(classifier):
    flow = Flow(classifier, port=9000, protocol=UDP)
    flow.packet(b"game")
    flow.packet(b"game", reply=True, decided=True)
    classifier.take(build_policy(2, paused=("ks2",)), epoch=8)
    flow.packet(b"game", decided=True)

    assert [event.rule_id for event in flow.events] == ["default:ks2", "pause:p"]


@pytest.mark.parametrize(("mac", "answer"), [(PUPIL, Answer.BLOCK), (STAFF, Answer.ACCEPT)])
def test_judge_of_other_protocols_and_stray_fragments(classifier, mac, answer):
    assert Flow(classifier, mac, protocol=132).packet(b"sctp") is answer
    assert Flow(classifier, mac).packet(b"piece", later_fragment=True) is answer


def test_judge_of_a_group_that_the_policy_has_lost(classifier):
    groups = {**GROUPS}
    flow = Flow(classifier)
    flow.open()
    lost = build_policy(2)
    del groups["ks2"]
    object.__setattr__(lost, "groups", groups)
    classifier.take(lost, epoch=8)

    assert flow.send(hello("maths.example")) is Answer.BLOCK


def test_judge_lets_an_allowed_name_pass_when_the_server_has_it(classifier):
    flow = Flow(classifier)
    flow.open()
    first = flow.send(hello("maths.example"))
    early = flow.packet(reply=True, acknowledged=1000)

    # The kernel lets it pass with the server's hello, unless that comes in pieces.
    assert [first, early] == [Answer.UNANSWERED, Answer.UNANSWERED]
    assert [event.name for event in flow.events] == ["maths.example"]
    assert flow.acknowledge() is Answer.UNANSWERED
    assert flow.acknowledge(payload=SERVER_HELLO[:20]) is Answer.PENDING
    assert flow.acknowledge(payload=SERVER_HELLO[20:], sequence=20) is Answer.ACCEPT
    assert flow.mark == 0x0710_2ABC
    assert [event.name for event in flow.events] == ["maths.example"]


def test_judge_blocks_what_the_server_discarded_and_got_otherwise(classifier):
    flow = Flow(classifier)
    flow.open()

    assert flow.packet(request("maths.example"), sequence=1000) is Answer.PENDING
    assert flow.packet(request("games.example"), sequence=1000) is Answer.BLOCK
    assert flow.events[-1].rule_id == "unreadable:ks2"


def test_judge_waits_with_the_nameless_too(classifier):
    """Octets that the server discards, and then a blocked name on a port where anything may be spoken."""
    flow = Flow(classifier, port=8080)
    flow.open()

    assert flow.packet(b"NICK a\r\n", sequence=1000) is Answer.PENDING
    assert flow.packet(request("games.example"), sequence=1000) is Answer.BLOCK


def test_judge_of_an_open_group_waits_for_nobody(classifier):
    flow = Flow(classifier, STAFF)
    flow.open()

    assert flow.send(hello("maths.example")) is Answer.ACCEPT


def test_judge_of_a_pending_flow_by_the_policy_in_force(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    classifier.take(build_policy(2, paused=("ks2",)), epoch=8)

    assert flow.acknowledge() is Answer.BLOCK


@pytest.mark.parametrize("payload", [b"220 hello", b""])
@pytest.mark.parametrize("inbound", [False, True])
def test_judge_takes_no_answer_from_the_side_that_opened(payload, inbound):
    classifier = Classifier({ip_address("10.77.0.10"): PUPIL}.get, build_policy(), epoch=7)
    flow = Flow(classifier, port=8080, inbound=inbound)
    flow.open()
    flow.send(request("maths.example"))

    assert flow.acknowledge(payload=payload, same_side=True) is Answer.BLOCK
    its = flow.events[-1]
    assert its.address == render_address(ADDRESSES[PUPIL])
    assert its.remote == f"{render_address(SERVER)} {50_000 if inbound else 8080}/tcp"


def test_judge_opens_nothing_by_a_syn_in_a_decided_flow(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send_all(hello("a.example"))
    classifier.take(build_policy(2, paused=("ks2",)), epoch=8)

    assert flow.packet(flags=SYN, sequence=500, decided=True) is Answer.BLOCK
    assert flow.events[-1].name == "a.example"


UPGRADE = b"GET /chat HTTP/1.1\r\nHost: maths.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
FRAME = b"\x81\x05hello"


def test_judge_lets_websocket_pass_once_the_server_agrees(classifier):
    flow = Flow(classifier)
    flow.open()

    assert flow.send(UPGRADE) is Answer.PENDING
    assert flow.acknowledge() is Answer.PENDING
    switching = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    assert flow.acknowledge(payload=switching) is Answer.ACCEPT
    assert [event.kind for event in flow.events] == ["http", "websocket"]
    classifier.take(build_policy(2), epoch=8)
    assert flow.send(FRAME, decided=True) is Answer.ACCEPT
    classifier.take(build_policy(3, paused=("ks2",)), epoch=9)
    assert flow.send(FRAME, decided=True) is Answer.BLOCK


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"])
def test_judge_reads_on_where_the_server_does_not_agree_to_websocket(classifier, answer):
    flow = Flow(classifier)
    flow.open()
    flow.send(UPGRADE)

    assert flow.acknowledge(payload=answer) is Answer.WATCH
    assert flow.send(request("games.example")) is Answer.BLOCK


def test_judge_takes_no_quotation_for_the_agreement_to_websocket(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(UPGRADE)
    flow.acknowledge(payload=b"HTTP/")
    flow.acknowledge(payload=b"1.1 200 OK\r\n\r\n", sequence=5)

    switching = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
    assert flow.acknowledge(payload=switching, sequence=21) is Answer.PENDING
    assert flow.send(request("games.example")) is Answer.NONE
    assert flow.mark is None


def test_judge_lets_no_frame_pass_before_the_server_has_agreed(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(UPGRADE)

    assert flow.send(request("games.example")) is Answer.NONE
    assert flow.mark is None


@pytest.mark.parametrize("between", [b"", b"\x14\3\3\0\1\1", b"\x17\3\3\0\2ab"])
def test_judge_reads_the_second_hello_that_a_server_asks_for(classifier, between):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))

    assert flow.acknowledge(payload=RETRY) is Answer.PENDING
    assert flow.send(between + hello("maths.example")) is Answer.PENDING
    assert flow.acknowledge(sequence=len(RETRY)) is Answer.ACCEPT
    assert [event.name for event in flow.events] == ["maths.example"]


def test_judge_forgets_what_it_let_pass_when_a_second_hello_has_another_name(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    flow.acknowledge(payload=RETRY)
    assert flow.send(hello("games.example")) is Answer.BLOCK
    classifier.take(build_policy(2), epoch=8)

    assert flow.send(b"\x17\3\3\0\1a", decided=True) is Answer.BLOCK


def test_judge_of_what_was_asked_about_before_its_flow_was_let_pass(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    flow.acknowledge(payload=SERVER_HELLO[:20])
    assert flow.acknowledge(payload=SERVER_HELLO[20:], sequence=20) is Answer.ACCEPT

    assert flow.send(b"\x17\3\3\0\1a") is Answer.ACCEPT


def test_judge_of_a_flow_that_was_forgotten_before_it_was_answered(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    classifier._openings._entries.clear()

    assert flow.send(hello("games.example")) is Answer.BLOCK
    assert flow.events[-1].reason == "unknown-flow"


def test_judge_of_a_beginning_within_a_flow_that_was_forgotten(classifier):
    """The server has the first half of a hello, and in the second one stands another hello."""
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("games.example")[:40])
    for number in range(2048):
        Flow(classifier, source_port=41_000 + number).open()

    assert flow.packet(flags=SYN, sequence=1039) is Answer.BLOCK
    assert flow.events[-1].reason == "unknown-flow"


@pytest.mark.parametrize(("new", "answer"), [(True, Answer.NONE), (False, Answer.BLOCK)])
def test_judge_of_a_beginning_on_ports_of_a_flow_that_waited_for_its_answer(
    classifier, new, answer
):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))

    assert flow.packet(flags=SYN, sequence=50_000, new=new) is answer


@pytest.mark.parametrize("payload", [b"", hello("maths.example")])
def test_judge_of_a_flow_that_conntrack_picks_up_in_the_middle(classifier, payload):
    """Where it began for the server nobody knows: a reset that died on its way may have ended it here alone."""
    flow = Flow(classifier)
    flow.open()
    flow.packet(payload, sequence=1000, new=True)

    assert [flow.mark, len(flow.events)] == [None, 0] or flow.events[-1].reason == "unknown-flow"
    assert flow.packet(hello("maths.example"), sequence=1000) is Answer.BLOCK


def test_judge_of_octets_before_the_first(classifier):
    flow = Flow(classifier)
    flow.open()
    other = hello("games.example")

    flow.packet(hello("maths.example"), sequence=1000)
    assert flow.packet(other, sequence=1000 - len(other)) is Answer.BLOCK


def test_judge_hears_an_answer_wherever_the_client_says_that_it_begins(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.packet(b"x", sequence=999, acknowledged=2**32 - 100)
    flow.packet(hello("maths.example"), sequence=1000, acknowledged=2**32 - 100)
    flow._sent += len(hello("maths.example"))

    assert flow.acknowledge(payload=RETRY) is Answer.PENDING


def test_judge_again_needs_no_opening_of_a_flow_that_the_kernel_let_pass(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    classifier.take(build_policy(2), epoch=8)

    assert flow.acknowledge(payload=bytes(1000), sequence=50_000, decided=True) is Answer.ACCEPT
    classifier.take(build_policy(3, paused=("ks2",)), epoch=9)
    assert flow.acknowledge(payload=bytes(1000), sequence=60_000, decided=True) is Answer.BLOCK


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("between", [b"", b"\x14\3\3\0\1\1"])
def test_judge_blocks_a_second_hello_with_another_name(classifier, early, between):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    if not early:
        flow.acknowledge(payload=RETRY)

    assert flow.send(between + hello("games.example")) is Answer.BLOCK
    assert flow.events[-1].rule_id == "unreadable:ks2"


def test_judge_keeps_so_much_before_the_server_has_answered_and_no_more(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))
    early = b"\x17\3\3\x3e\x80" + bytes(16_000)

    assert flow.send(early) is Answer.UNANSWERED
    assert flow.send(early) is Answer.NONE
    assert flow.mark is None


@pytest.mark.parametrize("other", [b"\x15\3\3\0\2\2\x28", b"HTTP/1.1 400 Bad Request\r\n" * 4])
def test_judge_of_a_server_that_answers_a_hello_with_something_else(classifier, other):
    flow = Flow(classifier)
    flow.open()
    flow.send(hello("maths.example"))

    assert flow.acknowledge(payload=other) is Answer.ACCEPT


def test_judge_reads_every_request_of_a_connection(classifier):
    flow = Flow(classifier, port=80)
    flow.open()

    assert flow.send(request("maths.example")) is Answer.PENDING
    assert flow.acknowledge() is Answer.WATCH
    assert flow.send(request("maths.example"), decided=True) is Answer.PENDING
    assert flow.acknowledge() is Answer.WATCH
    assert flow.send(request("games.example"), decided=True) is Answer.BLOCK
    assert [event.rule_id for event in flow.events] == ["default:ks2", "unreadable:ks2"]


def test_judge_reads_a_second_request_in_the_packet_of_the_first(classifier):
    flow = Flow(classifier, port=80)
    flow.open()

    assert flow.send(request("maths.example") + request("games.example")) is Answer.BLOCK


def test_judge_drops_what_comes_out_of_turn_in_a_watched_connection(classifier):
    flow = Flow(classifier, port=80)
    flow.open()
    flow.send_all(request("maths.example"))
    later = request("maths.example")[10:]

    assert flow.packet(later, sequence=flow._sent + 10, decided=True) is Answer.NONE
    assert flow.mark is None
    assert flow.send(request("maths.example"), decided=True) is Answer.PENDING


UPLOAD = b"POST / HTTP/1.1\r\nHost: maths.example\r\nContent-Length: 99999999\r\n\r\n"


def upload(classifier, mac, source_port):
    """Return a connection that sends a long body from its second packet on."""
    flow = Flow(classifier, mac, port=80, source_port=source_port)
    flow.open()
    flow.send_all(UPLOAD)
    return flow


def fill(flow, limit=1000):
    """Return how many packets of 4,000 octets pass unacknowledged, up to ``limit``."""
    for number in range(limit):
        sent = flow._sent
        if flow.send(bytes(4000), decided=True) is Answer.NONE:
            flow._sent = sent
            return number
    return limit


def test_judge_keeps_no_more_of_a_device_than_its_part():
    closed = replace(GROUPS["staff"], on_fault=OnFault.CLOSED)
    classifier = Classifier(lambda _: None, build_policy(groups={"staff": closed}), 1)
    flows = [upload(classifier, PUPIL, 40_000 + number) for number in range(20)]
    passed = [fill(flow) for flow in flows]

    # A megabyte each, until one device has a quarter of 32 MiB.
    assert passed[0] == 262
    assert 0 <= 4000 * sum(passed) - (32 << 20) // 4 < 4000
    # The part of somebody else is his.
    assert fill(upload(classifier, STAFF, 40_000)) == 262
    # What is kept may come again, and what is acknowledged makes room.
    assert flows[1].packet(bytes(4000), sequence=flows[1]._sent - 4000, decided=True) is (
        Answer.PENDING
    )
    assert flows[0].acknowledge(decided=True) is Answer.WATCH
    assert fill(flows[0], 10) == 10


def test_judge_keeps_no_more_of_half_hellos_than_a_part(classifier):
    whole = hello("maths.example" + ".a" * 100)
    dropped = 0
    for number in range(2000):
        flow = Flow(classifier, source_port=20_000 + number)
        flow.open()
        # A hole before the last octet that is kept.
        flow.packet(whole[:1], sequence=1000 + 16_000)
        dropped += flow.mark is None

    # Of 2,000 that take 32 kB each, as many pass as a quarter of 16 MiB holds.
    assert 1860 < dropped < 1880


def test_judge_reads_a_hello_in_parts_whatever_made_up_devices_have_left_half_said(classifier):
    """Whoever invents addresses may fill all that there is for half-read flows, and nobody else waits for it."""
    parted = Flow(classifier)
    parted.open()
    whole = hello("maths.example")
    parted.send(whole[:100])
    for number in range(2000):
        flow = Flow(classifier, source_port=20_000 + number)
        flow._mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        flow.open()
        flow.packet(whole[:1], sequence=1000 + 16_000)
        assert flow.mark is not None
    late = Flow(classifier, source_port=50_000)
    late.open()
    late.send(whole[:100])

    assert late.send(whole[100:]) is Answer.UNANSWERED
    assert classifier._openings._octets <= 16 << 20
    # What has waited for longest made room.
    assert parted.send(whole[100:]) is Answer.BLOCK
    assert parted.events[-1].reason == "unknown-flow"


def test_judge_of_a_watched_connection_by_the_policy_in_force(classifier):
    flow = Flow(classifier, port=80)
    flow.open()
    flow.send_all(request("maths.example"))
    classifier.take(build_policy(2), epoch=8)
    assert flow.packet(reply=True, decided=True, acknowledged=flow._sent) is Answer.WATCH
    classifier.take(build_policy(3, paused=("ks2",)), epoch=9)

    assert flow.packet(reply=True, decided=True, acknowledged=flow._sent) is Answer.BLOCK


def test_judge_of_an_open_group_reads_the_first_request_only(classifier):
    flow = Flow(classifier, STAFF, port=80)
    flow.open()

    assert flow.send(request("maths.example")) is Answer.ACCEPT


@pytest.mark.parametrize(
    ("mac", "answer", "rule_id"),
    [
        (PUPIL, Answer.BLOCK, "matrix:bypass:ks2"),
        (STAFF, Answer.BLOCK, "matrix:bypass:staff"),
    ],
)
def test_judge_of_a_tunnel_by_its_first_datagram(classifier, mac, answer, rule_id):
    flow = Flow(classifier, mac, 51_820, protocol=UDP)

    assert flow.packet(WIREGUARD) is answer
    (event,) = flow.events
    assert (event.kind, event.rule_id) == ("wireguard", rule_id)
    assert event.remote == "203.0.113.5 51820/udp"


def test_judge_looks_at_some_datagrams_of_an_open_group(classifier):
    flow = Flow(classifier, STAFF, 9000, protocol=UDP)

    assert [flow.packet(b"junk") for _ in range(3)] == [Answer.NONE, Answer.NONE, Answer.ACCEPT]
    late = Flow(classifier, STAFF, 9001, protocol=UDP)
    late.packet(b"junk")
    assert late.packet(WIREGUARD) is Answer.BLOCK


def test_judge_of_datagrams_on_the_ports_of_a_flow_that_is_over(classifier):
    """What conntrack has forgotten says nothing of what comes after it."""
    flow = Flow(classifier, STAFF, 9000, protocol=UDP)
    for _ in range(3):
        flow.packet(b"junk", new=True)

    # Along with them; and of a flow that conntrack still knows.
    assert flow.packet(WIREGUARD, new=True) is Answer.ACCEPT
    flow.now_s += 30.0
    assert flow.packet(WIREGUARD, decided=True) is Answer.ACCEPT
    assert flow.packet(b"junk", new=True) is Answer.NONE
    assert flow.packet(WIREGUARD, new=True) is Answer.BLOCK
    flow.now_s += 30.0
    assert flow.packet(WIREGUARD, new=True) is Answer.BLOCK
    assert [event.action for event in flow.events] == ["allow", "block"]


@pytest.mark.parametrize("protocol", [47, 50, 51])
def test_judge_of_a_tunnel_by_its_protocol(classifier, protocol):
    flow = Flow(classifier, STAFF, protocol=protocol)

    assert flow.packet(b"octets") is Answer.BLOCK
    assert flow.events[0].rule_id == "matrix:bypass:staff"


def test_judge_of_a_public_resolver_by_its_address(classifier):
    flow = Flow(classifier, STAFF)
    flow._ends = flow._ends[0], (bytes((1, 1, 1, 1)), 443)
    flow.open()

    assert flow.send(hello("maths.example")) is Answer.BLOCK
    assert flow.events[0].rule_id == "matrix:bypass:staff"


class Relays:
    """Lists that hold the server's address and no name."""

    lists_addresses = True

    def __init__(self, category="tor"):
        self._category = category

    def mask(self, name):
        return 0

    def address_mask(self, address):
        return BY_ID[self._category].mask if address == SERVER else 0


def ruled(flow, *payloads):
    """Return the rule of each event of a flow whose initiator sends ``payloads`` one by one."""
    if flow._protocol == TCP:
        flow.open()
    for payload in payloads:
        flow.send_all(payload)
    return [event.rule_id for event in flow.events]


@pytest.mark.parametrize(("mac", "group"), [(PUPIL, "ks2"), (STAFF, "staff")])
@pytest.mark.parametrize(
    ("protocol", "port", "payload"),
    [
        pytest.param(TCP, 443, hello("maths.example"), id="with a name"),
        pytest.param(TCP, 9001, hello(""), id="without a name"),
        pytest.param(TCP, 22, b"NICK a\r\n", id="neither TLS nor HTTP"),
        pytest.param(UDP, 9001, b"x", id="datagram"),
    ],
)
def test_judge_of_a_listed_address_by_its_category(mac, group, protocol, port, payload):
    classifier = Classifier({}.get, replace(build_policy(), index=Relays()), epoch=7)
    flow = Flow(classifier, mac, port, protocol=protocol)

    assert ruled(flow, payload) == [f"matrix:bypass:{group}"]
    assert flow.events[0].reason == "listed-address"


@pytest.mark.parametrize("protocol", [TCP, 132])
def test_judge_of_a_listed_address_where_nothing_can_be_read(protocol):
    """An open group gets what can't be read, but not from there."""
    for index, answer in ((NO_LISTS, Answer.ACCEPT), (Relays(), Answer.BLOCK)):
        classifier = Classifier({}.get, replace(build_policy(), index=index), epoch=7)
        flow = Flow(classifier, STAFF, protocol=protocol)
        flow.open()
        assert flow.send(b"\x16\3\1\0\0") is answer


@pytest.mark.parametrize(
    ("mac", "again"), [(PUPIL, Answer.BLOCK), (STAFF, Answer.ACCEPT)], ids=["pupil", "staff"]
)
def test_judge_forgets_a_flow_over_which_a_reader_has_failed(classifier, monkeypatch, mac, again):
    def fail(*_):
        raise KeyError("a mistake")

    flow = Flow(classifier, mac)
    flow.open()
    with monkeypatch.context() as mistaken:
        mistaken.setattr("gate_firewall.signatures.of_hello", fail)
        with pytest.raises(KeyError):
            flow.send(hello("maths.example"))

    assert flow.packet(hello("maths.example"), sequence=1000) is again
    assert [(event.name, event.kind) for event in flow.events] == [("", "tcp/443")]


class Sinkhole:
    """What the sinkhole has told."""

    def __init__(self):
        self.table = GivenTable()
        self.pins = Pins()
        self.learning = False

    def give(self, name, *, client=ADDRESSES[PUPIL], mac=PUPIL, address=SERVER, everyone=False):
        self.table.take(Given(client, mac, everyone, name, (address,)), 5.0)

    def classifier(self, *, safe=False, **changes):
        ks2 = replace(GROUPS["ks2"], named_only=True, quic=True, safe_search=safe)
        policy = build_policy(groups={"ks2": ks2}, **changes)
        learnt = Learnt(self.table, self.pins, lambda _: self.learning)
        return Classifier({}.get, policy, epoch=7, learnt=learnt)


@pytest.fixture
def sinkhole():
    return Sinkhole()


@pytest.mark.parametrize(
    ("how", "rule_id"),
    [
        pytest.param({}, "default:ks2", id="asked"),
        pytest.param({"client": b"6" * 16}, "default:ks2", id="asked by its other address"),
        pytest.param({"mac": ""}, "default:ks2", id="asked before its MAC address was known"),
        pytest.param(
            {"client": b"serv", "mac": STAFF, "everyone": True},
            "default:ks2",
            id="asked by a server",
        ),
        pytest.param({"client": b"mate", "mac": STAFF}, "unasked:ks2", id="asked by another"),
        pytest.param({"address": b"else"}, "unasked:ks2", id="another address"),
    ],
)
def test_judge_lets_pass_what_the_client_was_given(sinkhole, how, rule_id):
    sinkhole.give("maths.example", **how)
    flow = Flow(sinkhole.classifier())
    if flow.open() is not Answer.BLOCK:
        flow.send_all(hello("maths.example"))

    assert [event.rule_id for event in flow.events] == [rule_id]


def test_judge_compares_the_name_with_what_the_address_was_given_for(sinkhole):
    sinkhole.give("proxy.example")
    flow = Flow(sinkhole.classifier())
    flow.open()

    assert flow.send(hello("maths.example")) is Answer.BLOCK
    assert flow.events[0].rule_id == "unasked:ks2"


@pytest.mark.parametrize(
    ("octets", "rule_id"),
    [
        pytest.param(hello("maths.example"), "default:ks2", id="named"),
        pytest.param(hello("203.0.113.7"), "unasked:ks2", id="address"),
        pytest.param(hello("2001:db8::7"), "unasked:ks2", id="address of IPv6"),
        pytest.param(b"NICK a\r\n", "unasked:ks2", id="nameless"),
    ],
)
def test_judge_while_the_sinkhole_s_record_is_young(sinkhole, octets, rule_id):
    sinkhole.learning = True
    flow = Flow(sinkhole.classifier(), port=9000)
    flow.open()
    flow.send_all(octets)

    assert flow.events[0].rule_id == rule_id


@pytest.mark.parametrize(
    ("category", "given", "name", "rule_id"),
    [
        pytest.param("tor", "meant.example", "meant.example", "exception:meant", id="by name"),
        pytest.param("tor", "", "meant.example", "matrix:bypass:staff", id="name not asked for"),
        pytest.param("tor", "plain.example", "plain.example", "matrix:bypass:staff", id="default"),
        pytest.param(
            "terrorism", "meant.example", "meant.example", "illegal:terrorism", id="illegal"
        ),
    ],
)
def test_judge_of_a_listed_address_that_a_name_was_given(sinkhole, category, given, name, rule_id):
    meant = DatedException(
        "meant", Scope.SCHOOL, "", NameSet.of(("meant.example",)), Action.ALLOW, DAY, "test"
    )
    policy = replace(build_policy(), index=Relays(category), exceptions=(meant,))
    learnt = Learnt(sinkhole.table, sinkhole.pins, lambda _: False)
    if given:
        sinkhole.give(given, client=ADDRESSES[STAFF], mac=STAFF)

    assert ruled(Flow(Classifier({}.get, policy, 7, learnt), STAFF), hello(name)) == [rule_id]


def test_judge_waits_for_the_sinkhole_before_a_listed_address_closes_a_name(sinkhole):
    meant = DatedException(
        "meant", Scope.SCHOOL, "", NameSet.of(("meant.example",)), Action.ALLOW, DAY, "test"
    )
    policy = replace(build_policy(), index=Relays(), exceptions=(meant,))
    learnt = Learnt(sinkhole.table, sinkhole.pins, lambda _: False)
    flow = Flow(Classifier({}.get, policy, 7, learnt), STAFF)
    flow.open()

    assert flow.waits(hello("meant.example"))
    sinkhole.give("meant.example", client=ADDRESSES[STAFF], mac=STAFF)
    assert flow.send(hello("meant.example")) is Answer.ACCEPT


@pytest.mark.parametrize(
    ("address", "port", "protocol", "rule_id"),
    [
        ("192.168.7.7", 9100, UDP, "default:ks2"),
        ("52.113.1.1", 3479, UDP, "default:ks2"),
        ("52.113.1.1", 9000, UDP, "unasked:ks2"),
    ],
)
def test_judge_of_what_needs_no_name(sinkhole, address, port, protocol, *, rule_id):
    flow = Flow(sinkhole.classifier(), port=port, protocol=protocol)
    flow._ends = flow._ends[0], (ip_address(address).packed, port)
    flow.packet(b"octets")

    assert [event.rule_id for event in flow.events] == [rule_id]


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize(
    ("protocol", "port", "octets"),
    [
        pytest.param(UDP, 51820, b"junk", id="UDP"),
        pytest.param(TCP, 9000, b"NICK a\r\n", id="TCP"),
        pytest.param(TCP, 443, hello(""), id="TLS without SNI"),
        pytest.param(TCP, 80, b"GET / HTTP/1.0\r\n\r\n", id="HTTP without Host"),
    ],
)
def test_judge_of_what_shows_no_name_where_one_was_given(
    sinkhole, protocol, port, octets, *, learning
):
    sinkhole.learning = learning
    sinkhole.give("maths.example")
    flow = Flow(sinkhole.classifier(), port=port, protocol=protocol)
    if protocol == TCP:
        flow.open()
        flow.send_all(octets)
    else:
        assert flow.packet(octets) is Answer.BLOCK

    assert [event.rule_id for event in flow.events] == ["nameless:ks2"]


ZOOM = DirectService((ip_network(ip_address(SERVER)),), UDP, range(8801, 8811), "ks2")


@pytest.mark.parametrize(
    ("changes", "port", "octets", "rule_id"),
    [
        pytest.param({"direct": (ZOOM,)}, 8801, b"octets", "default:ks2", id="listed"),
        pytest.param({"direct": (ZOOM,)}, 8811, b"octets", "unasked:ks2", id="another port"),
        pytest.param(
            {"direct": (replace(ZOOM, group="staff"),)},
            8801,
            b"octets",
            "unasked:ks2",
            id="for another group",
        ),
        pytest.param(
            {"direct": (ZOOM,), "paused": ("ks2",)}, 8801, b"octets", "pause:p", id="in a pause"
        ),
        pytest.param({"direct": (ZOOM,)}, 8801, WIREGUARD, "matrix:bypass:ks2", id="by a protocol"),
    ],
)
def test_judge_of_a_direct_connection(sinkhole, changes, port, octets, rule_id):
    flow = Flow(sinkhole.classifier(**changes), port=port, protocol=UDP)
    flow.packet(octets)

    assert [event.rule_id for event in flow.events] == [rule_id]


UNREADABLE_QUIC = b"\xc0\x12\x34\x56\x78\x08" + bytes(1300)


def test_judge_of_quic_that_says_nothing_yet(sinkhole):
    """Of a version that is not known here, to whom the client was not given, and to whom it was."""
    classifier = sinkhole.classifier()
    flow = Flow(classifier, protocol=UDP)
    assert flow.packet(UNREADABLE_QUIC, new=True) is Answer.BLOCK
    assert flow.events[0].rule_id == "unasked:ks2"
    sinkhole.give("maths.example")

    assert flow.packet(UNREADABLE_QUIC, new=True) is Answer.NONE


@pytest.mark.parametrize(("paused", "answer"), [((), Answer.NONE), (("staff",), Answer.BLOCK)])
def test_judge_of_quic_in_a_pause(paused, answer):
    """From its first datagram: as many as 64 would go by before it is known for what they are."""
    classifier = Classifier(lambda _: None, build_policy(paused=paused), 1)
    flow = Flow(classifier, STAFF, protocol=UDP)

    assert flow.packet(UNREADABLE_QUIC, new=True) is answer
    assert [event.reason for event in flow.events] == ["paused"] * len(paused)


def test_judge_of_quic_that_was_forgotten(sinkhole):
    sinkhole.give("maths.example")
    classifier = sinkhole.classifier()
    flow = Flow(classifier, protocol=UDP)
    flow.packet(UNREADABLE_QUIC, new=True)
    assert flow.packet(UNREADABLE_QUIC) is Answer.NONE
    for number in range(256):
        Flow(classifier, protocol=UDP, source_port=41_000 + number).packet(
            UNREADABLE_QUIC, new=True
        )

    assert flow.packet(UNREADABLE_QUIC) is Answer.BLOCK
    assert flow.events[-1].reason == "unknown-flow"


def test_judge_waits_for_the_sinkhole_once(sinkhole):
    flow = Flow(sinkhole.classifier())
    assert flow.waits(b"", flags=SYN, sequence=999)
    sinkhole.give("other.example")
    assert flow.open() is Answer.NONE

    assert flow.waits(hello("maths.example"))
    assert flow.mark is None
    sinkhole.give("maths.example")
    assert flow.packet(hello("maths.example"), sequence=1000) is Answer.UNANSWERED


def test_judge_of_a_search_engine_by_the_address_of_its_safe_version(sinkhole):
    safe, other = bytes((216, 239, 38, 120)), SERVER
    sinkhole.pins.take(render_pins([Pin("forcesafesearch.google.com", (safe,), 60.0)]), 5.0)
    for address in (safe, other):
        sinkhole.give("www.google.com", address=address)
    rules = []
    for port, address in enumerate((safe, other), 40_000):
        flow = Flow(sinkhole.classifier(safe=True), source_port=port)
        flow._ends = flow._ends[0], (address, 443)
        flow.open()
        flow.send_all(hello("www.google.com"))
        rules.append([(event.reason, event.rule_id) for event in flow.events])

    assert rules == [
        [("default", "default:ks2")],
        [("unsafe-address", "safesearch:google")],
    ]


def test_judge_of_a_connection_that_it_watches_no_more(classifier):
    flow = Flow(classifier, port=80)
    flow.open()
    flow.send_all(request("maths.example"))
    classifier._watched.discard(next(iter(classifier._watched._entries)))

    assert flow.send(request("games.example"), decided=True) is Answer.BLOCK
    assert flow.events[-1].rule_id == "unknown-flow:ks2"


@pytest.mark.parametrize(("mac", "passes"), [(PUPIL, False), (STAFF, True)])
def test_judge_of_octets_in_a_syn(classifier, mac, passes):
    """A server may keep them when conntrack and the classifier have both forgotten the connection."""
    flow = Flow(classifier, mac)
    octets = hello("maths.example")

    answer = flow.packet(octets, flags=SYN, sequence=999, new=True)
    assert (answer, flow.mark is not None) == (Answer.ACCEPT if passes else Answer.NONE, passes)
    assert flow.open() is Answer.NONE
    assert flow.mark is not None


@pytest.mark.parametrize(("mac", "answer"), [(PUPIL, Answer.BLOCK), (STAFF, Answer.ACCEPT)])
def test_judge_of_what_follows_a_syn_that_the_server_has_not_answered_by_its_own(
    classifier, mac, answer
):
    """The server may go on with an older connection, and have octets of it."""
    flow = Flow(classifier, mac)

    assert flow.open() is Answer.NONE
    assert flow.send(hello("maths.example"), unshaken=True) is answer


def test_judge_of_a_datagram_that_speaks_for_somebody_outside(classifier):
    """It would open the flow the other way round, and what it is would be asked of the wrong end."""
    flow = Flow(classifier, port=50_000, protocol=UDP)
    flow._ends = (SERVER, 7777), (ADDRESSES[PUPIL], 50_000)

    assert flow.packet(b"x") is Answer.BLOCK
    assert flow.events[0].rule_id == "unreadable:ks2"


def test_judge_of_a_datagram_that_answers_itself(sinkhole):
    """A question for the time leaves its flow undecided; it would be decided as one that somebody outside had opened."""
    flow = Flow(sinkhole.classifier(), port=123, protocol=UDP)

    assert flow.packet(b"\x23" + bytes(47)) is Answer.NONE
    assert flow.packet(b"x", reply=True, same_side=True) is Answer.BLOCK
    assert flow.mark is None
    (event,) = flow.events
    assert (event.rule_id, event.address, event.remote) == (
        "unreadable:ks2",
        "10.77.0.10",
        "203.0.113.5 123/udp",
    )
    # The flow is what it was.
    assert flow.packet(b"\x24" + bytes(47), reply=True) is Answer.NONE
    assert flow.packet(b"tunnel") is Answer.BLOCK


def test_judge_of_a_datagram_that_answers_itself_in_an_open_group_held_to_names(sinkhole):
    groups = {"staff": replace(GROUPS["staff"], named_only=True)}
    learnt = Learnt(sinkhole.table, sinkhole.pins, lambda _: False)
    classifier = Classifier({}.get, build_policy(groups=groups), 7, learnt)
    flow = Flow(classifier, STAFF, port=9000, protocol=UDP)

    assert flow.packet(b"x") is Answer.NONE
    answers = [flow.packet(b"x", reply=True, same_side=True) for _ in range(3)]
    assert answers == [Answer.BLOCK] * 3
    assert flow.mark is None
    assert {event.action for event in flow.events} == {"block"}


def test_judge_again_by_a_packet_from_the_wrong_side(sinkhole):
    """It says nothing of which end is in the school."""
    classifier = sinkhole.classifier()
    sinkhole.give("maths.example")
    flow = Flow(classifier)
    flow.open()
    flow.send_all(hello("maths.example"))
    sinkhole.table = GivenTable()
    later = sinkhole.classifier()
    later._judged = classifier._judged

    assert flow.packet(reply=True, decided=True, same_side=True) is Answer.ACCEPT
    flow._classifier = later
    assert flow.packet(reply=True, decided=True, same_side=True) is Answer.BLOCK
    assert [(e.rule_id, e.address, e.remote) for e in flow.events] == [
        ("default:ks2", "10.77.0.10", "203.0.113.5 443/tcp"),
        ("unasked:ks2", "10.77.0.10", "203.0.113.5 443/tcp"),
    ]


def test_judge_of_a_flow_from_outside_to_who_is_held_to_names(sinkhole):
    classifier = sinkhole.classifier()
    classifier._mac_of = lambda _: PUPIL
    flow = Flow(classifier, port=8080, inbound=True)

    assert flow.open() is Answer.BLOCK
    assert flow.events[0].rule_id == "unasked:ks2"


def test_judge_reads_no_request_behind_a_hole(classifier):
    """The server would answer what nobody has read."""
    flow = Flow(classifier, port=80)
    flow.open()
    first = request("maths.example")
    flow.packet(request("games.example"), sequence=1000 + 2 * len(first))

    assert flow.packet(first, sequence=1000) is Answer.BLOCK


def test_judge_forgets_nobody_s_addresses_for_another_s(sinkhole):
    sinkhole.give("maths.example")
    for number in range(10_000):
        sinkhole.give(f"n{number}.example", client=b"mate", mac=STAFF, address=number.to_bytes(4))
    flow = Flow(sinkhole.classifier())

    assert flow.open() is Answer.NONE


@pytest.mark.parametrize(
    ("protocol", "inbound", "remote"),
    [
        pytest.param(TCP, False, "203.0.113.5 443/tcp", id="opened inside"),
        pytest.param(TCP, True, "203.0.113.5 50000/tcp", id="opened outside"),
    ],
)
def test_judge_tells_the_other_end(classifier, protocol, *, inbound, remote):
    flow = Flow(classifier, STAFF, protocol=protocol, inbound=inbound)
    flow.open()
    flow.send_all(hello("maths.example"))

    assert [event.remote for event in flow.events] == [remote]


@pytest.mark.parametrize("port", [80, 443])
def test_judge_of_a_responder_that_answers_a_syn_of_before(classifier, port):
    """It takes octets for its first that were never read here: those go to it after what is allowed."""
    flow = Flow(classifier, port=port)
    flow.open()
    octets = request("maths.example") if port == 80 else hello("maths.example")
    flow.send(octets)

    assert flow.packet(reply=True, acknowledged=900) is Answer.BLOCK
    assert flow.events[-1].reason == "unreadable"


@pytest.mark.parametrize("inbound", [False, True])
def test_owner_tells_where_a_flow_is_recorded(classifier, *, inbound):
    classifier._mac_of = lambda _: STAFF
    flow = Flow(classifier, STAFF, inbound=inbound)
    flow.open()
    flow.send_all(hello("maths.example"))
    (event,) = flow.events
    ends = flow._ends[1] if inbound else flow._ends[0]
    key = FlowKey(TCP, *flow._ends[0], *flow._ends[1])
    owner = classifier.owner(key)

    assert (owner.name, owner.remote, owner.allowed_ms) == (event.name, event.remote, event.at_ms)
    assert str(owner.client.address) == event.address == render_address(ends[0])
    assert classifier.owner(key._replace(initiator_port=1)) is None


def test_owner_knows_the_event_that_allowed_a_flow_whatever_came_later(classifier):
    flow = Flow(classifier)
    flow.open()
    flow.send_all(hello("maths.example"))
    key = FlowKey(TCP, *flow._ends[0], *flow._ends[1])
    classifier.take(build_policy(2, paused=("ks2",)), epoch=8)
    assert flow.packet(b"more", decided=True) is Answer.BLOCK
    blocked = Flow(classifier, source_port=40_001)
    blocked.open()
    blocked.send_all(hello("games.example"))

    assert [event.action for event in flow.events] == ["allow", "block"]
    assert classifier.owner(key).allowed_ms == flow.events[0].at_ms > 0
    assert classifier.owner(key._replace(initiator_port=40_001)).allowed_ms == 0


def test_judge_tells_the_other_end_of_what_has_no_ports(classifier):
    flow = Flow(classifier, port=0, source_port=0, protocol=47)
    flow.packet(b"octets")

    assert [event.remote for event in flow.events] == ["203.0.113.5"]
