"""All lists of the appliance: the starter lists it is shipped with, and those that the school has added.

A list that can't be read leaves what was in force in force; the compiled file is made anew only where a list changed.

Nobody makes a list of illegal content smaller: not by adding another one, and not by editing its file, since a copy lies
beside it and the record says which of the two is the one that was added.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gate_appliance.durable import write_durably
from gate_appliance.evidence import reading
from gate_appliance.lists.compile import Source, compile_lists, remove_others
from gate_appliance.lists.formats import ListError, ParsedList, parse_list
from gate_appliance.lists.index import open_index, path_of
from gate_core.categories import BY_ID, ILLEGAL_MASK, CategoryIndex
from gate_core.names import NameSet

_log = logging.getLogger(__name__)

MAX_LIST_OCTETS: Final = 200 << 20
"""Largest list that is read."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_RECORD: Final = "lists.json"
_VOUCHED: Final = re.compile(r", SHA-256 ([0-9a-f]{64})\Z")

KEPT: Final = ".kept"
"""Directory, beside those of the categories, of the copies of the lists of illegal content."""

ADDED: Final = "added a list"
"""Action of the entries of the record that say which list was added."""

ListKey = tuple[str, str]
"""Category and name of a list of the school."""

# Raised when the compiled form or the meaning of a category changes, so that lists are compiled anew.
_EDITION: Final = b"1"


@dataclass(frozen=True, slots=True)
class Lists:
    """The compiled lists in force."""

    sha256: str
    index: CategoryIndex
    names: int
    faults: tuple[str, ...] = ()
    """Lists that could not be read, or that somebody has tampered with, a sentence each."""


