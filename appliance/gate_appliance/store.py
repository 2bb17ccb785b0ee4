"""The policy store: one small, durable SQLite file that the steward alone writes.

It keeps the written policy in editions, what people have done for a while, accounts, proposals, and the record. Every
change is one transaction with its entry in the record; the record can be added to, and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from gate_core.compile import Acts, Isolation, Loan, Suspension
from gate_core.edits import digest
from gate_core.names import NameSet
from gate_core.policy import Lesson, LessonMode, Pause
from gate_core.record import NO_HASH, Entry, seal
from gate_core.roles import Role
from gate_core.timetable import Span
from gate_core.written import Plain, plain, shipped

FIRST_FORM: Final = 2
"""Form of the oldest store that is read; the one before it was never released."""

_ENTRY_FIELDS: Final = tuple(f.name for f in fields(Entry))

_STATE: Final = {
    "account": "select * from account order by username",
    # Which step was used last changes with each sign-in.
    "second_factor": "select username, secret from second_factor order by username",
    "recovery_code": "select * from recovery_code order by digest",
    "pause": "select * from pause order by id",
    "lesson": "select * from lesson order by id",
    "isolation": "select * from isolation order by mac",
    "suspension": "select * from suspension order by id",
    "loan": "select * from loan where returned = '' order by id",
    "proposal": "select * from proposal where state = 'waiting' order by id",
    "answer": "select * from answer where proposal in (select id from proposal where state = 'waiting')"
    " order by proposal, username",
}
"""What an entry's ``state`` is made of: what is over decides nothing any more, and only grows."""

_KINDS: Final = {"TEXT": str, "INTEGER": int}
"""What Python makes of a cell in a column of that type."""

_NO_STATE: Final = hashlib.sha256(b"{}").hexdigest()
"""Digest of a state of which nothing is there yet."""


RESTORED: Final = "restored a backup"
"""What the record says of a store that came from a backup."""


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes what, and why: what the record keeps of it."""

    actor: str
    role: str
    action: str
    subject: str
    before: str = ""
    after: str = ""
    reason: str = ""
    approvers: str = ""


@dataclass(frozen=True, slots=True)
class Edition:
    """One state of the written policy."""

    version: int
    at: str
    digest: str
    """SHA-256 that it was stored with."""
    document: Plain

    @property
    def whole(self) -> bool:
        """Whether the document is the one that was stored."""
        return digest(self.document) == self.digest


def _create(db: Database) -> None:
    db.table("meta").create({"key": str, "value": str}, pk="key")
    db.table("account").create(
        {
            "username": str,
            "full_name": str,
            "role": str,
            "password_hash": str,
            "session_epoch": int,
            "rooms": str,
            "until": str,
            "invitation": str,
            "invited_until": str,
            "state": str,
        },
        pk="username",
    )
    db.table("edition").create(
        {"version": int, "at": str, "digest": str, "document": bytes}, pk="version"
    )
    db.table("proposal").create(
        {
            "id": int,
            "at": str,
            "username": str,
            "role": str,
            "reason": str,
            "edits": str,
            "grants": str,
            "ends": str,
            "sentences": str,
            "approvals": int,
            "state": str,
            "lapses": str,
        },
        pk="id",
    )
    db.table("answer").create(
        {"proposal": int, "username": str, "role": str, "at": str, "approved": int, "note": str},
        pk=("proposal", "username"),
        foreign_keys=[("proposal", "proposal", "id")],
    )
    span = {"since": str, "until": str}
    db.table("pause").create(
        {"id": int, "groups": str, "rooms": str, **span, "by": str, "why": str}, pk="id"
    )
    db.table("lesson").create(
        {
            "id": int,
            "grp": str,
            "room": str,
            "mode": str,
            "names": str,
            "services": int,
            **span,
            "by": str,
        },
        pk="id",
    )
    db.table("isolation").create({"mac": str, "since": str, "by": str, "why": str}, pk="mac")
    db.table("suspension").create(
        {
            "id": int,
            "kind": str,
            "subject": str,
            **span,
            "review": str,
            "why": str,
            "by": str,
            "essentials_stay": int,
        },
        pk="id",
    )
    db.table("loan").create(
        {
            "id": int,
            "mac": str,
            "person": str,
            "lesson": str,
            **span,
            "by": str,
            "returned": str,
        },
        pk="id",
    )
    kinds = {name: int if name in ("number", "version") else str for name in _ENTRY_FIELDS}
    db.table("record").create(kinds, pk="number", not_null=_ENTRY_FIELDS)
    for what in ("update", "delete"):
        db.execute(
            f"create trigger record_{what} before {what} on record"
            " begin select raise(abort, 'the record can only be added to'); end"
        )
    # "insert or replace" would take an entry out without asking the trigger for deletes.
    db.execute(
        "create trigger record_insert before insert on record"
        " when exists (select 1 from record where number >= new.number)"
        " begin select raise(abort, 'the record can only be added to'); end"
    )
    db.table("meta").insert({"key": "version", "value": "1"})
    _add_edition(db, 1, "", plain(shipped()))


def _add_languages(db: Database) -> None:
    # Apart from the accounts, which the record vouches for: it is nobody's business but its reader's.
    db.table("language").create({"username": str, "language": str}, pk="username")


def _add_second_factors(db: Database) -> None:
    db.table("second_factor").create({"username": str, "secret": str, "step": int}, pk="username")


def _add_recovery_codes(db: Database) -> None:
    db.table("recovery_code").create({"digest": str, "username": str, "used": str}, pk="digest")


MIGRATIONS: Final[tuple[Callable[[Database], None], ...]] = (
    _create,
    _add_languages,
    _add_second_factors,
    _add_recovery_codes,
)
"""Each runs once, in one transaction with its number, beginning at ``FIRST_FORM``; never edited once released.

