"""Everything of the appliance in one encrypted file, and back.

The file: a header with the parameters of scrypt (RFC 7914), then a compressed tar archive in chunks of 64 KiB, each
sealed by ChaCha20-Poly1305 (RFC 8439) in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizar 2015), as age
has it: the nonce is the chunk's number and a mark on the last, so that no chunk can be taken out, moved, added or cut
off unnoticed. ChaCha20 because a Raspberry Pi up to the 4 has no instructions for AES.

Neither way holds more than a few chunks in memory, however long the log of decisions is.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import sqlite3
import struct
import tarfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime, tzinfo
from importlib.metadata import version as version_of
from itertools import count
from pathlib import Path
from typing import IO, Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from gate_appliance.evidence import EvidenceError, check_store, newest_document, reading
from gate_appliance.library import (
    ADDED,
    KEPT,
    ListKey,
    is_illegal,
    list_files,
    sha256_of,
    vouched_lists,
    vouching,
)
from gate_appliance.places import Places
from gate_appliance.store import FIRST_FORM, NEWEST_FORM, RESTORED, Change, Store
from gate_appliance.supervisor import AlreadyUpError
from gate_core.edits import digest
from gate_core.tables import key, read
from gate_core.written import PolicyError, parse, plain, shipped

MIN_PASSPHRASE_CHARACTERS: Final = 12
"""Shortest passphrase: the file lies on a stick that may be lost."""

CHUNK_OCTETS: Final = 64 << 10

_MAGIC: Final = b"schoolgate backup 1\n"
_HEADER: Final = struct.Struct(">20sBBB16s16s")
"""Mark; scrypt's cost as the logarithm of N, r, p; salt; what tells a wrong passphrase from a damaged file."""

_COST: Final = (16, 8, 2)
"""64 MiB, which the smallest Raspberry Pi has to spare, and as much work as OWASP's 128 MiB once."""

_DEAREST: Final = (17, 8, 4)
"""What a header may ask for: a foreign one must not take all memory."""

_TAG_OCTETS: Final = 16
_READ_OCTETS: Final = 256 << 10
_MOST_MANIFEST_OCTETS: Final = 16 << 20

_MANIFEST: Final = "manifest.json"
_POLICY: Final = "policy.db"
_CONFIGURATION: Final = "configuration-in-backup.toml"
_KNOWN: Final = re.compile(
    r"policy\.db|signing-key|sightings\.json|sources\.json|source-keys\.json|configuration-in-backup\.toml|web/(certificate\.pem|secret)"
    r"|lists/(\.kept/)?[a-z0-9-]{1,40}/[a-z0-9][a-z0-9-]{0,39}|activity/activity-[0-9]{4}-[0-9]{2}-[0-9]{2}\.db"
)
"""Every file that a backup may hold, by its place below the state directory."""

_LISTS: Final = "lists"
_PUT_BACK: Final = (
    *("activity", "web", "sightings.json", "signing-key"),
    *("sources.json", "source-keys.json", _CONFIGURATION),
)
"""What a restored state has instead of the old, besides the policy and the lists."""

_GONE: Final = (
    "first-run-code",
    "policy.db.damaged",
    "policy.db-wal.damaged",
    "policy.db-shm.damaged",
    # What servers said of lists that are newer than those of the backup.
    "sources-looked-at.json",
)
"""What goes with the old state and has no successor."""


class BackupError(ValueError):
    """A backup can't be made, read or put back; the message tells why, and nothing has changed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file in a backup."""

    size_octets: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds."""

    made: str
    """When, ISO 8601; "time not known" where the clock was not set."""
    school: str
    program: str
    """Version of the program that made it."""
    version: int
    """Of the written policy."""
    entries: int
    """How many the record has."""
    head: str
    """Hash of the last."""
    files: Mapping[str, Part] = key({})
    """Place below the state directory to what lies there."""
    left_out: tuple[str, ...] = key(())
    """Days whose log of decisions could not be read."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What came of making a backup."""

    target: Path
    size_octets: int
    manifest: Manifest
    fault: str
    """What is wrong with the record, so that this backup would not be put back; "" where nothing is."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What came of putting one back."""

    manifest: Manifest
    set_aside: Path | None
    """Where the state of before lies; None where there was none."""
    configuration: Path
    """Where the configuration file of the backup lies: which one is in force, whoever restores decides."""


