"""The compiled lists as one mapped file, and looking names and addresses up in it.

Form of the file, in this machine's byte order, since it never leaves the machine that compiled it:

=========  ======================================================================================
octets     what
=========  ======================================================================================
128        ``schoolgate-lists 2 KEYS WIDTH ENTRIES EDGES TRIE``, spaces, a line feed
ENTRIES*16 palette: pairs of 64-bit masks, what a key sets and what it clears
KEYS*WIDTH for each key of the trie its place in the palette, padded to 8 octets
EDGES*16   addresses in their order, first octet first, at which what is said of addresses changes
EDGES*8    64-bit masks: what is said from each of them up to the next; the last one is 0
TRIE       marisa-trie; a key is a name with its labels turned round, each followed by a dot
=========  ======================================================================================

The dot behind each label is what makes prefixes end on label borders: ``com.example.`` is no prefix of
``com.examplesite.``. A palette, since a few dozen combinations of categories cover a million names:
one octet a name instead of eight. Measured on 967,321 real names: 6.6 MB and 2.9 µs a look-up; marisa-trie's
RecordTrie, which keeps each mask as a part of its key, needs 7.1 MB and 5.9 µs.
"""

from __future__ import annotations

import hashlib
import mmap
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import marisa_trie

from gate_appliance.lists.formats import ListError
from gate_appliance.lists.networks import ADDRESS_OCTETS, widened

MAGIC: Final = "schoolgate-lists"
FORMAT: Final = 2
HEADER_OCTETS: Final = 128

CODE_TYPES: Final[Mapping[int, Literal["B", "H", "I"]]] = {1: "B", 2: "H", 4: "I"}
"""Width of a place in the palette in octets, and its type as ``array`` and ``memoryview`` name it."""


def key_of(name: str) -> str:
    """Return the trie's key for a canonical ``name``.

    >>> key_of("www.example.org")
    'org.example.www.'
    """
    return ".".join(name.split(".")[::-1]) + "."


