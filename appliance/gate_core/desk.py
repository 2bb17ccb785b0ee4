"""What people may ask of the appliance: the steward's desk, as the pages, the panel and the command line see it.

The values here hold what a page shows, in plain types; ``gate_core.control`` carries them over a socket.
Times are ISO 8601 with zone. Every change names its actor and is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from gate_core.edits import Edit
from gate_core.record import Entry, Verdict
from gate_core.sources import ListSource, OwnList, SourcesView
from gate_core.written import WrittenPolicy

_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ")


def without_errno(text: str) -> str:
    """Return ``text`` without the numbers that the system puts before its own words, as in ``[Errno 113] No route``."""
    return _ERRNO.sub("", text)


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

LANGUAGES: Final = {"en": "English", "cy": "Cymraeg"}
"""The languages of the pages, each with its own name for itself."""

MIN_PASSWORD_CHARACTERS: Final = 12
"""Shortest password; NIST SP 800-63B asks for 8, and a school's coordinator holds more than a shop's customer."""

ComponentState = Literal["ok", "starting", "degraded", "down", "off"]
Mode = Literal["inline", "resolver"]


@dataclass(frozen=True, slots=True)
class Component:
    """One part of the appliance, and how it does."""

    name: str
    """``dns``, ``firewall``, ``lists``, ``clock``, ``panel``, ``recorder``, ``illegal-content``, ``identity``..."""
    state: ComponentState
    detail: str
    """One sentence for the e-safety coordinator."""


@dataclass(frozen=True, slots=True)
class PauseView:
    """An internet pause."""

    id: str
    groups: tuple[str, ...]
    rooms: tuple[str, ...]
    since: str
    until: str
    by: str
    why: str
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
class QueueView:
    """A queue of the kernel in which packets wait for a process of the firewall."""

    number: int
    groups: Literal["closed", "open"]
    """Whose packets: what its groups have chosen for when nobody judges them."""
    waiting: int
    """Packets at this moment."""
    dropped: int
    """Packets since the process began that the queue or the process's socket had no room for; modulo 2^32 each."""


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
    """The one that ends last, where there are several."""
    waiting: int
    """Changes that wait for an approval."""
    allowed_today: int
    blocked_today: int
    devices_today: int
    listed_names: int
    panel: PanelReport | None
    uncovered: tuple[str, ...]
    """What this mode does not cover, a sentence each."""
    queues: tuple[QueueView, ...] = ()
    """Those in which packets wait for the firewall."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    username: str
    full_name: str
    role: str
    """``gate_core.roles.Role``."""
    password_hash: str = field(repr=False)
    """argon2id, as its library writes it; "" while the invitation has not been taken up."""
    session_epoch: int
    """Sessions begun under a lower number have ended."""
    rooms: tuple[str, ...] = ()
    """The rooms and groups that are a teacher's own."""
    until: str = ""
    """When it ends, ISO 8601; "" for never."""
    language: str = ""
    """In which of ``LANGUAGES`` the pages are theirs; "" where they have chosen none."""
    second_factor: bool = False
    """Whether a code is asked for besides the password."""


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account, for people."""

    username: str
    full_name: str
    role: str
    rooms: tuple[str, ...]
    until: str
    state: Literal["waiting", "invited", "active", "ended"]
    second_factor: bool = False
    """``waiting`` for the approval of somebody else, ``invited`` until the person has set a password."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What somebody new needs to sign in for the first time."""

    username: str
    code: str
    """Shown once, good for seven days."""
    waits_for: str
    """Whose approval it needs first, as a sentence; "" where none."""


@dataclass(frozen=True, slots=True)
class RowView:
    """A row of the acceptable-use table."""

    id: str
    number: int
    title: str
    locked: bool
    categories: tuple[str, ...]
    """Titles of the categories that it decides."""
    services: tuple[str, ...]
    """Titles of the services that it decides."""
    protocols: tuple[str, ...]
    """Titles of the protocols that it decides, whatever name they go by."""
    by_supervision: bool
    """Whether technology can't tell, so that people have to."""
    note: str


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
    safe_search: bool
    youtube: str
    named_only: bool


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


MAX_RECORDS: Final = 500
"""Decisions that are shown at once, at most."""