def make_backup(
    places: Places, config_path: Path, target: Path, passphrase: str, at: datetime | None
) -> BackupReport:
    """Write everything below the state directory that outlives a move to another machine; works while it runs.

    Args:
        places: Where everything lies.
        config_path: The configuration file.
        target: The file to make; one that is there is replaced once the new one is whole.
        passphrase: At least 12 characters; without it nobody reads the file again.
        at: Now; None where the clock is not known.

    Raises:
        BackupError: The passphrase is too short, or the policy can't be read.
        OSError: The disk refuses; the target is as it was.
    """
    if len(passphrase) < MIN_PASSPHRASE_CHARACTERS:
        raise BackupError(f"a passphrase has at least {MIN_PASSPHRASE_CHARACTERS} characters")
    beside = target.with_name(target.name + ".new")
    with _workshop(places.state) as folder:
        beside.unlink(missing_ok=True)
        # Not chmod: sticks with the file system of Windows refuse it.
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                writer = _SealingWriter(file, passphrase)
                manifest, fault = _write_archive(writer, places, config_path, folder, at)
                writer.finish()
                file.flush()
                os.fsync(file.fileno())
                size_octets = file.tell()
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
    _sync_directory(target.parent)
    return BackupReport(target, size_octets, manifest, fault)


def open_backup(source: Path, passphrase: str) -> Manifest:
    """Return what a backup holds, once all of it has been read and found whole; nothing is written.

    Raises:
        BackupError: It is no backup, the passphrase is another one, or it has been cut or changed.
        OSError: It can't be opened.
    """
    return _read_archive(source, passphrase, None)


def restore_backup(  # noqa: PLR0913  # what, where, who and why: none goes without the others
    source: Path,
    passphrase: str,
    places: Places,
    zone: tzinfo,
    *,
    actor: str,
    reason: str,
    at: datetime | None,
    replace: bool = False,
    broken_record: bool = False,
) -> RestoreReport:
    """Put a backup in the place of what is below the state directory, which is set aside and not deleted.

    Everything is checked before anything is put in place, the policy comes last, and what a power cut leaves behind can
    be restored over again. The lists of illegal content that lie there stay, and those of the backup come besides: an
    old backup never opens what is blocked as illegal.

    Args:
        source: The backup.
        passphrase: Its passphrase.
        places: Where everything lies.
        zone: The school's.
        actor: Who restores, for the restored record.
        reason: Why, for the same; not empty.
        at: Now; None where the clock is not known.
        replace: Whether a policy may be there already.
        broken_record: Whether a record that does not hold is put back all the same; it goes on not to hold, and the
            appliance takes the newest policy that its record vouches for.

    Raises:
        BackupError: As for ``open_backup``; or there is no reason, or a policy already; or that in the backup is
            refused.
        AlreadyUpError: The appliance is up.
        OSError: The disk refuses.
    """
    if not reason.strip():
        raise BackupError("say why the backup is put back: the record keeps the reason")
    places.make()
    with _nobody_up(places):
        if places.policy.exists() and not replace:
            raise BackupError(
                f"{places.policy} is there already; ask for it to be replaced, and it is set aside"
            )
        manifest = open_backup(source, passphrase)
        _demand_room(manifest, places.state)
        with _workshop(places.state) as staged:
            if _read_archive(source, passphrase, staged) != manifest:
                raise BackupError(f"{source} has changed while it was read")
            _examine(staged / _POLICY, zone, broken_record=broken_record)
            note = Change(
                actor,
                "it",
                RESTORED,
                f"made {manifest.made}",
                before=_last_entry(places.policy),
                reason=reason,
            )
            _note(staged / _POLICY, note, _keep_illegal(staged, places), at)
            set_aside = _put_in_place(staged, places)
    return RestoreReport(manifest, set_aside, places.state / _CONFIGURATION)


# Sealing


class _SealingWriter:
    """Seals what is written to it, chunk by chunk."""

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        salt = secrets.token_bytes(16)
        key_, check = _derive(passphrase, salt, _COST)
        self._file = file
        self._header = _HEADER.pack(_MAGIC, *_COST, salt, check)
        self._cipher = ChaCha20Poly1305(key_)
        self._chunks = 0
        self._left = bytearray()
        file.write(self._header)

    def write(self, octets: bytes) -> int:
        self._left += octets
        # One chunk at least stays behind, for the mark of the last.
        while len(self._left) > CHUNK_OCTETS:
            self._seal(bytes(self._left[:CHUNK_OCTETS]), final=False)
            del self._left[:CHUNK_OCTETS]
        return len(octets)

    def finish(self) -> None:
        self._seal(bytes(self._left), final=True)

    def _seal(self, chunk: bytes, *, final: bool) -> None:
        nonce = _nonce(self._chunks, final=final)
        self._file.write(self._cipher.encrypt(nonce, chunk, self._header))
        self._chunks += 1


