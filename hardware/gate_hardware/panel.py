"""What the panel shows, and what a press of its button means. Pure: times are seconds of a clock that never goes back.

Each lamp has a place, a colour and a rhythm, and each state another place or rhythm, so that nobody needs to tell
colours apart. From top to bottom:

==========  ======  ======================  ======================  =============================
lamp        colour  on                      blink (1 a second)      flash (4 a second)
==========  ======  ======================  ======================  =============================
fault       red     press not carried out   button stuck            part of the filter is down
attention   amber   see the dashboard       time not known          steward does not answer
filtering   green   filtering               starting                filtering names only
pause       blue    pause in force          pause on its way        press taken, not yet answered
==========  ======  ======================  ======================  =============================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from gate_core.desk import Lamp, Status

DEBOUNCE_S: Final = 0.05
"""An edge of the button this soon after another one is its contacts bouncing: on release as well as on press."""

REPEAT_S: Final = 0.5
"""A press this soon after the last one is a nervous finger, which must not end what it has just begun."""

STUCK_S: Final = 10.0
"""A button held this long is stuck or leant upon."""

STARTING_S: Final = 60.0
"""How long a panel waits for the first time that the filter is up before it calls that a fault."""

FAULT_SHOWN_S: Final = 60.0
"""How long a press that was not carried out is shown, unless another press comes first."""


class Pattern(Enum):
    """Rhythm of a lamp."""

    OFF = "off"
    ON = "on"
    BLINK = "blink"
    """Once a second."""
    FLASH = "flash"
    """Four times a second."""


_HALF_PERIOD_S: Final = {Pattern.BLINK: 0.5, Pattern.FLASH: 0.125}


class Command(Enum):
    """What the desk is asked to do."""

    START_PAUSE = "start"
    END_PAUSE = "end"


@dataclass(frozen=True, slots=True)
class Request:
    """A press that is being carried out."""

    command: Command
    since_s: float


@dataclass(frozen=True, slots=True)
class PanelState:
    """All that the panel knows."""

    started_s: float
    status: Status | None = None
    """As last heard; None before the first."""
    reachable: bool = True
    """Whether the last question to the steward was answered."""
    has_filtered: bool = False
    """Whether the filter has been up since the panel started."""
    request: Request | None = None
    failed_s: float | None = None
    """When a press was given up."""
    pressed_s: float = float("-inf")
    """When a press was last taken."""
    down: bool = False
    """Whether the button is down."""
    edge_s: float = float("-inf")
    """When the button last changed, bouncing included."""

    @property
    def paused(self) -> bool:
        """Whether a pause is in force or on its way, as far as is known."""
        return self.status is not None and self.status.pause is not None


def heard(state: PanelState, status: Status) -> PanelState:
    """Return ``state`` after the steward gave its ``status``."""
    has_filtered = state.has_filtered or status.filtering
    return replace(state, status=status, reachable=True, has_filtered=has_filtered)


def not_heard(state: PanelState) -> PanelState:
    """Return ``state`` after the steward did not answer."""
    return replace(state, reachable=False)


def moved(state: PanelState, at_s: float, *, down: bool) -> PanelState:
    """Return ``state`` after the button went ``down`` or up; a press that counts sets ``request``."""
    bounce = at_s - state.edge_s < DEBOUNCE_S
    state = replace(state, down=down, edge_s=at_s)
    if not down or bounce or at_s - state.pressed_s < REPEAT_S or state.request is not None:
        return state
    command = Command.END_PAUSE if state.paused else Command.START_PAUSE
    return replace(state, request=Request(command, at_s), pressed_s=at_s, failed_s=None)


def carried_out(state: PanelState, status: Status | None) -> PanelState:
    """Return ``state`` after the press was carried out; ``status`` is that after it, where there is one."""
    state = replace(state, request=None)
    return heard(state, status) if status else state


def given_up(state: PanelState, at_s: float) -> PanelState:
    """Return ``state`` after the press could not be carried out."""
    return replace(state, request=None, failed_s=at_s)


Holds = Callable[[PanelState, float], bool]


def _gave_up(state: PanelState, at_s: float) -> bool:
    return state.failed_s is not None and at_s - state.failed_s < FAULT_SHOWN_S


def _starting(state: PanelState, at_s: float) -> bool:
    return not state.has_filtered and at_s - state.started_s < STARTING_S


def _part_down(state: PanelState, at_s: float) -> bool:
    heard_now = state.reachable and state.status is not None and not _starting(state, at_s)
    return heard_now and not _filtering(state, at_s)


def _stuck(state: PanelState, at_s: float) -> bool:
    return state.down and at_s - state.edge_s >= STUCK_S


def _unreachable(state: PanelState, at_s: float) -> bool:
    return not state.reachable and not _starting(state, at_s)


def _clock_unknown(state: PanelState, at_s: float) -> bool:
    components = state.status.components if state.status else ()
    return any(c.name == "clock" and c.state != "ok" for c in components)


def _degraded(state: PanelState, at_s: float) -> bool:
    components = state.status.components if state.status else ()
    # Not the panel itself: it is what is looked at.
    return any(c.state in ("degraded", "down") and c.name != "panel" for c in components)


def _filtering(state: PanelState, at_s: float) -> bool:
    return state.reachable and state.status is not None and state.status.filtering


def _names_only(state: PanelState, at_s: float) -> bool:
    return _filtering(state, at_s) and state.status is not None and bool(state.status.uncovered)


def _requested(state: PanelState, at_s: float) -> bool:
    return state.request is not None


def _paused_on_the_wire(state: PanelState, at_s: float) -> bool:
    pause = state.status.pause if state.status else None
    return pause is not None and pause.on_the_wire


def _paused(state: PanelState, at_s: float) -> bool:
    return state.paused


@dataclass(frozen=True, slots=True)
class Rule:
    """When a lamp shows a pattern, and what that means."""

    holds: Holds
    pattern: Pattern
    meaning: str
    """One sentence for whoever looks at the panel."""


@dataclass(frozen=True, slots=True)
class LampRules:
    """One lamp; the first rule that holds is shown."""

    colour: str
    rules: tuple[Rule, ...]
    off: str
    """What it means that it is dark."""


LAMPS: Final[Mapping[str, LampRules]] = {
    # First the press: whoever stands here believes that pupils are paused, and they are not.
    "fault": LampRules(
        "red",
        (
            Rule(_gave_up, Pattern.ON, "The last press was not carried out. Press again."),
            Rule(_part_down, Pattern.FLASH, "A part of the filter is down; it is held closed."),
            Rule(_stuck, Pattern.BLINK, "The button is stuck."),
        ),
        "No fault.",
    ),
    # First what makes the other two old news.
    "attention": LampRules(
        "amber",
        (
            Rule(_unreachable, Pattern.FLASH, "The steward does not answer; filtering goes on."),
            Rule(_clock_unknown, Pattern.BLINK, "The time is not known; strict rules hold."),
            Rule(_degraded, Pattern.ON, "Something needs attention: see the dashboard."),
        ),
        "Nothing needs attention.",
    ),
    "filtering": LampRules(
        "green",
        (
            Rule(
                _names_only, Pattern.FLASH, "One network port: only look-ups of names are filtered."
            ),
            Rule(_filtering, Pattern.ON, "Pupils' internet is filtered."),
            Rule(_starting, Pattern.BLINK, "Starting; nothing passes yet."),
        ),
        "Filtering is not confirmed.",
    ),
    # First the press, so that it is seen to be taken, whatever was shown before.
    "pause": LampRules(
        "blue",
        (
            Rule(_requested, Pattern.FLASH, "The press is being carried out."),
            Rule(_paused_on_the_wire, Pattern.ON, "Internet pause: press to end it."),
            Rule(_paused, Pattern.BLINK, "The internet pause is about to take effect."),
        ),
        "No pause: press to pause pupils' internet.",
    ),
}
"""Every lamp from top to bottom: the table above, as the program reads it."""


def lamps(state: PanelState, at_s: float) -> tuple[Lamp, ...]:
    """Return what each lamp shows in ``state``, from top to bottom."""
    shown = []
    for name, lamp in LAMPS.items():
        rule = next((r for r in lamp.rules if r.holds(state, at_s)), None)
        pattern, meaning = (rule.pattern, rule.meaning) if rule else (Pattern.OFF, lamp.off)
        shown.append(Lamp(name, lamp.colour, pattern.value, meaning))
    return tuple(shown)


@dataclass(frozen=True, slots=True)
class Rhythm:
    """A pattern in time: when its lamp is lit."""

    pattern: Pattern = Pattern.OFF
    since_s: float = 0.0
    lit_first: bool = False
    """Whether a blinking lamp is lit in its first half period."""

    def lit(self, at_s: float) -> bool:
        """Tell whether the lamp is lit."""
        half_s = _HALF_PERIOD_S.get(self.pattern)
        if half_s is None:
            return self.pattern is Pattern.ON
        return (int((at_s - self.since_s) / half_s) % 2 == 0) is self.lit_first

    def turned(self, pattern: Pattern, at_s: float) -> Rhythm:
        """Return the rhythm after a change to ``pattern``: a lamp that begins to blink is seen to change at once."""
        if pattern is self.pattern:
            return self
        return Rhythm(pattern, at_s, lit_first=not self.lit(at_s))

    def rest_s(self, at_s: float) -> float:
        """Return the seconds until the lamp changes by itself; infinite where it does not."""
        half_s = _HALF_PERIOD_S.get(self.pattern)
        return float("inf") if half_s is None else half_s - (at_s - self.since_s) % half_s
