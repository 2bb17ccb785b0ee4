"""The policy as a value, and the one function that decides.

DNS, packets, the pages, ``gate policy explain`` and the reports all call ``decide``: the same verdict and the
same rule id everywhere. Policy is written nowhere else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from functools import cached_property, reduce
from ipaddress import ip_address
from operator import or_
from typing import Final

from gate_core.acceptable_use import STRICTNESS, Cell, Row
from gate_core.categories import BY_ID as CATEGORIES_BY_ID
from gate_core.categories import (
    ILLEGAL_MASK,
    UNSAFE_SEARCH_MASK,
    CategoryIndex,
    effective,
    in_mask,
)
from gate_core.clients import (
    Address,
    Client,
    DefaultAction,
    Device,
    Group,
    Membership,
    Network,
    identify,
)
from gate_core.direct import DirectService
from gate_core.names import NameSet, canonical, suffixes
from gate_core.protocols import BY_ID as PROTOCOLS_BY_ID
from gate_core.safesearch import SafeName, safe_names
from gate_core.services import INDEX as SERVICE_INDEX
from gate_core.services import SERVICES, categories_of, of_protocol
from gate_core.services import in_mask as in_services
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
    TUNNEL = "tunnel"
    """The table closes VPN services, and the client's look-ups look like one (``decide_tunnel``)."""
    REBINDING = "rebinding"
    """The name is allowed, but all that it leads to are addresses that no public name has."""
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
    """An internet pause (lockdown): the clients of these groups and rooms get the essential list only."""

    id: str
    groups: frozenset[str]
    span: Span
    by: str
    """Who started it: an account, or ``button``."""
    rooms: frozenset[str] = frozenset()
    why: str = ""

    def concerns(self, client: Client, group: str) -> bool:
        """Tell whether ``client``, who counts as one of ``group``, is in its scope."""
        return group in self.groups or client.room in self.rooms


class Scope(Enum):
    """Whom an exception is for, narrowest first."""

    PERSON = "person"
    DEVICE = "device"
    GROUP = "group"
    SCHOOL = "school"


