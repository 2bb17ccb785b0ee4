import logging

import pytest

from gate_core.clients import OnFault
from gate_firewall.packet import MalformedPacketError
from gate_firewall.queue import LATER, MAX_HELD, Faults, Settler

ASKED = 0x0080_4ABC


class FakePacket:
    """A packet of the binding that holds its verdicts."""

    def __init__(self):
        self.verdicts = []
        self._mark = ASKED

    def get_mark(self):
        return self._mark

    def set_mark(self, mark):
        self._mark = mark

    def get_hw(self):
        return bytes.fromhex("00005e00531000ff")

    def get_payload(self):
        return b"octets"

    def retain(self):
        self.verdicts.append("retained")

    def accept(self):
        self.verdicts.append(("accept", self._mark))

    def drop(self):
        self.verdicts.append(("drop", None))


def raising(fault):
    def judge(*_):
        raise fault

    return judge


@pytest.fixture
def faults():
    return Faults()


def settle(judge, on_fault, faults):
    packet = FakePacket()
    Settler(judge, on_fault, faults, lambda: 0.0).take(packet)
    return packet.verdicts


def test_take_drops_where_the_judgement_is_silence(faults):
    assert settle(lambda *_: None, OnFault.OPEN, faults) == [("drop", None)]


def test_take_gives_the_mark_that_was_judged(faults):
    def judge(octets, mark, sender, last):
        assert (octets, mark, sender) == (b"octets", ASKED, bytes.fromhex("00005e00531000ff"))
        assert not last
        return 0x0710_2ABC

    assert settle(judge, OnFault.CLOSED, faults) == [("accept", 0x0710_2ABC)]


@pytest.mark.parametrize("fault", [MalformedPacketError("x"), ValueError("x"), KeyError("x")])
@pytest.mark.parametrize(
    ("on_fault", "verdict"), [(OnFault.CLOSED, ("drop", None)), (OnFault.OPEN, ("accept", 0xABC))]
)
def test_take_gives_one_verdict_where_judging_failed(faults, fault, on_fault, verdict):
    assert settle(raising(fault), on_fault, faults) == [verdict]


def test_take_gives_one_verdict_where_the_process_is_told_to_end(faults):
    packet = FakePacket()
    with pytest.raises(SystemExit):
        Settler(raising(SystemExit()), OnFault.CLOSED, faults, lambda: 0.0).take(packet)

    assert packet.verdicts == [("drop", None)]


def test_note_logs_each_kind_once_a_minute(faults, caplog):
    with caplog.at_level(logging.WARNING):
        for now_s in (0.0, 1.0, 59.0, 60.0):
            faults.note("malformed packet", ValueError("x"), now_s)
        faults.note("KeyError", KeyError("y"), 60.0)

    assert [r.getMessage().split(" last=")[0] for r in caplog.records] == [
        "packets not judged kind=malformed packet count=1",
        "packets not judged kind=malformed packet count=4",
        "packets not judged kind=KeyError count=1",
    ]


def test_take_holds_what_is_judged_later_and_settles_it_once(faults):
    asked = []

    def judge(_octets, _mark, _sender, last):
        asked.append(last)
        return 7 if last else LATER

    settler = Settler(judge, OnFault.CLOSED, faults, lambda: 0.0)
    packet = FakePacket()
    settler.take(packet)
    held, settler.held = settler.held, []
    settler.settle_held(held)

    assert (asked, packet.verdicts) == ([False, True], ["retained", ("accept", 7)])


def test_take_holds_no_more_than_it_may(faults):
    settler = Settler(lambda *a: None if a[-1] else LATER, OnFault.CLOSED, faults, lambda: 0.0)
    packets = [FakePacket() for _ in range(MAX_HELD + 1)]
    for packet in packets:
        settler.take(packet)

    assert len(settler.held) == MAX_HELD
    assert packets[-1].verdicts == [("drop", None)]
