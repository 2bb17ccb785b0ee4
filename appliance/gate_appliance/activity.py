"""The log of decisions: one SQLite file a day, so that retention is deleting a file.

It is disposable: a file that SQLite can't read is set aside and a new one begun; policy is never touched by it.
A record's id is its day (ordinal) times 10^9 plus its row, so that ids grow over all files. Who asked, what was decided
and each name are rows of their own that many entries share; the view ``decision`` joins them. Beside the decisions a file
holds what flows carried, summed by hour, client and name, and how many of them showed a name.

The file of today has no index, which would cost a write for each entry; that of a day that is over gets some (``settle``).
Later what was allowed goes out of it (``thin``), and in the end the file goes (``delete``).
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime, tzinfo
from functools import partial
from itertools import chain, count, groupby, islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, assert_never

from gate_core.categories import mask_of
from gate_core.desk import MAX_RECORDS, ActivityFilter
from gate_core.events import (
    ALLOW,
    BLOCK,
    MANY,
    Batch,
    EndedFlows,
    Event,
    ReadableFlows,
    Source,
    Traffic,
    Who,
    batches,
)
from gate_core.written import aware

_log = logging.getLogger(__name__)

RESERVE_OCTETS: Final = 64 << 20
"""Free space that the log leaves to the policy; a fifth of a disk that is smaller than five times that."""

PATIENCE_S: Final = 1.5
"""How long a search may take until it says how far back it came."""

MAX_BLOCKED: Final = 10

CHECKPOINT_S: Final = 5.0
"""How often what was written is made durable: what a power cut may cost."""

MAX_TRAFFIC_ROWS: Final = 20_000
"""Pairs of client and name that an hour's traffic is kept of, some MB a day; beyond them it is kept by client, and beyond
twice as many by group."""

_HOUR_MS: Final = 3_600_000
_DAY: Final = 1_000_000_000
_MAX_SHARED: Final = 50_000
_LIST: Final = "(select value from json_each(?))"
_SHORT: Final = 50
"""Ids that are written into a query; more are handed over as one value."""
_FEW: Final = 20_000
"""Entries of a day that are rather found by an index than by looking at all of them."""

_FORM: Final = 3
"""Of the file, in its ``user_version``; ``_CREATE`` sets it."""
_SETTLED: Final = 4
"""The same with what ``_SETTLE`` adds."""

_CREATE: Final = """
begin;
create table who (id integer primary key, address text, mac text, device text, grp text, person text);
create table outcome (id integer primary key, source text, kind text, action text, reason text, rule_id text,
    categories integer, version integer, upstream text);
create table word (id integer primary key, text text);
create table entry (id integer primary key, at_ms integer, who integer, outcome integer, name integer, count integer,
    took_us integer, remote integer);
create view decision as
    select entry.id, at_ms, source, address, mac, device, grp, word.text as name, kind, action, reason, rule_id,
        categories, version, count, person, took_us, upstream, coalesce(there.text, '') as remote
    -- In this order whatever is asked for: the newest entries are to be looked at first.
    from entry cross join outcome on outcome.id = entry.outcome cross join who on who.id = entry.who
        cross join word on word.id = entry.name left join word as there on there.id = entry.remote;
pragma user_version = 3;
commit;
"""

_SETTLE: Final = """
begin immediate;
create index if not exists entry_who on entry (who);
create index if not exists entry_outcome on entry (outcome);
create index if not exists entry_name on entry (name);
create index if not exists entry_remote on entry (remote) where remote is not null;
create virtual table word_part using fts5 (text, content = 'word', content_rowid = 'id', tokenize = 'trigram',
    detail = none, columnsize = 0);
insert into word_part (word_part) values ('rebuild');
pragma user_version = 4;
commit;
"""
_UNSETTLE: Final = """
begin immediate;
drop table word_part;
pragma user_version = 3;
commit;
"""
"""For what comes late: new words are not in the index of parts."""
_THINNED: Final = 5
"""The same once what was allowed is out of it."""
_THIN: Final = f"""
begin immediate;
delete from entry where outcome in (select id from outcome where action = '{ALLOW}');
delete from outcome where action = '{ALLOW}';
delete from traffic;
delete from ended;
delete from who where id not in (select who from entry);
delete from word where id not in (select name from entry union all select remote from entry where remote is not null);
insert into word_part (word_part) values ('rebuild');
commit;
vacuum;
pragma user_version = 5;
"""  # noqa: S608  # constants
_PART_CHARACTERS: Final = 3
"""The shortest part of a word that its index finds."""

_CREATE_SUMS: Final = """
create table if not exists traffic (hour_ms integer, who integer, name text, down integer, up integer, flows integer,
    primary key (hour_ms, who, name)) without rowid;
