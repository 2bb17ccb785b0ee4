"""What a draft would have changed: the recorded decisions of some days, decided again under two policies.

What was done for a while (pauses, lessons, suspensions) is left out on both sides: it is over. Each replay runs as a
process of its own, ``python -m gate_appliance.whatif REQUEST.json``, so that the steward stays quick; it tells by JSON
lines how far it is, and in the last one what it found.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from gate_appliance import words
from gate_appliance.lists.formats import ListError
from gate_appliance.lists.index import open_index, path_of
from gate_core.categories import CategoryIndex
from gate_core.clients import Client
from gate_core.compile import Acts, Surroundings, compile_policy
from gate_core.desk import RefusedError, WhatIfChange, WhatIfView
from gate_core.events import MANY
from gate_core.names import NameSet
from gate_core.policy import Policy, Reason, decide
from gate_core.timetable import earliest
from gate_core.written import Plain, PolicyError, parse

MAX_RUNNING: Final = 2
"""Replays at a time: each takes a processor."""

KEPT_S: Final = 3600.0
"""How long a result can be looked at."""

MAX_CHANGES: Final = 500
_TELL_EVERY: Final = 20_000
_MAX_SEEN: Final = 100_000
"""Answers kept, so that a replay has room beside the data plane: some 20 MB."""

# What the classifier decides by the form of a flow, no policy would change.
_BY_POLICY: Final = frozenset(reason.value for reason in Reason)


@dataclass(frozen=True, slots=True)
class Request:
    """What to replay against what, as a request file holds it."""

    present: Plain
    """The written policy in force."""
    draft: Plain
    lists: str
    """Directory of the compiled lists."""
    sha256: str
    """Which of them are in force."""
    activity: str
    """Directory of the log."""
    zone: str
    """Name of the school's zone."""
    until: str
    """End of what is replayed, ISO 8601 with zone."""
    days: int
    """1 to 31."""
    essential: tuple[str, ...] = ()
    canaries: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    tagged: dict[str, int] = field(default_factory=dict)
    """MAC address to the VLAN that it was seen in."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Recorded decisions on one name, for one group, that the draft decides otherwise."""

    group: str
    """Where the present policy puts the devices."""
    name: str
    before: str
    after: str
    reason: str
    """Why the draft decides so."""
    rule_id: str
    count: int
    devices: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a replay found."""

    findings: tuple[Finding, ...]
    """All, the most frequent first."""
    total: int
    """Decisions gone through."""
    changed: int
    passed_over: tuple[str, ...]
    """Days whose log can't be read."""


Sides = tuple[Policy, Policy]
"""The present policy and the draft."""

_Who = tuple[str, str, str, str]
"""MAC address, address, group and person as recorded."""
_Change = tuple[str, str, str, str, str, str]
"""The first fields of a finding."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A stretch of time in which neither policy changes by itself."""

    start: datetime
    sides: Sides
    clients: dict[_Who, _Asker]
    """Who asked, under these policies."""


@dataclass(frozen=True, slots=True)
class _Asker:
    clients: tuple[Client, Client]
    views: str
    """The same for two only if both policies decide alike for both."""
    device: str


def replay(
    request: Request, tell: Callable[[int, int], None] = lambda _done, _total: None
) -> tuple[Outcome, Sides]:
    """Decide anew what was recorded, and return what comes out otherwise, and both policies as they are at the end.

    Args:
        request: What to replay.
        tell: Called now and then with how many decisions are done, of how many.

    Raises:
        PolicyError: One of the policies can't be.
        ListError: The lists are gone or damaged.
    """
    zone = ZoneInfo(request.zone)
    until = datetime.fromisoformat(request.until).astimezone(zone)
    since = until - timedelta(days=request.days)
    stretches = _stretches(request, since, until)
    log = _Log(Path(request.activity), since, until)
    return _Replay(stretches).run(log, tell), stretches[-1].sides


def _stretches(request: Request, since: datetime, until: datetime) -> list[_Stretch]:
    """Return the stretches from ``since`` to ``until``, in order."""
    zone = ZoneInfo(request.zone)
    around = Surroundings(
        _Remembering(open_index(path_of(Path(request.lists), request.sha256), request.sha256)),
        zone,
        NameSet(frozenset(request.essential)),
        NameSet(frozenset(request.canaries)),
        NameSet(frozenset(request.protected)),
        request.tagged,
    )
    written = parse(request.present, zone), parse(request.draft, zone)
    found: list[_Stretch] = []
    start = since
    while start.timestamp() < until.timestamp():
        # Who is known, and which exceptions there are, is settled for a time: a policy holds until that changes.
        present, draft = (
            compile_policy(its, Acts(), around, version=0, at=start) for its in written
        )
        anew = earliest((*present.edges, *draft.edges), after=start) or until
        clients: dict[_Who, _Asker] = {}
        while start.timestamp() < min(anew.timestamp(), until.timestamp()):
            found.append(_Stretch(start, (present, draft), clients))
            edges = present.next_edge(start), draft.next_edge(start)
            start = earliest(edges, after=start) or until
    return found


