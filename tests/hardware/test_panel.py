from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gate_core.desk import Component, PauseView, Status
from gate_hardware.panel import (
    DEBOUNCE_S,
    FAULT_SHOWN_S,
    LAMPS,
    REPEAT_S,
    STARTING_S,
    STUCK_S,
    Command,
    PanelState,
    Pattern,
    Request,
    Rhythm,
    carried_out,
    given_up,
    heard,
    lamps,
    moved,
    not_heard,
)

OK = tuple(
    Component(name, "ok", "") for name in ("dns", "firewall", "lists", "clock", "recorder", "panel")
)
STATUS = Status(
    revision=1,
    at="2026-09-07T10:00:00+01:00",
    school="",
    mode="inline",
    version=1,
    filtering=True,
    components=OK,
    pause=None,
    waiting=0,
    allowed_today=0,
    blocked_today=0,
    devices_today=0,
    listed_names=0,
    panel=None,
    uncovered=(),
)
PAUSE = PauseView("1", ("ks1",), (), "", "", "button", "", on_the_wire=True)
ON_ITS_WAY = replace(PAUSE, on_the_wire=False)
NEW = PanelState(started_s=0)
UP = heard(NEW, STATUS)


def component(name: str, state: str) -> Status:
    others = tuple(c for c in OK if c.name != name)
    return replace(STATUS, components=(*others, Component(name, state, "")))


def shown(state: PanelState, at_s: float = 100) -> dict[str, str]:
    return {lamp.name: lamp.pattern for lamp in lamps(state, at_s) if lamp.pattern != "off"}


@pytest.mark.parametrize(
    ("state", "at_s", "expected"),
    [
        pytest.param(UP, 100, {"filtering": "on"}, id="filtering"),
        pytest.param(NEW, 1, {"filtering": "blink"}, id="starting"),
        pytest.param(not_heard(NEW), 1, {"filtering": "blink"}, id="starting before the steward"),
        pytest.param(
            heard(NEW, replace(STATUS, filtering=False)),
            STARTING_S - 1,
            {"filtering": "blink"},
            id="starting, data plane not up yet",
        ),
        pytest.param(
            heard(NEW, replace(STATUS, filtering=False)),
            STARTING_S,
            {"fault": "flash"},
            id="never up",
        ),
        pytest.param(
            not_heard(NEW), STARTING_S, {"attention": "flash"}, id="steward never answered"
        ),
        pytest.param(
            heard(UP, replace(component("dns", "down"), filtering=False)),
            10,
            {"fault": "flash", "attention": "on"},
            id="dns down, though just started",
        ),
        pytest.param(
            heard(UP, replace(component("firewall", "down"), filtering=False)),
            100,
            {"fault": "flash", "attention": "on"},
            id="classifier down",
        ),
        pytest.param(
            heard(UP, replace(STATUS, mode="resolver", uncovered=("connections",))),
            100,
            {"filtering": "flash"},
            id="look-ups of names only",
        ),
        pytest.param(
            heard(UP, component("lists", "degraded")),
            100,
            {"filtering": "on", "attention": "on"},
            id="lists stale",
        ),
        pytest.param(
            heard(UP, component("clock", "degraded")),
            100,
            {"filtering": "on", "attention": "blink"},
            id="clock unknown",
        ),
        pytest.param(heard(UP, component("panel", "down")), 100, {"filtering": "on"}, id="panel"),
        pytest.param(heard(UP, component("firewall", "off")), 100, {"filtering": "on"}, id="off"),
        pytest.param(not_heard(UP), 100, {"attention": "flash"}, id="steward unreachable"),
        pytest.param(
            heard(UP, replace(STATUS, pause=ON_ITS_WAY)),
            100,
            {"filtering": "on", "pause": "blink"},
            id="pause on its way",
        ),
        pytest.param(
            heard(UP, replace(STATUS, pause=PAUSE)),
            100,
            {"filtering": "on", "pause": "on"},
            id="pause on the wire",
        ),
        pytest.param(
            not_heard(heard(UP, replace(STATUS, pause=PAUSE))),
            100,
            {"attention": "flash", "pause": "on"},
            id="pause as last heard",
        ),
        pytest.param(
            moved(UP, 100, down=True), 100, {"filtering": "on", "pause": "flash"}, id="pressed"
        ),
        pytest.param(
            moved(moved(UP, 90, down=True), 90.2, down=False),
            100,
            {"filtering": "on", "pause": "flash"},
            id="pressed and let go",
        ),
        pytest.param(
            given_up(moved(UP, 60, down=True), 90),
            90 + STUCK_S,
            {"filtering": "on", "fault": "on"},
            id="press given up, before the stuck button",
        ),
        pytest.param(
            given_up(UP, 90), 90 + FAULT_SHOWN_S, {"filtering": "on"}, id="given up long ago"
        ),
        pytest.param(
            carried_out(moved(UP, 100, down=True), STATUS),
            100 + STUCK_S,
            {"filtering": "on", "fault": "blink"},
            id="stuck button",
        ),
    ],
)
def test_lamps_show(state: PanelState, at_s: float, expected: dict[str, str]) -> None:
    assert shown(state, at_s) == expected


def test_lamps_never_leave_the_meaning_to_colour() -> None:
    """Each state of a lamp has a rhythm of its own, and no two lamps are of one colour."""
    for lamp in LAMPS.values():
        patterns = [rule.pattern for rule in lamp.rules]
        assert len(set(patterns)) == len(patterns)
        assert Pattern.OFF not in patterns
    assert len({lamp.colour for lamp in LAMPS.values()}) == len(LAMPS)


def test_lamps_say_what_they_mean() -> None:
    assert all(lamp.meaning.endswith(".") for lamp in lamps(UP, 100))


