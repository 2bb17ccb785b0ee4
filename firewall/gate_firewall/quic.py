"""Reads the ClientHello in the Initial packets of a QUIC flow, version 1 (RFC 9000, 9001) or 2 (RFC 9369).

Pure and bounded. Every packet that the server might open is opened here too, so that none can carry other octets than those
that the name was read from. What authenticates by no key it may have, it discards, and so does this reader.
"""

from __future__ import annotations

import hmac
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from gate_firewall.hello import ANSWER_OCTETS, Hello, is_retry, read_message, second
from gate_firewall.host import MAX_OCTETS
from gate_firewall.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAX_DATAGRAMS: Final = 64
"""Datagrams read of a flow."""

MAX_PACKETS: Final = 16
"""Packets that may share a datagram."""

MAX_CONNECTION_IDS: Final = 4
"""Connection IDs that the Initial keys of a flow may come from: its first one, and one more for a Retry."""

_MIN_DATAGRAM: Final = 1200  # RFC 9000, section 14.1
_MAX_CONNECTION_ID: Final = 20  # RFC 9000, section 17.2
_MIN_FIRST_ID: Final = 8  # RFC 9000, section 7.2
_MAX_SPAN: Final = 255  # see _Connection._numbers

_PADDING: Final = 0
_PING: Final = 1
_ACK: Final = 2
_ACK_ECN: Final = 3
_CRYPTO: Final = 6
_CONNECTION_CLOSE: Final = 0x1C
_ZEROS: Final = re.compile(rb"\0*")


class MalformedQuicError(ValueError):
    """A datagram that breaks the rules, or contradicts an earlier one; the message has its first octets."""


def _label(text: bytes, size_octets: int) -> bytes:
    """Return what HKDF-Expand-Label authenticates for its first block (RFC 8446, section 7.1; RFC 5869, section 2.3)."""
    name = b"tls13 " + text
    return size_octets.to_bytes(2) + len(name).to_bytes() + name + b"\0" + b"\1"


class _Version(NamedTuple):
    salt: bytes
    initial: int
    """Packet type, as it stands in the first octet: so are the others."""
    zero_rtt: int
    retry: int
    key: bytes
    iv: bytes
    hp: bytes


_CLIENT_IN: Final = _label(b"client in", 32)
_SERVER_IN: Final = _label(b"server in", 32)

_VERSIONS: Final = {
    1: _Version(
        # RFC 9001, section 5.2; RFC 9000, section 17.2
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
        0x00,
        0x10,
        0x30,
        _label(b"quic key", 16),
        _label(b"quic iv", 12),
        _label(b"quic hp", 16),
    ),
    0x6B3343CF: _Version(
        # RFC 9369, sections 3.2 and 3.3
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        0x10,
        0x20,
        0x00,
        _label(b"quicv2 key", 16),
        _label(b"quicv2 iv", 12),
        _label(b"quicv2 hp", 16),
    ),
}


def begins(datagram: bytes) -> bool:
    """Tell whether ``datagram`` may be the first of a QUIC flow: an Initial, 0-RTT, or one of an unknown version."""
    if len(datagram) < 7 or datagram[0] < 0x80:
        return False
    number = int.from_bytes(datagram[1:5])
    if version := _VERSIONS.get(number):
        kind = datagram[0] & 0x30
        return kind in (version.initial, version.zero_rtt) and datagram[5] <= _MAX_CONNECTION_ID
    # Version 0 is a server's Version Negotiation. Of other versions no more is known than what each so far has: less would be
    # true of RTP as well.
    return (
        number != 0
        and datagram[0] >= 0xC0
        and _MIN_FIRST_ID <= datagram[5] <= _MAX_CONNECTION_ID
        and len(datagram) >= _MIN_DATAGRAM
    )


class _Header(NamedTuple):
    """The part of a long header that is not protected."""

    version: int
    is_initial: bool
    """Of a version that can be read."""
    destination: bytes
    source: bytes
    number: int
    """Where the packet number begins; unknown for what has none."""
    end: int
    """Where the next packet of the datagram begins; beyond the datagram where this one is cut short."""


def _varint(octets: bytes, place: int) -> tuple[int, int]:
    """Return a number (RFC 9000, section 16) and the place behind it.

    IndexError where it does not begin within ``octets``; the place behind it lies beyond them where it is cut short.
    """
    size = 1 << (octets[place] >> 6)
    behind = place + size
    return int.from_bytes(octets[place:behind]) & ((1 << (8 * size - 2)) - 1), behind