class _OpeningReader:
    """Reads what a ``_SealingWriter`` has written; hands out no octet that has not been checked."""

    def __init__(self, file: IO[bytes], passphrase: str) -> None:
        self._file = file
        self._header = file.read(_HEADER.size)
        if len(self._header) < _HEADER.size or not self._header.startswith(_MAGIC):
            raise BackupError("the file is no backup of this program")
        _, log_n, r, p, salt, check = _HEADER.unpack(self._header)
        if not all(1 <= asked <= most for asked, most in zip((log_n, r, p), _DEAREST, strict=True)):
            raise BackupError("the file is damaged: its header asks for more work than any backup")
        key_, expected = _derive(passphrase, salt, (log_n, r, p))
        if not secrets.compare_digest(check, expected):
            raise BackupError("the passphrase is not the one that the backup was made with")
        self._cipher = ChaCha20Poly1305(key_)
        self._chunks = 0
        self._next = file.read(CHUNK_OCTETS + _TAG_OCTETS)
        self._left = b""
        if not self._next:
            raise BackupError("the backup is not whole: its end is missing")

    def read(self, size: int) -> bytes:
        """Return up to ``size`` octets; none at the end."""
        while not self._left and self._next:
            sealed, self._next = self._next, self._file.read(CHUNK_OCTETS + _TAG_OCTETS)
            self._left = self._open(sealed, final=not self._next)
            self._chunks += 1
        octets, self._left = self._left[:size], self._left[size:]
        return octets

    def _open(self, sealed: bytes, *, final: bool) -> bytes:
        with suppress(InvalidTag):
            return self._cipher.decrypt(_nonce(self._chunks, final=final), sealed, self._header)
        begin = _HEADER.size + self._chunks * (CHUNK_OCTETS + _TAG_OCTETS)
        end = begin + len(sealed)
        with suppress(InvalidTag):
            self._cipher.decrypt(_nonce(self._chunks, final=not final), sealed, self._header)
            what = "its end is missing" if final else f"something has been added at octet {end}"
            raise BackupError(f"the backup is not whole: {what}")
        raise BackupError(f"the backup is damaged or cut between octets {begin} and {end}")


def _derive(passphrase: str, salt: bytes, cost: tuple[int, int, int]) -> tuple[bytes, bytes]:
    """Return the key, and octets that tell that the passphrase is right and nothing else."""
    log_n, r, p = cost
    # The same letters come as different octets from different keyboards (Unicode Standard Annex 15).
    octets = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    derived = Scrypt(salt=salt, length=48, n=1 << log_n, r=r, p=p).derive(octets)
    return derived[:32], derived[32:]


def _nonce(number: int, *, final: bool) -> bytes:
    # A key is used for one file: numbers from 0 on never come again under it.
    return number.to_bytes(11, "big") + bytes([final])


# Writing


