"""What is said of the firewall, by counters that came over the recorder's own socket and by what the log holds."""

import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pytest

from gate_appliance.activity import ActivityLog
from gate_appliance.outbox import Outbox
from gate_appliance.packets import DROPS_TOLD_FOR_S, MIN_DAYS, MIN_FLOWS, Packets
from gate_appliance.recorder import Recorder
from gate_core.config import FirewallConfig
from gate_core.desk import QueueView
from gate_core.events import Counters, Findings, InForce, ReadableFlows, Source

TEN = datetime(2026, 11, 23, 10, 0, tzinfo=ZoneInfo("Europe/London"))
GROUPS = {"ks2": SimpleNamespace(title="Key Stage 2")}


class Box:
    def __init__(self, path):
        self.log = ActivityLog(path / "log", TEN.tzinfo)
        self.recorder = Recorder(path / "events", self.log)
        self.recorder.start()
        self.outbox = Outbox(path / "events")
        self.now_s = 0.0
        self.at = TEN
        self.packets = self.packets_of(workers=0)

    def packets_of(self, workers):
        config = FirewallConfig(workers, queue=0)
        return Packets(self.recorder, self.log, self, config, now=lambda: self.now_s)

    def now(self):
        return self.at

    def hear(self, full, unread=0, source=Source.FIREWALL, worker=0, **more):
        counts = {
            "queue_waiting": {"1": 5, "0": 0, "x": 1, "²": 1},
            "queue_dropped_full": {"1": full},
            "queue_dropped_unread": {"1": unread},
            **more,
        }
        message = Counters(source, worker, counts)
        self.outbox.put(message)
        self.outbox.flush()
        deadline = time.monotonic() + 10
        while message not in self.recorder.counters():
            assert time.monotonic() < deadline, "the recorder did not hear it"
            time.sleep(0.005)

    def hear_alive(self, worker, source=Source.FIREWALL):
        message = InForce(source, worker, 1)
        self.outbox.put(message)
        self.outbox.flush()
        deadline = time.monotonic() + 10
        while message not in self.recorder.alive():
            assert time.monotonic() < deadline, "the recorder did not hear it"
            time.sleep(0.005)

    def hear_findings(self, *sentences, source=Source.FIREWALL):
        self.outbox.put(Findings(source, sentences))
        self.outbox.flush()
        deadline = time.monotonic() + 10
        while self.recorder.findings(source) != sentences:
            assert time.monotonic() < deadline, "the recorder did not hear it"
            time.sleep(0.005)

    def note(self, days_ago, readable, flows, group="ks2"):
        at_ms = int((TEN - timedelta(days=days_ago)).timestamp() * 1000)
        self.log.append_sums([ReadableFlows(at_ms, [group], [readable], [flows])])

    def said(self, after_s=0.0):
        self.now_s += after_s
        fault = self.packets.fault(GROUPS)
        return fault.detail if fault else ""

    def close(self):
        self.outbox.close()
        self.recorder.close()


@pytest.fixture
def box(short_path):
    box = Box(short_path)
    yield box
    box.close()


def test_nothing_is_said_of_a_firewall_that_does_well(box):
    assert box.said() == ""
    box.hear(0)
    assert box.said() == ""


def test_packets_dropped_are_told_for_a_while(box):
    box.hear(1000)
    # Of before our own start.
    assert box.said() == ""
    box.hear(1030, 4)
    fault = box.packets.fault(GROUPS)
    assert (fault.name, fault.state) == ("firewall", "degraded")
    assert fault.detail.startswith("34 packets were dropped within the last 10 minutes, because")
    box.hear(1040, 4)
    assert box.said(DROPS_TOLD_FOR_S / 2).startswith("44 packets")
    assert box.said(DROPS_TOLD_FOR_S / 2 + 1).startswith("10 packets")
    assert box.said(DROPS_TOLD_FOR_S) == ""


def test_packets_of_a_firewall_that_began_anew_are_counted_from_nothing(box):
    box.hear(1000)
    box.said()
    box.hear(7)
    assert box.said().startswith("7 packets")


def test_packets_that_passed_unjudged_are_told_for_a_while(box):
    box.hear(0, passed_unjudged={"packets": 50})
    assert box.said() == ""
    # A process that began anew does not know for some seconds; the kernel goes on counting.
    box.hear(0)
    assert box.said() == ""
    box.hear(0, passed_unjudged={"packets": 53})
    assert box.said() == (
        "3 packets of groups that stay open passed unjudged within the last 10 minutes, because the filter was away or had"
        " too much to do."
    )
    assert box.said(DROPS_TOLD_FOR_S + 1) == ""
    box.hear(0, passed_unjudged={"packets": 2})
    assert box.said().startswith("2 packets of groups that stay open")


