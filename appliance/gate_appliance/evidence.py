"""The record, checked by whoever does not trust the appliance: from a file that it gave out, or from its store.

The chain tells of whoever changes an entry; only a hash that somebody has kept elsewhere tells of one who writes the
whole record anew, or takes entries off its end.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from gate_appliance.signing import Signer, fingerprint, verify
from gate_appliance.store import state_fault
from gate_core.control import MalformedMessageError, hints_of, value_of
from gate_core.edits import digest
from gate_core.record import NO_HASH, Entry, Verdict
from gate_core.record import verify as verify_chain
from gate_core.written import Plain

FORM: Final = "schoolgate evidence 1"

_MOST_DOCUMENT_OCTETS: Final = 64 << 20
"""Largest written policy that is unpacked from a store."""

_COLUMNS: Final = tuple(f.name for f in fields(Entry))


class EvidenceError(ValueError):
    """What is to be checked can't be read at all; the message tells where it fails."""


@dataclass(frozen=True, slots=True)
class Header:
    """First line of a file of evidence: what the appliance vouches for."""

    form: str
    school: str
    public_key: str
    """The appliance's, in base64."""
    appliance: str
    """Fingerprint of the key."""
    entries: int
    """How many there are."""
    head: str
    """Hash of the last."""
    signature: str
    """Of all the other fields."""


@dataclass(frozen=True, slots=True)
class EvidenceCheck:
    """What came of checking a file of evidence."""

    verdict: Verdict
    signed: bool
    """Whether the appliance that the file names has signed it."""
    signature: str
    """That, as a sentence."""


def render_evidence(entries: Iterable[Entry], signer: Signer, *, school: str) -> str:
    """Return the record as text: JSON, the header in the first line and an entry in each other.

    It is ASCII, as what the hashes are made of, so that nothing in it can look like something else.

    Args:
        entries: All of them, in order.
        signer: The appliance that writes it.
        school: Its school.
    """
    whole = tuple(entries)
    header = Header(
        form=FORM,
        school=school,
        public_key=signer.public_key,
        appliance=signer.fingerprint,
        entries=len(whole),
        head=whole[-1].hash if whole else NO_HASH,
        signature="",
    )
    header = replace(header, signature=signer.sign(_signed(header)))
    lines: tuple[Header | Entry, ...] = (header, *whole)
    return "".join(json.dumps(asdict(line)) + "\n" for line in lines)


def read_evidence(text: str) -> tuple[Header, tuple[Entry, ...]]:
    """Return what ``render_evidence`` has written; whether it is true, ``check_evidence`` tells.

    Raises:
        EvidenceError: A line is not what it has to be.
    """
    lines = text.removesuffix("\n").split("\n")
    header: Header = _line(Header, lines[0], 1)
    if header.form != FORM:
        raise EvidenceError(f"line 1: form: {header.form[:60]!r} is not {FORM!r}")
    return header, tuple(
        _line(Entry, line, number) for number, line in enumerate(lines[1:], start=2)
    )


def check_evidence(evidence: str | Path, number: int = 0, head: str = "") -> EvidenceCheck:
    """Tell whether a file of evidence holds; nothing but the file is needed.

    Args:
        evidence: Its text, or where it lies.
        number: Number of an entry whose hash somebody kept elsewhere; 0 for none.
        head: That hash.

    Raises:
        EvidenceError: It can't be read.
        OSError: The file can't be opened.
    """
    if isinstance(evidence, Path):
        try:
            evidence = evidence.read_text(encoding="utf-8")
        except UnicodeDecodeError as e:
            raise EvidenceError(f"octet {e.start}: is no text; evidence is lines of JSON") from None
    header, entries = read_evidence(evidence)
    verdict, _ = _chain(entries, number, head)
    if not verdict.fault and verdict.entries != header.entries:
        broken = min(verdict.entries, header.entries) + 1
        fault = (
            f"there are {verdict.entries} entries, where the first line tells of {header.entries}"
        )
        verdict = replace(verdict, broken=broken, fault=fault)
    elif not verdict.fault and verdict.head != header.head:
        fault = f"entry {verdict.entries} is another one than the first line tells of: its hash is not the one there"
        verdict = replace(verdict, broken=verdict.entries, fault=fault)
    signed = verify(header.public_key, header.signature, _signed(header))
    signed = signed and fingerprint(header.public_key) == header.appliance
    sentence = (
        f"Signed by the appliance {header.appliance}: compare that with what the appliance shows as its fingerprint."
        if signed
        else "The first line is not what any appliance has signed: it has been changed."
    )
    return EvidenceCheck(verdict, signed, sentence)