@dataclass(frozen=True, slots=True)
class ActivityFilter:
    """Which decisions to show; empty fields do not narrow."""

    text: str = ""
    """Part of a name, of a device name, or of where a connection went."""
    group: str = ""
    device: str = ""
    """MAC address."""
    person: str = ""
    action: str = ""
    """``allow`` or ``block``."""
    source: str = ""
    """``dns`` or ``firewall``."""
    category: str = ""
    """Id of a category."""
    since: str = ""
    """From when on, in ISO 8601: a time of the school's such as ``2026-11-22T09:00``, or a day from its beginning."""
    until: str = ""
    """Until when: the first moment that is not looked at, in the same form."""
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
    person: str = ""
    """Who used the device; "" where nobody is known."""
    took_us: int = 0
    """Microseconds from a query to its response; the longest where there are several, 0 where it was kept."""
    upstream: str = ""
    """Who answered a query; "" where the appliance did itself."""
    remote: str = ""
    """Where a connection went, such as ``203.0.113.5 443/tcp``; "" of a query."""
    down: int | None = None
    """Octets that a connection carried to the device, with IP headers; None until it has ended, and of a query."""
    up: int | None = None
    """The same from the device."""


@dataclass(frozen=True, slots=True)
class ActivityView:
    """What was found of the decisions."""

    records: tuple[ActivityRecord, ...]
    """Newest first."""
    older: int = 0
    """What ``before`` is to be for those before; 0 where there are none."""
    back_to: str = ""
    """The last day that was looked at, such as ``2026-11-22``, where looking at all would have taken too long; else ""."""


UsageSpan = Literal["day", "week"]
"""Today, or the week since Monday."""


@dataclass(frozen=True, slots=True)
class SiteUse:
    """What one site carried for somebody."""

    name: str
    """The name that somebody has registered, without labels before it; "" where none was seen, ``*`` for all that there
    was no room to tell apart."""
    octets: int
    """Both ways."""


@dataclass(frozen=True, slots=True)
class ConsumerView:
    """A device, in the hands of one person where that is known, and what it used."""

    device: str
    """Name, or address; "" where there were too many to be told apart."""
    mac: str
    address: str
    """"" where the MAC address is known."""
    group: str
    person: str
    """"" where nobody is known."""
    down: int
    """Octets towards the device, of connections that have ended."""
    up: int
    flows: int
    sites: tuple[SiteUse, ...]
    """Those that carried the most, the first first."""


@dataclass(frozen=True, slots=True)
class HourView:
    """What was decided for a group in an hour of today."""

    hour: int
    """Of the school's day, 0 to 23."""
    group: str
    allowed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class BlockedView:
    """A site that was blocked today."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class UsageView:
    """Who used the internet most."""

    since: str
    """The first day, ISO 8601; "" while the time is not known."""
    down: int
    """Octets of the whole school."""
    up: int
    consumers: tuple[ConsumerView, ...]
    """At most 20, the first first."""


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
    safe_sentence: str = ""
    """Which safe version answers in place of a name that is allowed; "" where the site itself does."""
    safe_rule_id: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would mean."""

    sentences: tuple[str, ...]
    """Its effects, in words."""
    approvals: int
    """How many others have to approve it."""
    faults: tuple[str, ...]
    """Why it can't be, a line each: place, value, what is allowed; then there are no sentences."""


@dataclass(frozen=True, slots=True)
class AnswerView:
    """What somebody said of a proposal."""

    username: str
    role: str
    at: str
    approved: bool
    note: str


ProposalState = Literal["waiting", "in force", "refused", "withdrawn", "lapsed", "overtaken"]


@dataclass(frozen=True, slots=True)
class ProposalView:
    """A change that somebody wants."""

    id: int
    at: str
    username: str
    role: str
    reason: str
    sentences: tuple[str, ...]
    edits: tuple[Edit, ...]
    """Empty where it grants an account."""
    approvals: int
    """How many others have to approve it."""
    answers: tuple[AnswerView, ...]
    state: ProposalState
    """``lapsed``: nobody decided in time. ``overtaken``: its place has been changed since."""
    lapses: str
    """When a waiting one lapses."""
    waits_for: str
    """Whose approval is missing, as a sentence; "" where it does not wait."""


@dataclass(frozen=True, slots=True)
class ImportView:
    """What was understood of a policy as text, before anything changes."""

    edits: tuple[Edit, ...]
    preview: Preview
    signature: str
    """Who signed it and whether that holds, as a sentence."""


@dataclass(frozen=True, slots=True)
class TableRowView:
    """A row of a pasted table, as it was understood."""

    line: int
    text: str
    cell: str
    """A column, or "" where none was recognised."""
    row: str
    """Id of the row that it is; "" where the school's table has none like it."""
    title: str
    sure: bool
    note: str


@dataclass(frozen=True, slots=True)
class TableView:
    """What was understood of a pasted table, before anything changes."""

    rows: tuple[TableRowView, ...]
    notes: tuple[str, ...]
    edits: tuple[Edit, ...]
    """What it would change for the groups in question."""
    preview: Preview


