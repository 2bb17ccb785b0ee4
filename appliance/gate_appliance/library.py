"""All lists of the appliance: the starter lists it is shipped with, and those that the school has added.

A list that can't be read leaves what was in force in force; the compiled file is made anew only where a list changed.

Nobody makes a list of illegal content smaller: not by adding another one, and not by editing its file, since a copy lies
beside it and the record says which of the two is the one that was added.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import tempfile
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from gate_appliance.durable import copy_durably, replace_durably, write_durably
from gate_appliance.evidence import reading
from gate_appliance.lists import work
from gate_appliance.lists.compile import remove_others
from gate_appliance.lists.download import unpack
from gate_appliance.lists.formats import MAX_LIST_OCTETS, Format, ListError, lines_of, read_names
from gate_appliance.lists.index import open_index, path_of
from gate_appliance.lists.jobs import compile_files, examine, unite
from gate_core.categories import BY_ID, ILLEGAL_MASK, CategoryIndex
from gate_core.names import NameSet, suffixes
from gate_core.safesearch import YouTube, safe_names

_log = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_RECORD: Final = "lists.json"
_QUOTED: Final = 5
"""How many names a refusal quotes."""
_VOUCHED: Final = re.compile(r", SHA-256 ([0-9a-f]{64})\Z")

KEPT: Final = ".kept"
"""Directory, beside those of the categories, of the copies of the lists of illegal content."""

ADDED: Final = "added a list"
"""Action of the entries of the record that say which list was added."""

ADDING: Final = "is adding a list"
"""Action of the entries that come before, so that no power cut leaves a list in force that none speaks of."""

IMPORTS: Final = "lists-import"
"""Directory, beside that of the lists, of files that something else writes: sources may name no others."""

STAGED: Final = ".staged"
"""Directory, beside those of the categories, of lists that are not in force yet, or never will be."""

ListKey = tuple[str, str]
"""Category and name of a list of the school."""

# Raised when the compiled form or the meaning of a category changes, so that lists are compiled anew.
_EDITION: Final = b"5"


@dataclass(frozen=True, slots=True)
class Lists:
    """The compiled lists in force."""

    sha256: str
    index: CategoryIndex
    names: int
    faults: tuple[str, ...] = ()
    """Lists that could not be read, or that somebody has tampered with, a sentence each."""
    counts: Mapping[ListKey, int] = field(default_factory=dict)
    """Names of each list of the school; 0 where it could not be read."""


@dataclass(frozen=True, slots=True)
class Staged:
    """A list that was read and may come into force; it lies beside the others."""

    category: str
    name: str
    path: Path
    sha256: str
    format: Format
    names: int
    kept: int
    """Different names that it covers, less those it excludes."""
    not_understood: int
    others: Mapping[str, int]
    """Rules of a response policy zone that are not enforced: their kind and how many."""
    lost: int
    """How many names of the list before it would no longer be covered by this one."""
    example: str
    """One of them."""


@dataclass(frozen=True, slots=True)
class Made:
    """Lists that were compiled and may come into force."""

    fingerprint: str
    lists: Lists
    unread: tuple[str, ...]
    """Those of its faults that come of what the files hold."""


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
        self.lock = threading.RLock()
        """Held while lists change, from reading the first to putting them in force: it may take minutes."""
        self.essential = name_set("essential")
        """What stays open during the internet pause."""
        self.canaries = name_set("canaries")
        """Names whose absence tells devices not to go round the school's resolver."""
        self.protected = name_set("protected")
        """Names that no rule of the school may block."""

    def compile(self) -> Lists:
        """Compile all lists and put them in force; where nothing changed since the last time, take what lies there.

        A list of illegal content that is not the one that the record speaks of is put back from its copy first; where
        the copy is not it either, both count.

        Raises:
            OSError: The disk is full or gone.
        """
        with self.lock:
            return self.take(self.make())

    def make(
        self,
        coming: Sequence[Staged] = (),
        going: Collection[ListKey] = (),
        progress: work.Progress = work.silent,
    ) -> Made:
        """Compile all lists, with those ``coming`` and without those ``going``; nothing comes into force by it.

        Raises:
            OSError: The disk is full or gone.
        """
        tampered = self._mend()
        files = self._files(coming, going)
        fingerprint = _fingerprint(files)
        record = self._record()
        if record.get("fingerprint") == fingerprint:
            try:
                sha256 = str(record["sha256"])
                index = open_index(path_of(self._compiled, sha256), sha256)
                unread = tuple(map(str, record["faults"]))
                counts = {_key_of(text): int(n) for text, n in record["counts"].items()}
                lists = Lists(sha256, index, int(record["names"]), (*tampered, *unread), counts)
                return Made(fingerprint, lists, unread)
            except (ListError, KeyError, TypeError, ValueError, AttributeError) as e:
                _log.warning("action=open_lists fault=%s; compiling anew", e)
        made = work.run(
            compile_files,
            {
                "files": [(category, str(path), name) for (category, name, path) in files],
                "directory": str(self._compiled),
            },
            sum(path.stat().st_size for _, _, path in files if path.exists()),
            progress,
        )
        index = open_index(path_of(self._compiled, made["sha256"]), made["sha256"])
        unread = tuple(made["faults"])
        counts = {
            (category, name): int(count)
            for (category, name, _), count in zip(files, made["counts"], strict=True)
            if _NAME.fullmatch(name)  # no starter list
        }
        lists = Lists(made["sha256"], index, made["names"], (*tampered, *unread), counts)
        return Made(fingerprint, lists, unread)

    def take(self, made: Made) -> Lists:
        """Note that what was made is in force; what was in force before stays beside it.

        Raises:
            OSError: The disk is full or gone.
        """
        lists = made.lists
        # The snapshot in force, and the one before it, may still name the lists of before.
        remove_others(self._compiled, (lists.sha256, str(self._record().get("sha256", ""))))
        entry = {
            "fingerprint": made.fingerprint,
            "sha256": lists.sha256,
            "names": lists.names,
            "faults": made.unread,
            "counts": {"/".join(key): count for key, count in lists.counts.items()},
        }
        write_durably(self._compiled / _RECORD, json.dumps(entry).encode())
        return lists

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

    def staging(self, category: str, name: str) -> Path:
        """Return where a list is put before it is read; what lay there is gone.

        Raises:
            ListError: Wrong name or category.
        """
        self.demand(name, category)
        path = self._school / STAGED / category / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return path

    def stage(
        self,
        name: str,
        category: str,
        path: Path | None = None,
        progress: work.Progress = work.silent,
        needed: Collection[str] = (),
    ) -> Staged:
        """Read a list that is to come into ``category``, in place of an older one of that ``name``.

        Args:
            name: What it is called.
            category: Id of ``gate_core.categories``.
            path: The file, packed with gzip or not; None where it lies at its place of ``staging``. A copy is read, and
                kept: what was read, what comes into force and what the record names are the same octets.
            progress: Is told how far it is.
            needed: Names that it must not list: see ``needed_names``.

        Raises:
            ListError: Wrong name or category, the file is no list, it lists what is ``needed``, or it would shrink one of
                illegal content; nothing has changed.
            OSError: The file can't be read or written.
        """
        if path is None:
            staged = self._school / STAGED / category / name
        else:
            staged = self.staging(category, name)
        try:
            if path is not None:
                with staged.open("wb") as file:
                    unpack(path, file, staged.parent)
                    file.flush()
                    os.fsync(file.fileno())
            _demand_size(staged)
            found = self._examine(staged, (category, name), progress, needed)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
        return Staged(
            category,
            name,
            staged,
            found["sha256"],
            Format(found["format"]),
            found["names"],
            found["kept"],
            found["not_understood"],
            found["others"],
            found["lost"],
            found["example"],
        )

    def _examine(
        self, staged: Path, key: ListKey, progress: work.Progress, needed: Collection[str]
    ) -> dict[str, Any]:
        listed, copy = list_files(self._school, key)
        olds = [listed] if listed.exists() else []
        if copy.exists() and sha256_of(copy) != sha256_of(listed):
            olds.append(copy)
        octets = sum(path.stat().st_size for path in (staged, *olds))
        arguments = {
            "path": str(staged),
            "olds": [str(old) for old in olds],
            "needed": sorted(needed),
        }
        found = work.run(examine, arguments, octets, progress)
        if closes := found["closes"]:
            more = ", ..." if len(closes) > _QUOTED else ""
            raise ListError(
                f"it lists {len(closes)} of the names that the box needs, that give help, or that are search engines:"
                f" {', '.join(closes[:_QUOTED])}{more}; all others are allowed"
            )
        if not is_illegal(key[0]):
            return found
        if found["unread"]:
            raise ListError(f"the list before it can't be read: {found['unread']}")
        if found["lost"]:
            raise ListError(
                f"a list of illegal content can only grow: {found['lost']:,} names of the one before are missing, such as"
                f" {found['example']!r}"
            )
        return found

    def unite(self, name: str, category: str, progress: work.Progress = work.silent) -> None:
        """Let a list at its place of staging list also what the one in force does, as one of illegal content has to.

        Raises:
            ListError: One of them is no list.
            OSError: It can't be read or written.
        """
        staged, listed = self._school / STAGED / category / name, self.file((category, name))
        arguments = {"path": str(staged), "old": str(listed)}
        octets = sum(path.stat().st_size for path in (staged, listed) if path.exists())
        work.run(unite, arguments, octets, progress)

    @property
    def imports(self) -> Path:
        """Return where the files lie that a source may name."""
        return self._school.with_name(IMPORTS)

    def file(self, key: ListKey) -> Path:
        """Return where a list of the school lies."""
        return list_files(self._school, key)[0]

    def put(self, staged: Staged) -> None:
        """Put a list that was read at its place.

        Raises:
            OSError: The disk is full or gone.
        """
        listed, copy = list_files(self._school, (staged.category, staged.name))
        listed.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(staged.path, listed)
        if is_illegal(staged.category):
            _copy(listed, copy)
            self._vouched[staged.category, staged.name] = staged.sha256

    def remove(self, key: ListKey) -> None:
        """Take a list of the school away; one of illegal content stays for good.

        Raises:
            ListError: It is of illegal content.
            OSError: The disk refuses.
        """
        if is_illegal(key[0]):
            raise ListError("a list of illegal content stays")
        listed, _ = list_files(self._school, key)
        listed.unlink(missing_ok=True)

    def _mend(self) -> list[str]:
        """Put back the lists of illegal content that somebody has changed; return what there is to tell."""
        faults = []
        for (category, name), sha256 in sorted(self._vouched.items()):
            listed, copy = list_files(self._school, (category, name))
            listed_right, copy_right = (sha256_of(path) == sha256 for path in (listed, copy))
            if listed_right and not copy_right:
                _copy(listed, copy)
            elif copy_right and not listed_right:
                _copy(copy, listed)
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

    def _files(
        self, coming: Sequence[Staged], going: Collection[ListKey]
    ) -> list[tuple[str, str, Path]]:
        """Return category, name and file of each list, with the starter lists."""
        copies = (
            copy
            for copy in self._school.glob(f"{KEPT}/*/*")
            if sha256_of(copy) != sha256_of(self._school / copy.parent.name / copy.name)
        )
        found = {
            path: (path.parent.name, path.name, path)
            for path in (*self._school.glob("*/*"), *copies)
            if path.parent.name in BY_ID
            and _NAME.fullmatch(path.name)
            and (path.parent.name, path.name) not in going
        }
        for staged in coming:
            listed, copy = list_files(self._school, (staged.category, staged.name))
            found[listed] = (staged.category, staged.name, staged.path)
            found.pop(copy, None)
        return [*_starter(), *(found[path] for path in sorted(found))]

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