@dataclass(frozen=True, slots=True)
class DatedException:
    """Names and services allowed or blocked for a while, with a reason."""

    id: str
    scope: Scope
    subject: str
    """Person, MAC address or group id; "" for the school."""
    names: NameSet
    action: Action
    span: Span
    why: str
    services: int = 0
    """Mask of services."""

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
    """Names and services for one group or room, while a lesson lasts."""

    id: str
    group: str
    """"" where it is for a room."""
    mode: LessonMode
    names: NameSet
    span: Span
    room: str = ""
    services: int = 0
    by: str = ""

    def concerns(self, client: Client, group: str) -> bool:
        """Tell whether ``client``, who counts as one of ``group``, is in this lesson."""
        return client.room == self.room if self.room else group == self.group


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
    members: Mapping[str, Membership] = field(default_factory=dict)
    """MAC address to where its VLAN belongs, for devices that are not in ``devices``."""
    networks: Mapping[Network, Membership] = field(default_factory=dict)
    timetable: Timetable = Timetable()
    nominees: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Row id to the MAC addresses and persons nominated for it."""
    pauses: tuple[Pause, ...] = ()
    essential: NameSet = NameSet()
    canaries: NameSet = NameSet()
    protected: NameSet = NameSet()
    exceptions: tuple[DatedException, ...] = ()
    lessons: tuple[Lesson, ...] = ()
    direct: tuple[DirectService, ...] = ()
    """Besides those that come with the appliance."""
    edges: tuple[datetime, ...] = ()
    """Times at which it has to be compiled anew: a loan or a membership begins or ends."""

    def __post_init__(self) -> None:
        if self.unknown_group not in self.groups:
            raise ValueError(f"the group of unknown devices, {self.unknown_group!r}, is no group")

    def client(self, address: Address, mac: str | None) -> Client:
        """Return the client at ``address`` with the link-layer address ``mac``."""
        return identify(
            address,
            mac,
            devices=self.devices,
            members=self.members,
            networks=self.networks,
            unknown_group=self.unknown_group,
        )

    def view(self, client: Client) -> str:
        """Return a key that two clients share only if every name is decided alike for both.

        A cache of answers is kept for each view: the group, the room where a pause or lesson names it, and the device
        where a rule does.
        """
        if (
            client.isolated
            or client.suspended is not None
            or client.mac in self._singled_out
            or client.person in self._singled_out
        ):
            return _alone(client)
        return f"{client.group}/{client.room}" if client.room in self._rooms else client.group

    def safe_name(self, client: Client, name: str) -> SafeName | None:
        """Return what answers ``client`` in place of a canonical ``name`` that it is allowed; None for the name itself."""
        safe = self._safe
        group = client.group if client.group in safe else self.unknown_group
        return safe[group].get(name)

    @cached_property
    def _safe(self) -> Mapping[str, Mapping[str, SafeName]]:
        """Group to the names that are answered by another one."""
        return {
            id_: safe_names(safe_search=g.safe_search, youtube=g.youtube)
            for id_, g in self.groups.items()
        }

    @cached_property
    def _singled_out(self) -> frozenset[str]:
        return self._nominated.union(*self._subjects.values())

    @cached_property
    def _nominated(self) -> frozenset[str]:
        return frozenset().union(*self.nominees.values())

    @cached_property
    def _nominating(self) -> int:
        """The categories of the rows that somebody is nominated for."""
        return reduce(or_, (row.categories for row in self.rows if self.nominees.get(row.id)), 0)

    @cached_property
    def _subjects(self) -> Mapping[str, frozenset[str]]:
        """Name rule to whom exceptions or nominations for it name; those for a service, by its names."""
        found: dict[str, set[str]] = {}
        personal = [e for e in self.exceptions if e.scope in (Scope.PERSON, Scope.DEVICE)]
        for named, services, subjects in (
            *((e.names.rules, e.services, (e.subject,)) for e in personal),
            *((frozenset(), row.services, self.nominees.get(row.id, ())) for row in self.rows),
        ):
            for rule in named.union(*(service.names for service in in_services(services))):
                found.setdefault(rule, set()).update(subjects)
        return {rule: frozenset(subjects) for rule, subjects in found.items() if subjects}

    @cached_property
    def _rooms(self) -> frozenset[str]:
        paused = frozenset().union(*(p.rooms for p in self.pauses))
        return paused | {lesson.room for lesson in self.lessons if lesson.room}

    @cached_property
    def _rules(self) -> frozenset[str]:
        """Every name rule of the policy: a name that none of them covers needs no look at any of its sets."""
        sets = [self.essential, self.canaries, self.protected]
        sets += [e.names for e in self.exceptions]
        sets += [lesson.names for lesson in self.lessons]
        services = (service.names for service in SERVICES)
        return frozenset().union(*(s.rules for s in sets), *services)

    @cached_property
    def _excepted(self) -> Mapping[str, tuple[DatedException, ...]]:
        """Name rule to the exceptions that have it."""
        found: dict[str, list[DatedException]] = {}
        for e in self.exceptions:
            for rule in e.names.rules:
                found.setdefault(rule, []).append(e)
        return {rule: tuple(its) for rule, its in found.items()}

    @cached_property
    def _serviced(self) -> tuple[DatedException, ...]:
        return tuple(e for e in self.exceptions if e.services)

    @cached_property
    def _memo(self) -> _Memo:
        rules = self._rules
        wide = {rule: (rule,) for rule in rules if not rule.startswith("=")}
        return _Memo(
            mask=self.index.mask,
            wide=wide,
            tops=frozenset(rule for rule in wide if "." not in rule),
            exact={rule[1:]: (rule,) for rule in rules if rule.startswith("=")},
            nominating=self._nominating,
            nominated=self._nominated,
            subjects=self._subjects,
            rooms=self._rooms,
            stretch=_Stretch(_NEVER, _NEVER, None),
            timeless=_Stretch(_NEVER, _NEVER, None),
        )

    def next_edge(self, at: datetime | None) -> datetime | None:
        """Return the first time after ``at`` when any decision may change by itself."""
        if at is None:
            return None
        return self._stretch(at).until

    def _stretch(self, at: datetime | None) -> _Stretch:
        """Return the stretch of time around ``at`` in which no decision changes by itself."""
        if at is None:
            return _Stretch(_NEVER, _NEVER, None)
        times = [g.times for g in self.groups.values() if g.times]
        # A clock change is one too, so that until then the wall clock runs evenly.
        edge = self.timetable.next_edge(at, *times)
        place = bisect_right(self._dated, at.timestamp(), key=datetime.timestamp)
        edge = earliest((edge, *self._dated[place : place + 1]), after=at) or edge
        end = at + (edge.astimezone(UTC) - at.astimezone(UTC))
        return _Stretch(at, end, edge)

    @cached_property
    def _dated(self) -> tuple[datetime, ...]:
        """The edges that do not come back, in order."""
        spans = [p.span for p in self.pauses]
        spans += [e.span for e in self.exceptions]
        spans += [lesson.span for lesson in self.lessons]
        spans += [d.suspended for d in self.devices.values() if d.suspended]
        edges = (*self.edges, *(s.since for s in spans), *(s.until for s in spans))
        return tuple(sorted(edges, key=datetime.timestamp))


def _alone(client: Client) -> str:
    return f"{client.group}/{client.room}/{client.mac}/{client.person}"


_NEVER: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Stretch:
    """A stretch of time in which no decision changes by itself, and what was decided in it."""

    since: datetime
    end: datetime
    """``until`` as a clock that nobody changes would show it."""
    until: datetime | None
    """None where the time is not known."""
    decided: dict[tuple[str, int, tuple[str, ...]], Decision] = field(default_factory=dict)
    """View, mask of the lists and covering name rules to the decision: nothing else about a name decides."""
    spans: dict[Span, bool] = field(default_factory=dict)
    """Whether it lies in a span."""
    certain: dict[str, bool] = field(default_factory=dict)
    """Group to whether it is one of its certain times."""


@dataclass(slots=True)
class _Memo:
    """What every decision needs, and what was found out on the way; in slots, which are read in a sixth of the time."""

    mask: Callable[[str], int]
    """Of the policy's index."""
    wide: Mapping[str, tuple[str]]
    """The name rules for a name and all below it, each with itself as the only rule that covers."""
    tops: frozenset[str]
    """Those of one label."""
    exact: Mapping[str, tuple[str]]
    """Name to the rule for it alone."""
    nominating: int
    nominated: frozenset[str]
    subjects: Mapping[str, frozenset[str]]
    rooms: frozenset[str]
    stretch: _Stretch
    """The one that was asked for last."""
    timeless: _Stretch
    """What was decided without knowing the time."""
    rows: dict[tuple[int, int], tuple[Row, ...]] = field(default_factory=dict)
    """Categories and services to the rows that decide them."""


