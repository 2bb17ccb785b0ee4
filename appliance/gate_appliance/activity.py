"""The log of decisions: one SQLite file a day, so that retention is deleting a file.

It is disposable: a file that SQLite can't read is set aside and a new one begun; policy is never touched by it.
A record's id is its day (ordinal) times 10^9 plus its row, so that ids grow over all files.
"""

from __future__ import annotations

import errno
import logging
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from gate_core.desk import ActivityFilter
from gate_core.events import Event, Source

_log = logging.getLogger(__name__)

RESERVE_OCTETS: Final = 64 << 20
"""Free space that the log leaves to the policy; a fifth of a disk that is smaller than five times that."""

_TABLE: Final = "decision"
_DAY: Final = 1_000_000_000
_COLUMNS: Final = {
    "at_ms": int,
    "source": str,
    "address": str,
    "mac": str,
    "device": str,
    "grp": str,
    "name": str,
    "kind": str,
    "action": str,
    "reason": str,
    "rule_id": str,
    "categories": int,
    "version": int,
    "count": int,
    "person": str,
}


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


class ActivityLog:
    """The files of ``directory``; one writer (the recorder), any number of readers."""

    def __init__(self, directory: Path, zone: tzinfo) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._zone = zone

    def append(self, events: Iterable[Event]) -> None:
        """Write ``events`` to the files of their days; a file that can't be written is set aside once.

        Raises:
            OSError: The disk is nearly full: the log stops before policy can't be changed any more.
            sqlite3.OperationalError: The disk refuses; nothing of the day in question was written.
        """
        disk = shutil.disk_usage(self._directory)
        if disk.free < min(RESERVE_OCTETS, disk.total // 5):
            raise OSError(
                errno.ENOSPC, "the disk is nearly full; what is left is kept for the policy"
            )
        days: dict[date, list[Event]] = {}
        for event in events:
            days.setdefault(self._day(event.at_ms), []).append(event)
        for day, its_events in days.items():
            path = self._path(day)
            try:
                self._write(path, its_events)
            except sqlite3.DatabaseError as e:
                if isinstance(e, sqlite3.OperationalError):
                    raise
                _log.error(
                    "action=append file=%s fault=%s; set aside", path.name, e
                )  # the message says it all
                path.replace(path.with_suffix(".damaged"))
                self._write(path, its_events)

    def search(self, wanted: ActivityFilter) -> Iterator[Record]:
        """Yield at most ``wanted.limit`` records that fit, newest first."""
        left = min(max(wanted.limit, 1), 500)
        for day in sorted(self.days(), reverse=True):
            base = day.toordinal() * _DAY
            if wanted.before and base >= wanted.before:
                continue
            where, values = _where(wanted, base)
            query = f"select rowid, * from {{table}} {where} order by rowid desc limit ?"  # noqa: S608  # built from constants
            for row in self._read(day, query, [*values, left]):
                yield Record(base + row["rowid"], _event(row))
                left -= 1
            if left <= 0:
                return

    def totals(self, day: date) -> Totals:
        """Return the counts of ``day``."""
        query = "select action, sum(count) as n from {table} group by action"
        counts = {row["action"]: row["n"] for row in self._read(day, query, [])}
        devices = "select count(distinct coalesce(nullif(mac, ''), address)) as n from {table}"
        seen = sum(row["n"] for row in self._read(day, devices, []))
        return Totals(counts.get("allow", 0), counts.get("block", 0), seen)

    def days(self) -> list[date]:
        """Return the days that have a file, oldest first."""
        names = (p.stem.removeprefix("activity-") for p in self._directory.glob("activity-*.db"))
        return sorted(date.fromisoformat(name) for name in names)

    def _day(self, at_ms: int) -> date:
        return datetime.fromtimestamp(at_ms / 1000, self._zone).date()

    def _path(self, day: date) -> Path:
        return self._directory / f"activity-{day.isoformat()}.db"

    def _write(self, path: Path, events: list[Event]) -> None:
        # The log may lose its last second in a power cut: NORMAL spares the card an fsync a batch.
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            connection.execute("pragma journal_mode=wal")
            connection.execute("pragma synchronous=normal")
            table = Database(connection).table(_TABLE)
            if not table.exists():
                table.create(_COLUMNS)
            elif "person" not in table.columns_dict:
                table.add_column("person", str, not_null_default="")
            table.insert_all(map(_row, events), batch_size=1000)
            connection.commit()

    def _read(self, day: date, query: str, values: list[Any]) -> list[sqlite3.Row]:
        """Return what ``query`` selects from ``{table}``, a stand-in for the day's decisions."""
        path = self._path(day)
        if not path.exists():
            return []
        try:
            with closing(
                sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)
            ) as connection:
                connection.row_factory = sqlite3.Row
                table = _readable(connection)
                return connection.execute(query.format(table=table), values).fetchall()
        except sqlite3.DatabaseError as e:
            _log.warning("action=search file=%s fault=%s", path.name, e)
            return []


def _readable(connection: sqlite3.Connection) -> str:
    """Return the table to read from, with all columns; a file from before people were named has no ``person``."""
    columns = {row["name"] for row in connection.execute(f"pragma table_info({_TABLE})")}
    return _TABLE if "person" in columns else f"(select rowid, *, '' as person from {_TABLE})"  # noqa: S608  # a constant


def _where(wanted: ActivityFilter, base: int) -> tuple[str, list[Any]]:
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
        tests.append("(instr(name, ?) or instr(lower(device), ?))")
        values += [wanted.text.lower()] * 2
    if wanted.before:
        tests.append("rowid < ?")
        values.append(wanted.before - base)
    return ("where " + " and ".join(tests) if tests else ""), values


def _row(e: Event) -> dict[str, Any]:
    return dict(
        zip(
            _COLUMNS,
            (
                e.at_ms, e.source.value, e.address, e.mac, e.device, e.group, e.name, e.kind,
                e.action, e.reason, e.rule_id, e.categories, e.version, e.count, e.person,
            ),
            strict=True,
        )
    )  # fmt: skip


def _event(row: sqlite3.Row) -> Event:
    values = [row[column] for column in _COLUMNS]
    values[1] = Source(values[1])
    return Event(*values)