class Library:
    """The lists below the state directory, and the fixed name sets of the program."""

    def __init__(
        self, school: Path, compiled: Path, vouched: Mapping[ListKey, str] | None = None
    ) -> None:
        """Know the directories; nothing is read yet.

        Args:
            school: Directory of the school's own lists, ``CATEGORY/NAME``.
            compiled: Where compiled lists are put: the directory of the snapshots.
            vouched: SHA-256 of the lists of illegal content that the record speaks of: see ``vouched_lists``.
        """
        self._school = school
        self._compiled = compiled
        self._vouched = dict(vouched or {})
        self._put_back: list[str] = []
        self.essential = name_set("essential")
        """What stays open during the internet pause."""
        self.canaries = name_set("canaries")
        """Names whose absence tells devices not to go round the school's resolver."""
        self.protected = name_set("protected")
        """Names that no rule of the school may block."""

    def compile(self) -> Lists:
        """Compile all lists; where nothing changed since the last time, take what lies there.

        A list of illegal content that is not the one that the record speaks of is put back from its copy first; where
        the copy is not it either, both count.

        Raises:
            OSError: The disk is full or gone.
        """
        tampered = self._mend()
        paths = self._files()
        fingerprint = self._fingerprint(paths)
        record = self._record()
        if record.get("fingerprint") == fingerprint:
            try:
                sha256 = str(record["sha256"])
                index = open_index(path_of(self._compiled, sha256), sha256)
                faults = (*tampered, *record["faults"])
                return Lists(sha256, index, int(record["names"]), faults)
            except (ListError, KeyError, TypeError, ValueError) as e:
                _log.warning("action=open_lists fault=%s; compiling anew", e)
        sources, unread = _sources(paths)
        made = compile_lists(sources, self._compiled)
        before = str(record.get("sha256", made.sha256))
        # The snapshot in force, and the one before it, may still name the lists of before.
        remove_others(self._compiled, (made.sha256, before))
        entry = {
            "fingerprint": fingerprint,
            "sha256": made.sha256,
            "names": made.names,
            "faults": unread,
        }
        write_durably(self._compiled / _RECORD, json.dumps(entry).encode())
        index = open_index(made.path, made.sha256)
        return Lists(made.sha256, index, made.names, (*tampered, *unread))

    def demand(self, name: str, category: str) -> None:
        """Check how a list is called.

        Raises:
            ListError: Wrong name or category.
        """
        if not _NAME.fullmatch(name):
            raise ListError(f"{name[:60]!r}: a list is called by 1 to 40 of a-z, 0-9 and '-'")
        if category not in BY_ID:
            raise ListError(
                f"{category[:60]!r} is no category; allowed are {', '.join(sorted(BY_ID))}"
            )

    def add(self, name: str, category: str, path: Path) -> str:
        """Take the list in the file at ``path`` into ``category``, in place of an older one of that ``name``.

        Returns:
            SHA-256 of the file.

        Raises:
            ListError: Wrong name or category, the file is no list, or it would shrink one of illegal content; nothing has
                changed.
            OSError: The file can't be read or written.
        """
        self.demand(name, category)
        _demand_size(path)
        # Read once: what is checked, what is stored and what the record names are the same octets.
        octets = path.read_bytes()
        parsed = parse_list(io.BytesIO(octets))
        sha256 = hashlib.sha256(octets).hexdigest()
        listed, copy = list_files(self._school, (category, name))
        if is_illegal(category):
            for old in (listed, copy):
                if old.exists():
                    _demand_all_of(read_list(old), parsed)
        _write(listed, octets)
        if is_illegal(category):
            _write(copy, octets)
            self._vouched[category, name] = sha256
        return sha256

    def _mend(self) -> list[str]:
        """Put back the lists of illegal content that somebody has changed; return what there is to tell."""
        faults = []
        for (category, name), sha256 in sorted(self._vouched.items()):
            listed, copy = list_files(self._school, (category, name))
            listed_right, copy_right = (sha256_of(path) == sha256 for path in (listed, copy))
            if listed_right and not copy_right:
                _write(copy, listed.read_bytes())
            elif copy_right and not listed_right:
                _write(listed, copy.read_bytes())
                self._put_back.append(
                    f"The list “{name}” of illegal content was changed or removed in the box's files;"
                    " it has been put back."
                )
                _log.error("action=put_back list=%s/%s", category, name)
            elif not listed_right:
                faults.append(
                    f"The list “{name}” of illegal content ({category}) is not the one that the record speaks of;"
                    " what is there counts, and it has to be added again."
                )
        # Those stay to be seen until the next start, whatever is added meanwhile.
        return [*self._put_back, *faults]

    def _files(self) -> list[Path]:
        copies = (
            copy
            for copy in self._school.glob(f"{KEPT}/*/*")
            if sha256_of(copy) != sha256_of(self._school / copy.parent.name / copy.name)
        )
        return sorted(
            path
            for path in (*self._school.glob("*/*"), *copies)
            if path.parent.name in BY_ID and _NAME.fullmatch(path.name)
        )

    def _fingerprint(self, paths: Iterable[Path]) -> str:
        digest = hashlib.sha256(_EDITION)
        for category, lines in _starter():
            digest.update(category.encode() + b"\0" + b"\n".join(lines) + b"\0")
        for path in paths:
            digest.update(f"{path.parent.name}/{path.name}\0".encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def _record(self) -> dict[str, Any]:
        try:
            record = json.loads((self._compiled / _RECORD).read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}


def is_illegal(category: str) -> bool:
    """Return whether ``category`` is one of illegal content."""
    return category in BY_ID and bool(BY_ID[category].mask & ILLEGAL_MASK)


def list_files(school: Path, key: ListKey) -> tuple[Path, Path]:
    """Return where a list lies below the directory ``school``, and where its copy does if it is of illegal content."""
    category, name = key
    return school / category / name, school / KEPT / category / name


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of the file at ``path``; "" where none can be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def vouched_lists(policy: Path) -> dict[ListKey, str]:
    """Return the SHA-256 of each list of illegal content as the record in the store ``policy`` has it.

    Raises:
        EvidenceError: The store can't be read.
    """
    with reading(policy) as connection:
        rows = connection.execute(
            "select subject, after from record where action = ? order by number", [ADDED]
        ).fetchall()
    found = {}
    for subject, after in rows:
        name, _, category = str(subject).partition(" to ")
        sha256 = _VOUCHED.search(str(after))
        if sha256 and _NAME.fullmatch(name) and is_illegal(category):
            found[category, name] = sha256[1]
    return found


def vouching(file: str, sha256: str) -> str:
    """Return how the record names the file of a list, so that ``vouched_lists`` finds it."""
    return f"{file}, SHA-256 {sha256}"


def read_list(path: Path) -> ParsedList:
    """Return the list in the file at ``path``.

    Raises:
        ListError: It is no list, or larger than ``MAX_LIST_OCTETS``.
        OSError: It can't be read.
    """
    _demand_size(path)
    with path.open("rb") as lines:
        return parse_list(lines)


def check_list(path: Path) -> Iterator[str]:
    """Yield, line by line, what was understood of the list at ``path`` and what was not.

    Raises:
        ListError: It is no list.
    """
    parsed = read_list(path)
    report = parsed.report
    yield (
        f"{path.name}: {parsed.format.value}, {report.names} names, {report.exclusions} exclusions,"
        f" {report.addresses} addresses left out, {report.not_understood} of {report.lines} lines not understood"
    )
    for line in report.unread:
        yield f"  line {line.number}: {line.text!r}: {line.reason}"
    if report.not_understood > len(report.unread):
        yield f"  and {report.not_understood - len(report.unread)} more"


def name_set(name: str) -> NameSet:
    """Return one of the program's fixed name sets: ``essential``, ``canaries`` or ``protected``."""
    text = files("gate_appliance.lists").joinpath("names", f"{name}.txt").read_text("utf-8")
    rules = (line.partition("#")[0].strip() for line in text.splitlines())
    return NameSet.of(rule for rule in rules if rule)


def _demand_size(path: Path) -> None:
    if path.stat().st_size > MAX_LIST_OCTETS:
        raise ListError(f"larger than the {MAX_LIST_OCTETS >> 20} MiB that are read")


def _write(path: Path, octets: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, octets)


def _sources(paths: Iterable[Path]) -> tuple[list[Source], list[str]]:
    sources = []
    faults = []
    for category, lines in _starter():
        parsed = parse_list(lines)
        sources.append(Source(category, parsed.names, parsed.exclusions))
    for path in paths:
        try:
            parsed = read_list(path)
        except (ListError, OSError) as e:
            faults.append(f"The list “{path.name}” can't be used: {e}.")
            continue
        sources.append(Source(path.parent.name, parsed.names, parsed.exclusions))
    return sources, faults


def _demand_all_of(old: ParsedList, new: ParsedList) -> None:
    """Refuse a list that names less than the one before it: nobody in the school makes the illegal tier smaller."""
    missing = set(old.names) - set(new.names)
    excluded = set(new.exclusions) - set(old.exclusions)
    if lost := sorted(missing | excluded):
        raise ListError(
            f"a list of illegal content can only grow: {len(lost)} names of the one before are missing, such as"
            f" {lost[0]!r}"
        )


def _starter() -> Iterator[tuple[str, list[bytes]]]:
    folder = files("gate_appliance.lists").joinpath("starter")
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.name.endswith(".txt"):
            yield entry.name.removesuffix(".txt"), entry.read_bytes().splitlines()