@dataclass(frozen=True, slots=True)
class WhatIfChange:
    """What would have been decided otherwise, for one group and name."""

    group: str
    group_title: str
    name: str
    before: str
    after: str
    """``allow`` or ``block``."""
    count: int
    devices: int
    sentence: str
    """Why the draft decides so."""


@dataclass(frozen=True, slots=True)
class WhatIfView:
    """The replay of recorded decisions against a draft."""

    state: Literal["running", "done", "failed"]
    done: int
    total: int
    """Recorded decisions."""
    changes: tuple[WhatIfChange, ...]
    """The most frequent first, at most 500."""
    changed: int
    """Recorded decisions that would come out otherwise."""
    seconds: float
    fault: str


@dataclass(frozen=True, slots=True)
class LessonView:
    """A lesson with a list of its own."""

    id: str
    group: str
    room: str
    mode: Literal["only", "also"]
    names: tuple[str, ...]
    services: tuple[str, ...]
    since: str
    until: str
    by: str


@dataclass(frozen=True, slots=True)
class IsolationView:
    """A device that is cut off."""

    mac: str
    name: str
    since: str
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class SuspensionView:
    """A person or device without internet for a time."""

    id: str
    kind: Literal["person", "device"]
    subject: str
    name: str
    since: str
    until: str
    review: str
    review_due: bool
    why: str
    by: str
    essentials_stay: bool


@dataclass(frozen=True, slots=True)
class LoanView:
    """A device in somebody's hands."""

    id: str
    mac: str
    device: str
    person: str
    person_name: str
    lesson: str
    since: str
    until: str
    by: str
    returned: bool


@dataclass(frozen=True, slots=True)
class ActsView:
    """What is in force for a while."""

    pauses: tuple[PauseView, ...]
    lessons: tuple[LessonView, ...]
    isolations: tuple[IsolationView, ...]
    suspensions: tuple[SuspensionView, ...]
    loans: tuple[LoanView, ...]


