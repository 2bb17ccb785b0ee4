"""Reads the server name in a TLS ClientHello, across records, while it is still arriving.

Pure and bounded. A hello that could be read in two ways is malformed: the server might read it in the other.
"""

from __future__ import annotations

from typing import Final

from gate_firewall.host import MAX_OCTETS, Absence, MalformedHostError, parse_host

HANDSHAKE: Final = 22
"""Content type with which a TLS connection begins (RFC 8446, section 5.1)."""

MAX_RECORDS: Final = 256
"""Records over which a hello may be spread; each reading walks over all of them."""

_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_HOST_NAME: Final = 0


class MalformedHelloError(ValueError):
    """Octets that are no ClientHello; the message has the first of them."""


def server_name(payload: bytes) -> str | Absence:
    """Return the name in the TLS ClientHello that starts ``payload``.

    Args:
        payload: TCP payload from the first octet of the flow; at most 16 KiB are read.

    Returns:
        Canonical name; INCOMPLETE while the hello is cut short; ABSENT where it has no server_name extension.

    Raises:
        MalformedHelloError: The octets are no ClientHello (RFC 8446, section 4.1.2), or one of more than 16 KiB.
    """
    try:
        hello = _handshake(payload)
        return hello if isinstance(hello, Absence) else _name(hello)
    except (IndexError, MalformedHostError) as e:
        raise _malformed(payload, str(e)) from e


def _malformed(payload: bytes, what: str) -> MalformedHelloError:
    return MalformedHelloError(f"parsing {len(payload)} octets: {what}: {payload[:32].hex()}")


def _handshake(payload: bytes) -> bytes | Absence:
    """Return the body of the ClientHello, put together from its records."""
    message = bytearray()
    needed = 4
    place = 0
    for _ in range(MAX_RECORDS):
        header = payload[place : place + 5]
        if (header and header[0] != HANDSHAKE) or (len(header) > 1 and header[1] != 3):
            raise _malformed(payload, "not a handshake record")
        if len(header) < 5:
            return Absence.INCOMPLETE
        length = int.from_bytes(header[3:5])
        # RFC 8446, section 5.1: "Implementations MUST NOT send zero-length fragments of Handshake types".
        if not 1 <= length <= MAX_OCTETS:
            raise _malformed(payload, "length of the record")
        message += payload[place + 5 : place + 5 + length]
        if message and message[0] != _CLIENT_HELLO:
            raise _malformed(payload, "not a ClientHello")
        if len(message) >= 4:
            needed = 4 + int.from_bytes(message[1:4])
            if needed > MAX_OCTETS:
                raise _malformed(payload, f"a hello of {needed} octets; at most {MAX_OCTETS}")
            if len(message) >= needed:
                return bytes(message[4:needed])
        place += 5 + length
        if place > len(payload):
            return Absence.INCOMPLETE
    raise _malformed(payload, f"more than {MAX_RECORDS} records")


class _Reader:
    """Takes octets from the front; IndexError where there are too few."""

    __slots__ = ("_end", "_octets", "_place")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._place = 0
        self._end = len(octets)

    def __bool__(self) -> bool:
        return self._place < self._end

    def take(self, count: int) -> bytes:
        place = self._place + count
        if place > self._end:
            raise IndexError("a field longer than what holds it")
        taken = self._octets[self._place : place]
        self._place = place
        return taken

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        """Take a vector whose length stands before it in ``width`` octets (RFC 8446, section 3.4)."""
        return self.take(self.number(width))


def _name(hello: bytes) -> str | Absence:
    body = _Reader(hello)
    body.take(2 + 32)  # legacy_version, random
    body.vector(1)  # legacy_session_id
    body.vector(2)  # cipher_suites
    body.vector(1)  # legacy_compression_methods
    if not body:
        return Absence.ABSENT
    extensions = _Reader(body.vector(2))
    if body:
        raise IndexError("octets behind the extensions")
    name: str | Absence = Absence.ABSENT
    while extensions:
        kind = extensions.number(2)
        content = extensions.vector(2)
        if kind == _SERVER_NAME:
            # RFC 8446, section 4.2: "There MUST NOT be more than one extension of the same type".
            if name is not Absence.ABSENT:
                raise IndexError("two server_name extensions")
            name = _server_name(content)
    return name


def _server_name(content: bytes) -> str:
    outer = _Reader(content)
    names = _Reader(outer.vector(2))
    # RFC 6066, section 3: "MUST NOT contain more than one name of the same name_type", and no other type was
    # ever defined: one entry, and nothing behind it.
    if names.number(1) != _HOST_NAME:
        raise IndexError("a server name of an unknown type")
    name = parse_host(names.vector(2))
    if names or outer:
        raise IndexError("more than one server name")
    return name