One that changes what ``state_digest`` reads adds an entry, or the last one no longer fits the store.
"""

NEWEST_FORM: Final = FIRST_FORM + len(MIGRATIONS) - 1
"""Form of the stores that this program writes."""


class Store:
    """The open store; its methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open the store, make it where it is missing, and bring it to the newest form.

        Raises:
            sqlite3.DatabaseError: The file is no store, or the disk refuses.
            ValueError: It was written by a newer program, or before the first release.
        """
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        self._db = Database(self._connection)
        # What is no UTF-8 is no reason to fail wherever it is read: as another text, it breaks the seal of the record.
        self._connection.text_factory = lambda octets: octets.decode("utf-8", "backslashreplace")
        try:
            path.chmod(0o600)
            self._connection.execute("pragma journal_mode=wal")
            # Policy must outlive a power cut the moment it is acknowledged.
            self._connection.execute("pragma synchronous=full")
            self._connection.execute("pragma foreign_keys=on")
            self._migrate()
            self._read_all()
            newest = self._rows("select digest from edition order by version desc limit 1")
            self.policy = str(newest[0]["digest"]) if newest else ""
            """SHA-256 of the written policy in force, which each entry names: the steward says which one that is."""
        except BaseException:
            self.close()
            raise

    def _read_all(self) -> None:
        """Read what is acted upon, once.

        Raises:
            sqlite3.OperationalError: The store is locked, or the disk refuses.
            sqlite3.DatabaseError: It has a table, a column or a row less or other than any program of ours writes.
        """
        try:
            _ = self.version
            self.entries(limit=1)
            self._demand_kinds()
            self.acts()
            for row in self.accounts():
                Role(row["role"])
                datetime.fromisoformat(row["until"] or "2000-01-01")
            for row in self.proposals(0, -1, waiting=True, username=""):
                for column in ("edits", "sentences"):
                    list(json.loads(row[column]))
                datetime.fromisoformat(row["lapses"])
        except sqlite3.OperationalError as e:
            if e.sqlite_errorcode != sqlite3.SQLITE_ERROR:
                raise
            raise sqlite3.DatabaseError(str(e)) from e  # a table or column is gone
        except (LookupError, ValueError, TypeError, OverflowError, RecursionError) as e:
            raise sqlite3.DatabaseError(f"it holds what no program of ours writes: {e}") from e

    def _demand_kinds(self) -> None:
        """Raise ``TypeError`` for a cell that is not of its column's kind: SQLite takes any."""
        columns = self._connection.execute(
            "select m.name, c.name, c.type from sqlite_master as m, pragma_table_info(m.name) as c"
        )
        kinds = {(table, column): kind for table, column, kind in columns}
        for table, query in _STATE.items():
            for row in self._rows(query):
                for column, value in row.items():
                    if not isinstance(value, _KINDS[kinds[table, column]]):
                        raise TypeError(f"{table}.{column}: is {value!r:.60}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def changing(self, change: Change, at: datetime | None) -> Iterator[Database]:
        """Run one change of what is decided, in one transaction: a new version and its entry; all or nothing."""
        before = self.policy
        try:
            with self._transaction() as db:
                self._set("version", str(self.version + 1))
                yield db
                self._enter(change, at)
        except BaseException:
            self.policy = before
            raise

    @contextmanager
    def noting(self, change: Change, at: datetime | None) -> Iterator[Database]:
        """Run a change that no decision depends on, such as a sign-in: the entry without a new version."""
        with self._transaction() as db:
            yield db
            self._enter(change, at)

    def adopt(self, document: Plain, at: datetime | None) -> None:
        """Make ``document`` the newest edition, and the one in force; within ``changing``."""
        self.policy = _add_edition(self._db, self.version, at.isoformat() if at else "", document)

    @property
    def version(self) -> int:
        """Version of the policy, higher after each change."""
        return int(self._rows("select value from meta where key = 'version'")[0]["value"])

    def raise_version(self, above: int = 0) -> None:
        """Raise the version without a change, to more than ``above``: the policy means something else from here on."""
        with self._transaction():
            self._set("version", str(max(self.version, above) + 1))

    @property
    def newest(self) -> int:
        """Version of the newest edition, whatever it says; 0 where there is none."""
        return int(self._rows("select coalesce(max(version), 0) as n from edition")[0]["n"])

    def editions(self) -> Iterator[Edition]:
        """Yield the editions of the written policy, newest first; those that can't be read are passed over."""
        versions = self._rows("select version from edition order by version desc")
        for row in versions:
            edition = self.edition(row["version"])
            if edition is not None:
                yield edition

    def edition(self, version: int) -> Edition | None:
        """Return the edition of that version; None where there is none that can be read."""
        for row in self._rows("select * from edition where version = ?", version):
            try:
                document = json.loads(zlib.decompress(row["document"]))
            except (zlib.error, ValueError, TypeError, RecursionError):
                return None
            if not isinstance(document, dict):
                return None
            return Edition(row["version"], row["at"], row["digest"], document)
        return None

    def acts(self) -> Acts:
        """Return what people have done for a while, also what is over and has not been cleared."""
        return Acts(
            pauses=tuple(
                Pause(
                    str(r["id"]),
                    frozenset(json.loads(r["groups"])),
                    _span(r),
                    r["by"],
                    frozenset(json.loads(r["rooms"])),
                    r["why"],
                )
                for r in self._rows("select * from pause order by id")
            ),
            lessons=tuple(
                Lesson(
                    str(r["id"]),
                    r["grp"],
                    LessonMode(r["mode"]),
                    NameSet(frozenset(json.loads(r["names"]))),
                    _span(r),
                    r["room"],
                    r["services"],
                    r["by"],
                )
                for r in self._rows("select * from lesson order by id")
            ),
            isolations=tuple(
                Isolation(r["mac"], _time(r["since"]), r["by"], r["why"])
                for r in self._rows("select * from isolation order by since")
            ),
            suspensions=tuple(
                Suspension(
                    str(r["id"]),
                    r["kind"],
                    r["subject"],
                    _span(r),
                    r["review"],
                    r["why"],
                    r["by"],
                    bool(r["essentials_stay"]),
                )
                for r in self._rows("select * from suspension order by id")
            ),
            loans=tuple(
                Loan(str(r["id"]), r["mac"], r["person"], r["lesson"], _span(r), r["by"])
                for r in self._rows("select * from loan where returned = '' order by id")
            ),
        )

    def loans(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest loans, returned ones too."""
        return self._rows("select * from loan order by id desc limit ?", limit)

    def accounts(self) -> list[dict[str, Any]]:
        """Return all accounts as they are stored."""
        return self._rows("select * from account order by username")

    def account(self, username: str) -> dict[str, Any] | None:
        """Return the account of that name as it is stored."""
        found = self._rows("select * from account where username = ?", username)
        return found[0] if found else None

    def language(self, username: str) -> str:
        """Return the language that somebody has chosen; "" where they have not."""
        found = self._rows("select language from language where username = ?", username)
        return str(found[0]["language"]) if found else ""

    def second_factor(self, username: str) -> tuple[str, int]:
        """Return the secret of somebody's second factor and the step used last; "" and 0 where there is none."""
        found = self._rows("select secret, step from second_factor where username = ?", username)
        return (str(found[0]["secret"]), int(found[0]["step"])) if found else ("", 0)

    def recovery_codes(self, username: str) -> dict[str, str]:
        """Return the digests of somebody's recovery codes, each with when it was used; "" where it was not."""
        rows = self._rows("select digest, used from recovery_code where username = ?", username)
        return {row["digest"]: row["used"] for row in rows}

    def recovered(self) -> list[tuple[str, str]]:
        """Return the full names of those of whose recovery codes one was used, each with when the last was."""
        rows = self._rows(
            "select full_name, max(used) as used from recovery_code join account using (username) where used != ''"
            " group by username order by username"
        )
        return [(row["full_name"], row["used"]) for row in rows]

    def use_step(self, username: str, step: int) -> bool:
        """Write down that a step was used; tell whether no later one had been, nor the same."""
        with self._transaction() as db:
            used = db.execute(
                "update second_factor set step = ? where username = ? and step < ?",
                [step, username, step],
            )
            return used.rowcount == 1

    def set_language(self, username: str, language: str) -> None:
        """Write down which language somebody has chosen."""
        with self._transaction() as db:
            db.table("language").upsert({"username": username, "language": language}, pk="username")

    def proposals(
        self, before: int, limit: int, *, waiting: bool, username: str
    ) -> list[dict[str, Any]]:
        """Return proposals with ids below ``before`` (0: the newest), newest first; of one person where named."""
        return self._rows(
            "select * from proposal where id < ? and (? = 0 or state = 'waiting') and (? = '' or username = ?)"
            " order by id desc limit ?",
            before or 1 << 62,
            int(waiting),
            username,
            username,
            limit,
        )

    def proposal(self, id_: int) -> dict[str, Any] | None:
        """Return one proposal as it is stored."""
        found = self._rows("select * from proposal where id = ?", id_)
        return found[0] if found else None

    def answers(self, proposal: int) -> list[dict[str, Any]]:
        """Return what people said of a proposal, in order."""
        return self._rows("select * from answer where proposal = ? order by at, rowid", proposal)

    def waiting(self) -> int:
        """Return how many proposals wait."""
        return int(self._rows("select count(*) as n from proposal where state = 'waiting'")[0]["n"])

    def entries(self, before: int = 0, limit: int = -1, actor: str = "") -> list[Entry]:
        """Return entries with numbers below ``before`` (0: the newest), newest first; of one person where named."""
        rows = self._rows(
            "select * from record where number < ? and (? = '' or actor = ?) order by number desc limit ?",
            before or 1 << 62,
            actor,
            actor,
            limit,
        )
        return [Entry(**row) for row in rows]

    def vouched(self, version: int) -> str | None:
        """Return the digest of the written policy that the record gives for ``version``; None where it has no entry."""
        found = self._rows(
            "select policy from record where version = ? order by number desc limit 1", version
        )
        return str(found[0]["policy"]) if found else None

    def last_adopted(self) -> tuple[int, int, str]:
        """Return number, version and policy of the last entry that speaks of another policy than the one before it."""
        found = self._rows(
            "select number, version, policy from record as r where number = 1 or policy !="
            " (select policy from record where number = r.number - 1) order by number desc limit 1"
        )
        return (
            (found[0]["number"], found[0]["version"], found[0]["policy"]) if found else (0, 0, "")
        )

    def state_fault(self) -> str:
        """Tell whether accounts, holds and proposals are not those of the last entry; "" where they are."""
        with self._lock:
            last = self.entries(limit=1)
            return state_fault(self._connection, last[0] if last else None)

    def noted(self, action: str) -> frozenset[str]:
        """Return the subjects of all entries with that action."""
        rows = self._rows("select distinct subject from record where action = ?", action)
        return frozenset(row["subject"] for row in rows)

    def of_action(self, action: str) -> list[Entry]:
        """Return all entries with that action, newest first."""
        rows = self._rows("select * from record where action = ? order by number desc", action)
        return [Entry(**row) for row in rows]

    def _enter(self, change: Change, at: datetime | None) -> None:
        last = self._rows("select number, hash from record order by number desc limit 1")
        number, previous = (last[0]["number"], str(last[0]["hash"])) if last else (0, NO_HASH)
        entry = Entry(
            number=number + 1,
            # Without a known time the entry says so, and its number still gives the order.
            at=at.isoformat(timespec="milliseconds") if at else "time not known",
            at_utc=at.astimezone(UTC).isoformat(timespec="milliseconds")
            if at
            else "time not known",
            actor=change.actor,
            role=change.role,
            action=change.action,
            subject=change.subject,
            before=change.before,
            after=change.after,
            reason=change.reason,
            approvers=change.approvers,
            version=self.version,
            # Not that of the newest edition: whoever slips one in must not be vouched for by the next sign-in.
            policy=self.policy,
            state=state_digest(self._connection),
            previous=previous,
            hash="",
        )
        sealed = replace(entry, hash=seal(entry))
        self._db.table("record").insert(dict(zip(_ENTRY_FIELDS, astuple(sealed), strict=True)))

    def _migrate(self) -> None:
        with self._lock:
            done = self._connection.execute("pragma user_version").fetchone()[0]
        if done and not FIRST_FORM <= done <= NEWEST_FORM:
            raise ValueError(
                f"the store has form {done}; this program knows forms {FIRST_FORM} to {NEWEST_FORM}"
            )
        begin = done - FIRST_FORM + 1 if done else 0
        for number, migration in enumerate(MIGRATIONS[begin:], start=FIRST_FORM + begin):
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
            try:
                return list(self._db.query(query, values))
            except (OverflowError, UnicodeEncodeError):
                return []  # No row has a number or a text that SQLite can't hold.

    def _set(self, key: str, value: str) -> None:
        self._db.execute("update meta set value = ? where key = ?", [value, key])


def state_digest(connection: sqlite3.Connection) -> str:
    """Return the SHA-256 of accounts, of what is in force for a while, and of what waits, in a store.

    It is made of canonical JSON: tables by name, each with its rows in order of their key; a table that is missing or
    empty is left out.
    """
    there = {name for (name,) in connection.execute("select name from sqlite_master")}
    state = {
        table: rows
        for table, query in _STATE.items()
        if table in there and (rows := connection.execute(query).fetchall())
    }
    # Only somebody else's hand puts octets into a cell: they have a form that no text has.
    text = json.dumps(
        state, sort_keys=True, separators=(",", ":"), default=lambda octets: {"hex": octets.hex()}
    )
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def state_fault(connection: sqlite3.Connection, last: Entry | None) -> str:
    """Tell whether the state in a store is not that of ``last``, its last entry; "" where it is."""
    if state_digest(connection) == (last.state if last else _NO_STATE):
        return ""
    if last is None:
        return "there are accounts, holds or proposals, and the record has no entry: somebody has put them in"
    return (
        f"accounts, holds or proposals are not those that entry {last.number} speaks of: somebody has changed them"
        " without an entry"
    )


def proposal_name(row: Mapping[str, Any]) -> str:
    """Return what the record calls a proposal as it is stored."""
    sentences = "; ".join(json.loads(row["sentences"])[:5])
    return f"proposal {row['id']} of {row['username']}: {sentences}"


def end_proposal(db: Database, row: Mapping[str, Any], state: str) -> None:
    """End a proposal that comes to nothing, and with it the account that it was to grant."""
    db.table("proposal").update(row["id"], {"state": state})
    db.execute(
        "update account set state = 'ended' where username = ? and state = 'waiting'",
        [row["grants"]],
    )


def _add_edition(db: Database, version: int, at: str, document: Plain) -> str:
    octets = zlib.compress(json.dumps(document, separators=(",", ":")).encode())
    its = digest(document)
    db.table("edition").insert({"version": version, "at": at, "digest": its, "document": octets})
    return its


def _span(row: Mapping[str, Any]) -> Span:
    return Span(_time(row["since"]), _time(row["until"]))


def _time(text: str) -> datetime:
    """Return a time with its offset; one without could be compared with no other."""
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return time