class Desk(Protocol):
    """The steward. Each method may raise ``RefusedError`` or ``UnavailableError``.

    ``actor`` is a user name, ``command line (...)`` or ``button``; what its role may do is checked here, for every way in
    (``gate_core.roles``).
    """

    # The first run, and accounts

    def is_set_up(self) -> bool:
        """Tell whether the first-run wizard has been completed."""

    def set_up(
        self, *, code: str, school: str, username: str, full_name: str, password_hash: str
    ) -> None:
        """Complete the first run with the first-run ``code``: the school and its first coordinator."""

    def account(self, *, username: str) -> Account | None:
        """Return the account of that name, for signing in; None where it has ended or waits for an approval."""

    def accounts(self, *, actor: str) -> tuple[AccountView, ...]:
        """Return all accounts."""

    def invite(
        self,
        *,
        username: str,
        full_name: str,
        role: str,
        rooms: tuple[str, ...] = (),
        until: str = "",
        reason: str,
        actor: str,
    ) -> Invitation:
        """Open an account. One that may approve changes or accounts needs the approval of another such person, once there is one."""

    def renew_invitation(self, *, username: str, reason: str, actor: str) -> Invitation:
        """Give somebody who has lost their password a new code, and end their sessions.

        Only whoever stands before the box can: a colleague who could would sign in as the other.
        """

    def accept_invitation(self, *, username: str, code: str, password_hash: str) -> None:
        """Set the first password of an account."""

    def change_account(
        self, *, username: str, rooms: tuple[str, ...], until: str, reason: str, actor: str
    ) -> None:
        """Change a teacher's own rooms and groups, or when an account ends."""

    def remove_account(self, *, username: str, reason: str, actor: str) -> str:
        """End an account and its sessions; never the last one that may grant accounts.

        One that may approve needs the approval of somebody else, its holder's own for instance: returns whose it waits
        for, as a sentence; "" where it has ended.
        """

    def record_sign_in(self, *, username: str, address: str, succeeded: bool) -> None:
        """Write into the record who signed in or failed to."""

    def choose_language(self, *, language: str, actor: str) -> None:
        """Have the pages speak to ``actor`` in that language from here on."""

    def offer_second_factor(self, *, actor: str) -> str:
        """Return a secret for an app that shows codes (TOTP, RFC 6238); nothing has changed yet."""

    def begin_second_factor(self, *, secret: str, code: str, actor: str) -> None:
        """Have ``actor`` sign in with a code besides the password from here on; ``code`` shows that their app has the secret."""

    def end_second_factor(self, *, username: str, actor: str) -> None:
        """Have somebody sign in by the password alone: oneself, or with the right to grant, such as when a phone is lost."""

    def check_second_factor(self, *, username: str, code: str) -> bool:
        """Tell whether ``code`` is what the account's app shows, and has not been used."""

    def make_recovery_codes(self, *, actor: str) -> tuple[str, ...]:
        """Return new codes to be kept on paper, each good for one ``recover``; those from before are void."""

    def recovery_codes(self, *, actor: str) -> int:
        """Return how many recovery codes of one's own are left."""

    def recover(self, *, username: str, code: str, password_hash: str) -> None:
        """Set another password by a recovery code, which is told to all; sessions and a second factor end."""

    def change_password(self, *, password_hash: str, actor: str) -> None:
        """Set another password of one's own; all sessions end."""

    def end_sessions(self, *, username: str, actor: str) -> None:
        """End every session of an account: one's own, or with the right to grant."""

    # What it sees

    def status(self, *, since: int = 0, wait_s: float = 0.0) -> Status:
        """Return the status; wait at most ``wait_s`` (up to 10) while its revision is ``since``."""

    def written(self) -> WrittenPolicy:
        """Return the written policy in force."""

    def rows(self) -> tuple[RowView, ...]:
        """Return the rows of the acceptable-use table, in order."""

    def groups(self) -> tuple[GroupView, ...]:
        """Return the groups, in the order of the pages."""

    def devices(self) -> tuple[DeviceView, ...]:
        """Return all devices, newest first."""

    def activity(
        self,
        *,
        filter: ActivityFilter,  # noqa: A002  # the word of the page
        actor: str,
        reason: str = "",
        copy: bool = False,
    ) -> ActivityView:
        """Return what the data plane decided, newest first; who looks, and why, is recorded once an hour and reason.

        Where a ``copy`` to be taken away begins with it, that is recorded each time.

        A ``reason`` is demanded of everybody but the command line; roles without the right to names get none.
        """

    def hours(self) -> tuple[HourView, ...]:
        """Return what was decided today, by hour and group."""

    def blocked_most(self, *, actor: str) -> tuple[BlockedView, ...]:
        """Return which sites were blocked most today, the first first; for whoever may search the log."""

    def usage(self, *, span: UsageSpan, actor: str, reason: str = "") -> UsageView:
        """Return who used the internet most; whoever may search the log sees it, and it is recorded as for ``activity``."""

    def explain(self, *, client: str, name: str, at: str = "", protocol: str = "") -> Explanation:
        """Tell what ``client`` (address, MAC address, device name, person or group id) gets for ``name`` at a time.

        With a ``protocol`` (``gate_core.protocols``) it is about a flow whose packets show it; its name may then be "".
        ``at`` is ISO 8601, in the school's zone where it has none; "" is now.
        """

    # Changes of the written policy

    def preview(self, *, edits: tuple[Edit, ...]) -> Preview:
        """Tell what ``edits`` would mean; nothing changes."""

    def propose(self, *, edits: tuple[Edit, ...], reason: str, actor: str) -> ProposalView:
        """Propose ``edits``; where nobody else has to approve, they are in force when this returns."""

    def proposals(
        self, *, actor: str, waiting: bool = False, before: int = 0, limit: int = 50
    ) -> tuple[ProposalView, ...]:
        """Return proposals, newest first; a teacher's are their own."""

    def answer(self, *, id: int, approve: bool, note: str = "", actor: str) -> ProposalView:  # noqa: A002  # as everywhere
        """Approve or refuse a proposal; never one's own. A refusal says why."""

    def withdraw(self, *, id: int, actor: str) -> ProposalView:  # noqa: A002
        """Take back one's own proposal."""

    def audit_exception(self, *, id: str, note: str, actor: str) -> None:  # noqa: A002
        """Tick an exception that has ended as audited (IT): it leaves the written policy, the record keeps it."""

    def bank_holidays(self) -> tuple[Edit, ...]:
        """Return the edits that add the bank holidays of the school's terms, to be proposed."""

    def export_policy(self, *, actor: str) -> str:
        """Return the written policy as commented, signed TOML."""

    def read_policy(self, *, text: str) -> ImportView:
        """Tell what the policy in a TOML ``text`` would change; ``propose`` its edits to import it."""

    def read_table(
        self, *, text: str, groups: tuple[str, ...], take: tuple[int, ...] = ()
    ) -> TableView:
        """Tell what an acceptable-use table pasted from a document says, and would change for ``groups``.

        What was not surely understood counts only where its line is among those to ``take``.
        """

    def start_what_if(self, *, edits: tuple[Edit, ...], days: int, actor: str) -> str:
        """Begin to replay the decisions of the last 1 to 31 ``days`` against the policy with ``edits``; return its id."""

    def what_if(self, *, id: str) -> WhatIfView:  # noqa: A002
        """Return how far a replay is, and what it found."""

    # What is in force for a while

    def acts(self) -> ActsView:
        """Return what is in force for a while."""

    def start_pause(
        self,
        *,
        groups: tuple[str, ...] = (),
        rooms: tuple[str, ...] = (),
        minutes: int,
        why: str = "",
        actor: str,
    ) -> None:
        """Pause groups and rooms (none named: all that the button reaches) for 1 to 480 minutes from now."""

    def end_pause(self, *, id: str = "", actor: str) -> None:  # noqa: A002
        """End one internet pause; "" ends all."""

    def start_lesson(
        self,
        *,
        group: str = "",
        room: str = "",
        mode: Literal["only", "also"],
        names: tuple[str, ...] = (),
        services: tuple[str, ...] = (),
        minutes: int,
        actor: str,
    ) -> None:
        """Begin a lesson for one group or one room: only these sites, or also these, for 1 to 240 minutes.

        For ``also``, and for a list that opens, a teacher needs a group whose ``teacher_minutes`` allow it. What the
        school calls unacceptable stays closed.
        """

    def end_lesson(self, *, id: str, actor: str) -> None:  # noqa: A002
        """End a lesson."""

    def isolate(self, *, mac: str, why: str, actor: str) -> None:
        """Cut a device off at once, below IP, until somebody ends it; nothing is sent to it."""

    def end_isolation(self, *, mac: str, why: str, actor: str) -> None:
        """Let an isolated device back."""

    def suspend(
        self,
        *,
        kind: Literal["person", "device"],
        subject: str,
        until: str,
        review: str = "",
        why: str,
        essentials_stay: bool = False,
        actor: str,
    ) -> None:
        """Suspend somebody's or a device's internet until a time, at most a year away."""

    def end_suspension(self, *, id: str, why: str, actor: str) -> None:  # noqa: A002
        """End a suspension early."""

    def lend(self, *, mac: str, person: str, lesson: str = "", minutes: int, actor: str) -> None:
        """Write down who has a device for 1 to 1440 minutes; a loan of it before ends."""

    def take_back(self, *, id: str, actor: str) -> None:  # noqa: A002
        """Note that a lent device is back."""

    # The record

    def record(self, *, before: int = 0, limit: int = 50, actor: str) -> tuple[Entry, ...]:
        """Return entries, newest first; a teacher's are their own."""

    def verify_record(self, *, actor: str) -> Verdict:
        """Check the whole record, and that the policy in force is the one that its last entry speaks of."""

    def sign_record(self, *, number: int, actor: str) -> Entry:
        """Note that a governor has read the record up to entry ``number``; return the entry that says so."""

    def evidence(self, *, actor: str) -> str:
        """Return the whole record as JSON, an entry a line, to be checked offline by ``gate evidence verify``."""

    # Lists and panel

    def add_list(self, *, name: str, category: str, path: str, actor: str) -> int:
        """Add the list in the file at ``path`` to a category, or replace it; return how many names it holds."""

    def own_lists(self) -> tuple[OwnList, ...]:
        """Return the lists that no source keeps up to date, by category and name."""

    def remove_list(self, *, name: str, category: str, reason: str, actor: str) -> None:
        """Take out a list that no source keeps up to date; never one of illegal content."""

    def sources(self) -> SourcesView:
        """Return the sources of lists, what came of them, and how far an update is."""

    def add_source(self, *, source: ListSource, secret: str = "", actor: str) -> None:
        """Add a source of lists; it is looked at at once."""

    def remove_source(self, *, id: str, reason: str, actor: str) -> None:  # noqa: A002
        """Remove a source, and its list with it; the names of one of illegal content stay listed."""

    def update_lists(self, *, ids: tuple[str, ...] = (), actor: str) -> None:
        """Look at sources now, none named: at all of them; ``sources`` tells how far it is."""

    def accept_list(self, *, id: str, reason: str, actor: str) -> None:  # noqa: A002
        """Let a list in that was refused for the names it lacks, or a zone whose serial went back; once."""

    def report_panel(self, *, report: PanelReport) -> None:
        """Take what the panel shows."""


class PanelButtons(Protocol):
    """The panel's buttons, for pins that are simulated."""

    def press(self, *, button: str, seconds: float = 0.1) -> None:
        """Press and release ``button`` (``pause``) on the simulated pins."""