def check_list(path: Path) -> Iterator[str]:
    """Yield, line by line, what was understood of the list at ``path`` and what was not.

    Raises:
        ListError: It is no list, or no file.
        OSError: It can't be read, or there is no room to unpack it.
    """
    with tempfile.TemporaryFile() as file:
        unpack(path, file, Path(tempfile.gettempdir()))
        file.seek(0)
        form, report = read_names(lines_of(file), _ignore, _ignore)
    yield (
        f"{path.name}: {form.value}, {report.names} names, {report.networks} addresses and networks,"
        f" {report.exclusions} exclusions, {report.addresses} addresses left out,"
        f" {report.not_understood} of {report.lines} lines not understood"
    )
    for kind, count in report.others:
        yield f"  {count} rules of the kind {kind} are not enforced"
    for line in report.unread:
        yield f"  line {line.number}: {line.text!r}: {line.reason}"
    if report.not_understood > len(report.unread):
        yield f"  and {report.not_understood - len(report.unread)} more"


def needed_names(sets: Iterable[NameSet]) -> frozenset[str]:
    """Return what no list by hand may list: a name of ``sets``, of a search engine or its safe version, or one above.

    Not YouTube's: a school may well close it by a list.
    """
    engines = safe_names(safe_search=True, youtube=YouTube.OFF)
    names = {rule.removeprefix("=") for its in sets for rule in its.rules}
    names.update(engines, (safe.target for safe in engines.values()))
    return frozenset(above for name in names for above in suffixes(name))