def _header(datagram: bytes, start: int) -> _Header:
    """Read the long header at ``start``; IndexError where it is cut short."""
    kind = datagram[start] & 0x30
    number = int.from_bytes(datagram[start + 1 : start + 5])
    place = start + 6 + datagram[start + 5]
    destination = datagram[start + 6 : place]
    source = datagram[place + 1 : place + 1 + datagram[place]]
    place += 1 + datagram[place]
    version = _VERSIONS.get(number)
    if version is None or kind == version.retry:
        # Without a length, it goes on to the end of the datagram.
        return _Header(number, False, destination, source, place, len(datagram))
    is_initial = kind == version.initial
    if is_initial:
        length, place = _varint(datagram, place)
        place += length  # of the token
    length, place = _varint(datagram, place)
    return _Header(number, is_initial, destination, source, place, place + length)


class _Opened(NamedTuple):
    first: int
    number: int
    payload: bytes


class _Keys:
    """What protects the Initials of one side (RFC 9001, sections 5.2 to 5.4)."""

    __slots__ = ("_aead", "_iv", "_mask")

    def __init__(self, version: _Version, connection_id: bytes, side: bytes) -> None:
        # HKDF by hand: each secret is within one block of SHA-256, and this runs for each new flow.
        initial = hmac.digest(version.salt, connection_id, "sha256")
        secret = hmac.digest(initial, side, "sha256")
        self._aead = AESGCM(hmac.digest(secret, version.key, "sha256")[:16])
        self._iv = int.from_bytes(hmac.digest(secret, version.iv, "sha256")[:12])
        # RFC 9001, section 5.4.3, wants ECB, of single blocks.
        hp = Cipher(AES(hmac.digest(secret, version.hp, "sha256")[:16]), ECB())  # noqa: S305
        self._mask = hp.encryptor().update

    def open(self, packet: bytes, place: int, seen: Iterable[int]) -> _Opened | None:
        """Return the content of ``packet``; None where it does not authenticate.

        Args:
            packet: From its first octet to its end.
            place: Where its packet number begins.
            seen: Packet numbers that the missing octets of this one may be meant to follow.
        """
        sample = packet[place + 4 : place + 20]
        if len(sample) < 16:  # RFC 9001, section 5.4.2
            return None
        mask = self._mask(sample)
        first = packet[0] ^ (mask[0] & 0x0F)
        width = (first & 3) + 1
        behind = place + width
        low = int.from_bytes(packet[place:behind]) ^ int.from_bytes(mask[1 : 1 + width])
        header = bytes((first,)) + packet[1:place] + low.to_bytes(width)
        for number in {low, *(_nearest(low, width, after + 1) for after in seen)}:
            nonce = (self._iv ^ number).to_bytes(12)
            try:
                return _Opened(first, number, self._aead.decrypt(nonce, packet[behind:], header))
            except InvalidTag:
                continue
        return None


def _nearest(low: int, width: int, expected: int) -> int:
    """Return the packet number nearest to ``expected`` whose last ``width`` octets are ``low`` (RFC 9000, appendix A.3)."""
    window = 1 << (8 * width)
    number = expected - expected % window + low
    if number > expected + window // 2 and number >= window:
        return number - window
    if number <= expected - window // 2:
        return number + window
    return number