@dataclass(slots=True)
class Question:
    """What one place of the order looks at."""

    policy: Policy
    client: Client
    name: str
    categories: int
    services: int
    at: datetime | None
    covering: tuple[str, ...]
    """The name rules of the policy that cover the name, narrowest first."""
    group: Group
    """The client's group; where the policy has lost it, the strictest."""
    stretch: _Stretch

    def active(self, span: Span, *, strict: bool) -> bool:
        """Tell whether ``span`` covers the time; where that is not known, the ``strict`` side."""
        if self.at is None:
            return strict
        known = self.stretch.spans.get(span)
        if known is None:
            known = self.stretch.spans[span] = span.covers(self.at)
        return known

    def certain(self) -> bool:
        """Tell whether it is one of the group's certain times."""
        known = self.stretch.certain.get(self.group.id)
        if known is None:
            known = self.policy.timetable.covers(self.at, self.group.times)
            self.stretch.certain[self.group.id] = known
        return known

    def rule(self, names: NameSet) -> str | None:
        """Return the narrowest rule of ``names`` that covers the name."""
        return next((rule for rule in self.covering if rule in names.rules), None)


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
        if q.client.essentials_stay and (rule := q.rule(q.policy.essential)):
            return Action.ALLOW, Reason.ESSENTIAL, f"essential:{rule}"
        return Action.BLOCK, Reason.SUSPENDED, f"suspended:{q.client.mac}"
    return None


# 3. Before protected names and exceptions: a pause means that the room's screens go quiet, whatever was allowed before.
def _pause(q: Question) -> Answer | None:
    for pause in q.policy.pauses:
        if pause.concerns(q.client, q.group.id) and q.active(pause.span, strict=True):
            if rule := q.rule(q.policy.essential):
                return Action.ALLOW, Reason.ESSENTIAL, f"essential:{rule}"
            return Action.BLOCK, Reason.PAUSED, f"pause:{pause.id}"
    return None