def test_moved_starts_a_pause() -> None:
    assert moved(UP, 5, down=True).request == Request(Command.START_PAUSE, 5)


@pytest.mark.parametrize("pause", [PAUSE, ON_ITS_WAY])
def test_moved_ends_the_pause(pause: PauseView) -> None:
    paused = heard(UP, replace(STATUS, pause=pause))
    assert moved(paused, 5, down=True).request == Request(Command.END_PAUSE, 5)


def test_moved_takes_a_press_before_the_steward_was_heard() -> None:
    assert moved(not_heard(NEW), 5, down=True).request == Request(Command.START_PAUSE, 5)


def test_moved_takes_no_second_press_while_one_is_carried_out() -> None:
    first = moved(UP, 5, down=True)
    second = moved(moved(first, 6, down=False), 9, down=True)
    assert second.request is first.request


def test_moved_takes_no_nervous_press() -> None:
    state = carried_out(moved(UP, 5, down=True), replace(STATUS, pause=PAUSE))
    state = moved(state, 5.1, down=False)
    assert moved(state, 5 + REPEAT_S - 0.01, down=True).request is None
    assert moved(state, 5 + REPEAT_S, down=True).request == Request(Command.END_PAUSE, 5 + REPEAT_S)


def test_moved_takes_no_bounce_on_release() -> None:
    state = carried_out(moved(UP, 5, down=True), replace(STATUS, pause=PAUSE))
    state = moved(state, 7, down=False)
    state = moved(state, 7.001, down=True)
    state = moved(state, 7.002, down=False)
    assert state.request is None
    assert moved(state, 7.003 + DEBOUNCE_S, down=True).request is not None


def test_moved_forgets_the_fault_of_the_press_before() -> None:
    assert shown(moved(given_up(UP, 90), 95, down=True)) == {"filtering": "on", "pause": "flash"}


def test_carried_out_keeps_the_status_where_there_is_no_newer_one() -> None:
    assert carried_out(moved(UP, 5, down=True), None).status is STATUS


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param(Pattern.OFF, "0000000000000000", id="off"),
        pytest.param(Pattern.ON, "1111111111111111", id="on"),
        pytest.param(Pattern.BLINK, "1111000011110000", id="blink"),
        pytest.param(Pattern.FLASH, "1010101010101010", id="flash"),
    ],
)
def test_rhythm_lights_by_eighths_of_a_second(pattern: Pattern, expected: str) -> None:
    rhythm = Rhythm().turned(pattern, 7)
    assert "".join(str(int(rhythm.lit(7 + n / 8 + 0.01))) for n in range(16)) == expected


@pytest.mark.parametrize("before", list(Pattern))
@pytest.mark.parametrize("after", [Pattern.BLINK, Pattern.FLASH])
def test_rhythm_changes_at_once(before: Pattern, after: Pattern) -> None:
    if before is after:
        return
    old = Rhythm().turned(before, 1)
    assert old.turned(after, 2.3).lit(2.3) is not old.lit(2.3)


def test_rhythm_goes_on_where_nothing_changed() -> None:
    rhythm = Rhythm().turned(Pattern.BLINK, 1)
    assert rhythm.turned(Pattern.BLINK, 1.7) is rhythm


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([Pattern.BLINK, Pattern.FLASH]), st.floats(0, 1000), st.floats(0, 100))
def test_rhythm_changes_after_its_rest(pattern: Pattern, since_s: float, later_s: float) -> None:
    rhythm = Rhythm().turned(pattern, since_s)
    at_s = since_s + later_s
    rest_s = rhythm.rest_s(at_s)
    assert 0 < rest_s <= 0.5
    # Less and more than the rest by what two sums of seconds may differ in their last places.
    assert rhythm.lit(at_s + rest_s * 0.99 - 1e-6) is not rhythm.lit(at_s + rest_s + 1e-6) or (
        rest_s < 1e-4
    )


@pytest.mark.parametrize("pattern", [Pattern.OFF, Pattern.ON])
def test_rhythm_that_stands_still_never_rests(pattern: Pattern) -> None:
    assert Rhythm(pattern).rest_s(5) == float("inf")


class PanelMachine(RuleBasedStateMachine):
    """Any order of presses, bounces, answers and silences."""

    @initialize()
    def begin(self) -> None:
        self.now_s = 0.0
        self.state = NEW
        self.requests = 0

    @rule(seconds=st.floats(0.001, 40), down=st.booleans())
    def button(self, seconds: float, *, down: bool) -> None:
        self.now_s += seconds
        before = self.state.request
        self.state = moved(self.state, self.now_s, down=down)
        if before is not None:
            assert self.state.request is before
        elif self.state.request is not None:
            assert down
            self.requests += 1

    @rule(paused=st.booleans(), filtering=st.booleans())
    def status(self, *, paused: bool, filtering: bool) -> None:
        status = replace(STATUS, pause=PAUSE if paused else None, filtering=filtering)
        self.state = heard(self.state, status)

    @rule()
    def silence(self) -> None:
        self.state = not_heard(self.state)

    @rule(done=st.booleans())
    def answer(self, *, done: bool) -> None:
        if self.state.request is not None:
            self.state = (
                carried_out(self.state, STATUS) if done else given_up(self.state, self.now_s)
            )

    @invariant()
    def every_lamp_shows_something_known(self) -> None:
        lights = lamps(self.state, self.now_s)
        assert [lamp.name for lamp in lights] == list(LAMPS)
        assert all(Pattern(lamp.pattern) for lamp in lights)
        by_name = {lamp.name: lamp.pattern for lamp in lights}
        assert (by_name["pause"] == "flash") is (self.state.request is not None)
        assert not (by_name["filtering"] == "on" and not self.state.reachable)


PanelMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestPanelMachine = PanelMachine.TestCase
