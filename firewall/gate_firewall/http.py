"""Reads the hosts of HTTP/1 requests while they are still arriving.

Pure and bounded. A request that two servers could read differently is malformed: whoever builds one does so on purpose.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final, NamedTuple

from gate_firewall.host import MAX_OCTETS, Absence, MalformedHostError, parse_host

# RFC 9112, section 2.2: a server skips empty lines before the request line. Methods are upper case in every registry.
_START: Final = re.compile(rb"((?:\r?\n){0,16})(?:[A-Z][A-Z_-]{0,31}(?: |\Z)|\r?\Z)")
_LINE: Final = re.compile(rb"([A-Z_-]+) ([^\x00-\x20\x7f]+) HTTP/1\.([01])\r?")
_HEAD_END: Final = re.compile(rb"\n\r?\n")
# RFC 9112, section 5: no white space before the name (obs-fold) nor before the colon.
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00\r]*)\r?")
_ABSOLUTE: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
# Without user information, whose presence is an error: RFC 9110, section 4.2.4.
_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\x80-\xff-]*)(?::\d*)?\Z")
_LENGTH: Final = re.compile(rb"0|[1-9]\d{0,14}")
# A server may pass over an extension (RFC 9112, section 7.1.1), and some end it elsewhere: no browser sends one.
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_MAX_CHUNK_LINE: Final = 10

_NAMES: Final = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"upgrade"))
"""Of the fields that are read."""
_CONTINUE: Final = 100
_SWITCHING: Final = 101
_WITHOUT_BODY: Final = frozenset((b"GET", b"HEAD", b"DELETE", b"TRACE", b"CONNECT"))
"""Methods whose body has no meaning (RFC 9110, section 9.3), so that some servers take it for the next request."""


class MalformedRequestError(ValueError):
    """Octets that are no HTTP/1 request one could read in one way only; the message has the first of them."""


class _Awaited(Enum):
    HEAD = auto()
    CHUNK = auto()
    """The line with the size of a chunk."""
    CHUNK_END = auto()
    """The line end behind a chunk."""
    BODY_END = auto()
    """The empty line behind the last chunk; no browser sends trailers."""
    NOTHING = auto()
    """Behind CONNECT, where no HTTP follows, and behind a body that was refused."""


class _Head(NamedTuple):
    """A request without its body."""

    host: str
    """Canonical; "" where it names none."""
    next: _Awaited
    length: int
    """Octets of the body, where it is not in chunks."""
    end: int
    """Where the head ends among the octets it was read from."""
    expects: bool
    """Whether it depends on the answer if the body follows (RFC 9110, section 10.1.1)."""
    upgrades: bool
    """Whether it asks for WebSocket (RFC 6455)."""


class Requests:
    """The requests of one connection, one after another; bodies are passed over."""

    __slots__ = ("_awaited", "_begun", "_rest", "_to_skip", "_upgrades", "expecting", "switched")

    def __init__(self) -> None:
        self._awaited = _Awaited.HEAD
        self._rest = b""
        """A head or a line that is not complete yet."""
        self._to_skip = 0
        """Octets of a body that are still to come."""
        self._begun = self._upgrades = False
        """Whether there was a request; whether one asks for WebSocket."""
        self.expecting = False
        """Whether the initiator is to wait for ``answered``."""
        self.switched = False
        """Whether both sides speak WebSocket from here on, for the host of the one request that there was."""

    @property
    def size(self) -> int:
        """Octets that are kept."""
        return len(self._rest)

    def answered(self, code: int) -> None:
        """Take the status code of an answer while a request waits for one: its body, or anything, comes after a 100 alone."""
        self.expecting = False
        if self._upgrades:
            # Refused, or passed over: another request may follow.
            self._upgrades, self.switched = False, code == _SWITCHING
        elif code != _CONTINUE:
            # It may be the answer to an earlier request: nobody knows what would follow.
            self._to_skip, self._awaited = 0, _Awaited.NOTHING

    def feed(self, octets: bytes) -> list[str]:
        """Take the next octets of the initiator; return the hosts of the requests whose heads they completed.

        Args:
            octets: In order, each once, from the first octet of the connection on.

        Returns:
            Canonical names without port, in order; "" for a request that names none.

        Raises:
            MalformedRequestError: As for ``host``, and where a body is not as announced or octets follow a CONNECT. What
                comes later can't be read.
        """
        if self.expecting and octets:
            raise _malformed(octets, "a body that did not wait for its answer")
        octets = self._rest + octets
        hosts = []
        place = 0
        while True:
            skipped = min(self._to_skip, len(octets) - place)
            self._to_skip -= skipped
            place += skipped
            if place == len(octets):
                break
            if self._awaited is _Awaited.NOTHING:
                raise _malformed(octets[place:], "octets behind CONNECT or a refusal")
            if self._awaited is not _Awaited.HEAD:
                end = self._line(octets[place : place + _MAX_CHUNK_LINE])
                if end == 0:
                    break
                place += end
            elif head := _head(octets, place):
                hosts.append(head.host)
                self._awaited, self._to_skip, place = head.next, head.length, head.end
                # Behind others, an answer might be to one of those.
                self._upgrades = head.upgrades and not self._begun
                self._begun = True
                self.expecting = head.expects or self._upgrades
                if self.expecting and place < len(octets):
                    raise _malformed(octets[place:], "a body that did not wait for its answer")
            else:
                break
        self._rest = octets[place:]
        return hosts

    def _line(self, octets: bytes) -> int:
        """Take the line that ``octets`` begin with; return its length, 0 while it is cut short."""
        end = octets.find(b"\n") + 1
        if not end and len(octets) < _MAX_CHUNK_LINE:
            return 0
        line = octets[:end]
        match self._awaited:
            case _Awaited.CHUNK if chunk := _CHUNK.fullmatch(line):
                self._to_skip = int(chunk[1], 16)
                self._awaited = _Awaited.CHUNK_END if self._to_skip else _Awaited.BODY_END
            case _Awaited.CHUNK_END if line == b"\r\n":
                self._awaited = _Awaited.CHUNK
            case _Awaited.BODY_END if line == b"\r\n":
                self._awaited = _Awaited.HEAD
            case _:
                raise _malformed(octets, "chunks of a body")
        return end


def is_request(payload: bytes) -> bool | None:
    """Tell whether ``payload`` starts an HTTP request; None while its first line is not complete."""
    begun = _START.match(payload)
    if begun is None:
        return False
    line, ended, _ = payload[begun.end(1) :].partition(b"\n")
    if not ended:
        return None
    return line.rpartition(b" ")[2].startswith(b"HTTP/")


def host(payload: bytes) -> str | Absence:
    """Return the host that the request at the start of ``payload`` is for.

    Args:
        payload: TCP payload from the first octet of the flow. Lines may end in LF alone (RFC 9112, section 2.2).

    Returns:
        Canonical name without port; INCOMPLETE until the head has ended; ABSENT where it names none.

    Raises:
        MalformedRequestError: No HTTP/1 request, a host that is none, two hosts, a body whose end or presence servers see
            differently, or a head of more than 16 KiB.
    """
    head = _head(payload, 0)
    return Absence.INCOMPLETE if head is None else head.host or Absence.ABSENT


def _malformed(octets: bytes, what: str) -> MalformedRequestError:
    return MalformedRequestError(f"parsing {len(octets)} octets: {what}: {octets[:32].hex()}")


def _head(octets: bytes, place: int) -> _Head | None:
    """Return the head that starts at ``place``; None while it is cut short."""
    begun = _START.match(octets, place)
    if begun is None:
        raise _malformed(octets[place:], "no request line")
    start = begun.end(1)
    line_end = octets.find(b"\n", start)
    line = _LINE.fullmatch(octets, start, line_end) if line_end >= 0 else None
    if line_end >= 0 and line is None:
        raise _malformed(octets[start:], "no request line of HTTP/1")
    # The request line's own line end counts: a request without fields ends right behind it.
    ended = _HEAD_END.search(octets, line_end) if line else None
    end = ended.end() if ended else len(octets)
    if end - start > MAX_OCTETS:
        raise _malformed(octets[start:], f"a head of more than {MAX_OCTETS} octets")
    if line is None or ended is None:
        return None
    method, target, version = line.groups()
    try:
        fields = _fields(octets[start:end])
        name = _host(method, target, fields.get(b"host", []))
        awaited, length = _body(method, version, fields)
        expects = b"expect" in fields and (length > 0 or awaited is _Awaited.CHUNK)
        # RFC 6455, section 4.1. To HTTP/2 nobody may switch: its requests would not be read.
        wanted = [value.lower() for value in fields.get(b"upgrade", [])]
        upgrades = method == b"GET" and wanted == [b"websocket"]
    except ValueError as e:
        raise _malformed(octets[start:], str(e)) from e
    return _Head(name, awaited, length, end, expects, upgrades)


def _fields(head: bytes) -> dict[bytes, list[bytes]]:
    """Return the values of the fields that are read, each with as many as it has lines."""
    # A server that takes no LF alone for a line end sees other lines than one that does.
    if head.count(b"\r\n") not in (0, head.count(b"\n")):
        raise ValueError("two kinds of line ends")
    found: dict[bytes, list[bytes]] = {}
    for line in head.split(b"\n")[1:-2]:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise ValueError("a folded field line, a lone CR or a field without a name")
        name = field[1].lower()
        if name in _NAMES:
            found.setdefault(name, []).append(field[2].strip(b" \t"))
    return found


def _host(method: bytes, target: bytes, hosts: list[bytes]) -> str:
    # RFC 9112, section 3.2: a server must refuse "any request message that contains more than one Host header field line".
    if len(hosts) > 1:
        raise ValueError("two hosts")
    if method == b"CONNECT":
        hosts = [target, *hosts]
    elif absolute := _ABSOLUTE.match(target):
        hosts = [absolute[1], *hosts]
    elif target[:1] != b"/" and target != b"*":
        raise ValueError("a target that is neither path nor URI")
    names = {_name(text) for text in hosts}
    if len(names) > 1:
        raise ValueError("hosts that differ")
    return names.pop() if names else ""


def _name(text: bytes) -> str:
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise MalformedHostError("a host with characters that none has")
    return parse_host(authority[1]) if authority[1] else ""


def _body(method: bytes, version: bytes, fields: dict[bytes, list[bytes]]) -> tuple[_Awaited, int]:
    """Return what follows the head, and how long it is."""
    codings = [value.lower() for value in fields.get(b"transfer-encoding", [])]
    lengths = set(fields.get(b"content-length", []))
    # RFC 9112, sections 6.1 and 6.3: both fields, a coding in HTTP/1.0 and lengths that differ are how requests are smuggled.
    if codings and (lengths or version == b"0" or codings != [b"chunked"]):
        raise ValueError("a body whose end servers see differently")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(text) for text in lengths):
        raise ValueError("lengths that differ or are none")
    length = int(lengths.pop()) if lengths else 0
    expected = [value.lower() for value in fields.get(b"expect", [])]
    # With Upgrade another protocol may begin behind it; without a body that is no way round, for what begins then is no
    # request of HTTP/1.
    if (codings or length) and (
        method in _WITHOUT_BODY or b"upgrade" in fields or expected not in ([], [b"100-continue"])
    ):
        raise ValueError("a body that not every server reads")
    if method == b"CONNECT":
        return _Awaited.NOTHING, 0
    return (_Awaited.CHUNK if codings else _Awaited.HEAD), length
