"""The policy as a value, and the one function that decides.

DNS, packets, the pages, ``gate policy explain`` and the reports all call ``decide``: the same verdict and the
same rule id everywhere. Policy is written nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Final

from gate_core.acceptable_use import STRICTNESS, Cell, Row
from gate_core.categories import ILLEGAL_MASK, CategoryIndex, effective, in_mask
from gate_core.clients import Address, Client, DefaultAction, Device, Group, Network, identify
from gate_core.names import NameSet, canonical
from gate_core.timetable import Span, Timetable, earliest


class Action(Enum):
    """What happens to a query or flow."""

    ALLOW = "allow"
    BLOCK = "block"


class Reason(Enum):
    """Which place of the order decided."""

    ILLEGAL = "illegal"
    ISOLATED = "isolated"
    SUSPENDED = "suspended"
    PAUSED = "paused"
    ESSENTIAL = "essential"
    CANARY = "canary"
    PROTECTED = "protected"
    EXCEPTION = "exception"
    LESSON = "lesson"
    MATRIX = "matrix"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome for one name and one client, and why."""

    action: Action
    reason: Reason
    rule_id: str
    """Id of the deciding rule: ``matrix:games:ks2``, ``pause:17``, ``default:staff``..."""
    categories: int
    """Mask of the categories the lists give the name."""
    until: datetime | None
    """First time at which the same question may be answered otherwise; None where no time is set."""

    @property
    def blocked(self) -> bool:
        """Whether the query or flow is stopped."""
        return self.action is Action.BLOCK


@dataclass(frozen=True, slots=True)
class Pause:
    """An internet pause (lockdown): the clients of these groups get the essential list only."""

    id: str
    groups: frozenset[str]
    span: Span
    by: str
    """Who started it: an account, or ``button``."""


class Scope(Enum):
    """Whom an exception is for, narrowest first."""

    PERSON = "person"
    DEVICE = "device"
    GROUP = "group"
    SCHOOL = "school"


@dataclass(frozen=True, slots=True)
class DatedException:
    """A name allowed or blocked for a while, with a reason."""

    id: str
    scope: Scope
    subject: str
    """Person, MAC address or group id; "" for the school."""
    names: NameSet
    action: Action
    span: Span
    why: str

    def concerns(self, client: Client) -> bool:
        """Tell whether ``client`` is in its scope."""
        match self.scope:
            case Scope.PERSON:
                return client.person == self.subject
            case Scope.DEVICE:
                return client.mac == self.subject
            case Scope.GROUP:
                return client.group == self.subject
            case Scope.SCHOOL:
                return True


class LessonMode(Enum):
    """What the list of a lesson means."""

    ONLY = "only"
    """These names and nothing else."""
    ALSO = "also"
    """These names besides what the matrix allows."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """A list of names for one group, while a lesson lasts."""

    id: str
    group: str
    mode: LessonMode
    names: NameSet
    span: Span


@dataclass(frozen=True)
class Policy:
    """Everything a decision needs. Never edited: a change is a new policy with a higher version."""

    version: int
    groups: Mapping[str, Group]
    rows: tuple[Row, ...]
    unknown_group: str
    index: CategoryIndex = field(compare=False)
    """Name to categories; illegal names are whatever it puts into the illegal tier."""
    devices: Mapping[str, Device] = field(default_factory=dict)
    networks: Mapping[Network, str] = field(default_factory=dict)
    timetable: Timetable = Timetable()
    nominees: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Row id to the MAC addresses and persons nominated for it."""
    pauses: tuple[Pause, ...] = ()
    essential: NameSet = NameSet()
    canaries: NameSet = NameSet()
    protected: NameSet = NameSet()
    exceptions: tuple[DatedException, ...] = ()
    lessons: tuple[Lesson, ...] = ()

    def __post_init__(self) -> None:
        if self.unknown_group not in self.groups:
            raise ValueError(f"the group of unknown devices, {self.unknown_group!r}, is no group")

    def client(self, address: Address, mac: str | None) -> Client:
        """Return the client at ``address`` with the link-layer address ``mac``."""
        return identify(
            address,
            mac,
            devices=self.devices,
            networks=self.networks,
            unknown_group=self.unknown_group,
        )

    def view(self, client: Client) -> str:
        """Return a key that two clients share only if every name is decided alike for both.

        A cache of answers is kept for each view: the group, and the device where a rule names it.
        """
        singled_out = (
            client.isolated
            or client.suspended is not None
            or client.mac in self._singled_out
            or client.person in self._singled_out
        )
        return f"{client.group}/{client.mac}/{client.person}" if singled_out else client.group

    @cached_property
    def _singled_out(self) -> frozenset[str | None]:
        nominated = frozenset().union(*self.nominees.values())
        excepted = {e.subject for e in self.exceptions if e.scope in (Scope.PERSON, Scope.DEVICE)}
        return frozenset(nominated | excepted)

    def next_edge(self, at: datetime | None) -> datetime | None:
        """Return the first time after ``at`` when any decision may change by itself."""
        if at is None:
            return None
        spans = [p.span for p in self.pauses]
        spans += [e.span for e in self.exceptions]
        spans += [lesson.span for lesson in self.lessons]
        spans += [d.suspended for d in self.devices.values() if d.suspended]
        edges = [self.timetable.next_edge(at)]
        return earliest((*edges, *(s.since for s in spans), *(s.until for s in spans)), after=at)


