"""Reads the host of an HTTP/1 request while its head is still arriving.

Pure and bounded. A request that two servers could read differently is malformed: whoever builds one does so on purpose.
"""

from __future__ import annotations

import re
from typing import Final

from gate_firewall.host import Absence, MalformedHostError, parse_host

# RFC 9112, section 2.2: a server skips empty lines before the request line. Methods are upper case in every registry.
_START: Final = re.compile(rb"[\r\n]{0,16}(?:[A-Z][A-Z_-]{0,31}(?: |\Z)|\Z)")
_HEAD_END: Final = re.compile(rb"\n\r?\n")
# RFC 3986, section 3.2: what stands between "//" and the path, less user information.
_ABSOLUTE: Final = re.compile(
    rb"[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?([^/?#@]*)(?:[/?#].*)?\Z", re.DOTALL
)
_AUTHORITY: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._\x80-\xff-]*)(?::\d*)?\Z")


class MalformedRequestError(ValueError):
    """Octets that are no HTTP/1 request one could read in one way only; the message has the first of them."""


def is_request(payload: bytes) -> bool | None:
    """Tell whether ``payload`` starts an HTTP request; None while its first line is not complete."""
    if not _START.match(payload):
        return False
    head = payload.lstrip(b"\r\n")
    line, ended, _ = head.partition(b"\n")
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
        MalformedRequestError: No HTTP/1 request, a host that is none, or two hosts that differ.
    """
    if (complete := is_request(payload)) is None:
        return Absence.INCOMPLETE
    if not complete:
        raise _malformed(payload, "no request line")
    head = payload.lstrip(b"\r\n")
    # The request line's own line end counts: a request without fields ends right behind it.
    end = _HEAD_END.search(head)
    line, _, fields = head[: end.start() if end else None].partition(b"\n")
    method, _, rest = line.rstrip().partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not version.startswith(b"HTTP/1."):
        raise _malformed(payload, "not HTTP/1")
    if end is None:
        return Absence.INCOMPLETE
    try:
        hosts = {_name(text) for text in _hosts(method, target.strip(), fields)}
    except MalformedHostError as e:
        raise _malformed(payload, str(e)) from e
    if len(hosts) > 1:
        raise _malformed(payload, "hosts that differ")
    return (hosts.pop() if hosts else "") or Absence.ABSENT


def _malformed(payload: bytes, what: str) -> MalformedRequestError:
    return MalformedRequestError(f"parsing {len(payload)} octets: {what}: {payload[:32].hex()}")


def _hosts(method: bytes, target: bytes, fields: bytes) -> list[bytes]:
    """Return every text of the head that names a host."""
    found = []
    if method == b"CONNECT":
        found.append(target)
    elif absolute := _ABSOLUTE.match(target):
        found.append(absolute[1])
    for line in fields.split(b"\n"):
        name, _, value = line.partition(b":")
        # RFC 9112, section 5.2: obs-fold must be refused or replaced; some servers join it, some don't.
        if line[:1] in (b" ", b"\t") or b"\r" in line.removesuffix(b"\r"):
            raise MalformedHostError("a folded field line or a lone CR")
        # RFC 9112, section 5.1 forbids white space before the colon, but not every server looks.
        if name.strip().lower() == b"host":
            found.append(value.strip())
    return found


def _name(text: bytes) -> str:
    authority = _AUTHORITY.match(text)
    if authority is None:
        raise MalformedHostError("a host with characters that none has")
    return parse_host(authority[1]) if authority[1] else ""