def name_set(name: str) -> NameSet:
    """Return one of the program's fixed name sets: ``essential``, ``canaries`` or ``protected``."""
    text = files("gate_appliance.lists").joinpath("names", f"{name}.txt").read_text("utf-8")
    rules = (line.partition("#")[0].strip() for line in text.splitlines())
    return NameSet.of(rule for rule in rules if rule)


def _demand_size(path: Path) -> None:
    if path.stat().st_size > MAX_LIST_OCTETS:
        raise ListError(f"larger than the {MAX_LIST_OCTETS >> 20} MiB that are read")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as octets:
        copy_durably(octets, target)


def _key_of(text: str) -> ListKey:
    category, _, name = text.partition("/")
    return category, name


def _ignore(_: str) -> None:
    """Keep nothing: where only the report is wanted."""


def _fingerprint(files: Iterable[tuple[str, str, Path]]) -> str:
    """Return what tells whether lists have to be compiled anew: of each its category, its name and its content."""
    digest = hashlib.sha256(_EDITION)
    for category, name, path in files:
        digest.update(f"{category}/{name}\0{sha256_of(path)}\0".encode())
    return digest.hexdigest()


def _starter() -> Iterator[tuple[str, str, Path]]:
    folder = Path(str(files("gate_appliance.lists").joinpath("starter")))
    for path in sorted(folder.glob("*.txt")):
        yield path.stem, f"{path.stem} (starter)", path