# 4. Before exceptions: an allowed canary would open a way round the filter, a blocked helpline would harm a child.
def _canaries_and_protected(q: Question) -> Answer | None:
    if rule := q.rule(q.policy.canaries):
        return Action.BLOCK, Reason.CANARY, f"canary:{rule}"
    if rule := q.rule(q.policy.protected):
        return Action.ALLOW, Reason.PROTECTED, f"protected:{rule}"
    return None


# 5. Before the lesson and the matrix, which it is there to change; narrowest scope first, and of two alike the block.
def _exception(q: Question) -> Answer | None:
    excepted = q.policy._excepted  # of this module
    candidates = [e for rule in q.covering for e in excepted.get(rule, ())]
    candidates += [e for e in q.policy._serviced if e.services & q.services]
    found = [
        e
        for e in candidates
        if e.concerns(q.client)
        # Clock unknown: blocks hold and allows do not.
        and q.active(e.span, strict=e.action is Action.BLOCK)
        and (e.action is Action.BLOCK or _was_meant(q, e))
    ]
    if not found:
        return None
    first = min(found, key=lambda e: (_SCOPE_ORDER[e.scope], e.action is Action.ALLOW, e.id))
    return first.action, Reason.EXCEPTION, f"exception:{first.id}"


def _was_meant(q: Question, e: DatedException) -> bool:
    """Tell whether an exception that allows the name was made for what the lists say of it.

    To allow a site opens what is below it, but not what a list has for itself there: who approved the parent has not
    seen it.
    """
    known = categories_of(e.services & q.services)
    for rule in q.covering:
        if rule in e.names.rules:
            known |= q.policy.index.mask(rule.removeprefix("="))
    unseen = q.categories & ~known
    rows = (row for row in q.policy.rows if row.categories & unseen)
    return all(_allows(q, q.group.cells.get(row.id, Cell.UNACCEPTABLE), row) for row in rows)


_SCOPE_ORDER: Final = {scope: place for place, scope in enumerate(Scope)}


# 6. Before the matrix: a teacher's list closes what the matrix leaves open, and opens what is a matter of time, of who
# it is, or on no list. What the school calls unacceptable it does not open: that takes an exception, and its approval.
def _lesson(q: Question) -> Answer | None:
    for lesson in q.policy.lessons:
        if not lesson.concerns(q.client, q.group.id):
            continue
        only = lesson.mode is LessonMode.ONLY
        if not q.active(lesson.span, strict=only):
            continue
        listed = q.rule(lesson.names) or lesson.services & q.services
        unacceptable = any(cell is Cell.UNACCEPTABLE for cell, _ in _cells(q))
        if listed and q.at is not None and not unacceptable:
            return Action.ALLOW, Reason.LESSON, f"lesson:{lesson.id}"
        if only:
            return Action.BLOCK, Reason.LESSON, f"lesson:{lesson.id}"
    return None


# 7. The strictest cell wins: a name that is both video and pornography is pornography.
def _matrix(q: Question) -> Answer | None:
    cells = _cells(q)
    if not cells:
        return None
    outcomes = [(_allows(q, cell, row), STRICTNESS[cell], row) for cell, row in cells]
    allowed, _, row = min(outcomes, key=lambda o: (o[0], -o[1], o[2].number))
    action = Action.ALLOW if allowed else Action.BLOCK
    return action, Reason.MATRIX, f"matrix:{row.id}:{q.group.id}"


def _cells(q: Question) -> list[tuple[Cell, Row]]:
    """Return the cells of the rows that decide the name.

    A row that names a service decides it instead of the rows of the service's own categories; rows of all others, and
    the illegal tier, decide besides.
    """
    return [(q.group.cells.get(row.id, Cell.UNACCEPTABLE), row) for row in _rows(q)]


def _rows(q: Question) -> tuple[Row, ...]:
    key = (q.categories, q.services)
    known = q.policy._memo.rows.get(key)  # of this module
    if known is None:
        mask = q.categories
        named = [row for row in q.policy.rows if row.services & q.services]
        for row in named:
            mask &= ~categories_of(row.services & q.services) | ILLEGAL_MASK
        others = (row for row in q.policy.rows if row.categories & mask and row not in named)
        known = q.policy._memo.rows[key] = (*named, *others)
    return known


