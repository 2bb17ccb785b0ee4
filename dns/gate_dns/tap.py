"""dnstap: each query with its response, as Frame Streams to whoever reads at a unix socket.

It is for people who look for a fault: bounded, never waiting, and what the reader does not take is dropped and counted.
A frame is a message of dnstap.proto, of the kind CLIENT_RESPONSE; the stream is a bidirectional one of Frame Streams.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from typing import Final

from gate_core.policy import Action, Decision

CONTENT_TYPE: Final = b"protobuf:dnstap.Dnstap"
MAX_HELD_OCTETS: Final = 4 << 20
"""What is held while the reader is slow or away."""
RETRY_S: Final = 1.0
"""How long a reader that is away is left alone."""
HANDSHAKE_S: Final = 5.0
"""How long a reader may take to say what it wants."""

_SEND_OCTETS: Final = 1 << 16
_MAX_POLICIES: Final = 4096

# Frame Streams: a control frame is an escape of four zero octets, its length, its type, and its fields.
_ACCEPT, _START, _STOP, _READY = 1, 2, 3, 4
_CONTENT_TYPE_FIELD: Final = 1
_MAX_CONTROL_OCTETS: Final = 512

_FIXED: Final = struct.Struct("<I").pack
_RCODE: Final = 0x0F
_NXDOMAIN: Final = 3


class _PolicyAction(Enum):
    """Policy.Action of dnstap.proto."""

    NXDOMAIN = 1
    NODATA = 2
    PASS = 3
    LOCAL_DATA = 6


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)


_LENGTHS: Final = tuple(map(_varint, range(2048)))
"""Of nearly every part of every message."""


def _octets(key: bytes, value: bytes) -> bytes:
    return key + _varint(len(value)) + value


# Keys of dnstap.proto: the number of the field times eight, and 0 for a number, 2 for octets, 5 for four octets.
_IDENTITY, _EXTRA_TYPE, _MESSAGE = b"\x0a", b"\x78\x01", b"\x72"
_FAMILY = {
    # type = CLIENT_RESPONSE, socket_family, socket_protocol; then query_address.
    (length, tcp): bytes((0x08, 6, 0x10, family, 0x18, 2 if tcp else 1, 0x22, length))
    for length, family in ((4, 1), (16, 2))
    for tcp in (False, True)
}
_QUERY_SECOND, _QUERY_NANOSECOND, _QUERY = b"\x40", b"\x4d", b"\x52"
_RESPONSE_SECOND, _RESPONSE_NANOSECOND, _RESPONSE = b"\x60", b"\x6d", b"\x72"
_POLICY, _POLICY_TYPE, _POLICY_RULE, _POLICY_ACTION = b"\x7a", b"\x0a", b"\x12", b"\x18"


class Tap:
    """The way of one worker to the reader."""

    def __init__(self, path: str, identity: str) -> None:
        """Connect at the first ``flush``.

        Args:
            path: Of the reader's socket.
            identity: What the messages call this worker.
        """
        self._path = path
        self._head = _octets(_IDENTITY, identity.encode()) + _EXTRA_TYPE + _MESSAGE
        self._frames: list[bytes] = []
        self._octets = 0
        self._sending = memoryview(b"")
        self._sending_frames = 0
        self._socket: socket.socket | None = None
        self._open = False
        self._heard = b""
        self._deadline = 0.0
        self._retry_at = 0.0
        self._offset = time.time() - time.monotonic()
        self._second, self._second_octets = 0, b""
        self._policies: dict[tuple[str, _PolicyAction], bytes] = {}
        self.dropped = 0
        """Messages that the reader did not get."""

    def put(
        self,
        message: bytes,
        source: bytes,
        answer: bytes,
        now: float,
        decision: Decision | None = None,
        took_s: float = 0.0,
        *,
        tcp: bool = False,
    ) -> None:
        """Take a query and its response; never waits and never raises.

        Args:
            message: The query.
            source: The address that it came from, 4 or 16 octets.
            answer: The response.
            now: Monotonic time in seconds at which it was sent.
            decision: What the policy said.
            took_s: Seconds since the query came.
            tcp: Whether it came over TCP.
        """
        if self._octets > MAX_HELD_OCTETS:
            self.dropped += 1
            return
        sent = now + self._offset
        came = sent - took_s
        parts = [
            _FAMILY[len(source), tcp],
            source,
            _QUERY_SECOND,
            self._of_second(int(came)),
            _QUERY_NANOSECOND,
            _FIXED(int(came % 1 * 1e9)),
            _QUERY,
            _length(message),
            message,
            _RESPONSE_SECOND,
            self._of_second(int(sent)),
            _RESPONSE_NANOSECOND,
            _FIXED(int(sent % 1 * 1e9)),
            _RESPONSE,
            _length(answer),
            answer,
        ]
        if decision:
            parts.append(self._policy(decision, answer))
        inner = b"".join(parts)
        head, length = self._head, _length(inner)
        size = len(head) + len(length) + len(inner)
        self._frames.append(b"".join((size.to_bytes(4, "big"), head, length, inner)))
        self._octets += size + 4

    def flush(self, now: float) -> None:
        """Send what the reader takes at once, at the monotonic time ``now``; to be called in each round."""
        self._offset = time.time() - time.monotonic()
        try:
            if self._socket is None:
                if now < self._retry_at:
                    return
                self._connect(now)
            if self._open:
                self._send()
            else:
                self._await_accept(now)
        except BlockingIOError:
            pass  # It has not yet read what it was sent, or said nothing yet.
        except OSError:
            self._disconnect(now)

    def close(self) -> None:
        """Send what the reader takes at once, and end."""
        self.flush(time.monotonic())
        if self._socket and self._open and not self._sending:
            # Where it is gone or busy, it sees the end of the stream.
            with suppress(OSError):
                self._socket.send(_control(_STOP))
        self._disconnect(time.monotonic())

    def _of_second(self, second: int) -> bytes:
        if second != self._second:
            self._second, self._second_octets = second, _varint(second)
        return self._second_octets

    def _policy(self, decision: Decision, answer: bytes) -> bytes:
        if decision.action is Action.ALLOW:
            action = _PolicyAction.PASS
        elif answer[3] & _RCODE == _NXDOMAIN:
            action = _PolicyAction.NXDOMAIN
        else:
            action = _PolicyAction.LOCAL_DATA if any(answer[6:8]) else _PolicyAction.NODATA
        key = decision.rule_id, action
        policy = self._policies.get(key)
        if policy is None:
            if len(self._policies) >= _MAX_POLICIES:
                self._policies.clear()
            policy = self._policies[key] = _octets(
                _POLICY,
                _octets(_POLICY_TYPE, b"schoolgate")
                + _octets(_POLICY_RULE, decision.rule_id.encode())
                + _POLICY_ACTION
                + bytes((action.value,)),
            )
        return policy

    def _connect(self, now: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._deadline = now + HANDSHAKE_S
        # Where its queue of connections is full, a socket of this kind is told so at once.
        if self._socket.connect_ex(self._path):
            self._disconnect(now)
            return
        self._socket.send(_control(_READY, CONTENT_TYPE))

    def _await_accept(self, now: float) -> None:
        if self._socket is None:
            return
        if now > self._deadline:
            self._disconnect(now)
            return
        heard = self._socket.recv(_MAX_CONTROL_OCTETS)
        self._heard += heard
        length = 8 + int.from_bytes(self._heard[4:8], "big")
        if heard and (len(self._heard) < 8 or len(self._heard) < length <= _MAX_CONTROL_OCTETS):
            return
        kind, types = _parse_control(self._heard)
        if kind != _ACCEPT or CONTENT_TYPE not in types:
            self._disconnect(now)
            return
        self._socket.send(_control(_START, CONTENT_TYPE))
        self._open = True
        self._send()

    def _send(self) -> None:
        while self._socket and (self._sending or self._frames):
            if not self._sending:
                self._take_frames()
            sent = self._socket.send(self._sending)
            self._octets -= sent
            self._sending = self._sending[sent:]

    def _take_frames(self) -> None:
        size = number = 0
        for number, frame in enumerate(self._frames, 1):  # noqa: B007  # how many
            size += len(frame)
            if size >= _SEND_OCTETS:
                break
        self._sending = memoryview(b"".join(self._frames[:number]))
        self._sending_frames = number
        del self._frames[:number]

    def _disconnect(self, now: float) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None
        self._open = False
        self._heard = b""
        self._retry_at = now + RETRY_S
        if self._sending:
            # The next reader must not begin in the middle of a frame.
            self._octets -= len(self._sending)
            self._sending = memoryview(b"")
            self.dropped += self._sending_frames


def _length(value: bytes) -> bytes:
    size = len(value)
    return _LENGTHS[size] if size < len(_LENGTHS) else _varint(size)


def _control(kind: int, content_type: bytes = b"") -> bytes:
    fields = (
        struct.pack(">II", _CONTENT_TYPE_FIELD, len(content_type)) + content_type
        if content_type
        else b""
    )
    return struct.pack(">III", 0, 4 + len(fields), kind) + fields


def _parse_control(octets: bytes) -> tuple[int, list[bytes]]:
    """Return type and content types of a control frame; type 0 where it is none."""
    if len(octets) < 12 or any(octets[:4]):
        return 0, []
    return int.from_bytes(octets[8:12], "big"), list(_content_types(octets[12:]))


def _content_types(fields: bytes) -> Iterator[bytes]:
    while len(fields) >= 8:
        kind, length = struct.unpack_from(">II", fields)
        if kind == _CONTENT_TYPE_FIELD:
            yield fields[8 : 8 + length]
        fields = fields[8 + length :]
