"""The policy store: one small, durable SQLite file that the steward alone writes.

Every change is one transaction that raises the policy version and writes its audit entry.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from gate_core.acceptable_use import SHIPPED_CELLS, Cell
from gate_core.clients import DefaultAction, Device, Group, OnFault
from gate_core.desk import Account, AuditEntry
from gate_core.policy import Pause
from gate_core.timetable import Span

UNKNOWN_GROUP: Final = "quarantine"
"""Group of devices nobody has put into a group: the strictest."""


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes what, and why: what the audit log keeps of it."""

    actor: str
    action: str
    subject: str
    before: str = ""
    after: str = ""
    reason: str = ""


def _create(db: Database) -> None:
    db.table("meta").create({"key": str, "value": str}, pk="key")
    db.table("account").create(
        {
            "username": str,
            "full_name": str,
            "role": str,
            "password_hash": str,
            "session_epoch": int,
        },
        pk="username",
        not_null={"full_name", "role", "password_hash", "session_epoch"},
    )
    db.table("grp").create(
        {
            "id": str,
            "position": int,
            "title": str,
            "number": int,
            "default_action": str,
            "pausable": int,
            "quic": int,
            "on_fault": str,
        },
        pk="id",
    )
    db.table("cell").create(
        {"group_id": str, "row_id": str, "cell": str},
        pk=("group_id", "row_id"),
        foreign_keys=[("group_id", "grp", "id")],
    )
    db.table("device").create(
        {
            "mac": str,
            "name": str,
            "group_id": str,
            "person": str,
            "isolated": int,
            "suspended_since": str,
            "suspended_until": str,
        },
        pk="mac",
        foreign_keys=[("group_id", "grp", "id")],
    )
    db.table("pause").create(
        {"id": int, "groups": str, "since": str, "until": str, "by": str}, pk="id"
    )
    db.table("audit").create(
        {
            "id": int,
            "at": str,
            "actor": str,
            "action": str,
            "subject": str,
            "before": str,
            "after": str,
            "reason": str,
            "version": int,
        },
        pk="id",
    )
    db.table("meta").insert_all(({"key": "version", "value": "1"}, {"key": "school", "value": ""}))
    shipped = (
        ("ks1", "EYFS and Key Stage 1", True, False, OnFault.CLOSED),
        ("ks2", "Key Stage 2", True, False, OnFault.CLOSED),
        ("staff", "Staff", False, True, OnFault.OPEN),
        ("guest", "Guests", True, False, OnFault.CLOSED),
        ("infrastructure", "Printers, cameras and other equipment", False, False, OnFault.CLOSED),
        (UNKNOWN_GROUP, "New and unknown devices", True, False, OnFault.CLOSED),
    )
    for position, (id_, title, pausable, quic, on_fault) in enumerate(shipped, start=1):
        db.table("grp").insert(
            {
                "id": id_,
                "position": position,
                "title": title,
                "number": position,
                "default_action": DefaultAction.ALLOW.value,
                "pausable": pausable,
                "quic": quic,
                "on_fault": on_fault.value,
            }
        )
        db.table("cell").insert_all(
            {"group_id": id_, "row_id": row, "cell": cell.value}
            for row, cell in SHIPPED_CELLS[id_].items()
        )


MIGRATIONS: Final[tuple[Callable[[Database], None], ...]] = (_create,)
"""Each runs once, in one transaction with its number; never edited once released."""