create table if not exists ended (at_ms integer, address text, remote text, down integer, up integer,
    primary key (at_ms, address, remote)) without rowid;
create table if not exists readable (grp text primary key, readable integer, flows integer) without rowid;
"""
"""Apart from the form: files that were begun before there were these tables are good."""

_ADD_TRAFFIC: Final = """
insert into traffic values (?, ?, ?, ?, ?, ?) on conflict do update set
    down = down + excluded.down, up = up + excluded.up, flows = flows + excluded.flows"""

_ADD_ENDED: Final = """
insert into ended values (?, ?, ?, ?, ?) on conflict do update set down = down + excluded.down, up = up + excluded.up"""
_FIND_ENDED: Final = """
select entry.id, ended.down, ended.up from entry cross join word on word.id = entry.remote
    cross join who on who.id = entry.who
    cross join ended on ended.at_ms = entry.at_ms and ended.remote = word.text and ended.address = who.address
where entry.id in (select value from json_each(?))"""

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


class Carried(NamedTuple):
    """Octets of a flow, with IP headers."""

    down: int
    up: int


Sums = Traffic | EndedFlows | ReadableFlows
"""What flows carried and showed, apart from decisions."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event with its place in the log."""

    id: int
    event: Event
    carried: Carried | None = None
    """What came of it once the flow has ended; None where it is none, or has not."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found, newest first."""

    records: tuple[Record, ...]
    older: int = 0
    """The id before which to search on; 0 where all there is was looked at."""
    back_to: date | None = None
    """The last day that was looked at, where patience was at its end."""