def _allows(q: Question, cell: Cell, row: Row) -> bool:
    match cell:
        case Cell.ACCEPTABLE:
            return True
        case Cell.TIMES:
            return q.certain()
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


def decide(policy: Policy, client: Client, name: str, at: datetime | None) -> Decision:  # noqa: C901, PLR0912  # see below
    """Return what ``client`` gets for ``name``, and why.

    Args:
        policy: The policy in force.
        client: Who asks.
        name: Any letter case, with or without final dot; "" for the root or where no name is known.
        at: Aware time in the school's zone; None while the clock is unknown: the strict side of every schedule.
    """
    # Every query and every flow comes by here. What nearly all of them need is written out: with a call for each
    # part, all this takes a fifth longer (bench_policy.py). This is ``canonical``:
    name = name.lower().removesuffix(".")
    memo = policy._memo  # of this module
    stretch = memo.stretch
    since = stretch.since
    if at is None:
        stretch = memo.timeless
    # By the wall clock, which costs a tenth of comparing instants; the fold tells an hour that comes twice apart.
    elif at.tzinfo is not since.tzinfo or at.fold != since.fold or not since <= at < stretch.end:
        stretch = memo.stretch = policy._stretch(at)

    mask = memo.mask(name)

    covering: tuple[str, ...] = ()
    if name in memo.exact:
        covering = memo.exact[name]
    wide, rest = memo.wide, name
    while "." in rest or rest in memo.tops:
        if rest in wide:
            covering = covering + wide[rest] if covering else wide[rest]
        _, _, rest = rest.partition(".")

    alone = client.isolated or client.suspended is not None
    if mask & memo.nominating:
        alone = alone or client.mac in memo.nominated or client.person in memo.nominated
    for rule in covering:
        if rule in memo.subjects:
            subjects = memo.subjects[rule]
            alone = alone or client.mac in subjects or client.person in subjects
    if alone:
        view = _alone(client)
    elif client.room in memo.rooms:
        view = f"{client.group}/{client.room}"
    else:
        view = client.group

    # Nothing else decides: whoever has the same view, for a name with the same categories and rules, gets the same.
    key = (view, mask, covering)
    known = stretch.decided.get(key)
    if known is None:
        question = _question(policy, client, name, mask, covering, at, stretch)
        # The last place always answers.
        answer = next(a for _, place in PLACES if (a := place(question)))
        known = Decision(*answer, question.categories, stretch.until)
        if len(stretch.decided) >= _MAX_DECIDED:
            stretch.decided.clear()
        stretch.decided[key] = known
    return known


def _question(
    policy: Policy,
    client: Client,
    name: str,
    mask: int,
    covering: tuple[str, ...],
    at: datetime | None,
    stretch: _Stretch,
) -> Question:
    group = policy.groups.get(client.group, policy.groups[policy.unknown_group])
    categories = effective(mask)
    if not group.safe_search:
        categories &= ~UNSAFE_SEARCH_MASK
    return Question(
        policy,
        client,
        name,
        categories,
        # No rule of a service covers a name that none of the policy covers: theirs are among them.
        SERVICE_INDEX.mask(name) if covering else 0,
        at,
        covering,
        group,
        stretch,
    )


def decide_protocol(
    policy: Policy, client: Client, protocol: str, name: str, at: datetime | None
) -> Decision:
    """Return what ``client`` gets for a flow whose packets show a protocol, and why.

    It is decided as a name would be that is in the protocol's category, and belongs to the services that speak it.

    Args:
        policy: The policy in force.
        client: Who asks.
        protocol: Id of one of ``gate_core.protocols``.
        name: The name that the flow is for; "" where none is known.
        at: As for ``decide``.
    """
    answers = (decision for _, decision in explain(policy, client, name, at, protocol))
    return next(decision for decision in answers if decision)


