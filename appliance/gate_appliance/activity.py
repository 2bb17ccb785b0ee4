"""The log of decisions: one SQLite file a day, so that retention is deleting a file.

It is disposable: a file that SQLite can't read is set aside and a new one begun; policy is never touched by it.
A record's id is its day (ordinal) times 10^9 plus its row, so that ids grow over all files. Who asked and what was decided
are rows of their own that many entries share; the view ``decision`` joins them. Beside the decisions a file holds what
flows carried, summed by hour, client and name, and how many of them showed a name.
"""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, Literal, assert_never

from gate_core.desk import ActivityFilter
from gate_core.events import (
    ALLOW,
    BLOCK,
    MANY,
    Batch,
    Event,
    ReadableFlows,
    Source,
    Traffic,
    Who,
    batches,
)

_log = logging.getLogger(__name__)

RESERVE_OCTETS: Final = 64 << 20
"""Free space that the log leaves to the policy; a fifth of a disk that is smaller than five times that."""

CHECKPOINT_S: Final = 5.0
"""How often what was written is made durable: what a power cut may cost."""

MAX_TRAFFIC_ROWS: Final = 20_000
"""Pairs of client and name that an hour's traffic is kept of, some MB a day; beyond them it is kept by client, and beyond
twice as many by group."""

_HOUR_MS: Final = 3_600_000
_DAY: Final = 1_000_000_000
_MAX_SHARED: Final = 50_000

_FORM: Final = 2
"""Of the file, in its ``user_version``; ``_CREATE`` sets it."""

_VIEW: Final = """
create view decision as
    select entry.id, at_ms, source, address, mac, device, grp, name, kind, action, reason, rule_id, categories, version,
        count, person, took_us, upstream, coalesce(remote, '') as remote
    -- In this order whatever is asked for: the newest entries are to be looked at first.
    from entry cross join outcome on outcome.id = entry.outcome cross join who on who.id = entry.who;
pragma user_version = 2;
commit;
"""

_CREATE: Final = f"""
begin;
create table who (id integer primary key, address text, mac text, device text, grp text, person text);
create table outcome (id integer primary key, source text, kind text, action text, reason text, rule_id text,
    categories integer, version integer, upstream text);
create table entry (id integer primary key, at_ms integer, who integer, outcome integer, name text, count integer,
    took_us integer, remote text);
{_VIEW}"""

_FROM_FORM_1: Final = f"""
begin;
alter table entry add column remote text;
drop view decision;
{_VIEW}"""
"""Files of form 1 that are not written to any more stay as they are; whoever reads them does without ``remote``."""

_CREATE_SUMS: Final = """
create table if not exists traffic (hour_ms integer, who integer, name text, down integer, up integer, flows integer,
    primary key (hour_ms, who, name)) without rowid;
create table if not exists readable (grp text primary key, readable integer, flows integer) without rowid;
"""
"""Apart from the form: files that were begun before there were these tables are good."""

_ADD_TRAFFIC: Final = """
insert into traffic values (?, ?, ?, ?, ?, ?) on conflict do update set
    down = down + excluded.down, up = up + excluded.up, flows = flows + excluded.flows"""

_ADD_READABLE: Final = """
insert into readable values (?, ?, ?) on conflict do update set
    readable = readable + excluded.readable, flows = flows + excluded.flows"""

_COLUMNS: Final = ("at_ms", "who", "outcome", "name", "count", "took_us", "remote")
_ROWS: Final = 125


def _insert(columns: int, rows: int) -> str:
    """Return the statement that writes ``rows`` entries with the first of the ``_COLUMNS``."""
    row = f"({', '.join('?' * columns)})"
    names = ", ".join(_COLUMNS[:columns])
    return f"insert into entry ({names}) values {', '.join([row] * rows)}"  # noqa: S608  # constants


_STATEMENTS: Final = {columns: (_insert(columns, 1), _insert(columns, _ROWS)) for columns in (6, 7)}
"""For one entry and for many, without and with ``remote``: queries, of which there are most, have none."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event with its place in the log."""

    id: int
    event: Event


@dataclass(frozen=True, slots=True)
class Totals:
    """The decisions of one day, counted."""

    allowed: int
    blocked: int
    devices: int


@dataclass(frozen=True, slots=True)
class Use:
    """What one device did in a span of time."""

    device: str
    names: int
    """How many names it asked for."""
    flows: int
    """How many events tell of connections."""


