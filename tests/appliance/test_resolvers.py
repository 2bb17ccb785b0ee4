"""Whom workers ask, by counters that came over the recorder's own socket."""

import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gate_appliance.activity import ActivityLog
from gate_appliance.outbox import Outbox
from gate_appliance.recorder import Recorder
from gate_appliance.resolvers import FORGOTTEN_AFTER_S, SILENT_FOR_S, Resolvers
from gate_core.config import DnsConfig, ZoneConfig
from gate_core.events import Counters, InForce, Source
from gate_core.upstreams import parse_upstream
from gate_dns.forwarding.handed_out import HandedOut

FIRST, SECOND = "192.0.2.1", "192.0.2.2"
TEN = datetime(2026, 11, 23, 10, 0, tzinfo=ZoneInfo("Europe/London"))


class Box:
    """A recorder that hears workers, the resolvers of a configuration, and a clock that is moved by hand."""

    def __init__(self, path, **config):
        self.resolv = path / "resolv.conf"
        self.recorder = Recorder(path / "events", ActivityLog(path / "log", TEN.tzinfo))
        self.recorder.start()
        self.outbox = Outbox(path / "events")
        self.now_s = 0.0
        self.resolvers = Resolvers(
            DnsConfig(**config),
            self.recorder,
            self,
            handed_out=HandedOut((self.resolv,), lambda _: False),
            now=lambda: self.now_s,
        )

    def now(self):
        return TEN + timedelta(seconds=self.now_s)

    def hand_out(self, *addresses):
        self.resolv.write_text("".join(f"nameserver {a}\n" for a in addresses))

    def hear(self, worker=0, **counted):
        """Hear a worker, whose counted answers and failures are by upstream."""
        counts = {
            "upstream_answers": {name: n for name, (n, _) in counted["of"].items()},
            "upstream_failures": {name: n for name, (_, n) in counted["of"].items()},
        }
        message = Counters(Source.DNS, worker, counts)
        self.outbox.put(message)
        self.outbox.put(InForce(Source.DNS, worker, 1))
        self.outbox.flush()
        deadline = time.monotonic() + 10
        while message not in self.recorder.counters() or not self.recorder.alive():
            assert time.monotonic() < deadline, "the recorder did not hear it"
            time.sleep(0.005)

    def after(self, *states, worker=0):
        """Return what is said after a worker has told these counts, ten seconds after the other each."""
        said = None
        for state in states:
            self.now_s += SILENT_FOR_S
            self.hear(worker, of=state)
            said = self.resolvers.fault()
        return said

    def close(self):
        self.outbox.close()
        self.recorder.close()


@pytest.fixture
def box(short_path):
    boxes = []

    def box(**config):
        boxes.append(Box(short_path, **config))
        return boxes[-1]

    yield box
    for each in boxes:
        each.close()


def texts(upstreams):
    return [str(upstream) for upstream in upstreams]


# Who is asked


def test_asked_are_the_configured_ones(box):
    box = box(upstreams=(FIRST, SECOND))
    box.hand_out("192.0.2.99")
    assert texts(box.resolvers.asked()) == [FIRST, SECOND]


def test_asked_are_those_that_are_handed_out_also_later(box):
    box = box()
    assert box.resolvers.asked() == ()
    box.hand_out(FIRST)
    assert texts(box.resolvers.asked()) == [FIRST]
    box.hand_out(SECOND, FIRST)
    assert texts(box.resolvers.asked()) == [SECOND, FIRST]


def test_asked_are_those_that_a_worker_tells_of_too(box):
    server = "192.0.2.10"
    box = box(zones={"ad.school.example": ZoneConfig((server,))})
    box.hand_out(FIRST)
    box.hear(of={SECOND: (1, 0), server: (5, 0)})
    # The server of the school's own names is asked for those alone...
    assert texts(box.resolvers.asked()) == [FIRST, SECOND]
    # ... unless it is handed out.
    box.hand_out(server)
    assert server in texts(box.resolvers.asked())


def test_asked_behind_unbound_are_whom_it_asks(box):
    box = box(dnssec="validate")
    box.hand_out(FIRST)
    box.hear(of={"127.0.0.1:5335": (1, 0)})
    assert texts(box.resolvers.asked()) == [FIRST]


# Whether they answer


def test_one_of_two_that_is_silent_is_told_and_taken_back(box):
    box = box(upstreams=(FIRST, SECOND))
    assert box.after({FIRST: (10, 0), SECOND: (0, 0)}, {FIRST: (20, 0), SECOND: (0, 0)}) is None
    assert box.after({FIRST: (20, 2), SECOND: (2, 0)}) is None
    said = box.after({FIRST: (20, 3), SECOND: (9, 0)})
    assert said.name == "dns"
    assert (said.state, said.detail) == ("degraded", "The resolver 192.0.2.1 has not answered since 10:00.")  # fmt: skip
    assert box.after({FIRST: (21, 3), SECOND: (9, 0)}) is None


