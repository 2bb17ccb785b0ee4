"""What is done with lists as files: compiling all of them, and reading a new one beside the one before."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gate_appliance.lists.compile import Compilation
from gate_appliance.lists.formats import Format, ListError, read_names
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
        ``sha256``, ``names`` (different ones) and ``faults``: a sentence for each list that can't be read.
    """
    faults = []
    with Compilation(Path(directory)) as compilation:
        for number, (category, path, title) in enumerate(files):
            progress("reading", number, len(files))
            compilation.begin(category)
            try:
                with Path(path).open("rb") as lines:
                    form, _ = read_names(lines, compilation.take, compilation.exclude)
                if form is Format.RPZ:
                    compilation.decide_by_nearest()
            except (ListError, OSError) as e:
                compilation.drop()
                faults.append(f"The list “{title}” can't be used: {e}.")
        progress("compiling", 0, 0)
        compiled = compilation.finish()
    return {"sha256": compiled.sha256, "names": compiled.names, "faults": faults}


def examine(path: str, olds: Sequence[str], *, progress: Progress) -> dict[str, Any]:
    """Read a list, and tell what it lacks of older ones.

    Args:
        path: The list.
        olds: Lists that it is to take the place of; one that can't be read counts as empty.
        progress: Is told of ``checking``, in octets.

    Returns:
        ``sha256``, ``format``, ``names``, ``exclusions``, ``not_understood``, ``others``; ``lost``, how many names of the
        older ones it does not list, or excludes anew; ``example``, one of them; ``unread``, why an older one could not be read.
        Addresses and networks count as names do.

    Raises:
        ListError: It is no list.
        OSError: It can't be read.
    """
    # Hashes for names: a tenth of the room. Python's are keyed anew in each process, so that nobody can find two alike.
    listed: set[int] = set()
    excluded: set[str] = set()
    keep = (lambda name: listed.add(hash(name))) if olds else _ignore
    form, report = read_names(_told(Path(path), progress), keep, excluded.add)
    lost, unread = 0, ""
    examples: list[str] = []

    def compare(name: str) -> None:
        nonlocal lost
        if hash(name) not in listed:
            lost += 1
            if len(examples) < _EXAMPLES:
                examples.append(name)

    for old in olds:
        before: set[str] = set()
        try:
            read_names(_told(Path(old), progress), compare, before.add)
        except ListError as e:
            unread = str(e)
            continue
        lost += len(excluded - before)
        examples.extend(sorted(excluded - before)[:1])
    with Path(path).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "sha256": sha256,
        "format": form.value,
        "names": report.names + report.networks,
        "exclusions": report.exclusions,
        "not_understood": report.not_understood,
        "others": dict(report.others),
        "lost": lost,
        "example": min(examples, default=""),
        "unread": unread,
    }


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

            read_names(_told(Path(path), progress), take, _ignore)
            if Path(old).exists():
                read_names(_told(Path(old), progress), take, _ignore)
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
            with contextlib.suppress(ListError), Path(source).open("rb") as lines:
                read_names(lines, take, exclude)
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
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            done += len(line)
            if number % 10_000 == 0:
                progress("checking", done, size)
            yield line
