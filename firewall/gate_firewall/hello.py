"""Reads a TLS ClientHello while it is still arriving: in records, or alone as QUIC carries it.

Pure and bounded. A hello that could be read in two ways is malformed: the server might read it in the other.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from gate_firewall.host import MAX_OCTETS, parse_host

HANDSHAKE: Final = 22
"""Content type with which a TLS connection begins (RFC 8446, section 5.1)."""

_CLIENT_HELLO: Final = 1
_HOST_NAME: Final = 0

_SERVER_NAME: Final = 0
_ALPN: Final = 16
_ECH: Final = 0xFE0D  # RFC 9849, section 5
_KINDS: Final = frozenset((_SERVER_NAME, _ALPN, _ECH))

_TOO_LONG: Final = "a field longer than what holds it"

RECORD_OCTETS: Final = 5
"""Of a record's header."""
UP_TO_RANDOM: Final = 4 + 2
"""What stands before the random value of a ServerHello: the header of the message, and the version."""
RETRY: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""The random value that makes a ServerHello a HelloRetryRequest (RFC 8446, section 4.1.3)."""
ANSWER_OCTETS: Final = UP_TO_RANDOM + len(RETRY)
"""Of a ServerHello, by which it is told whether the server asks for a second ClientHello."""

_NO_HANDSHAKE: Final = (20, 21, 23)
"""Content types change_cipher_spec, alert and application_data."""

_START: Final = bytes((HANDSHAKE, 3))
_RECORD: Final = struct.Struct("!BBxH")  # content type, major version, length
# The same, and of the message that begins in it: type and length.
_FIRST: Final = struct.Struct("!BBxHI")
_EXTENSION: Final = struct.Struct("!HH")
_NAME: Final = struct.Struct("!HBH")
_LENGTH: Final = struct.Struct("!H")


class MalformedHelloError(ValueError):
    """Octets that are no ClientHello; the message has the first of them."""


class Hello(NamedTuple):
    """What a ClientHello says of where it goes. A tuple, as one is made for each new flow."""

    name: str
    """Of the server, canonical; "" without the extension."""
    alpn: tuple[bytes, ...] = ()
    """Protocols as offered, in that order; empty without the extension."""
    ech: bool = False
    """Whether it has an encrypted_client_hello, be it real or GREASE, which look alike: ``name`` is the outer one."""


class Records:
    """Reads the ClientHello in the TLS records that start a flow, while they arrive; walks over each record once."""

    __slots__ = ("_message", "_place")

    def __init__(self) -> None:
        self._message = b""
        """What the records have carried that are there as a whole..."""
        self._place = 0
        """...and where they end."""

    def read(self, payload: bytes) -> Hello | None:
        """Return the ClientHello; None while it is cut short.

        Args:
            payload: TCP payload from the first octet of the flow; each time the same, with more behind it.

        Raises:
            MalformedHelloError: The octets are no ClientHello (RFC 8446, section 4.1.2), or one of more than 16 KiB.
        """
        if not self._place and len(payload) >= _FIRST.size:
            content, major, length, header = _FIRST.unpack_from(payload)
            kind, size = header >> 24, header & 0xFFFFFF
            if (content, major, kind) == (HANDSHAKE, 3, _CLIENT_HELLO) and (
                4 + size <= length <= MAX_OCTETS
            ):
                # All in one record, as nearly always: read in place, and not before its last octet is there.
                end = _FIRST.size + size
                return _read(payload, _FIRST.size, end) if len(payload) >= end else None
        return self._join(payload)

    def _join(self, payload: bytes) -> Hello | None:
        parts, size = [self._message], len(self._message)
        place = self._place
        needed = _needed(self._message)
        while place + RECORD_OCTETS <= len(payload):
            content, major, length = _RECORD.unpack_from(payload, place)
            if content != HANDSHAKE or major != 3:
                break
            # RFC 8446, section 5.1: "Implementations MUST NOT send zero-length fragments of Handshake types".
            if not 1 <= length <= MAX_OCTETS:
                raise _malformed(payload, "length of the record")
            part = payload[place + RECORD_OCTETS : place + RECORD_OCTETS + length]
            parts.append(part)
            size += len(part)
            needed = needed or _needed(b"".join(parts))
            if 0 < needed <= size:
                return _read(b"".join(parts), 4, needed)
            if len(part) < length:
                # It comes again, as a whole.
                parts.pop()
                place += RECORD_OCTETS + length
                break
            place += RECORD_OCTETS + length
            self._place = place
        self._message = b"".join(parts)
        if not _START.startswith(payload[place : place + 2]):
            raise _malformed(payload, "not a handshake record")
        return None


def read_records(payload: bytes) -> Hello | None:
    """Return the ClientHello in the TLS records that start ``payload``, as ``Records`` does."""
    return Records().read(payload)


def read_message(octets: bytes) -> Hello | None:
    """Return the ClientHello that starts ``octets``; None while it is cut short.

    Args:
        octets: From the message type on, without records, as in QUIC's CRYPTO stream (RFC 9001, section 4.1.3).

    Raises:
        MalformedHelloError: As for records.
    """
    needed = _needed(octets)
    return _read(octets, 4, needed) if 0 < needed <= len(octets) else None


def is_retry(message: bytes) -> bool:
    """Tell whether a ServerHello, of which there are at least ``ANSWER_OCTETS``, asks for a second ClientHello."""
    return message.startswith(RETRY, UP_TO_RANDOM)


def second(octets: bytes) -> Hello | None:
    """Return the ClientHello that stands behind another one in QUIC's CRYPTO stream; None while it is cut short.

    Raises:
        MalformedHelloError: As for ``read_message``, of which the first one has been read.
    """
    return read_message(octets[_needed(octets) :])


class Hellos:
    """Reads the name in each ClientHello that stands whole and in the clear in the TLS records of an initiator.

    A second one follows where the server asks for it (RFC 8446, section 4.1.4); between them stand at most records of other
    types, such as early data. Walks over each record once.
    """

    __slots__ = ("_message", "_place")

    def __init__(self, place: int = 0) -> None:
        """Begin at the record at ``place``."""
        self._message = b""
        self._place = place

    def read(self, payload: bytes) -> list[str]:
        """Return the names that are new.

        Args:
            payload: TCP payload from the first octet of the flow; each time the same, with more behind it.

        Raises:
            MalformedHelloError: As for ``Records``; or other messages of the handshake stand between them.
        """
        names = []
        while len(payload) >= self._place + RECORD_OCTETS:
            content, _, length = _RECORD.unpack_from(payload, self._place)
            begin = self._place + RECORD_OCTETS
            end = begin + length
            if content in _NO_HANDSHAKE and not self._message:
                self._place = end
                continue
            if content != HANDSHAKE or not length:
                raise _malformed(payload[self._place :], "not a handshake record")
            message = self._message + payload[begin:end]
            needed = _needed(message)
            if 0 < needed < len(message):
                raise _malformed(message, "octets behind a ClientHello in its record")
            if 0 < needed == len(message):
                names.append(_read(message, 4, needed).name)
                message = b""
            if end > len(payload):
                # It comes again, as a whole.
                break
            self._message, self._place = message, end
        return names


def _malformed(octets: bytes | bytearray, what: str) -> MalformedHelloError:
    return MalformedHelloError(f"parsing {len(octets)} octets: {what}: {octets[:32].hex()}")


def _needed(message: bytes | bytearray) -> int:
    """Return how many octets the ClientHello has, its header included; 0 while that is open."""
    if message and message[0] != _CLIENT_HELLO:
        raise _malformed(message, "not a ClientHello")
    if len(message) < 4:
        return 0
    needed = 4 + int.from_bytes(message[1:4])
    if needed > MAX_OCTETS:
        raise _malformed(message, f"a hello of {needed} octets; at most {MAX_OCTETS}")
    return needed


def _read(octets: bytes, start: int, end: int) -> Hello:
    try:
        return _hello(octets, start, end)
    except (IndexError, struct.error) as e:
        raise _malformed(octets, _TOO_LONG) from e
    except ValueError as e:
        raise _malformed(octets, str(e)) from e


def _hello(octets: bytes, start: int, end: int) -> Hello:
    place = _extensions(octets, start, end)
    found: dict[int, bytes] = {}
    while place < end:
        kind, length = _EXTENSION.unpack_from(octets, place)
        content = place + 4
        place = content + length
        if place > end:
            raise ValueError(_TOO_LONG)
        if kind in _KINDS:
            # RFC 8446, section 4.2: "There MUST NOT be more than one extension of the same type".
            if kind in found:
                raise ValueError(f"two extensions of type {kind}")
            found[kind] = octets[content:place]
    return Hello(
        _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else "",
        _protocols(found[_ALPN]) if _ALPN in found else (),
        _ECH in found,
    )


def _extensions(octets: bytes, start: int, end: int) -> int:
    """Return where the first extension begins; ``end`` where there is none.

    Each length moves ``place`` on, never back: a field that is too long shows at the end.
    """
    place: int = start + 2 + 32  # legacy_version, random
    place += 1 + octets[place]  # legacy_session_id
    place += 2 + _LENGTH.unpack_from(octets, place)[0]  # cipher_suites
    place += 1 + octets[place]  # legacy_compression_methods
    if place == end:
        return end
    behind = place + 2 + _LENGTH.unpack_from(octets, place)[0]
    if behind > end:
        raise ValueError(_TOO_LONG)
    if behind < end:
        raise ValueError("octets behind the extensions")
    return place + 2


def _server_name(content: bytes) -> str:
    listed, kind, length = _NAME.unpack_from(content)
    # RFC 6066, section 3: "MUST NOT contain more than one name of the same name_type", and no other type was
    # ever defined: one entry, and nothing behind it.
    if kind != _HOST_NAME:
        raise ValueError("a server name of an unknown type")
    if length + 3 > listed or listed + 2 > len(content):
        raise ValueError(_TOO_LONG)
    if length + 5 < len(content):
        raise ValueError("more than one server name")
    return parse_host(content[_NAME.size :])


def _protocols(content: bytes) -> tuple[bytes, ...]:
    end = len(content)
    # RFC 7301, section 3.1: neither the list nor a name in it may be empty.
    if end == 2 or _LENGTH.unpack_from(content)[0] + 2 != end:
        raise ValueError("length of the list of protocols")
    names = []
    place = 2
    while place < end:
        name = content[place + 1 : place + 1 + content[place]]
        place += 1 + content[place]
        if not name or place > end:
            raise ValueError("length of the name of a protocol")
        names.append(name)
    return tuple(names)
