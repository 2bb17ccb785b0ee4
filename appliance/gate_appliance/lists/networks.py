"""Addresses and networks on lists: which a list may hold, and the table that tells what is said of each address.

Pure. All addresses are numbers of 128 bits in one space; those of IPv4 are in ``::ffff:0:0/96`` (RFC 4291, section
2.5.5.2). Of two networks on one list the narrower decides, as in a response policy zone.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from ipaddress import ip_network
from itertools import chain
from typing import Final

ADDRESS_OCTETS: Final = 16
WIDEST: Final = {4: 8, 6: 16}
"""Shortest prefix that a list may hold, by IP version: one line of a list must not close the internet."""

_V4_SPACE: Final = bytes(10) + b"\xff\xff"
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)
"""RFC 6052, section 2.1: the last four octets are an IPv4 address."""

_NOT_PUBLIC: Final = {
    version: tuple((int(n[0]), int(n[-1])) for n in map(ip_network, texts))
    for version, texts in (
        (
            4,
            (
                "0.0.0.0/8",
                "10.0.0.0/8",
                "100.64.0.0/10",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "172.16.0.0/12",
                "192.168.0.0/16",
                "224.0.0.0/3",
            ),
        ),
        # The first holds the forms of IPv6 that stand for IPv4 addresses, too.
        (6, ("::/8", "fc00::/7", "fe80::/9", "ff00::/8")),
    )
}
"""First and last address of the networks that no public name leads to (RFC 6890, RFC 6598, RFC 4291), by IP version."""

_BEHIND_ALL: Final = b"\xff" * ADDRESS_OCTETS + bytes((128, 0))
"""Packed as a network is, and behind all that a list may hold."""

Interval = tuple[int, int]
"""First address, and the one behind the last."""


class MalformedNetworkError(ValueError):
    """An address or network that no list may hold; the message tells what is allowed."""


def read_network(text: str) -> str | None:
    """Return the canonical form of an address or network, such as ``192.0.2.0/24``; None where ``text`` is neither.

    Raises:
        MalformedNetworkError: It is one, but not one that a list may hold.
    """
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    if "%" in text:
        # With a zone it has a meaning on one machine only (RFC 4007, section 11).
        return None
    if network.prefixlen < WIDEST[network.version]:
        raise MalformedNetworkError(
            f"a network wider than is allowed: /{WIDEST[4]} for IPv4, /{WIDEST[6]} for IPv6"
        )
    first, last = int(network[0]), int(network[-1])
    if any(first <= end and begin <= last for begin, end in _NOT_PUBLIC[network.version]):
        raise MalformedNetworkError("private or reserved addresses; public ones are allowed")
    if ip_network(text.partition("/")[0])[0] != network[0]:
        raise MalformedNetworkError(f"an address within a network; {network} is allowed")
    return str(network)


def is_network(entry: str) -> bool:
    """Tell whether an entry of a list, a canonical name or what ``read_network`` returns, is a network."""
    return "/" in entry


def pack_network(text: str, *, listed: bool) -> bytes:
    """Return a canonical network as its first address in the table, its prefix length there, and whether it is listed.

    Sorted, a network comes before those within it, and where it is both excluded and listed, that comes last.
    """
    network = ip_network(text)
    octets = network[0].packed
    width = 8 * (ADDRESS_OCTETS - len(octets)) + network.prefixlen
    return widened(octets) + bytes((width, listed))


def widened(address: bytes) -> bytes:
    """Return the 16 octets that stand for the 4 or 16 octets of ``address`` in the table.

    An IPv6 address by which a gateway reaches an IPv4 address (NAT64) stands for that.
    """
    if len(address) == 4:
        return _V4_SPACE + address
    if address.startswith(_NAT64):
        return _V4_SPACE + address[len(_NAT64) :]
    return address


def build_table(by_mask: Mapping[int, Sequence[Iterable[bytes]]]) -> tuple[bytes, array[int]]:
    """Return where what is said of an address changes, and what is said from there on.

    Args:
        by_mask: Mask of each category, no two with a bit in common, to the packed networks of each of its lists.

    Returns:
        Addresses of 16 octets one behind the other, in their order, and the mask of each.
    """
    starts, masks = bytearray(), array("Q")
    mask = 0
    for address, changed in merge(*(_edges(its, lists) for its, lists in by_mask.items())):
        octets = address.to_bytes(ADDRESS_OCTETS, "big")
        mask ^= changed
        if starts.endswith(octets):
            masks[-1] = mask
        else:
            starts += octets
            masks.append(mask)
    return bytes(starts), masks


def _edges(mask: int, lists: Iterable[Iterable[bytes]]) -> Iterator[tuple[int, int]]:
    """Yield each address at which a category begins or ends, in order, with its ``mask``."""
    for begin, end in _united(map(_intervals, lists)):
        yield begin, mask
        yield end, mask


def _intervals(packed: Iterable[bytes]) -> Iterator[Interval]:
    """Yield what one list covers, in order and apart from one another."""
    around: list[tuple[int, int]] = []
    """The networks around ``at``, widest first: where each ends, and whether it is listed."""
    at = 0
    for network in chain(sorted(packed), (_BEHIND_ALL,)):
        first = int.from_bytes(network[:ADDRESS_OCTETS], "big")
        while around and around[-1][0] <= first:
            end, listed = around.pop()
            if listed and at < end:
                yield at, end
            at = max(at, end)
        if around and around[-1][1] and at < first:
            yield at, first
        at = first
        width, listed = network[ADDRESS_OCTETS:]
        around.append((first + (1 << 128 - width), listed))


def _united(lists: Iterable[Iterator[Interval]]) -> Iterator[Interval]:
    """Yield what any of ``lists`` covers, in order, with a gap between each two."""
    begin = end = 0
    for first, behind in merge(*lists):
        if first > end:
            if end:
                yield begin, end
            begin = first
        end = max(end, behind)
    if end:
        yield begin, end