class Store:
    """The open store; its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the store, make it where it is missing, and bring it to the newest form.

        Raises:
            sqlite3.DatabaseError: The file is no store, or the disk refuses.
            ValueError: It was written by a newer program.
        """
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        self._db = Database(self._connection)
        try:
            path.chmod(0o600)
            self._connection.execute("pragma journal_mode=wal")
            # Policy must outlive a power cut the moment it is acknowledged.
            self._connection.execute("pragma synchronous=full")
            self._connection.execute("pragma foreign_keys=on")
            self._migrate()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def changing(self, change: Change, at: datetime | None) -> Iterator[Database]:
        """Run one change in one transaction: raise the version and write the audit entry; all or nothing."""
        with self.noting(change, at) as db:
            self._set("version", str(self.version + 1))
            yield db

    @contextmanager
    def noting(self, change: Change, at: datetime | None) -> Iterator[Database]:
        """Run a change that no decision depends on, such as a sign-in: the audit entry without a new version."""
        with self._transaction() as db:
            yield db
            db.table("audit").insert(
                {
                    # Without a known time the entry says so, and its id still gives the order.
                    "at": at.isoformat(timespec="milliseconds") if at else "time not known",
                    "actor": change.actor,
                    "action": change.action,
                    "subject": change.subject,
                    "before": change.before,
                    "after": change.after,
                    "reason": change.reason,
                    "version": self.version,
                }
            )

    @property
    def version(self) -> int:
        """Version of the policy, higher after each change."""
        return int(self._get("version"))

    @property
    def school(self) -> str:
        """Name of the school; "" before the first run."""
        return self._get("school")

    def set_school(self, name: str) -> None:
        """Set the name of the school; within ``changing``."""
        self._set("school", name)

    def raise_version(self, above: int = 0) -> None:
        """Raise the version without a change, to more than ``above``: the policy means something else from here on."""
        with self._transaction():
            self._set("version", str(max(self.version, above) + 1))

    def groups(self) -> Mapping[str, Group]:
        """Return the groups by id, in the order of the pages."""
        cells: dict[str, dict[str, Cell]] = {}
        for row in self._rows("select * from cell"):
            cells.setdefault(row["group_id"], {})[row["row_id"]] = Cell(row["cell"])
        return {
            row["id"]: Group(
                row["id"],
                row["title"],
                row["number"],
                cells.get(row["id"], {}),
                DefaultAction(row["default_action"]),
                bool(row["pausable"]),
                bool(row["quic"]),
                OnFault(row["on_fault"]),
            )
            for row in self._rows("select * from grp order by position")
        }

    def devices(self) -> Mapping[str, Device]:
        """Return the known devices by MAC address."""
        return {
            row["mac"]: Device(
                row["mac"],
                row["name"],
                row["group_id"],
                row["person"],
                bool(row["isolated"]),
                _span(row["suspended_since"], row["suspended_until"]),
            )
            for row in self._rows("select * from device")
        }

    def pauses(self) -> tuple[Pause, ...]:
        """Return the pauses that have not been ended, also those whose time is over."""
        return tuple(
            Pause(
                str(row["id"]),
                frozenset(json.loads(row["groups"])),
                Span(datetime.fromisoformat(row["since"]), datetime.fromisoformat(row["until"])),
                row["by"],
            )
            for row in self._rows("select * from pause order by id")
        )

    def account(self, username: str) -> Account | None:
        """Return the account of that name."""
        for row in self._rows("select * from account where username = ?", username):
            return Account(**row)
        return None

    def is_set_up(self) -> bool:
        """Tell whether there is an account."""
        return bool(self._rows("select 1 from account limit 1"))

    def audit(self, before: int, limit: int) -> tuple[AuditEntry, ...]:
        """Return at most ``limit`` entries with ids below ``before`` (0: the newest), newest first."""
        rows = self._rows(
            "select * from audit where id < ? order by id desc limit ?", before or 1 << 62, limit
        )
        return tuple(AuditEntry(**row) for row in rows)

    def _migrate(self) -> None:
        with self._lock:
            done = self._connection.execute("pragma user_version").fetchone()[0]
        if done > len(MIGRATIONS):
            raise ValueError(
                f"the store has form {done}; this program knows forms up to {len(MIGRATIONS)}"
            )
        for number, migration in enumerate(MIGRATIONS[done:], start=done + 1):
            with self._transaction() as db:
                migration(db)
                db.execute(f"pragma user_version = {number}")

    @contextmanager
    def _transaction(self) -> Iterator[Database]:
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def _rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with self._lock:
            return list(self._db.query(query, values))

    def _get(self, key: str) -> str:
        return str(self._rows("select value from meta where key = ?", key)[0]["value"])

    def _set(self, key: str, value: str) -> None:
        self._db.execute("update meta set value = ? where key = ?", [value, key])


def _span(since: str | None, until: str | None) -> Span | None:
    if not since or not until:
        return None
    return Span(datetime.fromisoformat(since), datetime.fromisoformat(until))