class Hour(NamedTuple):
    """The decisions of an hour for one group."""

    begins_ms: int
    """Milliseconds since 1970."""
    group: str
    allowed: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The decisions of one day, counted."""

    allowed: int = 0
    blocked: int = 0
    devices: int = 0
    hours: tuple[Hour, ...] = ()
    """By time and group."""
    blocked_most: tuple[tuple[str, int], ...] = ()
    """Names of which the most was blocked, with how often; at most ``MAX_BLOCKED``."""


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

    def append_sums(self, them: Iterable[Sums]) -> None:
        """Add to what flows carried, and to how many showed a name; faults are as for ``append_batches``.

        What a flow carried goes to the day of its decision, unless the file of that has been settled meanwhile.
        """
        self._demand_room()
        days: dict[date, list[Sums]] = {}
        for sums in them:
            for day, part in self._sums_by_day(sums):
                days.setdefault(day, []).append(part)
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

    def search(self, wanted: ActivityFilter) -> Found:
        """Return the newest records that fit.

        Days are looked at from the newest on, until ``PATIENCE_S`` is over or there are enough.

        Raises:
            ValueError: A time is none, or the category.
        """
        limit = min(max(wanted.limit, 1), MAX_RECORDS)
        ends = time.monotonic() + PATIENCE_S
        records: list[Record] = []
        looked: date | None = None
        since_ms, until_ms = (self._ms(iso) for iso in (wanted.since, wanted.until))
        first = self._day(since_ms) if since_ms else date.min
        last = self._day(until_ms) if until_ms else date.max
        span = since_ms, until_ms
        for day in sorted(self.days(), reverse=True):
            base = day.toordinal() * _DAY
            if not first <= day <= last or (wanted.before and base >= wanted.before):
                continue
            if looked and time.monotonic() > ends:
                return Found(tuple(records), base + _DAY, looked)
            looked = day
            # One more than is wanted tells whether there are older ones.
            before = max(wanted.before - base, 0)
            rows = self._look(
                day,
                partial(
                    _search, wanted=wanted, span=span, before=before, limit=limit + 1 - len(records)
                ),
            )
            carried = self._carried(day, [row["id"] for row in rows])
            records += [
                Record(base + row["id"], _event(row), carried.get(row["id"])) for row in rows
            ]
            if len(records) > limit:
                return Found(tuple(records[:limit]), records[limit - 1].id)
        return Found(tuple(records))

    def _carried(self, day: date, ids: Sequence[int]) -> dict[int, Carried]:
        rows = self.read_sums("ended", day, _FIND_ENDED, [json.dumps(ids)]) if ids else []
        return {row["id"]: Carried(row["down"], row["up"]) for row in rows}

    def _ms(self, iso: str) -> int:
        return int(aware(iso, self._zone).timestamp() * 1000) if iso else 0

    def settle(self, today: date) -> None:
        """Make the files of the days before ``today`` quick to search, which takes a second or more for each, once.

        Raises:
            OSError: The disk is nearly full.
            sqlite3.OperationalError: The disk refuses; what a day had before stays.
        """
        for day in self.days():
            if day < today and self._form(day) == _FORM:
                self._run(day, _SETTLE)

    def thin(self, before: date) -> date | None:
        """Take what was allowed, and what devices carried, out of the oldest file from before a day; return its day.

        None where there is none left. Faults are as for ``settle``, which comes first.
        """
        for day in self.days():
            if day < before and self._form(day) == _SETTLED:
                self._run(day, _THIN)
                return day
        return None

    def delete(self, before: date) -> date | None:
        """Delete the oldest file from before a day; return its day, None where there is none left.

        Raises:
            OSError: The disk refuses.
        """
        # Those that were set aside too.
        files = sorted(self._directory.glob("activity-????-??-??.*"))
        day = date.fromisoformat(files[0].name[9:19]) if files else before
        if day >= before:
            return None
        with self._writing:
            if self._open and self._open.is_at(self._path(day)):
                self._end()
            for path in files:
                if path.name.startswith(self._path(day).stem):
                    path.unlink(missing_ok=True)
        return day

    def _run(self, day: date, script: str) -> None:
        self._demand_room()
        path = self._path(day)
        # Meanwhile events wait in the recorder: who writes must not know the file as it was before.
        with self._writing:
            if self._open and self._open.is_at(path):
                self._end()
            with closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
                connection.execute("pragma synchronous=normal")
                connection.executescript(script)

    def _form(self, day: date) -> int:
        return next((row[0] for row in self._read(day, "pragma user_version", [])), 0)

    def totals(self, day: date) -> Totals:
        """Return the counts of ``day``; what was counted before is not read again."""
        query = f"""
            select max(entry.id) as last, action, coalesce(nullif(mac, ''), address) as device, grp,
                at_ms / {_HOUR_MS} as hour, word.text as name, sum(count) as n
            from entry cross join outcome on outcome.id = entry.outcome cross join who on who.id = entry.who
                left join word on word.id = entry.name and action = '{BLOCK}'
            where entry.id > ? group by entry.outcome, entry.who, hour, word.id"""  # noqa: S608  # constants
        with self._counting:
            counted = self._counted
            if counted is None or counted.day != day or not self._reaches(day, counted.last):
                counted = self._counted = _Counted(day)
            for row in self._read(day, query, [counted.last]):
                counted.add(row)
            return counted.totals()

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
        self,
        table: Literal["traffic", "ended", "readable"],
        day: date,
        query: str,
        values: Sequence[Any],
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

    def _sums_by_day(self, sums: Sums) -> Iterator[tuple[date, Sums]]:
        if not isinstance(sums, EndedFlows):
            yield self._day(sums.at_ms), sums
            return
        rows = zip(*_columns(sums), strict=True)
        for day, its in groupby(sorted(rows), key=lambda row: self._day(row[0])):
            if self._form(day) == _FORM:
                yield day, EndedFlows(*zip(*its, strict=True))

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
        return self._look(day, lambda connection: connection.execute(query, values).fetchall())

    def _look(
        self, day: date, work: Callable[[sqlite3.Connection], list[sqlite3.Row]]
    ) -> list[sqlite3.Row]:
        path = self._path(day)
        if not path.exists():
            return []
        try:
            with closing(
                sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
            ) as connection:
                connection.row_factory = sqlite3.Row
                return work(connection)
        except sqlite3.DatabaseError as e:
            _log.warning("action=search file=%s fault=%s", path.name, e)
            return []


class _Counted:
    """What ``totals`` has counted of a day."""

    def __init__(self, day: date) -> None:
        self.day = day
        self.last = 0
        self._hours: Counter[tuple[int, str, str]] = Counter()
        """By hour since 1970, group and action."""
        self._devices: set[str] = set()
        self._blocked: Counter[str] = Counter()

    def add(self, row: sqlite3.Row) -> None:
        """Count what equal entries stand for."""
        self.last = max(self.last, row["last"])
        self._devices.add(row["device"])
        self._hours[row["hour"], row["grp"], row["action"]] += row["n"]
        name = row["name"]
        if name and name != MANY and (name in self._blocked or len(self._blocked) < _MAX_SHARED):
            self._blocked[name] += row["n"]

    def totals(self) -> Totals:
        """Return what has been counted."""
        spans = sorted({(hour, group) for hour, group, _ in self._hours})
        hours = tuple(
            Hour(h * _HOUR_MS, g, self._hours[h, g, ALLOW], self._hours[h, g, BLOCK])
            for h, g in spans
        )
        return Totals(
            sum(hour.allowed for hour in hours),
            sum(hour.blocked for hour in hours),
            len(self._devices),
            hours,
            tuple(self._blocked.most_common(MAX_BLOCKED)),
        )


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
            self._words: dict[str, int] = {
                text: id_ for (text,), id_ in self._shared("word").items()
            }
            (self._last_word,) = self._connection.execute(
                "select ifnull(max(id), 0) from word"
            ).fetchone()
        except BaseException:
            self._connection.close()
            raise

    def _demand_form(self) -> None:
        (form,) = self._connection.execute("pragma user_version").fetchone()
        if form == 0 and not self._connection.execute("select 1 from sqlite_schema").fetchone():
            self._connection.executescript(_CREATE)
        elif form in {_SETTLED, _THINNED}:
            self._connection.executescript(_UNSETTLE)
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
                    self._word_ids(batch.names),
                    batch.counts,
                    batch.took_us,
                    *([self._remote_ids(batch.remotes)] if batch.remotes else []),
                ]
                for_one, for_many = _STATEMENTS[len(columns)]
                rows = zip(*columns, strict=True)
                # One statement for many is faster than one for each.
                while len(some := tuple(islice(rows, _ROWS))) == _ROWS:
                    connection.execute(for_many, tuple(chain.from_iterable(some)))
                connection.executemany(for_one, some)

    def add(self, them: Iterable[Sums]) -> None:
        """Add all of ``them`` to the sums that are there, or nothing."""
        with self._transaction() as connection:
            for sums in them:
                match sums:
                    case Traffic():
                        self._add_traffic(connection, sums)
                    case EndedFlows():
                        ended = zip(*_columns(sums), strict=True)
                        connection.executemany(_ADD_ENDED, ended)
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

    def _word_ids(self, texts: Sequence[str]) -> list[int]:
        """Return the id of each of ``texts``; those that are not there yet are written."""
        known = self._words
        if len(known) > _MAX_SHARED:
            known.clear()
        if new := set(texts).difference(known):
            known.update(zip(new, count(self._last_word + 1)))
            self._last_word += len(new)
            rows = ((known[text], text) for text in new)
            self._connection.executemany("insert into word values (?, ?)", rows)
        return [known[text] for text in texts]

    def _remote_ids(self, texts: Sequence[str]) -> list[int | None]:
        ids = self._word_ids(texts)
        return [id_ if text else None for id_, text in zip(ids, texts, strict=True)]

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


def _columns(ended: EndedFlows) -> list[Sequence[Any]]:
    return [getattr(ended, field.name) for field in fields(ended)]


@dataclass(slots=True)
class _Condition:
    """Something that entries must be: one of the ``ids`` in one of the columns."""

    ids: dict[str, list[int]]
    """By column of ``entry``, which has an index in a settled file."""

    def is_void(self) -> bool:
        """Tell whether no entry can be it."""
        return not any(self.ids.values())

    def test(self) -> str:
        """Return what an entry must pass."""
        return " or ".join(self._columns())

    def values(self) -> list[str]:
        """Return what stands for the marks of ``test`` and of ``way``."""
        return [json.dumps(ids) for ids in self.ids.values() if len(ids) > _SHORT]

    def way(self) -> str:
        """Return the query of all such entries by the indexes."""
        return " union all ".join(
            f"select id from entry indexed by entry_{test.partition(' ')[0]} where {test}"  # noqa: S608  # constants, and numbers
            for test in self._columns()
        )

    def _columns(self) -> Iterator[str]:
        """Yield the test of each column that may be met: with its ids where they are few, which takes half the time."""
        for column, ids in self.ids.items():
            if ids:
                yield f"{column} in {_LIST if len(ids) > _SHORT else f'({str(ids)[1:-1]})'}"


def _search(
    connection: sqlite3.Connection,
    wanted: ActivityFilter,
    span: tuple[int, int],
    before: int,
    limit: int,
) -> list[sqlite3.Row]:
    """Return the newest entries of a day that fit, as the view has them."""
    conditions = _conditions(connection, wanted)
    if any(condition.is_void() for condition in conditions):
        return []
    tests = [f"({condition.test()})" for condition in conditions]
    values: list[Any] = [value for condition in conditions for value in condition.values()]
    for test, value in (
        ("at_ms >= ?", span[0]),
        ("at_ms < ?", span[1]),
        ("id < ?", before),
    ):
        if value:
            tests.append(test)
            values.append(value)
    way = _shortest(connection, conditions)
    if way:
        tests.append(f"id in ({way.way()})")
        values += way.values()
    where = f"where {' and '.join(tests)}" if tests else ""
    # An index that SQLite chose by itself would be looked through to its end, however soon there are enough.
    query = (
        f"select * from decision where id in (select id from entry not indexed {where} order by id desc limit ?)"  # noqa: S608  # constants
        " order by id desc"
    )
    return connection.execute(query, [*values, limit]).fetchall()


def _conditions(connection: sqlite3.Connection, wanted: ActivityFilter) -> list[_Condition]:
    """Return what is wanted in ids of this file."""

    def ids(table: str, tests: Mapping[str, Any]) -> list[int]:
        query = f"select rowid from {table} where {' and '.join(tests)}"  # noqa: S608  # constants
        return [row[0] for row in connection.execute(query, [*tests.values()])]

    who = {"grp = ?": wanted.group, "mac = ?": wanted.device, "person = ?": wanted.person}
    outcome = {
        "action = ?": wanted.action,
        "source = ?": wanted.source,
        "categories & ?": mask_of([wanted.category]) if wanted.category else 0,
    }
    found = []
    for column, tests in (("who", who), ("outcome", outcome)):
        asked = {test: value for test, value in tests.items() if value}
        if asked:
            found.append(_Condition({column: ids(column, asked)}))
    if text := wanted.text.lower():
        if len(text) >= _PART_CHARACTERS and _is_settled(connection):
            # As a pattern each character stands for itself.
            pattern = "".join(f"[{c}]" if c in "*?[" else c for c in text)
            words = ids("word_part", {"text glob ?": f"*{pattern}*"})
        else:
            words = ids("word", {"instr(text, ?)": text})
        devices = ids("who", {"instr(lower(device), ?)": text})
        found.append(_Condition({"name": words, "remote": words, "who": devices}))
    return found


def _is_settled(connection: sqlite3.Connection) -> bool:
    (form,) = connection.execute("pragma user_version").fetchone()
    return form in {_SETTLED, _THINNED}


def _shortest(
    connection: sqlite3.Connection, conditions: Sequence[_Condition]
) -> _Condition | None:
    """Return the condition that the fewest entries meet; None where those are many, or there is no index."""
    if not _is_settled(connection):
        return None
    least, found = _FEW, None
    # A text first, which is likely to be the rarest: of the others no more are counted than it has.
    for condition in reversed(conditions):
        query = f"select count(*) from (select 1 from ({condition.way()}) limit ?)"  # noqa: S608  # constants
        (many,) = connection.execute(query, [*condition.values(), least]).fetchone()
        if many < least:
            least, found = many, condition
    return found


def _event(row: sqlite3.Row) -> Event:
    _, at_ms, source, address, mac, device, group, *rest = row
    return Event(at_ms, Source(source), address, mac, device, group, *rest)