class ActivityLog:
    """The files of ``directory``; one writer (the recorder), any number of readers."""

    def __init__(self, directory: Path, zone: tzinfo) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._zone = zone
        self._open: _Day | None = None
        self._writing = threading.Lock()
        self._counted: _Counted | None = None
        self._counting = threading.Lock()

    def append(self, events: Iterable[Event]) -> None:
        """Write ``events``, as ``append_batches`` does."""
        self.append_batches(batches(events))

    def append_batches(self, them: Iterable[Batch]) -> None:
        """Write events to the files of their days; a file that can't be written is set aside once.

        Raises:
            OSError: The disk is nearly full: the log stops before policy can't be changed any more.
            sqlite3.OperationalError: The disk refuses; nothing of the day in question was written.
        """
        self._demand_room()
        days: dict[date, list[Batch]] = {}
        for batch in them:
            for day, its in self._by_day(batch):
                days.setdefault(day, []).append(its)
        with self._writing:
            for day, its_batches in days.items():
                self._write(self._path(day), partial(_Day.append, them=its_batches))

    def append_sums(self, them: Iterable[Traffic | ReadableFlows]) -> None:
        """Add to what flows carried, and to how many showed a name; faults are as for ``append_batches``."""
        self._demand_room()
        days: dict[date, list[Traffic | ReadableFlows]] = {}
        for sums in them:
            days.setdefault(self._day(sums.at_ms), []).append(sums)
        with self._writing:
            for day, its in days.items():
                self._write(self._path(day), partial(_Day.add, them=its))

    def _demand_room(self) -> None:
        disk = shutil.disk_usage(self._directory)
        if disk.free < min(RESERVE_OCTETS, disk.total // 5):
            raise OSError(
                errno.ENOSPC, "the disk is nearly full; what is left is kept for the policy"
            )

    def close(self) -> None:
        """Free the file that is written to."""
        with self._writing:
            self._end()

    def search(self, wanted: ActivityFilter) -> Iterator[Record]:
        """Yield at most ``wanted.limit`` records that fit, newest first."""
        left = min(max(wanted.limit, 1), 500)
        has_remote = "select 1 from pragma_table_info('entry') where name = 'remote'"
        for day in sorted(self.days(), reverse=True):
            base = day.toordinal() * _DAY
            if wanted.before and base >= wanted.before:
                continue
            searched = "name"
            if wanted.text and self._read(day, has_remote, []):
                searched = "name || ' ' || remote"
            where, values = _where(wanted, base, searched)
            query = f"select * from decision {where} order by id desc limit ?"  # noqa: S608  # built from constants
            for row in self._read(day, query, [*values, left]):
                yield Record(base + row["id"], _event(row))
                left -= 1
            if left <= 0:
                return

    def totals(self, day: date) -> Totals:
        """Return the counts of ``day``; what was counted before is not read again."""
        query = """
            select max(entry.id) as last, action, coalesce(nullif(mac, ''), address) as device, sum(count) as n
            from entry cross join outcome on outcome.id = entry.outcome cross join who on who.id = entry.who
            where entry.id > ? group by entry.outcome, entry.who"""
        with self._counting:
            counted = self._counted
            if counted is None or counted.day != day or not self._reaches(day, counted.last):
                counted = self._counted = _Counted(day)
            for row in self._read(day, query, [counted.last]):
                counted.last = max(counted.last, row["last"])
                counted.actions[row["action"]] += row["n"]
                counted.devices.add(row["device"])
            actions = counted.actions
            return Totals(actions[ALLOW], actions[BLOCK], len(counted.devices))

    def uses(self, since_ms: int, now_ms: int) -> dict[str, Use]:
        """Return what each device did of late, by its MAC address or, where that is unknown, by its address.

        Args:
            since_ms: Milliseconds since 1970: less than a day ago.
            now_ms: The same of this moment.
        """
        query = """
            select coalesce(nullif(mac, ''), address) as key, max(device) as device,
                count(distinct case when source = ? then name end) as names, sum(source = ?) as flows
            from entry cross join outcome on outcome.id = entry.outcome cross join who on who.id = entry.who
            where entry.id > coalesce((select id from entry where at_ms < ? order by id desc limit 1), 0)
            group by key"""
        values = [Source.DNS.value, Source.FIREWALL.value, since_ms]
        found: dict[str, Use] = {}
        for day in sorted({self._day(since_ms), self._day(now_ms)}):
            for row in self._read(day, query, values):
                before = found.get(row["key"], Use("", 0, 0))
                found[row["key"]] = Use(
                    row["device"], before.names + row["names"], before.flows + row["flows"]
                )
        return found

    def read_sums(
        self, table: Literal["traffic", "readable"], day: date, query: str, values: Sequence[Any]
    ) -> list[sqlite3.Row]:
        """Return what ``query`` finds in the file of ``day``; nothing where that is older than the ``table``."""
        there = self._read(day, "select 1 from sqlite_schema where name = ?", [table])
        return self._read(day, query, values) if there else []

    def days(self) -> list[date]:
        """Return the days that have a file, oldest first."""
        names = (p.stem.removeprefix("activity-") for p in self._directory.glob("activity-*.db"))
        return sorted(date.fromisoformat(name) for name in names)

    def _by_day(self, batch: Batch) -> Iterator[tuple[date, Batch]]:
        first, last = self._day(min(batch.at_ms)), self._day(max(batch.at_ms))
        if first == last:
            yield first, batch
            return
        for place, at_ms in enumerate(batch.at_ms):
            yield self._day(at_ms), batch.part(place, place + 1)

    def _day(self, at_ms: int) -> date:
        return datetime.fromtimestamp(at_ms / 1000, self._zone).date()

    def _path(self, day: date) -> Path:
        return self._directory / f"activity-{day.isoformat()}.db"

    def _write(self, path: Path, work: Callable[[_Day], None]) -> None:
        try:
            self._put(path, work)
        except sqlite3.DatabaseError as e:
            if isinstance(e, sqlite3.OperationalError):
                raise
            _log.error(
                "action=append file=%s fault=%s; set aside", path.name, e
            )  # the message says it all
            path.replace(path.with_suffix(".damaged"))
            self._put(path, work)

    def _put(self, path: Path, work: Callable[[_Day], None]) -> None:
        if self._open is None or not self._open.is_at(path):
            self._end()
            self._open = _Day(path)
        try:
            work(self._open)
        except BaseException:
            # What it knows of the file may not be there.
            self._end()
            raise

    def _end(self) -> None:
        if self._open:
            self._open.close()
            self._open = None

    def _reaches(self, day: date, last: int) -> bool:
        return any(
            row["last"] == last
            for row in self._read(day, "select max(id) as last from entry where id <= ?", [last])
        )

    def _read(self, day: date, query: str, values: Sequence[Any]) -> list[sqlite3.Row]:
        path = self._path(day)
        if not path.exists():
            return []
        try:
            with closing(
                sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
            ) as connection:
                connection.row_factory = sqlite3.Row
                return connection.execute(query, values).fetchall()
        except sqlite3.DatabaseError as e:
            _log.warning("action=search file=%s fault=%s", path.name, e)
            return []


class _Counted:
    """What ``totals`` has counted of a day."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.last = 0
        self.actions: Counter[str] = Counter()
        self.devices: set[str] = set()


class _Day:
    """The file of a day, open for writing."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it.

        Raises:
            sqlite3.DatabaseError: It is none of this form.
        """
        self._path = path
        # Any thread may close it; one at a time uses it.
        self._connection = sqlite3.connect(
            path, timeout=5, isolation_level=None, check_same_thread=False
        )
        self._durable_at = time.monotonic()
        try:
            self._connection.execute("pragma journal_mode=wal")
            # Without an fsync a batch, which would wear the card out.
            self._connection.execute("pragma synchronous=normal")
            self._demand_form()
            self._connection.executescript(_CREATE_SUMS)
            self._inode = path.stat().st_ino
            self._whos: dict[tuple[Any, ...], int] = self._shared("who")
            self._outcomes: dict[tuple[Any, ...], int] = self._shared("outcome")
        except BaseException:
            self._connection.close()
            raise

    def _demand_form(self) -> None:
        (form,) = self._connection.execute("pragma user_version").fetchone()
        if form == 0 and not self._connection.execute("select 1 from sqlite_schema").fetchone():
            self._connection.executescript(_CREATE)
        elif form == 1:
            self._connection.executescript(_FROM_FORM_1)
        elif form != _FORM:
            raise sqlite3.DatabaseError(f"a log of form {form}; this is form {_FORM}")

    def is_at(self, path: Path) -> bool:
        """Tell whether this is the file at ``path``, which somebody may have deleted or replaced."""
        try:
            return path == self._path and path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def append(self, them: Iterable[Batch]) -> None:
        """Write all of ``them``, or nothing."""
        with self._transaction() as connection:
            for batch in them:
                whos = self._ids("who", self._whos, batch.whos)
                source = batch.source.value
                outcomes = self._ids(
                    "outcome", self._outcomes, [(source, *o) for o in batch.outcomes]
                )
                columns: list[Iterable[Any]] = [
                    batch.at_ms,
                    map(whos.__getitem__, batch.who),
                    map(outcomes.__getitem__, batch.outcome),
                    batch.names,
                    batch.counts,
                    batch.took_us,
                    *([batch.remotes] if batch.remotes else []),
                ]
                for_one, for_many = _STATEMENTS[len(columns)]
                rows = zip(*columns, strict=True)
                # One statement for many is faster than one for each.
                while len(some := tuple(islice(rows, _ROWS))) == _ROWS:
                    connection.execute(for_many, tuple(chain.from_iterable(some)))
                connection.executemany(for_one, some)

    def add(self, them: Iterable[Traffic | ReadableFlows]) -> None:
        """Add all of ``them`` to the sums that are there, or nothing."""
        with self._transaction() as connection:
            for sums in them:
                match sums:
                    case Traffic():
                        self._add_traffic(connection, sums)
                    case ReadableFlows():
                        rows = zip(sums.groups, sums.readable, sums.flows, strict=True)
                        connection.executemany(_ADD_READABLE, rows)
                    case _:
                        assert_never(sums)

    def _add_traffic(self, connection: sqlite3.Connection, traffic: Traffic) -> None:
        hour_ms = traffic.at_ms - traffic.at_ms % _HOUR_MS
        query = "select count(*) from traffic where hour_ms = ?"
        (held,) = connection.execute(query, [hour_ms]).fetchone()
        clients, names = traffic.whos, traffic.names
        if held >= MAX_TRAFFIC_ROWS:
            names = [MANY] * len(names)
        if held >= 2 * MAX_TRAFFIC_ROWS:
            clients = [Who("", "", "", client.group, "") for client in clients]
        whos = self._ids("who", self._whos, clients)
        rows = zip(
            map(whos.__getitem__, traffic.who),
            names,
            traffic.down,
            traffic.up,
            traffic.flows,
            strict=True,
        )
        connection.executemany(_ADD_TRAFFIC, ((hour_ms, *row) for row in rows))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("begin immediate")
        try:
            yield connection
            connection.execute("commit")
        except BaseException:
            # A full disk ends it by itself.
            if connection.in_transaction:
                connection.execute("rollback")
            raise
        now = time.monotonic()
        if now - self._durable_at >= CHECKPOINT_S:
            connection.execute("pragma wal_checkpoint(passive)")
            self._durable_at = now

    def close(self) -> None:
        """Make durable what was written, and free the file."""
        self._connection.close()

    def _shared(self, table: str) -> dict[tuple[Any, ...], int]:
        query = f"select * from {table} order by id desc limit {_MAX_SHARED}"  # noqa: S608  # constants
        return {tuple(row): id_ for id_, *row in self._connection.execute(query)}

    def _ids(
        self, table: str, known: dict[tuple[Any, ...], int], rows: Iterable[tuple[Any, ...]]
    ) -> list[int]:
        """Return the id of each of ``rows``; those that are not there yet are written."""
        if len(known) > _MAX_SHARED:
            # Two rows may then say the same, which harms nobody.
            known.clear()
        found = []
        for row in rows:
            id_ = known.get(row)
            if id_ is None:
                marks = ", ".join("?" * (len(row) + 1))
                # "table" is one of two constants.
                cursor = self._connection.execute(
                    f"insert into {table} values ({marks})",  # noqa: S608
                    (None, *row),
                )
                id_ = known[row] = cursor.lastrowid or 0
            found.append(id_)
        return found


def _where(wanted: ActivityFilter, base: int, searched: str) -> tuple[str, list[Any]]:
    tests: list[str] = []
    values: list[Any] = []
    for column, value in (
        ("grp", wanted.group),
        ("mac", wanted.device),
        ("person", wanted.person),
        ("action", wanted.action),
        ("source", wanted.source),
    ):
        if value:
            tests.append(f"{column} = ?")
            values.append(value)
    if wanted.text:
        tests.append(f"(instr({searched}, ?) or instr(lower(device), ?))")
        values += [wanted.text.lower()] * 2
    if wanted.before:
        tests.append("id < ?")
        values.append(wanted.before - base)
    return ("where " + " and ".join(tests) if tests else ""), values


def _event(row: sqlite3.Row) -> Event:
    _, at_ms, source, address, mac, device, group, *rest = row
    return Event(at_ms, Source(source), address, mac, device, group, *rest)
