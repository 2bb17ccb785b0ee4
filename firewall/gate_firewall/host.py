"""Host names as they stand on the wire, and the two ways of finding none."""

from __future__ import annotations

import re
from enum import Enum
from ipaddress import ip_address
from typing import Final

MAX_OCTETS: Final = 16_384
"""How far a reader looks for a name: one TLS record (RFC 8446, section 5.1), and more than any browser sends."""

# All that is in nearly every name: read at once, for this runs once for each flow.
_USUAL: Final = re.compile(rb"[A-Za-z0-9._-]+")


class Absence(Enum):
    """Why a reader has no name."""

    INCOMPLETE = "incomplete"
    """What is there so far is well formed; the name may follow."""
    ABSENT = "absent"
    """The message is complete and names no host."""


class MalformedHostError(ValueError):
    """Octets that name no host."""


def parse_host(octets: bytes) -> str:
    r"""Return the host in ``octets``, canonical: lower case, without final dots.

    Octets that no host name has are written as ``\DDD`` (RFC 1035, section 5.1), so that any policy can name them.
    An IP literal is returned as the text of the address, IPv6 without brackets.

    Raises:
        MalformedHostError: Nothing is left, or more than 253 octets, or brackets around no IPv6 address.
    """
    octets = octets.rstrip(b".")
    if not 1 <= len(octets) <= 253:
        raise MalformedHostError(f"a host name has 1 to 253 octets, not {len(octets)}")
    if octets[0] == 0x5B:  # "[", RFC 3986, section 3.2.2
        return _literal(octets)
    if _USUAL.fullmatch(octets):
        return octets.decode("ascii").lower()
    return "".join(
        chr(o) if 0x21 <= o <= 0x7E and o != 0x5C else f"\\{o:03d}" for o in octets
    ).lower()


def is_address(name: str) -> bool:
    """Tell whether ``name``, as ``parse_host`` returns it, is an address: no top-level domain is a number (RFC 3696, section 2)."""
    return ":" in name or name.rpartition(".")[2].isdigit()


def _literal(octets: bytes) -> str:
    try:
        text = str(ip_address(octets.decode("ascii").removeprefix("[").removesuffix("]")))
    except ValueError as e:
        raise MalformedHostError(f"no address between brackets: {octets[:32].hex()}") from e
    # A zone may be any text (RFC 4007, section 11), and none goes over the wire.
    if "%" in text:
        raise MalformedHostError(f"an address with a zone: {octets[:32].hex()}")
    return text