@dataclass(frozen=True, slots=True)
class Question:
    """What one place of the order looks at."""

    policy: Policy
    client: Client
    name: str
    categories: int
    at: datetime | None

    @property
    def group(self) -> Group:
        """The client's group; a group that the policy has lost counts as the strictest."""
        return self.policy.groups.get(
            self.client.group, self.policy.groups[self.policy.unknown_group]
        )

    def active(self, span: Span, *, strict: bool) -> bool:
        """Tell whether ``span`` covers the time; where that is not known, the ``strict`` side."""
        return strict if self.at is None else span.covers(self.at)


Answer = tuple[Action, Reason, str]


# 1. First, so that nothing below can lift it: neither a pause's essential list, nor a protected name, nor an exception.
def _illegal(q: Question) -> Answer | None:
    illegal = q.categories & ILLEGAL_MASK
    if not illegal:
        return None
    return Action.BLOCK, Reason.ILLEGAL, f"illegal:{next(in_mask(illegal)).id}"


# 2. Before the pause: its essential list must not reach a device that is cut off.
def _device(q: Question) -> Answer | None:
    if q.client.isolated:
        return Action.BLOCK, Reason.ISOLATED, f"isolated:{q.client.mac}"
    if q.client.suspended and q.active(q.client.suspended, strict=True):
        return Action.BLOCK, Reason.SUSPENDED, f"suspended:{q.client.mac}"
    return None


# 3. Before protected names and exceptions: a pause means that the room's screens go quiet, whatever was allowed before.
def _pause(q: Question) -> Answer | None:
    for pause in q.policy.pauses:
        if q.group.id in pause.groups and q.active(pause.span, strict=True):
            if rule := q.policy.essential.match(q.name):
                return Action.ALLOW, Reason.ESSENTIAL, f"essential:{rule}"
            return Action.BLOCK, Reason.PAUSED, f"pause:{pause.id}"
    return None


# 4. Before exceptions: an allowed canary would open a way round the filter, a blocked helpline would harm a child.
def _canaries_and_protected(q: Question) -> Answer | None:
    if rule := q.policy.canaries.match(q.name):
        return Action.BLOCK, Reason.CANARY, f"canary:{rule}"
    if rule := q.policy.protected.match(q.name):
        return Action.ALLOW, Reason.PROTECTED, f"protected:{rule}"
    return None


# 5. Before the lesson and the matrix, which it is there to change; narrowest scope first, and of two alike the block.
def _exception(q: Question) -> Answer | None:
    found = [
        e
        for e in q.policy.exceptions
        if e.concerns(q.client)
        # Clock unknown: blocks hold and allows do not.
        and q.active(e.span, strict=e.action is Action.BLOCK)
        and e.names.match(q.name)
    ]
    if not found:
        return None
    first = min(found, key=lambda e: (_SCOPE_ORDER[e.scope], e.action is Action.ALLOW, e.id))
    return first.action, Reason.EXCEPTION, f"exception:{first.id}"


