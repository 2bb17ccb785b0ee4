"""All lists of the appliance: the starter lists it is shipped with, and those that the school has added.

A list that can't be read leaves what was in force in force; the compiled file is made anew only where a list changed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gate_appliance.durable import write_durably
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
# Raised when the compiled form or the meaning of a category changes, so that lists are compiled anew.
_EDITION: Final = b"1"


@dataclass(frozen=True, slots=True)
class Lists:
    """The compiled lists in force."""

    sha256: str
    index: CategoryIndex
    names: int
    faults: tuple[str, ...] = ()
    """Lists that could not be read, a sentence each."""


class Library:
    """The lists below the state directory, and the fixed name sets of the program."""

    def __init__(self, school: Path, compiled: Path) -> None:
        """Know the directories; nothing is read yet.

        Args:
            school: Directory of the school's own lists, ``CATEGORY/NAME``.
            compiled: Where compiled lists are put: the directory of the snapshots.
        """
        self._school = school
        self._compiled = compiled
        self.essential = name_set("essential")
        """What stays open during the internet pause."""
        self.canaries = name_set("canaries")
        """Names whose absence tells devices not to go round the school's resolver."""
        self.protected = name_set("protected")
        """Names that no rule of the school may block."""

    def compile(self) -> Lists:
        """Compile all lists; where nothing changed since the last time, take what lies there.

        Raises:
            OSError: The disk is full or gone.
        """
        fingerprint = self._fingerprint()
        record = self._record()
        if record.get("fingerprint") == fingerprint:
            try:
                sha256 = str(record["sha256"])
                index = open_index(path_of(self._compiled, sha256), sha256)
                return Lists(sha256, index, int(record["names"]), tuple(record["faults"]))
            except (ListError, KeyError, TypeError, ValueError) as e:
                _log.warning("action=open_lists fault=%s; compiling anew", e)
        sources, faults = self._sources()
        made = compile_lists(sources, self._compiled)
        before = str(record.get("sha256", made.sha256))
        # The snapshot in force, and the one before it, may still name the lists of before.
        remove_others(self._compiled, (made.sha256, before))
        entry = {
            "fingerprint": fingerprint,
            "sha256": made.sha256,
            "names": made.names,
            "faults": faults,
        }
        write_durably(self._compiled / _RECORD, json.dumps(entry).encode())
        return Lists(made.sha256, open_index(made.path, made.sha256), made.names, tuple(faults))

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

    def add(self, name: str, category: str, path: Path) -> ParsedList:
        """Take the list in the file at ``path`` into ``category``, in place of an older one of that ``name``.

        Raises:
            ListError: Wrong name or category, the file is no list, or it would shrink one of illegal content; nothing has
                changed.
            OSError: The file can't be read or written.
        """
        self.demand(name, category)
        parsed = read_list(path)
        folder = self._school / category
        if BY_ID[category].mask & ILLEGAL_MASK and (folder / name).exists():
            _demand_all_of(read_list(folder / name), parsed)
        folder.mkdir(parents=True, exist_ok=True)
        write_durably(folder / name, path.read_bytes())
        return parsed

    def _sources(self) -> tuple[list[Source], list[str]]:
        sources = []
        faults = []
        for category, lines in _starter():
            parsed = parse_list(lines)
            sources.append(Source(category, parsed.names, parsed.exclusions))
        for path in self._files():
            try:
                parsed = read_list(path)
            except (ListError, OSError) as e:
                faults.append(f"The list “{path.name}” can't be used: {e}.")
                continue
            sources.append(Source(path.parent.name, parsed.names, parsed.exclusions))
        return sources, faults

    def _files(self) -> list[Path]:
        return sorted(
            path
            for path in self._school.glob("*/*")
            if path.parent.name in BY_ID and _NAME.fullmatch(path.name)
        )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(_EDITION)
        for category, lines in _starter():
            digest.update(category.encode() + b"\0" + b"\n".join(lines) + b"\0")
        for path in self._files():
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


def read_list(path: Path) -> ParsedList:
    """Return the list in the file at ``path``.

    Raises:
        ListError: It is no list, or larger than ``MAX_LIST_OCTETS``.
        OSError: It can't be read.
    """
    if path.stat().st_size > MAX_LIST_OCTETS:
        raise ListError(f"larger than the {MAX_LIST_OCTETS >> 20} MiB that are read")
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