class _Hashed:
    """A file whose octets are counted and hashed as they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._size = 0

    def read(self, size: int = _READ_OCTETS) -> bytes:
        octets = self._file.read(size)
        self._hash.update(octets)
        self._size += len(octets)
        return octets

    @property
    def part(self) -> Part:
        return Part(self._size, self._hash.hexdigest())


def _write_archive(
    writer: _SealingWriter, places: Places, config_path: Path, folder: Path, at: datetime | None
) -> tuple[Manifest, str]:
    files: dict[str, Part] = {}
    left_out: list[str] = []
    copy = folder / "copy.db"
    try:
        _copy_database(places.policy, copy)
        verdict = check_store(copy)
        with reading(copy) as connection:
            version, document = newest_document(connection)
    except (sqlite3.DatabaseError, EvidenceError) as e:
        raise BackupError(f"the policy can't be read: {e}") from None
    with (
        # At level 6; what lzma saves takes ten times as long and 100 MB.
        gzip.GzipFile(mode="wb", compresslevel=6, fileobj=cast("IO[bytes]", writer)) as packed,
        tarfile.open(mode="w|", fileobj=packed) as archive,
    ):
        files[_POLICY] = _add(archive, _POLICY, copy)
        for name, path in _plain_files(places, config_path):
            files[name] = _add(archive, name, path)
        for path in sorted(places.activity.glob("activity-*.db")):
            try:
                _copy_database(path, copy)
            except (sqlite3.DatabaseError, EvidenceError):
                # The log is disposable, and one damaged day must not cost the policy its backup.
                left_out.append(path.name)
                continue
            name = f"activity/{path.name}"
            files[name] = _add(archive, name, copy)
        manifest = Manifest(
            made=at.isoformat(timespec="seconds") if at else "time not known",
            school=str(document.get("school", "")),
            program=version_of("schoolgate"),
            version=version,
            entries=verdict.entries,
            head=verdict.head,
            files=files,
            left_out=tuple(left_out),
        )
        # Last, because it tells of all the others.
        written = folder / _MANIFEST
        written.write_text(json.dumps(asdict(manifest)))
        _add(archive, _MANIFEST, written)
    return manifest, verdict.fault


def _plain_files(places: Places, config_path: Path) -> Iterator[tuple[str, Path]]:
    yield _CONFIGURATION, config_path
    for path in sorted(
        (
            places.signing_key,
            places.sightings,
            places.sources,
            places.source_keys,
            *places.web.glob("*"),
            *places.lists.glob("*/*"),
            *places.lists.glob(f"{KEPT}/*/*"),
        )
    ):
        name = path.relative_to(places.state).as_posix()
        if _KNOWN.fullmatch(name) and path.is_file() and not path.is_symlink():
            yield name, path


def _copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is at one moment, whoever writes to it."""
    target.unlink(missing_ok=True)
    with reading(source) as connection, closing(sqlite3.connect(target)) as copy:
        copy.execute("pragma synchronous = off")
        connection.backup(copy)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> Part:
    with path.open("rb") as file:
        member = tarfile.TarInfo(name)
        member.mode = 0o600
        member.size = os.fstat(file.fileno()).st_size
        hashed = _Hashed(file)
        archive.addfile(member, cast("IO[bytes]", hashed))
        return hashed.part


# Reading


def _read_archive(source: Path, passphrase: str, folder: Path | None) -> Manifest:
    """Read and check a whole backup; put its files below ``folder``, where one is given."""
    with source.open("rb") as file:
        reader = _OpeningReader(file, passphrase)
        try:
            with (
                gzip.GzipFile(mode="rb", fileobj=cast("IO[bytes]", reader)) as packed,
                tarfile.open(mode="r|", fileobj=packed) as archive,
            ):
                manifest = _read_members(archive, folder)
        except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as e:
            raise BackupError(f"the backup is none of this program's: {e}") from None
        # The archive may end before the file does, and only its last chunk tells that nothing is missing.
        while reader.read(_READ_OCTETS):
            pass
    return manifest


def _read_members(archive: tarfile.TarFile, folder: Path | None) -> Manifest:
    files: dict[str, Part] = {}
    for member in archive:
        stream = archive.extractfile(member) if member.isreg() and not member.issparse() else None
        if stream and member.name == _MANIFEST and member.size <= _MOST_MANIFEST_OCTETS:
            manifest = _parse_manifest(stream.read())
            if manifest.files != files or _POLICY not in files or archive.next() is not None:
                raise BackupError("the backup does not hold the files that it says it holds")
            return manifest
        if stream is None or not _KNOWN.fullmatch(member.name) or member.name in files:
            raise BackupError(f"the backup holds {member.name[:80]!r}, which no backup does")
        files[member.name] = _take(stream, folder and folder / member.name)
    raise BackupError("the backup does not say what it holds")


def _take(stream: IO[bytes], path: Path | None) -> Part:
    hashed = _Hashed(stream)
    if path is None:
        while hashed.read():
            pass
        return hashed.part
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while octets := hashed.read():
            file.write(octets)
        file.flush()
        os.fsync(file.fileno())
    return hashed.part


def _parse_manifest(octets: bytes) -> Manifest:
    try:
        table = json.loads(octets)
    except (ValueError, RecursionError):
        table = None
    faults: list[str] = []
    manifest: Manifest | None = (
        read(Manifest, table, "", faults) if isinstance(table, dict) else None
    )
    if manifest is None or faults:
        raise BackupError("the backup does not say what it holds in a form that this program reads")
    return manifest


# Putting back


