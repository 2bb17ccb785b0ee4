"""Numbers of the DNS registry (IANA, Domain Name System Parameters) that we tell apart."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from dnslib import QTYPE


class Qtype(IntEnum):
    """Record and query types that are told apart."""

    A = 1
    CNAME = 5
    SOA = 6
    NULL = 10
    HINFO = 13
    KEY = 25
    AAAA = 28
    OPT = 41
    DS = 43
    SMIMEA = 53  # Another name in dnslib 0.9.26.
    SVCB = 64
    HTTPS = 65
    ANY = 255


_MNEMONICS: Final[dict[int, str]] = {**QTYPE.forward, **{int(qtype): qtype.name for qtype in Qtype}}


def mnemonic(qtype: int) -> str:
    """Return the mnemonic of a query type, such as ``AAAA``; ``TYPE123`` where it has none (RFC 3597, section 5)."""
    return _MNEMONICS.get(qtype) or f"TYPE{qtype}"


class Qclass(IntEnum):
    """The class that is served."""

    IN = 1


class Rcode(IntEnum):
    """Response codes we set."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    BADVERS = 16
    BADCOOKIE = 23


class Ede(IntEnum):
    """INFO-CODEs of extended DNS errors that we set (RFC 8914, section 4)."""

    STALE_ANSWER = 3
    FORGED_ANSWER = 4
    BLOCKED = 15
    CENSORED = 16
    FILTERED = 17
    STALE_NXDOMAIN_ANSWER = 19
    NO_REACHABLE_AUTHORITY = 22
    NETWORK_ERROR = 23


class Option(IntEnum):
    """EDNS option codes that are read or written."""

    COOKIE = 10
    EDE = 15