def path_of(directory: Path, sha256: str) -> Path:
    """Return where the compiled lists with that SHA-256 lie in ``directory``."""
    return directory / f"{sha256}.lists"


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line of the file says."""

    keys: int
    """Keys in the trie: names and exclusions."""
    width: int
    """Octets of a place in the palette."""
    entries: int
    """Entries of the palette."""
    edges: int
    """Addresses at which what is said of addresses changes."""
    trie_octets: int

    @property
    def codes_at(self) -> int:
        """Where the places in the palette begin."""
        return HEADER_OCTETS + 16 * self.entries

    @property
    def edges_at(self) -> int:
        """Where the addresses begin."""
        return self.codes_at + -(-self.keys * self.width // 8) * 8

    @property
    def masks_at(self) -> int:
        """Where the masks of the addresses begin."""
        return self.edges_at + ADDRESS_OCTETS * self.edges

    @property
    def trie_at(self) -> int:
        """Where the trie begins: on a border of 8 octets, as it wants for its numbers."""
        return self.masks_at + 8 * self.edges

    @property
    def size_octets(self) -> int:
        """Length of the whole file."""
        return self.trie_at + self.trie_octets


def render_header(header: Header) -> bytes:
    """Return ``header`` as the first octets of a file."""
    h = header
    words = (MAGIC, FORMAT, h.keys, h.width, h.entries, h.edges, h.trie_octets)
    return " ".join(map(str, words)).ljust(HEADER_OCTETS - 1).encode("ascii") + b"\n"


def parse_header(octets: bytes) -> Header:
    """Return the header at the start of ``octets``.

    Raises:
        ListError: It is none, or of another format.
    """
    words = octets[:HEADER_OCTETS].split()
    if words[:1] != [MAGIC.encode()] or octets[HEADER_OCTETS - 1 : HEADER_OCTETS] != b"\n":
        raise ListError(f"not compiled lists: the file does not begin with {MAGIC!r}")
    if words[1:2] != [b"%d" % FORMAT]:
        raise ListError(f"compiled lists of another format; this program reads {FORMAT}")
    numbers = words[2:]
    if len(numbers) != 5 or not all(n.isdigit() and len(n) <= 12 for n in numbers):
        raise ListError("compiled lists damaged: the first line does not hold five numbers")
    header = Header(*map(int, numbers))
    if header.width not in CODE_TYPES:
        raise ListError("compiled lists damaged: places in the palette of another width")
    return header


class MappedIndex:
    """The compiled lists, mapped: shared by all processes that open the same file.

    It implements ``gate_core.ports.CategoryIndex``. The file must not be written while it is open;
    it may be deleted or replaced by name.
    """

    def __init__(self, mapped: mmap.mmap, header: Header, trie: Any) -> None:
        view = memoryview(mapped)
        palette = view[HEADER_OCTETS : header.codes_at].cast("Q").tolist()
        self._codes = view[header.codes_at : header.codes_at + header.keys * header.width].cast(
            CODE_TYPES[header.width]
        )
        # Kept as what stays of a mask, so that a look-up has one operation less.
        self._palette = [(s, ~c) for s, c in zip(palette[::2], palette[1::2], strict=True)]
        self._prefixes = trie.iter_prefixes_with_ids
        self._mapped = mapped
        self._edges = range(header.edges_at, header.masks_at, ADDRESS_OCTETS)
        self._masks = view[header.masks_at : header.trie_at].cast("Q")
        self.keys = header.keys
        """Names and exclusions in it."""
        self.lists_addresses = header.edges > 0
        """Whether any address is listed."""

    def mask(self, name: str) -> int:
        """Return the categories of a canonical ``name``: the union over the name and all names above it.

        What a list excludes counts for the excluded name and everything below it (``compile_lists``).
        """
        mask = 0
        codes, palette = self._codes, self._palette
        # Shortest prefix first: from the top-level domain down to the name itself.
        for _, id_ in self._prefixes(".".join(name.split(".")[::-1]) + "."):
            sets, stays = palette[codes[id_]]
            mask = mask & stays | sets
        return mask

    def address_mask(self, address: bytes) -> int:
        """Return the categories of the 4 or 16 octets of ``address``: those of the networks that it is in."""
        behind = bisect_right(self._edges, widened(address), key=self._edge)
        return self._masks[behind - 1] if behind else 0

    def _edge(self, at: int) -> bytes:
        return self._mapped[at : at + ADDRESS_OCTETS]


def open_index(path: Path, sha256: str | None) -> MappedIndex:
    """Return the compiled lists in the file ``path``.

    Args:
        path: The file, as ``compile_lists`` wrote it.
        sha256: What the SHA-256 of the file must be, in hexadecimal; it takes some 10 ms to find out. None trusts
            what the disk holds, which a damaged trie may answer with a crash: only for a file just written.

    Raises:
        ListError: No such file, or it is cut short, damaged or of another format.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError:
        raise ListError(f"no compiled lists at {path}") from None
    except ValueError:
        # mmap maps no empty file.
        raise ListError(f"compiled lists damaged: {path} is empty") from None
    header = parse_header(mapped[:HEADER_OCTETS])
    if len(mapped) != header.size_octets:
        raise ListError(
            f"compiled lists cut short or too long: {len(mapped)} octets where {header.size_octets} were written"
        )
    if sha256 is not None and hashlib.sha256(mapped).hexdigest() != sha256:
        raise ListError("compiled lists damaged: their SHA-256 is not the one they are named by")
    trie = marisa_trie.Trie()
    try:
        # In place, nothing is copied; the index keeps the mapping alive.
        trie.map(memoryview(mapped)[header.trie_at :])
    except RuntimeError as e:
        raise ListError(f"compiled lists damaged: {e}") from e
    if len(trie) != header.keys:
        raise ListError(
            f"compiled lists damaged: {len(trie)} keys where {header.keys} were written"
        )
    return MappedIndex(mapped, header, trie)