def _examine(policy: Path, zone: tzinfo, *, broken_record: bool) -> None:
    """Refuse a policy that the appliance would not make itself.

    Raises:
        BackupError: With every fault.
    """
    faults: list[str] = []
    try:
        with reading(policy) as connection:
            (form,) = connection.execute("pragma user_version").fetchone()
            _, document = newest_document(connection)
        if not FIRST_FORM <= form <= NEWEST_FORM:
            faults.append(
                f"store: has form {form}; this program knows forms {FIRST_FORM} to {NEWEST_FORM}"
            )
        verdict = check_store(policy)
        if verdict.fault and not broken_record:
            faults.append(f"record: {verdict.fault}")
        parse(document, zone)
    except EvidenceError as e:
        faults.append(str(e))
    except PolicyError as e:
        faults += e.faults
    if faults:
        raise BackupError("\n".join(("the policy in the backup is refused:", *faults)))


def _last_entry(policy: Path) -> str:
    """Return which entry the record ends with that is about to be set aside."""
    if not policy.exists():
        return "nothing"
    try:
        with reading(policy) as connection:
            last = connection.execute(
                "select number, hash from record order by number desc limit 1"
            ).fetchone()
    except EvidenceError:
        return "a record that can't be read"
    return f"entry {last[0]}, hash {last[1]}" if last else "nothing"


def _keep_illegal(staged: Path, places: Places) -> dict[ListKey, str]:
    """Give those staged lists of illegal content another name that would take the place of another list in the box.

    Returns:
        SHA-256 of the lists that the restored record has to speak of besides its own: those of the box, and those that
        have another name now.
    """
    coming = staged / _LISTS
    theirs = vouched_lists(staged / _POLICY)
    try:
        ours = vouched_lists(places.policy)
    except EvidenceError:
        ours = {}  # There is none, or it is damaged: what lies there stays all the same.
    for key_ in _illegal_in(places.lists) - ours.keys():
        ours |= _only_one(key_, _contents(places.lists, key_))
    told = {key_: sha256 for key_, sha256 in ours.items() if theirs.get(key_) != sha256}
    taken = _illegal_in(coming) | ours.keys() | theirs.keys()
    for key_ in sorted(_illegal_in(coming)):
        contents = _contents(coming, key_)
        beside = next(
            name
            for name in _names(key_)
            if contents <= (there := _contents(places.lists, name))
            or (not there and (name == key_ or name not in taken))
        )
        pairs = zip(list_files(coming, key_), list_files(coming, beside), strict=True)
        if contents <= _contents(places.lists, beside):
            for path, _ in pairs:
                path.unlink(missing_ok=True)
        elif beside != key_:
            for old, new in pairs:
                if old.exists():
                    old.rename(new)
            taken.add(beside)
            told |= {beside: theirs[key_]} if key_ in theirs else _only_one(beside, contents)
    return told


def _illegal_in(lists: Path) -> set[ListKey]:
    """Return the lists of illegal content of which the file or its copy lies below ``lists``."""
    return {
        (path.parent.name, path.name)
        for path in (*lists.glob("*/*"), *lists.glob(f"{KEPT}/*/*"))
        if is_illegal(path.parent.name)
        and _KNOWN.fullmatch(f"{_LISTS}/{path.parent.name}/{path.name}")
    }


def _contents(lists: Path, key_: ListKey) -> set[str]:
    """Return the SHA-256 of a list's file and of its copy: one where they are alike, none where neither is there."""
    return {sha256_of(path) for path in list_files(lists, key_)} - {""}


def _only_one(key_: ListKey, contents: set[str]) -> dict[ListKey, str]:
    # Where file and copy differ nobody knows which is right: the record speaks of neither, and both count.
    return dict.fromkeys([key_], *contents) if len(contents) == 1 else {}


def _names(key_: ListKey) -> Iterator[ListKey]:
    """Yield a list's own name, and then others that a list may have."""
    category, name = key_
    yield key_
    for number in count(2):
        end = f"-{number}"
        yield category, name[: 40 - len(end)] + end


def _note(
    policy: Path, restored: Change, lists: Mapping[ListKey, str], at: datetime | None
) -> None:
    """Add to the record of a policy that nobody uses yet: each list that it has to speak of, and that it is restored."""
    try:
        with closing(Store(policy)) as store:
            last = store.entries(limit=1)
            # Not the newest edition: an entry must not vouch for one that the record did not speak of before.
            store.policy = last[0].policy if last else digest(plain(shipped()))
            # An entry vouches for accounts and holds as they are: where they are not those of the record, it says so.
            restored = replace(restored, after=store.state_fault())
            for (category, name), sha256 in sorted(lists.items()):
                added = replace(
                    restored,
                    action=ADDED,
                    subject=f"{name} to {category}",
                    before="",
                    after=vouching(name, sha256),
                )
                with store.noting(added, at):
                    pass
            # Last: the steward knows by it that an older policy is one that somebody has put back.
            with store.noting(restored, at):
                pass
    except (sqlite3.DatabaseError, ValueError) as e:
        raise BackupError(f"the policy in the backup is refused: {e}") from None