def decide_tunnel(
    policy: Policy, client: Client, name: str, parent: str, at: datetime | None
) -> Decision:
    """Return what ``client`` gets for ``name``, where its look-ups below ``parent`` look like data in disguise.

    It is decided as a name of the category of VPN services, unless it is essential or somebody has allowed it by name:
    whoever knows that it is no tunnel makes an exception. The decision is about this client alone, not about all of its
    view.

    Args:
        policy: The policy in force.
        client: Who asks.
        name: As for ``decide``.
        parent: Canonical; ``name`` is below it.
        at: As for ``decide``.
    """
    decision = decide(policy, client, name, at)
    if decision.blocked or decision.reason not in (Reason.MATRIX, Reason.DEFAULT):
        return decision
    name = canonical(name)
    if policy.essential.match(name):
        return decision
    mask = policy.index.mask(name) | CATEGORIES_BY_ID["vpn"].mask
    q = _question(
        policy,
        client,
        name,
        mask,
        _covering(policy, name),
        at,
        policy._stretch(at),  # of this module
    )
    outcome = _matrix(q)
    if outcome is None or outcome[0] is Action.ALLOW:
        return decision
    return Decision(Action.BLOCK, Reason.TUNNEL, f"tunnel:{parent}", q.categories, decision.until)


def decide_rebinding(allowed: Decision) -> Decision:
    """Return what is decided of an ``allowed`` name whose answer had nothing but addresses that no public name has."""
    return replace(allowed, action=Action.BLOCK, reason=Reason.REBINDING, rule_id="rebinding")


def decide_address(policy: Policy, client: Client, address: bytes, at: datetime | None) -> Decision:
    """Return what ``client`` gets for an answer that leads to ``address``, and why.

    Only the illegal tier and the acceptable-use table decide: all other rules are about names, or have decided before an
    answer was sought. What neither closes is allowed, whatever the group's default, which is about names on no list.

    Args:
        policy: The policy in force.
        client: Who asks.
        address: 4 or 16 octets.
        at: As for ``decide``.
    """
    mask = policy.index.address_mask(address)
    if mask:
        stretch = _stretch_of(policy, at)
        q = _question(policy, client, "", mask, (), at, stretch)
        outcome = _illegal(q) or _matrix(q)
        if outcome:
            return Decision(*outcome, q.categories, stretch.until)
    return Decision(Action.ALLOW, Reason.DEFAULT, f"default:{client.group}", mask, None)


def _stretch_of(policy: Policy, at: datetime | None) -> _Stretch:
    """Return the stretch of time around ``at``: found out once, as in ``decide``."""
    memo = policy._memo  # of this module
    if at is None:
        return memo.timeless
    since = memo.stretch.since
    if at.tzinfo is not since.tzinfo or at.fold != since.fold or not since <= at < memo.stretch.end:
        memo.stretch = policy._stretch(at)
    return memo.stretch


def _covering(policy: Policy, name: str) -> tuple[str, ...]:
    """Return the name rules of the policy that cover a canonical ``name``, narrowest first."""
    rules = policy._rules  # of this module
    return tuple(rule for rule in ("=" + name, *suffixes(name)) if rule in rules)


def unacceptable_row(policy: Policy, group: str, name: str, services: int = 0) -> Row | None:
    """Return a row by which a canonical ``name``, or one of ``services``, is unacceptable or illegal for a group."""
    nobody = Client(_NO_ADDRESS, None, group, "")
    mask, covering = policy.index.mask(name), _covering(policy, name)
    q = _question(policy, nobody, name, mask, covering, None, policy._stretch(None))
    q.services |= services
    q.categories |= categories_of(services)
    closed = (Cell.UNACCEPTABLE, Cell.ILLEGAL)
    return next((row for cell, row in _cells(q) if cell in closed), None)


_NO_ADDRESS: Final = ip_address("0.0.0.0")  # noqa: S104  # stands for no address

_MAX_DECIDED: Final = 40_000
"""Decisions kept: views times combinations of categories and name rules, some thousands in a school."""


def explain(
    policy: Policy, client: Client, name: str, at: datetime | None, protocol: str = ""
) -> Iterator[tuple[str, Decision | None]]:
    """Yield each place of the order with what it says; None where it has nothing to say.

    The first decision is the one that ``decide`` returns, or ``decide_protocol`` where a ``protocol`` is given; those
    behind it tell what would hold without it.
    """
    name = canonical(name)
    covering = _covering(policy, name)
    stretch = policy._stretch(at)
    mask = policy.index.mask(name)
    if protocol:
        mask |= CATEGORIES_BY_ID[PROTOCOLS_BY_ID[protocol].category].mask
    question = _question(policy, client, name, mask, covering, at, stretch)
    if protocol:
        question.services |= of_protocol(protocol)
    for title, place in PLACES:
        answer = place(question)
        yield (
            title,
            Decision(*answer, question.categories, stretch.until) if answer else None,
        )
