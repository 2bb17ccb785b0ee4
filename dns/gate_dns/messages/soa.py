"""The SOA record of negative responses of our own making, without which nobody keeps them (RFC 2308, section 5)."""

from __future__ import annotations

import struct
from typing import Final

from gate_dns.messages.codes import Qclass, Qtype
from gate_dns.messages.wire import HEADER_OCTETS, POINTER, RECORD, wire_name

_MNAME: Final = wire_name("schoolgate.invalid")
"""As of RFC 2606, section 2: there is nobody to ask."""
_RNAME: Final = b"\x0bcoordinator"
"""The first label of it; the rest is the name above."""
_TIMES: Final = struct.Struct("!IIIII")
_REFRESH_RETRY_EXPIRE: Final = (3600, 600, 86_400)
"""Read by secondaries only, of which there are none."""


def soa_record(question: bytes, serial: int, ttl_s: int) -> bytes:
    """Return the SOA record that follows ``question``, with no record before it.

    Args:
        question: The question section, with one question.
        serial: Serial number; of a higher one its last 32 bits.
        ttl_s: Of the record, and of the negative answer.
    """
    # Owned by the name above, which is right for NXDOMAIN and NODATA alike.
    first = question[0]
    has_above = first and question[1 + first]
    above = (POINTER | HEADER_OCTETS + 1 + first).to_bytes(2, "big")
    owner = above if has_above else b"\0"
    mname = POINTER | HEADER_OCTETS + len(question) + len(owner) + RECORD.size
    times = _TIMES.pack(serial & 0xFFFF_FFFF, *_REFRESH_RETRY_EXPIRE, ttl_s)
    rdata = _MNAME + _RNAME + mname.to_bytes(2, "big") + times
    return owner + RECORD.pack(Qtype.SOA, Qclass.IN, ttl_s, len(rdata)) + rdata