def test_none_that_answers_is_a_fault(box):
    box = box(upstreams=(FIRST, SECOND))
    states = [{FIRST: (5, n), SECOND: (0, n)} for n in (0, 2, 4)]
    said = box.after(*states)
    assert said.state == "down"
    assert said.detail.startswith("Names can't be looked up: the resolver 192.0.2.1 has not")
    assert "the resolver 192.0.2.2 has not answered since 10:00" in said.detail
    # Said for as long as questions fail...
    box.now_s += FORGOTTEN_AFTER_S - SILENT_FOR_S
    assert box.after({FIRST: (5, 5), SECOND: (0, 5)}) == said
    box.now_s += FORGOTTEN_AFTER_S
    assert box.resolvers.fault() == said
    # ... and no longer: in the evening nobody asks.
    box.now_s += 1
    assert box.resolvers.fault() is None
    assert box.after({FIRST: (6, 5), SECOND: (0, 5)}) is None


def test_second_that_is_asked_for_names_of_silent_servers_only_is_not_taken_for_silent(box):
    box = box(upstreams=(FIRST, SECOND))
    box.after({FIRST: (50, 0), SECOND: (0, 0)})
    # A page of dead names, which both are asked for at once...
    assert box.after({FIRST: (90, 9), SECOND: (0, 9)}) is None
    box.now_s += 1 - SILENT_FOR_S
    assert box.after({FIRST: (99, 10), SECOND: (0, 10)}) is None
    # ... and the question by which the worker sees that it is well.
    assert box.after({FIRST: (99, 10), SECOND: (1, 10)}, {FIRST: (99, 12), SECOND: (1, 12)}) is None


def test_names_whose_own_servers_are_silent_are_no_silence_of_the_resolver(box):
    box = box(upstreams=(FIRST,))
    counts = [{FIRST: (10 + n, 2 * n)} for n in range(10)]
    assert box.after(*counts) is None


def test_what_one_worker_hears_counts_for_all(box):
    box = box(upstreams=(FIRST,))
    box.after({FIRST: (0, 0)})
    box.after({FIRST: (0, 0)}, worker=1)
    assert box.after({FIRST: (0, 2)}, {FIRST: (0, 3)}).state == "down"
    assert box.after({FIRST: (1, 0)}, worker=1) is None


def test_worker_that_has_begun_anew_is_counted_from_its_start(box):
    box = box(upstreams=(FIRST,))
    assert box.after({FIRST: (500, 80)}, {FIRST: (0, 2)}) is None
    assert box.after({FIRST: (0, 3)}).state == "down"


def test_counts_from_before_the_first_look_say_nothing(box):
    assert box(upstreams=(FIRST,)).after({FIRST: (9, 50)}) is None


def test_silent_server_of_the_schools_own_names_is_told(box):
    server = "192.0.2.10"
    box = box(upstreams=(FIRST,), zones={"ad.school.example": ZoneConfig((server,))})
    said = box.after(
        {FIRST: (5, 0), server: (5, 0)},
        {FIRST: (9, 0), server: (5, 3)},
        {FIRST: (10, 0), server: (5, 4)},
    )
    assert said.state == "degraded"
    assert said.detail.startswith("The school's own server 192.0.2.10 has not answered")


def test_nobody_to_ask_is_a_fault(box):
    box = box()
    said = box.resolvers.fault()
    assert (said.state, "hands out no resolver" in said.detail) == ("down", True)
    # Without one to forward to, Unbound is not started: that is not what is wrong.
    assert box.resolvers.fault(validator_gone=True) == said
    box.hand_out(FIRST)
    assert box.resolvers.fault() is None


def test_unbound_that_is_gone_or_silent_is_a_fault(box):
    box = box(upstreams=(FIRST,), dnssec="validate")
    said = box.resolvers.fault(validator_gone=True)
    assert (said.state, "Unbound) does not run" in said.detail) == ("down", True)
    assert "unbound and dns-root-data" in said.detail
    validator = "127.0.0.1:5335"
    said = box.after({validator: (5, 0)}, {validator: (5, 3)}, {validator: (5, 4)})
    assert (said.state, "(Unbound) has not answered" in said.detail) == ("down", True)
    # Nobody can do anything with that.
    assert "127.0.0.1" not in said.detail


def test_resolvers_behind_unbound_that_are_silent_are_told(box):
    box = box(upstreams=(FIRST, SECOND), dnssec="validate")
    first, second = box.resolvers.asked()
    said = box.resolvers.fault(silent=[first])
    assert (said.state, said.detail) == ("degraded", "The resolver 192.0.2.1 does not answer.")
    assert box.resolvers.fault(silent=[first, second]).state == "down"


def test_asked_are_upstreams_as_the_configuration_writes_them(box):
    told = "tls://192.0.2.1#dns.example.net"
    box = box()
    box.hear(of={told: (1, 0), "no upstream": (1, 0)})
    assert box.resolvers.asked() == (parse_upstream(told),)
