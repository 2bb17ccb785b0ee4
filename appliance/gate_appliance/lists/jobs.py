"""What is done with lists as files: compiling all of them, and reading a new one beside the one before."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gate_appliance.lists.compile import Compilation
from gate_appliance.lists.formats import Format, ListError, lines_of, read_names
from gate_appliance.lists.networks import is_network
from gate_appliance.lists.work import Progress

_EXAMPLES: Final = 100


def compile_files(
    files: Sequence[Sequence[str]], directory: str, *, progress: Progress
) -> dict[str, Any]:
    """Compile lists into one file.

    Args:
        files: Category, path and what to call it of each list.
        directory: Where to put the file.
        progress: Is told of ``reading``, list by list, and of ``compiling``.

    Returns:
        ``sha256``, ``names`` (different ones), ``counts`` (names of each list) and ``faults``: a sentence for each list that
        can't be read.
    """
    faults = []
    counts = [0] * len(files)
    with Compilation(Path(directory)) as compilation:
        for number, (category, path, title) in enumerate(files):
            progress("reading", number, len(files))
            compilation.begin(category)
            try:
                with Path(path).open("rb") as file:
                    form, report = read_names(
                        lines_of(file), compilation.take, compilation.exclude, quotes=False
                    )
                counts[number] = report.names + report.networks
                if form is Format.RPZ:
                    compilation.decide_by_nearest()
            except (ListError, OSError) as e:
                compilation.drop()
                faults.append(f"The list “{title}” can't be used: {e}.")
        progress("compiling", 0, 0)
        compiled = compilation.finish()
    return {"sha256": compiled.sha256, "names": compiled.names, "counts": counts, "faults": faults}


def examine(
    path: str, olds: Sequence[str], needed: Sequence[str] = (), *, progress: Progress
) -> dict[str, Any]:
    """Read a list, and tell what it lacks of older ones.

    Args:
        path: The list.
        olds: Lists that it is to take the place of; one that can't be read counts as empty.
        needed: Names that it is asked for.
        progress: Is told of ``checking``, in octets.

    Returns:
        ``sha256``, ``format``, ``names``, ``exclusions``, ``not_understood``, ``others``; ``kept``, how many different names
        it covers, less those it excludes, above them or below; ``lost``, how many names that the older ones cover it does not list or excludes, and
        how many it excludes anew; ``example``, one of them; ``unread``, why an older one could not be read; ``closes``, which of those ``needed`` it
        lists and does not exclude.
        Addresses and networks count as names do.

    Raises:
        ListError: It is no list.
        OSError: It can't be read.
    """
    # Hashes for names: a tenth of the room. Python's are keyed anew in each process, so that nobody can find two alike.
    kept: set[int] = set()
    excluded: set[str] = set()
    asked = frozenset(needed)
    closes: set[str] = set()

    def take(name: str) -> None:
        kept.add(hash(name))
        if name in asked:
            closes.add(name)

    form, report = read_names(_told(Path(path), progress), take, excluded.add, quotes=False)
    if covers := _covering(form, excluded):
        # An exclusion may come before the names that it covers or behind them.
        def discard(name: str) -> None:
            if covers(name):
                kept.discard(hash(name))
                closes.discard(name)

        read_names(_told(Path(path), progress), discard, _ignore, quotes=False)
    lost, unread = 0, ""
    examples: list[str] = []
    for old in olds:
        before: set[str] = set()
        try:
            form_before, _ = read_names(
                _told(Path(old), progress), _ignore, before.add, quotes=False
            )
            missing = _Missing(kept, _covering(form_before, before))
            read_names(_told(Path(old), progress), missing.take, _ignore, quotes=False)
        except ListError as e:
            unread = str(e)
            continue
        lost += missing.count + len(excluded - before)
        examples += [*missing.examples, *sorted(excluded - before)[:1]]
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "sha256": sha256,
        "format": form.value,
        "names": report.names + report.networks,
        "exclusions": report.exclusions,
        "not_understood": report.not_understood,
        "others": dict(report.others),
        "kept": max(len(kept) - len(excluded), 0),
        "lost": lost,
        "example": min(examples, default=""),
        "unread": unread,
        "closes": sorted(closes),
    }


class _Missing:
    """Counts the names of an older list that are not among those that are ``kept``."""

    def __init__(self, kept: Collection[int], covers: Callable[[str], bool] | None) -> None:
        self.count = 0
        self.examples: list[str] = []
        self._kept = kept
        self._covers = covers

    def take(self, name: str) -> None:
        """Take a name that the older list holds."""
        if hash(name) in self._kept or (self._covers and self._covers(name)):
            return
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(name)


def _covering(form: Format, exclusions: Collection[str]) -> Callable[[str], bool] | None:
    """Return what tells whether a list's ``exclusions`` cover a name that it holds; None where none can.

    In a response policy zone what is said of the name itself is nearer.
    """
    if form is Format.RPZ or not exclusions:
        return None

    def covers(name: str) -> bool:
        while name:
            if name in exclusions:
                return True
            name = name.partition(".")[2]
        return False

    return covers


def unite(path: str, old: str, *, progress: Progress) -> dict[str, Any]:
    """Make the list at ``path`` one that lists all that ``old`` does too, and excludes nothing; one name or network a line.

    Raises:
        ListError: One of them is no list; nothing has changed.
        OSError: The disk is full or gone.
    """
    listed: set[int] = set()
    beside = Path(f"{path}.united")
    try:
        with beside.open("w", encoding="ascii") as file:

            def take(name: str) -> None:
                if (mark := hash(name)) not in listed:
                    listed.add(mark)
                    file.write(f"{name}\n")

            read_names(_told(Path(path), progress), take, _ignore, quotes=False)
            if Path(old).exists():
                read_names(_told(Path(old), progress), take, _ignore, quotes=False)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return {}


def gather(files: Sequence[str], into: str, *, progress: Progress) -> dict[str, Any]:
    """Put the names of lists into one file, one a line and each once; what they exclude behind, with a ``!`` before it.

    Addresses and networks are left out. A list that can't be read is left out.

    Returns:
        ``sha256`` of the file.

    Raises:
        OSError: The disk is full or gone.
    """
    listed: set[int] = set()
    excluded: dict[str, None] = {}
    path = Path(into)
    beside = path.with_name(f"{path.name}.new")
    with beside.open("w", encoding="ascii") as file:

        def take(name: str) -> None:
            if not is_network(name) and (mark := hash(name)) not in listed:
                listed.add(mark)
                file.write(f"{name}\n")

        def exclude(name: str) -> None:
            if not is_network(name):
                excluded[name] = None

        for number, source in enumerate(files):
            progress("reading", number, len(files))
            with contextlib.suppress(ListError), Path(source).open("rb") as octets:
                read_names(lines_of(octets), take, exclude)
        for name in excluded:
            if hash(name) not in listed:
                file.write(f"!{name}\n")
    with beside.open("rb") as octets:
        sha256 = hashlib.file_digest(octets, "sha256").hexdigest()
    beside.replace(path)
    return {"sha256": sha256}


def _ignore(_: str) -> None:
    """Keep nothing."""


def _told(path: Path, progress: Progress) -> Iterator[bytes]:
    size = path.stat().st_size
    done = 0
    with path.open("rb") as file:
        for number, line in enumerate(lines_of(file)):
            done += len(line)
            if number % 10_000 == 0:
                progress("checking", done, size)
            yield line