_SCOPE_ORDER: Final = {scope: place for place, scope in enumerate(Scope)}


# 6. Before the matrix: a lesson's list opens or closes what the matrix says for the group.
def _lesson(q: Question) -> Answer | None:
    for lesson in q.policy.lessons:
        if lesson.group != q.group.id:
            continue
        only = lesson.mode is LessonMode.ONLY
        if not q.active(lesson.span, strict=only):
            continue
        if lesson.names.match(q.name) and q.at is not None:
            return Action.ALLOW, Reason.LESSON, f"lesson:{lesson.id}"
        if only:
            return Action.BLOCK, Reason.LESSON, f"lesson:{lesson.id}"
    return None


# 7. The strictest cell wins: a name that is both video and pornography is pornography.
def _matrix(q: Question) -> Answer | None:
    cells = [
        (q.group.cells.get(row.id, Cell.UNACCEPTABLE), row)
        for row in q.policy.rows
        if row.categories & q.categories
    ]
    if not cells:
        return None
    outcomes = [(_allows(q, cell, row), STRICTNESS[cell], row) for cell, row in cells]
    allowed, _, row = min(outcomes, key=lambda o: (o[0], -o[1], o[2].number))
    action = Action.ALLOW if allowed else Action.BLOCK
    return action, Reason.MATRIX, f"matrix:{row.id}:{q.group.id}"


def _allows(q: Question, cell: Cell, row: Row) -> bool:
    match cell:
        case Cell.ACCEPTABLE:
            return True
        case Cell.TIMES:
            return q.policy.timetable.covers(q.at)
        case Cell.NOMINATED:
            nominees = q.policy.nominees.get(row.id, frozenset())
            return q.client.mac in nominees or q.client.person in nominees
        case Cell.UNACCEPTABLE | Cell.ILLEGAL:
            return False


# 8. Last: names in no category.
def _default(q: Question) -> Answer:
    allow = q.group.default is DefaultAction.ALLOW
    action = Action.ALLOW if allow else Action.BLOCK
    return action, Reason.DEFAULT, f"default:{q.group.id}"


PLACES: Final[tuple[tuple[str, Callable[[Question], Answer | None]], ...]] = (
    ("illegal tier", _illegal),
    ("device isolated or suspended", _device),
    ("internet pause", _pause),
    ("canaries and protected names", _canaries_and_protected),
    ("dated exceptions", _exception),
    ("lesson mode", _lesson),
    ("acceptable-use table", _matrix),
    ("default of the group", _default),
)
"""The order in which a decision is sought, and the name of each place; the first that answers decides."""


def decide(policy: Policy, client: Client, name: str, at: datetime | None) -> Decision:
    """Return what ``client`` gets for ``name``, and why.

    Args:
        policy: The policy in force.
        client: Who asks.
        name: Any letter case, with or without final dot; "" for the root or where no name is known.
        at: Aware time in the school's zone; None while the clock is unknown: the strict side of every schedule.
    """
    question = _question(policy, client, name, at)
    for _, place in PLACES:
        if answer := place(question):
            return Decision(*answer, question.categories, policy.next_edge(at))
    raise AssertionError("the last place always answers")


def explain(
    policy: Policy, client: Client, name: str, at: datetime | None
) -> Iterator[tuple[str, Decision | None]]:
    """Yield each place of the order with what it says; None where it has nothing to say.

    The first decision is the one that ``decide`` returns; those behind it tell what would hold without it.
    """
    question = _question(policy, client, name, at)
    for title, place in PLACES:
        answer = place(question)
        yield (
            title,
            Decision(*answer, question.categories, policy.next_edge(at)) if answer else None,
        )


def _question(policy: Policy, client: Client, name: str, at: datetime | None) -> Question:
    name = canonical(name)
    return Question(policy, client, name, effective(policy.index.mask(name)), at)