class _Remembering:
    """Lists that remember what was looked up: a school's names come back, and both policies ask for each."""

    def __init__(self, index: CategoryIndex) -> None:
        self._index = index
        self._masks: dict[str, int] = {}
        self.lists_addresses = index.lists_addresses
        self.address_mask = index.address_mask

    def mask(self, name: str) -> int:
        known = self._masks.get(name)
        if known is None:
            if len(self._masks) >= _MAX_SEEN:
                self._masks.clear()
            known = self._masks[name] = self._index.mask(name)
        return known


class _Log:
    """The recorded decisions of a span of time; a day's file that can't be read is passed over."""

    def __init__(self, directory: Path, since: datetime, until: datetime) -> None:
        days = (until.date() - since.date()).days
        dates = [since.date() + timedelta(days=n) for n in range(days + 1)]
        self._files = {day: directory / f"activity-{day.isoformat()}.db" for day in dates}
        self._span = int(since.timestamp() * 1000), int(until.timestamp() * 1000)
        self.passed_over: list[str] = []
        self.total = sum(n for (n,) in self._select("coalesce(sum(count), 0)", ""))

    def rows(self) -> Iterator[tuple[int, str, str, str, str, str, int, str]]:
        """Yield time, MAC address, address, group, name, reason, count and person, in the order of writing."""
        columns = "at_ms, mac, address, grp, name, reason, count, person"
        yield from self._select(columns, "order by id")

    def _select(self, columns: str, order: str) -> Iterator[Any]:
        for day, path in self._files.items():
            # The log is disposable: a day may have been deleted, or its file may be damaged.
            if not path.exists():
                continue
            try:
                with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                    query = f"select {columns} from decision where at_ms >= ? and at_ms < ? {order}"  # noqa: S608  # constants
                    yield from connection.execute(query, self._span)
            except sqlite3.DatabaseError:
                if day.isoformat() not in self.passed_over:
                    self.passed_over.append(day.isoformat())


class _Replay:
    """Decides recorded decisions anew, each question once for all who get the same answer."""

    def __init__(self, stretches: list[_Stretch]) -> None:
        self._stretches = stretches
        self._starts = [s.start.timestamp() * 1000 for s in stretches]
        self._seen: dict[tuple[int, str, str], _Change | None] = {}
        self._found: dict[_Change, tuple[list[int], set[str]]] = {}

    def run(self, log: _Log, tell: Callable[[int, int], None]) -> Outcome:
        done = told = 0
        number, begin, end = 0, self._starts[0], self._starts[0]
        stretch = self._stretches[0]
        seen = self._seen
        for at_ms, mac, address, group, name, reason, count, person in log.rows():
            done += count
            if done - told >= _TELL_EVERY:
                told = done
                tell(done, log.total)
            if name in {"", MANY} or reason not in _BY_POLICY:
                continue
            if not begin <= at_ms < end:
                number = bisect_right(self._starts, at_ms) - 1
                stretch = self._stretches[number]
                begin, end = (*self._starts, float("inf"))[number : number + 2]
            who = (mac, address, group, person)
            asker = stretch.clients.get(who)
            if asker is None:
                asker = stretch.clients[who] = _asker(stretch.sides, *who)
            key = (number, asker.views, name)
            if key in seen:
                change = seen[key]
            else:
                if len(seen) >= _MAX_SEEN:
                    seen.clear()
                change = seen[key] = _change(stretch, asker, name)
            if change:
                counts, devices = self._found.setdefault(change, ([0], set()))
                counts[0] += count
                devices.add(asker.device)
        findings = [
            Finding(*change, counts[0], len(devices))
            for change, (counts, devices) in self._found.items()
        ]
        findings.sort(key=lambda f: (-f.count, f.group, f.name))
        changed = sum(f.count for f in findings)
        return Outcome(tuple(findings), done, changed, tuple(sorted(log.passed_over)))


def _asker(sides: Sides, mac: str, address: str, group: str, person: str) -> _Asker:
    present, draft = (_client(policy, mac, address, group) for policy in sides)
    if person and person != present.person:
        # Lent to somebody then: neither policy knows that.
        present, draft = replace(present, person=person), replace(draft, person=person)
    views = f"{sides[0].view(present)} {sides[1].view(draft)}"
    return _Asker((present, draft), views, mac or address)