def check_store(path: Path, number: int = 0, head: str = "") -> Verdict:
    """Tell whether the record in a store holds, and whether what lies beside it is what it speaks of.

    The store may be in use, or a copy that can't be written; nothing is changed in it.

    Args:
        path: A ``policy.db``.
        number: Number of an entry whose hash somebody kept elsewhere; 0 for none.
        head: That hash.

    Raises:
        EvidenceError: It is no store, or damaged.
    """
    with reading(path) as connection:
        # All of it as it is at one moment: a change that comes meanwhile would look like one without an entry.
        connection.execute("begin")
        damage = connection.execute("pragma integrity_check(1)").fetchone()[0]
        if damage != "ok":
            raise EvidenceError(f"{path}: is damaged: {damage}")
        spoken: dict[int, Entry] = {}
        verdict, last = _chain(_noting(_entries(connection), spoken), number, head)
        if verdict.fault:
            return verdict
        editions = connection.execute(
            "select version, digest, document from edition order by version"
        )
        newest = None
        for newest, kept, document in editions:
            if fault := _edition_fault(newest, kept, document, spoken.get(newest)):
                broken = spoken[newest].number if newest in spoken else verdict.entries
                return replace(verdict, broken=broken, fault=fault)
        if last and (newest is None or kept != last.policy):
            return replace(verdict, broken=last.number, fault=_another_policy(last))
        if fault := state_fault(connection, last):
            who = f" ({_words(last)})" if last else ""
            return replace(verdict, broken=max(verdict.entries, 1), fault=f"{fault}{who}")
    return verdict


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a SQLite file for reading alone, whoever else uses it; neither it nor the folder around it changes.

    Raises:
        EvidenceError: It is none, or damaged; also where that shows only while it is read.
    """
    if not path.is_file():
        raise EvidenceError(f"{path}: there is no such file")
    wal, shm = (path.with_name(path.name + end) for end in ("-wal", "-shm"))
    try:
        with tempfile.TemporaryDirectory() as folder:
            mode = "mode=ro"
            if not wal.exists():
                # Without this SQLite would make the two files, under the name of whoever checks.
                mode = "mode=ro&immutable=1"
            elif not shm.exists():
                # A copy of a store that was in use: what is only in its log is found where the log may be opened.
                path = Path(shutil.copy(path, folder))
                shutil.copy(wal, folder)
            with closing(
                sqlite3.connect(f"{path.resolve().as_uri()}?{mode}", uri=True)
            ) as connection:
                # What is no UTF-8 is no entry either, and must not end the search for the first that is not.
                connection.text_factory = lambda octets: octets.decode("utf-8", "backslashreplace")
                connection.execute("pragma trusted_schema = off")
                yield connection
    except sqlite3.DatabaseError as e:
        raise EvidenceError(f"{path}: is damaged, or no store of this program: {e}") from None


def newest_document(connection: sqlite3.Connection) -> tuple[int, Plain]:
    """Return the newest written policy in a store, with its version.

    Raises:
        EvidenceError: There is none that can be read.
    """
    row = connection.execute(
        "select version, document from edition order by version desc limit 1"
    ).fetchone()
    document = _document(row[1]) if row else None
    if document is None:
        raise EvidenceError("the store holds no written policy that can be read")
    return row[0], document


def _line(kind: type, line: str, number: int) -> Any:
    try:
        table = json.loads(line, object_pairs_hook=_object)
    except (ValueError, RecursionError) as e:
        raise EvidenceError(f"line {number}: is no JSON: {e}") from None
    if not isinstance(table, dict):
        raise EvidenceError(f"line {number}: is no JSON object")
    # Not as the written policy is read: an entry tells of several things a line each, and is text as it was sealed.
    hints = hints_of(kind)
    for name in table:
        if name not in hints:
            raise EvidenceError(
                f"line {number}: {name[:60]!r} is an unknown key; allowed are {', '.join(hints)}"
            )
    for name in hints:
        if name not in table:
            raise EvidenceError(f"line {number}: {name}: is missing")
    try:
        return kind(
            **{n: value_of(hint, table[n], f"line {number}: {n}") for n, hint in hints.items()}
        )
    except MalformedMessageError as e:
        raise EvidenceError(str(e)) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        # People would read the first, this program the last.
        raise ValueError("a key stands there twice")
    return table


def _signed(header: Header) -> bytes:
    return json.dumps(asdict(replace(header, signature="")), sort_keys=True).encode()


def _chain(entries: Iterable[Entry], number: int, head: str) -> tuple[Verdict, Entry | None]:
    """Return the verdict on a chain, its fault with what the entry says; and the last entry read."""
    last: Entry | None = None

    def watched() -> Iterator[Entry]:
        nonlocal last
        for entry in entries:
            last = entry
            yield entry

    verdict = verify_chain(watched(), number=number, head=head)
    if verdict.fault and last and verdict.broken <= verdict.entries:
        verdict = replace(verdict, fault=f"{verdict.fault} ({_words(last)})")
    return verdict, last


def _words(entry: Entry) -> str:
    """Return who, when and what, as the entry has it: perhaps not the truth."""
    text = f"entry {entry.number}: {entry.at}, {entry.actor}, {entry.role}: {entry.action} {entry.subject}"
    return "".join(c if c.isprintable() else "?" for c in text)[:300]


def _entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    for row in connection.execute(f"select {', '.join(_COLUMNS)} from record order by number"):  # noqa: S608  # fields of a class
        # A value that is no text and no number can't have been sealed: as a text, it breaks the seal.
        values: list[Any] = [v if isinstance(v, int | str) else repr(v) for v in row]
        yield Entry(*values)


def _noting(entries: Iterable[Entry], spoken: dict[int, Entry]) -> Iterator[Entry]:
    for entry in entries:
        spoken[entry.version] = entry
        yield entry


def _edition_fault(version: int, kept: object, blob: object, entry: Entry | None) -> str:
    document = _document(blob)
    if document is None:
        return f"the written policy of version {version} in the store can't be read"
    real = digest(document)
    if entry and real != entry.policy:
        return _another_policy(entry)
    if real != kept:
        return f"the digest beside the written policy of version {version} in the store is not its own: somebody has changed one of them"
    return ""


def _another_policy(entry: Entry) -> str:
    return (
        f"the written policy in the store is not the one that entry {entry.number} speaks of: somebody has changed it"
        f" without an entry ({_words(entry)})"
    )


def _document(blob: object) -> Plain | None:
    """Return the policy in a cell of the store; None for what is none."""
    if not isinstance(blob, bytes):
        return None
    unpacking = zlib.decompressobj()
    try:
        octets = unpacking.decompress(blob, _MOST_DOCUMENT_OCTETS)
        document = json.loads(octets) if unpacking.eof else None
    except (zlib.error, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