def _crypto_frames(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield offset and octets of each CRYPTO frame; IndexError or ValueError where a frame may not stand in an Initial.

    RFC 9000, section 12.4: those that may are PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE of the transport.
    """
    place = 0
    while place < len(payload):
        kind = payload[place]
        place += 1
        if kind == _CRYPTO:
            offset, place = _varint(payload, place)
            length, place = _varint(payload, place)
            yield offset, payload[place : place + length]
            place += length
        elif kind in (_ACK, _ACK_ECN):
            place = _behind_ack(payload, place, counts=3 if kind == _ACK_ECN else 0)
        elif kind == _CONNECTION_CLOSE:
            _, place = _varint(payload, place)  # error code
            _, place = _varint(payload, place)  # frame type
            length, place = _varint(payload, place)
            place += length
        elif kind == _PADDING:
            zeros = _ZEROS.match(payload, place)
            place = zeros.end() if zeros else place
        elif kind != _PING:
            raise ValueError(f"a frame of type {kind}, which may not stand in an Initial")
    if place > len(payload):
        raise IndexError("a frame longer than its packet")


def _behind_ack(payload: bytes, place: int, *, counts: int) -> int:
    _, place = _varint(payload, place)  # largest acknowledged
    _, place = _varint(payload, place)  # delay
    ranges, place = _varint(payload, place)
    # The first range; gap and length of each other; and the ECN counts.
    for _ in range(1 + 2 * ranges + counts):
        _, place = _varint(payload, place)
    return place


class _Connection:
    """What a server would make of the Initials whose keys come from one connection ID."""

    __slots__ = (
        "_its",
        "_keys",
        "_numbers",
        "_retried",
        "_second",
        "_stream",
        "hello",
        "id",
        "unread",
    )

    def __init__(self, connection_id: bytes) -> None:
        self.id = connection_id
        self._keys: dict[int, _Keys] = {}
        """By version: the server may change it on the way (RFC 9369, section 4), and the keys still come from the same ID."""
        self._its: dict[int, _Keys] = {}
        """The server's, by version."""
        self._numbers: tuple[int, ...] = ()
        """The lowest and the highest packet number; none before the first packet.

        The server completes a short packet number by the highest that it has, which is one of those seen here, or none. As
        long as these two are at most 255 apart, what lies near to neither, it can't take for near either.
        """
        self._stream = Stream(0)
        self.hello: Hello | None = None
        """None while it is not complete."""
        self._second = False
        """Whether another one is complete that says the same: a server may ask for it (RFC 8446, section 4.1.4)."""
        self._retried = False
        self.unread = False
        """Whether the server has answered a hello that was not complete here."""

    def open(self, version: int, packet: bytes, place: int) -> bytes | None:
        """Return the frames of ``packet``, whose number is at ``place``; None where it does not authenticate.

        Raises:
            ValueError: It does, but some servers would discard it, or take its number for another.
        """
        keys = self._keys.get(version)
        if keys is None:
            keys = self._keys[version] = _Keys(_VERSIONS[version], self.id, _CLIENT_IN)
        opened = keys.open(packet, place, self._numbers)
        if opened is None:
            return None
        if opened.first & 0x0C:  # RFC 9000, section 17.2
            raise ValueError("reserved bits that are not zero")
        if not opened.payload:  # RFC 9000, section 12.4
            raise ValueError("a packet without frames")
        numbers = (*self._numbers, opened.number)
        self._numbers = (min(numbers), max(numbers))
        if self._numbers[1] - self._numbers[0] > _MAX_SPAN:
            raise ValueError(f"packet numbers more than {_MAX_SPAN} apart")
        return opened.payload

    @property
    def size(self) -> int:
        """Octets of memory that it takes beyond those of any, about."""
        return self._stream.size

    def take(self, offset: int, octets: bytes) -> None:
        """Take a CRYPTO frame; ValueError where it is too far on or contradicts an earlier one."""
        end = offset + len(octets)
        if end > MAX_OCTETS:
            raise ValueError(f"a CRYPTO frame to {end}; at most {MAX_OCTETS} are kept")
        self._stream.add(offset, octets)

    def read(self) -> None:
        """Read the ClientHello as far as it has arrived; ValueError where it is malformed."""
        octets = self._stream.prefix()
        self.hello = self.hello or read_message(octets)
        if self.hello is not None and (again := second(octets)) is not None:
            if again.name != self.hello.name:
                raise ValueError("a second ClientHello with another name")
            self._second = True

    def is_answered_by(self, version: int, packet: bytes, place: int) -> bool:
        """Tell whether ``packet`` is a server's, and has its hello, to a ClientHello that is complete."""
        keys = self._its.get(version)
        if keys is None:
            keys = self._its[version] = _Keys(_VERSIONS[version], self.id, _SERVER_IN)
        opened = keys.open(packet, place, ())
        if opened is None:
            return False
        for offset, octets in _crypto_frames(opened.payload):
            if self.hello is None:
                self.unread = True
                return False
            if offset == 0 and len(octets) >= ANSWER_OCTETS:
                self._retried = is_retry(octets)
                if not self._retried:
                    return True
            elif offset and self._retried and self._second:
                # Whoever asks for a second one goes by that.
                return True
        return False


class Initials:
    """The Initials of one flow, in the direction of the initiator, however they arrive."""

    __slots__ = ("_connections", "_datagrams", "_hello", "_tried", "_unknown", "version")

    def __init__(self) -> None:
        self.version = 0
        """Of the last Initial that was opened and, before one was, of the last long header; 0 until then."""
        self._connections: dict[bytes, _Connection] = {}
        """By the ID that the keys come from: one, and another for a Retry or a Version Negotiation."""
        self._unknown = False
        """Whether there was a version that can't be read and that a server may know."""
        self._hello: Hello | None = None
        self._datagrams = 0
        self._tried: _Connection | None = None
        """What nothing has authenticated by yet."""

    def add(self, datagram: bytes) -> Hello | None:
        """Take the next datagram; return the ClientHello as soon as it is complete, None before.

        Datagrams behind the ClientHello are still compared with it. One of an unknown version gives None: the server will
        ask for another version. So does one that can't be authenticated.

        Raises:
            MalformedQuicError: The datagram is against the rules of QUIC, or says something else than an earlier one, or the
                flow takes more than 64 datagrams, 16 packets in one, 4 connection IDs or 16 KiB for its ClientHello.
        """
        try:
            return self._add(datagram)
        except (ValueError, IndexError) as e:
            what = f"parsing {len(datagram)} octets: {e}: {datagram[:32].hex()}"
            raise MalformedQuicError(what) from e

    @property
    def size(self) -> int:
        """Octets of memory that it takes beyond those of any, about."""
        return sum(connection.size for connection in self._connections.values())

    @property
    def unread(self) -> bool:
        """Whether the responder has answered a ClientHello that was not read here, by ``answered_by``."""
        return any(connection.unread for connection in self._connections.values())

    def answered_by(self, datagram: bytes) -> bool:
        """Tell whether ``datagram``, of the responder, answers the ClientHello: then it has what was read here, in full.

        That takes an Initial with CRYPTO, by the keys that the ClientHello came with. Version Negotiation, Retry, a reset and
        a mere acknowledgement can be had by sending something else, while a false ClientHello is lost on its way.
        """
        try:
            return any(
                connection.is_answered_by(
                    header.version, datagram[start : header.end], header.number - start
                )
                for start, header in _packets(datagram)
                if header.is_initial
                for connection in self._connections.values()
            )
        except (ValueError, IndexError):
            return False

    def _add(self, datagram: bytes) -> Hello | None:
        self._datagrams += 1
        if self._datagrams > MAX_DATAGRAMS:
            raise ValueError(f"more than {MAX_DATAGRAMS} datagrams")
        for start, header in _packets(datagram):
            if not self._connections:
                self.version = header.version
            if header.is_initial:
                self._take(header, datagram, start)
            elif header.version not in _VERSIONS:
                # RFC 9000, section 15: 0x?a?a?a?a is taken by no server.
                self._unknown |= begins(datagram) and header.version & 0x0F0F0F0F != 0x0A0A0A0A
        if self._unknown and self._connections:
            raise ValueError("two versions, one of them unknown; the server may take either")
        return self._hello

    def _take(self, header: _Header, datagram: bytes, start: int) -> None:
        packet = datagram[start : header.end]
        place = header.number - start
        # By the keys that the flow has: behind the server's answer the ID is another one while the keys stay.
        for connection in self._connections.values():
            frames = connection.open(header.version, packet, place)
            if frames is not None:
                break
        else:
            if self._tried is None or self._tried.id != header.destination:
                # Kept: to make its keys anew for each packet of a datagram would cost more than all else.
                self._tried = _Connection(header.destination)
            connection = self._tried
            frames = connection.open(header.version, packet, place)
            if frames is None:
                return
            self._tried = None
            self._connect(header, connection)
        self.version = header.version
        arrived = False
        for offset, octets in _crypto_frames(frames):
            connection.take(offset, octets)
            arrived = True
        if arrived:
            self._compare(connection, len(datagram))

    def _connect(self, header: _Header, connection: _Connection) -> None:
        """Keep ``connection``; ValueError where there are too many or some servers would discard its packet."""
        if max(len(header.destination), len(header.source)) > _MAX_CONNECTION_ID:
            raise ValueError(f"a connection ID of more than {_MAX_CONNECTION_ID} octets")
        if not self._connections and len(header.destination) < _MIN_FIRST_ID:
            raise ValueError(f"a first connection ID of less than {_MIN_FIRST_ID} octets")
        if len(self._connections) == MAX_CONNECTION_IDS:
            raise ValueError(f"keys from more than {MAX_CONNECTION_IDS} connection IDs")
        self._connections[header.destination] = connection

    def _compare(self, connection: _Connection, datagram_octets: int) -> None:
        """Read the ClientHello of ``connection``; ValueError where another one says something else."""
        if datagram_octets < _MIN_DATAGRAM:
            # RFC 9000, section 14.1: a server must discard it, but not each does.
            raise ValueError(f"a ClientHello in a datagram of less than {_MIN_DATAGRAM} octets")
        connection.read()
        self._hello = self._hello or connection.hello
        # RFC 9000, section 17.2.5.3: after a Retry the client has to send the same octets again. Not each does.
        if connection.hello not in (None, self._hello):
            raise ValueError("two ClientHellos that differ; the server may take either")


def _packets(datagram: bytes) -> Iterator[tuple[int, _Header]]:
    """Yield the packets with a long header in ``datagram``, each with its place; ValueError where they are too many.

    What a server skips is skipped: a packet that is cut short, what has no long header, and all that stands behind either.
    """
    start = count = 0
    destination = None
    while start < len(datagram) and datagram[start] >= 0x80:
        count += 1
        if count > MAX_PACKETS:
            raise ValueError(f"more than {MAX_PACKETS} packets")
        try:
            header = _header(datagram, start)
        except IndexError:
            return
        if destination is None:
            destination = header.destination
        elif header.version not in _VERSIONS:
            return
        elif header.destination != destination:
            # RFC 9000, section 12.2: no sender does it; servers should skip what differs, and some read it.
            raise ValueError("packets for two connection IDs in one datagram")
        yield start, header
        start = header.end