def test_what_the_sinkhole_counts_is_not_the_firewalls(box):
    box.said()
    for count in (1, 9):
        box.hear(count, source=Source.DNS)
        assert box.said() == ""


def test_a_process_that_is_not_there_is_named(box, monkeypatch):
    packets = box.packets_of(workers=3)
    box.hear_alive(1)
    box.hear_alive(3)
    # A worker of the sinkhole is no process of the firewall.
    box.hear_alive(2, source=Source.DNS)
    fault = packets.fault(GROUPS)
    assert (fault.name, fault.state) == ("firewall", "degraded")
    assert fault.detail == (
        "The process firewall-2, one of 3, does not answer: new connections that it would look at are held closed, or"
        " let through for groups that fail open."
    )
    box.hear_alive(2)
    assert packets.fault(GROUPS) is None
    monkeypatch.setattr("gate_appliance.recorder.HEARTBEAT_S", -1.0)
    told = packets.fault(GROUPS).detail
    assert [f"process {name}, one" in told for name in ("firewall", "firewall-2")] == [True] * 2


def test_queues_are_those_of_the_processes_that_are_alive(box):
    packets = box.packets_of(workers=1)
    assert packets.queues() == ()
    box.hear(30, 4, worker=1)
    assert packets.queues() == ()
    box.hear_alive(1)
    assert packets.queues() == (QueueView(0, "closed", 0, 0), QueueView(1, "open", 5, 34))
    box.hear(9, source=Source.DNS, worker=1)
    assert packets.queues() == (QueueView(0, "closed", 0, 0), QueueView(1, "open", 5, 34))


def usual(box, *shares, flows=1000):
    for days_ago, share in enumerate(shares, 1):
        box.note(days_ago, int(share * flows), flows)


def test_a_fall_of_readable_names_is_told_in_words(box):
    usual(box, 0.95, 0.93, 0.2, 0.94)
    box.note(0, 700, 1000)
    assert box.said() == (
        "Key Stage 2: of 100 connections today only 70 show the name of a site, where 94 usually do. Devices may hide"
        " names (ECH), or look them up elsewhere (encrypted DNS, VPN)."
    )


@pytest.mark.parametrize(
    ("before", "readable", "flows"),
    [
        pytest.param([0.95] * MIN_DAYS, 0, MIN_FLOWS - 1, id="too few flows today"),
        pytest.param([0.95] * (MIN_DAYS - 1), 0, 1000, id="too few days before"),
        pytest.param([0.95] * MIN_DAYS, 810, 1000, id="a small fall"),
        pytest.param([0.5] * MIN_DAYS, 950, 1000, id="a rise"),
        pytest.param([0.1] * MIN_DAYS, 0, 1000, id="as low as ever"),
    ],
)
def test_no_fall_is_told_where(box, before, readable, flows):
    usual(box, *before)
    box.note(0, readable, flows)
    assert box.said() == ""


def test_days_with_few_flows_say_nothing_of_what_is_usual(box):
    usual(box, *[0.95] * MIN_DAYS, flows=MIN_FLOWS - 1)
    box.note(0, 0, 1000)
    assert box.said() == ""


def test_a_fall_is_of_its_group_and_its_day_alone(box):
    usual(box, *[0.95] * MIN_DAYS)
    box.note(0, 100, 1000, group="staff")
    assert box.said() == ""
    box.note(0, 100, 1000)
    # It is looked for once a minute.
    assert box.said(1) == ""
    assert box.said(60).startswith("Key Stage 2: of 100 connections today only 10")
    box.at += timedelta(days=1)
    assert box.said(60) == ""
    box.at = None
    assert box.said(60) == ""


def test_both_are_told_together(box):
    usual(box, *[0.95] * MIN_DAYS)
    box.note(0, 100, 1000)
    box.hear(0)
    box.said()
    box.hear(3)
    told = box.said()
    assert told.startswith("3 packets were dropped")
    assert "Key Stage 2: of 100 connections" in told


def test_findings_are_told_until_they_are_mended(box):
    table = "The kernel remembers at most 1,000 connections at once."
    box.hear_findings("of another part", source=Source.DNS)
    assert box.said() == ""
    box.hear_findings(table, "Port wan0 joins datagrams.")
    fault = box.packets.fault(GROUPS)
    assert (fault.name, fault.state) == ("firewall", "degraded")
    assert fault.detail == f"{table} Port wan0 joins datagrams."
    box.hear_findings()
    assert box.said() == ""