def _put_in_place(staged: Path, places: Places) -> Path | None:
    """Move what is staged into the state directory, the policy last; return where the old lies.

    The old policy stays in its place until the new one replaces it: there is no moment without one.
    """
    state = places.state
    owner = state.stat()
    for path in staged.rglob("*"):
        # Whoever restores may be another user than the one that the appliance runs as.
        os.chown(path, owner.st_uid, owner.st_gid)
        if path.is_dir():
            path.chmod(0o700)
            _sync_directory(path)
    aside = _free_name(state)
    for name in (*_PUT_BACK, *_GONE):
        if (state / name).exists():
            aside.mkdir(mode=0o700, exist_ok=True)
            (state / name).rename(aside / name)
        if (staged / name).exists():
            (staged / name).rename(state / name)
    _put_lists(staged / _LISTS, places.lists, aside)
    if places.policy.exists():
        aside.mkdir(mode=0o700, exist_ok=True)
        _fold_log(places.policy)
        for name in ("policy.db-wal", "policy.db-shm"):
            # SQLite would take what is left of the old log for that of the new policy.
            if (state / name).exists():
                (state / name).rename(aside / name)
        (aside / _POLICY).hardlink_to(places.policy)
    _sync_directory(state)
    (staged / _POLICY).replace(places.policy)
    _sync_directory(state)
    return aside if aside.exists() else None


def _put_lists(staged: Path, lists: Path, aside: Path) -> None:
    """Put the lists of a backup in the place of the old ones, of which those of illegal content never leave theirs."""
    for path in sorted(path for path in lists.rglob("*") if path.is_file()):
        aside.mkdir(mode=0o700, exist_ok=True)
        kept = aside / _LISTS / path.relative_to(lists)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if is_illegal(path.parent.name):
            kept.hardlink_to(path)
        else:
            path.rename(kept)
    owner = lists.parent.stat()
    for folder in _folders(staged):
        place = lists / folder.relative_to(staged)
        place.mkdir(mode=0o700, exist_ok=True)
        os.chown(place, owner.st_uid, owner.st_gid)
        for file in folder.iterdir():
            if file.is_file():
                file.rename(place / file.name)
    for folder in (*_folders(lists), *_folders(aside)):
        _sync_directory(folder)


def _folders(top: Path) -> list[Path]:
    """Return ``top`` and all folders below it, each before those below; none where it is missing."""
    return sorted(path for path in (top, *top.rglob("*")) if path.is_dir())


def _fold_log(policy: Path) -> None:
    """Bring what is only in the log of a database into the database, so that no log lies beside it."""
    try:
        with closing(sqlite3.connect(policy)) as connection:
            connection.execute("pragma journal_mode = delete")
    except sqlite3.DatabaseError:
        pass  # It is damaged: it is set aside as it is.


def _free_name(state: Path) -> Path:
    number = 1
    while (path := state / f"before-restore-{number}").exists():
        number += 1
    return path


def _demand_room(manifest: Manifest, state: Path) -> None:
    needed = sum(part.size_octets for part in manifest.files.values())
    free = shutil.disk_usage(state).free
    if free < needed:
        raise BackupError(f"{state} has {free} octets free; what is in the backup takes {needed}")


@contextmanager
def _nobody_up(places: Places) -> Iterator[None]:
    """Keep the appliance from being started; refuse where it is up."""
    with (places.run / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUpError("the appliance is up; stop it first") from None
        with socket.socket(socket.AF_UNIX) as steward:
            # Where each part is a unit of the system, nobody holds the lock.
            if steward.connect_ex(str(places.desk)) == 0:
                raise AlreadyUpError("the steward is up; stop the appliance first")
        yield


@contextmanager
def _workshop(state: Path) -> Iterator[Path]:
    """Yield an empty folder below the state directory, so that nothing readable ever lies on a stick.

    Raises:
        BackupError: It is in use.
    """
    folder = state / "backup-in-progress"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError("another backup is being made or put back") from None
        _empty(folder)  # of what a power cut has left there
        try:
            yield folder
        finally:
            _empty(folder)
    finally:
        os.close(descriptor)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
