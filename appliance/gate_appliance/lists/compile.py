"""Compiling lists into the one file that the data plane maps, in bounded memory.

Names go through a file without a name on their way, and through the trie; Python keeps none of them. A million names take
some 130 MB at most, nearly all of it marisa-trie's while it sorts (``tests/appliance/lists/bench_lists.py`` prints it).
Networks, of which a list may hold far fewer (``formats.MAX_NETWORKS``), are kept packed until the end.

The file is written beside, fsynced and renamed to its own SHA-256, so that whoever opens it by name gets all of it.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import marisa_trie

from gate_appliance.durable import write_durably
from gate_appliance.lists.index import CODE_TYPES, Header, key_of, path_of, render_header
from gate_appliance.lists.networks import build_table, is_network, pack_network
from gate_core.categories import mask_of

# Marks an exclusion in the file of names; no name begins with it.
_EXCLUDED: Final = "!"


@dataclass(frozen=True, slots=True)
class Source:
    """One list, for one category."""

    category: str
    """Id of ``gate_core.categories``."""
    names: Iterable[str]
    """Canonical names, each of which stands for itself and everything below it, and networks."""
    exclusions: Iterable[str] = ()
    """Canonical names that this list does not cover, nor anything below them, even where it lists them; and networks,
    which it does not cover but for what it lists within them."""


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
    """Category id to its number of names, over all its lists; a name that is listed twice counts twice."""


@dataclass(slots=True)
class _Section:
    """Where the names of one list lie in the file of names."""

    category: str
    begins: int
    nearest: bool = False
    names: int = 0
    exclusions: int = 0
    networks: list[bytes] = field(default_factory=list)
    """Packed, those that are listed and those that are excluded; they are not in the file."""


class Compilation:
    """Takes lists one after the other, name by name, and compiles them into one file in a directory."""

    def __init__(self, directory: Path) -> None:
        """Open the file of names in ``directory``, which must exist; it is gone once this is.

        Raises:
            OSError: The disk is full or gone.
        """
        self._directory = directory
        self._file = tempfile.TemporaryFile("w+", encoding="ascii", dir=directory, newline="\n")  # noqa: SIM115  # closed by close
        self._write = self._file.write
        self._sections: list[_Section] = []

    def __enter__(self) -> Compilation:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def begin(self, category: str) -> None:
        """Begin a list, in which an exclusion wins over everything below it, as ``@@||name^`` does.

        Args:
            category: Id of ``gate_core.categories``.

        Raises:
            ValueError: A category that does not exist.
        """
        mask_of((category,))
        self._sections.append(_Section(category, self._file.tell()))

    def take(self, entry: str) -> None:
        """List a canonical name or network."""
        section = self._sections[-1]
        if is_network(entry):
            section.networks.append(pack_network(entry, listed=True))
            return
        self._write(f"{key_of(entry)}\n")
        section.names += 1

    def exclude(self, entry: str) -> None:
        """Exclude a canonical name, and everything below it, or a network from this list."""
        section = self._sections[-1]
        if is_network(entry):
            section.networks.append(pack_network(entry, listed=False))
            return
        self._write(f"{_EXCLUDED}{key_of(entry)}\n")
        section.exclusions += 1

    def decide_by_nearest(self) -> None:
        """Let the longest name that the list begun last holds or excludes decide, as in a response policy zone."""
        self._sections[-1].nearest = True

    def drop(self) -> None:
        """Take back the list that was begun last, and all that it held."""
        self._file.seek(self._sections.pop().begins)
        self._file.truncate()

    def finish(self) -> Compiled:
        """Compile what was taken, and return where it lies.

        An exclusion binds its own list only: a name that one list of a category excludes and another one holds is in
        the category.

        Raises:
            OSError: The disk is full or gone; nothing of what was there has changed.
        """
        trie = marisa_trie.Trie(
            key.removeprefix(_EXCLUDED) for section in self._sections for key in self._keys(section)
        )
        sets, clears = array("Q", bytes(8 * len(trie))), array("Q", bytes(8 * len(trie)))
        by_category: dict[str, list[_Section]] = defaultdict(list)
        for section in self._sections:
            by_category[section.category].append(section)
        for category, sections in by_category.items():
            mask = mask_of((category,))
            if any(section.exclusions for section in sections):
                self._judge(sections, trie, mask, sets, clears)
                continue
            id_of = trie.key_id
            for key in chain.from_iterable(map(self._keys, sections)):
                sets[id_of(key)] |= mask
        table = build_table(
            {
                mask_of((category,)): [section.networks for section in sections]
                for category, sections in by_category.items()
            }
        )
        octets = _render(trie, sets, clears, table)
        sha256 = hashlib.sha256(octets).hexdigest()
        write_durably(path_of(self._directory, sha256), octets)
        return Compiled(
            sha256,
            path_of(self._directory, sha256),
            len(sets) - sets.count(0),
            len(octets),
            {c: sum(section.names for section in its) for c, its in by_category.items()},
        )

    def _keys(self, section: _Section) -> Iterator[str]:
        self._file.seek(section.begins)
        left = section.names + section.exclusions
        for line in self._file:
            if not left:
                return
            left -= 1
            yield line[:-1]

    def _judge(
        self, sections: list[_Section], trie: Any, mask: int, sets: array[int], clears: array[int]
    ) -> None:
        """Tell for each name of a category with exclusions whether its lists cover it.

        Going from the top-level domain down, what a category says changes only at a name that one of its lists holds
        or excludes, so that it is enough to say it there.
        """
        plain = _Marks(len(trie), nearest=False)
        judges = [plain]
        for section in sections:
            marks = plain
            if section.exclusions:
                marks = _Marks(len(trie), nearest=section.nearest)
                judges.append(marks)
            for key in self._keys(section):
                if key.startswith(_EXCLUDED):
                    marks.excluded[trie.key_id(key[1:])] = 1
                else:
                    marks.listed[trie.key_id(key)] = 1
        prefixes = trie.iter_prefixes_with_ids
        for key in chain.from_iterable(map(self._keys, sections)):
            above = [id_ for _, id_ in prefixes(key.removeprefix(_EXCLUDED))]
            table = sets if any(marks.cover(above) for marks in judges) else clears
            table[above[-1]] |= mask


class _Marks:
    """What one list says of each key of the trie: an octet each, by its id."""

    def __init__(self, keys: int, *, nearest: bool) -> None:
        self.listed = bytearray(keys)
        self.excluded = bytearray(keys)
        self._nearest = nearest

    def cover(self, above: list[int]) -> bool:
        """Tell whether the list covers the name that has these ids, from the top-level domain down to itself."""
        listed, excluded = self.listed, self.excluded
        if self._nearest:
            for id_ in reversed(above):
                # Who says both of one name wants it blocked below, which "*.name" and "name" say apart.
                if listed[id_] or excluded[id_]:
                    return bool(listed[id_])
            return False
        return any(listed[id_] for id_ in above) and not any(excluded[id_] for id_ in above)


def compile_lists(sources: Iterable[Source], directory: Path) -> Compiled:
    """Compile ``sources`` into one file in ``directory``, and return where it lies.

    Args:
        sources: Any number of lists; several may share a category.
        directory: Where to write; must exist.

    Raises:
        ValueError: A category that does not exist.
        OSError: The disk is full or gone; nothing of what was there has changed.
    """
    with Compilation(directory) as compilation:
        for source in sources:
            compilation.begin(source.category)
            for entry in source.names:
                compilation.take(entry)
            for entry in source.exclusions:
                compilation.exclude(entry)
        return compilation.finish()


def remove_others(directory: Path, keep: Collection[str]) -> None:
    """Delete all compiled lists in ``directory`` but those with the SHA-256 in ``keep``, unfinished ones too.

    A process that has mapped one keeps it until it lets go.
    """
    kept = {path_of(directory, sha256) for sha256 in keep}
    for path in directory.glob("*.lists*"):
        if path not in kept:
            path.unlink()


def _render(
    trie: Any, sets: array[int], clears: array[int], table: tuple[bytes, array[int]]
) -> bytes:
    places: dict[tuple[int, int], int] = {}
    codes = array("I", (places.setdefault(p, len(places)) for p in zip(sets, clears, strict=True)))
    width = next(w for w in CODE_TYPES if len(places) <= 1 << 8 * w)
    octets = trie.tobytes()
    edges, masks = table
    header = Header(len(trie), width, len(places), len(masks), len(octets))
    packed = array(CODE_TYPES[width], codes).tobytes()
    palette = array("Q", chain.from_iterable(places)).tobytes()
    padding = bytes(header.edges_at - header.codes_at - len(packed))
    parts = (render_header(header), palette, packed, padding, edges, masks.tobytes(), octets)
    return b"".join(parts)
