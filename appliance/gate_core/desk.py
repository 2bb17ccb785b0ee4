"""What people may ask of the appliance: the steward's desk, as the pages, the panel and the command line see it.

The values here hold what a page shows, in plain types; ``gate_core.control`` carries them over a socket.
Times are ISO 8601 with zone. Every change names its actor and is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol


class RefusedError(ValueError):
    """The desk refuses: the message tells what is allowed, and nothing has changed."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """Name of the argument at fault; "" where it is none of them."""


class UnavailableError(OSError):
    """The steward does not answer; the data plane goes on with what it has."""


USERNAME: Final = re.compile(r"[a-z][a-z0-9._-]{0,39}")
"""A user name: what can be typed on any keyboard and read out."""

MIN_PASSWORD_CHARACTERS: Final = 12
"""Shortest password; NIST SP 800-63B asks for 8, and a school's coordinator holds more than a shop's customer."""

ComponentState = Literal["ok", "starting", "degraded", "down", "off"]
Mode = Literal["inline", "resolver"]


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the appliance, and how it does."""

    name: str
    """``dns``, ``firewall``, ``lists``, ``clock``, ``panel``, ``recorder``."""
    state: ComponentState
    detail: str
    """One sentence for the e-safety coordinator."""


@dataclass(frozen=True, slots=True)
class PauseView:
    """The internet pause in force."""

    groups: tuple[str, ...]
    since: str
    until: str
    by: str
    on_the_wire: bool
    """Whether every part of the data plane has confirmed it."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """One LED as the panel last set it."""

    name: str
    colour: str
    pattern: str
    """``off``, ``on``, ``blink`` (1 per second) or ``flash`` (4 per second)."""
    meaning: str


@dataclass(frozen=True, slots=True)
class PanelReport:
    """What the panel process says of itself."""

    virtual: bool
    """Whether the pins are simulated, so that the button may be pressed on a page."""
    lamps: tuple[Lamp, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the appliance at one moment."""

    revision: int
    """Higher after each change of anything below but the counts."""
    at: str
    school: str
    mode: Mode
    version: int
    """Version of the policy."""
    filtering: bool
    """Whether every part that stands between pupils and the internet is up and acts on this version."""
    components: tuple[Component, ...]
    pause: PauseView | None
    allowed_today: int
    blocked_today: int
    devices_today: int
    listed_names: int
    panel: PanelReport | None
    uncovered: tuple[str, ...]
    """What this mode does not cover, a sentence each."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    username: str
    full_name: str
    role: str
    password_hash: str = field(repr=False)
    """argon2id, as its library writes it."""
    session_epoch: int
    """Sessions begun under a lower number have ended."""


@dataclass(frozen=True, slots=True)
class RowView:
    """A row of the acceptable-use table."""

    id: str
    number: int
    title: str
    locked: bool
    categories: tuple[str, ...]
    """Titles of the categories that it decides."""


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group, with its column of the table."""

    id: str
    title: str
    cells: Mapping[str, str]
    default: str
    pausable: bool
    quic: bool
    devices: int


@dataclass(frozen=True, slots=True)
class DeviceView:
    """A device the school knows or the appliance has seen."""

    mac: str
    name: str
    group: str
    known: bool
    """Whether somebody has put it into its group."""
    randomised: bool
    addresses: tuple[str, ...]
    first_seen: str
    last_seen: str


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """Which decisions to show; empty fields do not narrow."""

    text: str = ""
    """Part of a name or device name."""
    group: str = ""
    device: str = ""
    """MAC address."""
    action: str = ""
    """``allow`` or ``block``."""
    source: str = ""
    """``dns`` or ``firewall``."""
    before: int = 0
    """Only records with a lower id; 0 for the newest."""
    limit: int = 50
    """1 to 500."""


@dataclass(frozen=True, slots=True)
class ActivityRecord:
    """One decision of the data plane, or several equal ones within a moment."""

    id: int
    at: str
    source: str
    device: str
    mac: str
    address: str
    group: str
    name: str
    kind: str
    action: str
    reason: str
    rule_id: str
    categories: tuple[str, ...]
    """Titles."""
    sentence: str
    """Why, in plain words."""
    count: int
    version: int


@dataclass(frozen=True, slots=True)
class TraceStep:
    """What one place of the order says."""

    place: str
    action: str
    """``allow``, ``block`` or "" where it has nothing to say."""
    rule_id: str
    sentence: str
    decides: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a client gets for a name, and why."""

    device: str
    group: str
    group_title: str
    name: str
    action: str
    reason: str
    rule_id: str
    sentence: str
    categories: tuple[str, ...]
    steps: tuple[TraceStep, ...]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change somebody made."""

    id: int
    at: str
    actor: str
    action: str
    subject: str
    before: str
    after: str
    reason: str
    version: int


class Desk(Protocol):
    """The steward. Each method may raise ``RefusedError`` or ``UnavailableError``."""

    def is_set_up(self) -> bool:
        """Tell whether the first-run wizard has been completed."""

    def set_up(
        self, *, code: str, school: str, username: str, full_name: str, password_hash: str
    ) -> None:
        """Complete the first run with the first-run ``code``: the school and its first coordinator."""

    def account(self, *, username: str) -> Account | None:
        """Return the account of that name."""

    def record_sign_in(self, *, username: str, address: str, succeeded: bool) -> None:
        """Write into the audit log who signed in or failed to."""

    def end_sessions(self, *, username: str, actor: str) -> None:
        """End every session of an account."""

    def status(self, *, since: int = 0, wait_s: float = 0.0) -> Status:
        """Return the status; wait at most ``wait_s`` (up to 10) while its revision is ``since``."""

    def rows(self) -> tuple[RowView, ...]:
        """Return the rows of the acceptable-use table, in order."""

    def groups(self) -> tuple[GroupView, ...]:
        """Return the groups, in the order of the pages."""

    def set_cell(self, *, group: str, row: str, cell: str, reason: str, actor: str) -> None:
        """Change one cell of the table."""

    def start_pause(self, *, groups: tuple[str, ...], minutes: int, actor: str) -> None:
        """Pause ``groups`` (none named: all that the button reaches) for 1 to 480 minutes from now."""

    def end_pause(self, *, actor: str) -> None:
        """End the internet pause."""

    def devices(self) -> tuple[DeviceView, ...]:
        """Return all devices, newest first."""

    def set_device(self, *, mac: str, name: str, group: str, actor: str) -> None:
        """Name a device and put it into a group."""

    def forget_device(self, *, mac: str, actor: str) -> None:
        """Take a device out of its group; it is unknown again."""

    def activity(self, *, filter: ActivityFilter) -> tuple[ActivityRecord, ...]:  # noqa: A002  # the word of the page
        """Return what the data plane decided, newest first."""

    def explain(self, *, client: str, name: str) -> Explanation:
        """Tell what ``client`` (address, MAC address, device name or group id) gets for ``name``."""

    def add_list(self, *, name: str, category: str, path: str, actor: str) -> int:
        """Add the list in the file at ``path`` to a category, or replace it; return how many names are listed."""

    def audit(self, *, before: int = 0, limit: int = 50) -> tuple[AuditEntry, ...]:
        """Return changes, newest first."""

    def report_panel(self, *, report: PanelReport) -> None:
        """Take what the panel shows."""


class PanelButtons(Protocol):
    """The panel's buttons, for pins that are simulated."""

    def press(self, *, button: str, seconds: float = 0.1) -> None:
        """Press and release ``button`` (``pause``) on the simulated pins."""