def _client(policy: Policy, mac: str, address: str, group: str) -> Client:
    """Return the client as ``policy`` places it: a draft may have moved it."""
    client = policy.client(ip_address(address), mac or None)
    if mac or client.known or group not in policy.groups:
        return client
    # Nobody knows what it was: it counts as what it counted as then.
    return replace(client, group=group)


def _change(stretch: _Stretch, asker: _Asker, name: str) -> _Change | None:
    """Return what the draft changes; None where both policies do the same."""
    (present, draft), (client, moved) = stretch.sides, asker.clients
    before = decide(present, client, name, stretch.start)
    after = decide(draft, moved, name, stretch.start)
    if before.action is after.action:
        return None
    actions = before.action.value, after.action.value
    return client.group, name, *actions, after.reason.value, after.rule_id


def main(path: Path) -> None:
    """Replay the request in the file at ``path``, which is deleted; print how far it is and what was found."""
    os.nice(10)
    since = time.monotonic()
    request = Request(**json.loads(path.read_bytes()))
    path.unlink()
    try:
        outcome, (present, draft) = replay(request, lambda d, t: _print(done=d, total=t))
    except (PolicyError, ListError, OSError) as e:
        _print(state="failed", fault=str(e))
        return
    changes = [
        WhatIfChange(
            f.group,
            present.groups[f.group].title if f.group in present.groups else f.group,
            f.name,
            f.before,
            f.after,
            f.count,
            f.devices,
            words.sentence(f.after, f.reason, f.rule_id, draft),
        )
        for f in outcome.findings[:MAX_CHANGES]
    ]
    _print(
        state="done",
        done=outcome.total,
        total=outcome.total,
        changes=[asdict(change) for change in changes],
        changed=outcome.changed,
        seconds=round(time.monotonic() - since, 1),
        fault=_passed_over(outcome.passed_over),
    )


def _passed_over(days: tuple[str, ...]) -> str:
    return f"The log of {', '.join(days)} can't be read and was passed over." if days else ""


def _print(**line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    # Where nobody reads any more this raises, and the process ends.
    sys.stdout.flush()


class WhatIfJobs:
    """The replays that the steward has begun, each in a process of its own."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job] = {}
        self._lock = threading.Lock()

    def start(self, request: Request) -> str:
        """Begin a replay and return its id.

        Raises:
            RefusedError: As many as may run do so already.
            OSError: The request can't be written or the process not be started.
        """
        with self._lock:
            self._forget()
            if sum(job.is_running for job in self._jobs.values()) >= MAX_RUNNING:
                raise RefusedError(
                    f"{MAX_RUNNING} replays are running already; wait until one is done"
                )
            id_ = secrets.token_hex(8)
            self._jobs[id_] = _Job(request)
            return id_

    def view(self, id_: str) -> WhatIfView | None:
        """Return how far a replay is and what it found; None where there is none of that id, or it is an hour old."""
        with self._lock:
            self._forget()
            job = self._jobs.get(id_)
        return job.view if job else None

    def close(self) -> None:
        """End all that run, and forget all."""
        with self._lock:
            for job in self._jobs.values():
                job.close()
            self._jobs.clear()

    def _forget(self) -> None:
        now = time.monotonic()
        self._jobs = {id_: job for id_, job in self._jobs.items() if not job.is_older(now)}


class _Job:
    """One replay: a process, and a thread that hears what it says."""

    def __init__(self, request: Request) -> None:
        self.view = WhatIfView("running", 0, 0, (), 0, 0.0, "")
        self._ended: float | None = None
        # For nobody else's eyes: it holds who is in which group.
        number, name = tempfile.mkstemp(prefix="gate-what-if-", suffix=".json")
        self._path = Path(name)
        with os.fdopen(number, "w") as file:
            json.dump(asdict(request), file)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own program, by its full path
                [sys.executable, "-m", "gate_appliance.whatif", name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError:
            self._path.unlink()
            raise
        self._thread = threading.Thread(target=self._hear, daemon=True, name="what-if")
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self.view.state == "running"

    def is_older(self, now: float) -> bool:
        """Tell whether it ended longer ago than results are kept."""
        return self._ended is not None and now - self._ended > KEPT_S

    def close(self) -> None:
        self._process.kill()
        self._thread.join(timeout=5)

    def _hear(self) -> None:
        with self._process as process:
            for line in process.stdout or ():
                try:
                    said = json.loads(line)
                except ValueError:
                    break  # killed in the middle of it
                changes = tuple(WhatIfChange(**change) for change in said.pop("changes", ()))
                self.view = replace(self.view, changes=changes, **said)
        if self.is_running:
            self.view = replace(
                self.view, state="failed", fault=f"the replay broke off (exit {process.returncode})"
            )
        self._path.unlink(missing_ok=True)
        self._ended = time.monotonic()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
