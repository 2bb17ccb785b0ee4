"""Compiling lists into the one file that the data plane maps.

The file is written beside, fsynced and renamed to its own SHA-256, so that whoever opens it by name gets all of it.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import marisa_trie

from gate_appliance.durable import write_durably
from gate_appliance.lists.index import CODE_TYPES, Header, key_of, path_of, render_header
from gate_core.categories import mask_of
from gate_core.names import suffixes


@dataclass(frozen=True, slots=True)
class Source:
    """One list, for one category."""

    category: str
    """Id of ``gate_core.categories``."""
    names: Collection[str]
    """Canonical names; each stands for itself and everything below it. Gone through twice."""
    exclusions: Collection[str] = ()
    """Canonical names that this list does not cover, nor anything below them, even where it lists them."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """Compiled lists, on disk."""

    sha256: str
    """In hexadecimal; the file's name is made of it."""
    path: Path
    names: int
    """Different names."""
    size_octets: int
    by_category: Mapping[str, int]
    """Category id to its number of names, over all its lists; a name in two lists counts twice."""


def compile_lists(sources: Sequence[Source], directory: Path) -> Compiled:
    """Compile ``sources`` into one file in ``directory``, and return where it lies.

    An exclusion binds its own list only: a name that one list of a category excludes and another one holds is in
    the category. Within its list it wins over every name, narrower ones too, as ``@@||name^`` does.

    Args:
        sources: Any number of lists; several may share a category.
        directory: Where to write; must exist.

    Raises:
        ValueError: A category that does not exist.
        OSError: The disk is full or gone; nothing of what was there has changed.
    """
    masks = {source.category: mask_of((source.category,)) for source in sources}
    trie = marisa_trie.Trie(
        key_of(name) for source in sources for name in chain(source.names, source.exclusions)
    )
    sets, clears = array("Q", bytes(8 * len(trie))), array("Q", bytes(8 * len(trie)))
    id_of = trie.key_id
    for category, listed, names in _verdicts(sources):
        mask, table = masks[category], sets if listed else clears
        for name in names:
            table[id_of(key_of(name))] |= mask
    octets = _render(trie, sets, clears)
    sha256 = hashlib.sha256(octets).hexdigest()
    path = path_of(directory, sha256)
    write_durably(path, octets)
    by_category: dict[str, int] = defaultdict(int)
    for source in sources:
        by_category[source.category] += len(source.names)
    return Compiled(sha256, path, sum(map(bool, sets)), len(octets), dict(by_category))


def remove_others(directory: Path, keep: Collection[str]) -> None:
    """Delete all compiled lists in ``directory`` but those with the SHA-256 in ``keep``, unfinished ones too.

    A process that has mapped one keeps it until it lets go.
    """
    kept = {path_of(directory, sha256) for sha256 in keep}
    for path in directory.glob("*.lists*"):
        if path not in kept:
            path.unlink()


def _verdicts(sources: Sequence[Source]) -> Iterator[tuple[str, bool, Iterable[str]]]:
    """Yield category, whether it covers the names, and names: enough to tell it for every name there is.

    Going from the top-level domain down, what a category says changes only at a name that one of its lists holds
    or excludes, so that it is enough to say it there.
    """
    by_category: dict[str, list[Source]] = defaultdict(list)
    for source in sources:
        by_category[source.category].append(source)
    for category, lists in by_category.items():
        if not any(source.exclusions for source in lists):
            for source in lists:
                yield category, True, source.names
            continue
        sets = [(frozenset(source.names), frozenset(source.exclusions)) for source in lists]
        turns = frozenset().union(*chain.from_iterable(sets))
        covered = {name for name in turns if any(_covers(*pair, name) for pair in sets)}
        yield category, True, covered
        yield category, False, turns - covered


def _covers(names: frozenset[str], exclusions: frozenset[str], name: str) -> bool:
    above = list(suffixes(name))
    return not names.isdisjoint(above) and exclusions.isdisjoint(above)


def _render(trie: Any, sets: array[int], clears: array[int]) -> bytes:
    places: dict[tuple[int, int], int] = {}
    codes = [places.setdefault(pair, len(places)) for pair in zip(sets, clears, strict=True)]
    width = next(w for w in CODE_TYPES if len(places) <= 1 << 8 * w)
    octets = trie.tobytes()
    header = Header(len(trie), width, len(places), len(octets))
    packed = array(CODE_TYPES[width], codes).tobytes()
    palette = array("Q", chain.from_iterable(places)).tobytes()
    padding = bytes(header.trie_at - header.codes_at - len(packed))
    return b"".join((render_header(header), palette, packed, padding, octets))
