"""Downloads of lists: bounded in size, in time and in room on the disk, and only where something has changed.

urllib3 is known to this module only.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from gate_appliance.lists.formats import MAX_LIST_OCTETS, ListError
from gate_appliance.lists.networks import widened
from gate_appliance.lists.work import Progress, silent

MAX_REDIRECTS: Final = 5
_REDIRECTS: Final = (301, 302, 303, 307, 308)
_CHUNK_OCTETS: Final = 64 << 10
_GZIP: Final = b"\x1f\x8b"
_SAID: Final = {"etag": "ETag", "last_modified": "Last-Modified"}
_ASKED: Final = {"etag": "If-None-Match", "last_modified": "If-Modified-Since"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a download or a transfer may take."""

    max_octets: int = MAX_LIST_OCTETS
    """Longest list, unpacked."""
    total_s: float = 900.0
    idle_s: float = 30.0
    """Longest wait for the next octet, and for a connection."""
    reserve_octets: int = 100 << 20
    """Room that stays on the disk: the record and the log come before lists."""


def fetch(
    url: str,
    into: str,
    validators: Mapping[str, str],
    expected_octets: int,
    limits: Mapping[str, Any],
    *,
    imports: str = "",
    progress: Progress,
) -> dict[str, Any]:
    """Put the list at ``url`` into the file ``into``, unless it is the one that ``validators`` tell of.

    Args:
        url: ``https``, ``http`` or ``file``.
        into: Where to put it, unpacked; nothing is left there where this raises.
        validators: ``etag`` and ``last_modified`` of the last time; empty to get it in any case.
        expected_octets: How long it was the last time; 0 where that is not known.
        limits: ``Limits``.
        imports: Directory that a ``file`` must lie below, whatever links lead to it; "" allows none.
        progress: Is told of ``connecting`` and ``downloading``, in octets.

    Returns:
        ``changed``, and, where it is: ``octets`` and ``validators`` of this time.

    Raises:
        ListError: What the server sends is no list, or too long.
        OSError: It can't be got: no server, no answer in time, cut short, no room on the disk.
    """
    path = Path(into)
    bounds = Limits(**limits)
    room = Room(path.parent, bounds)
    room.demand(max(2 * expected_octets, _CHUNK_OCTETS))
    try:
        with path.open("wb") as file:
            if urlsplit(url).scheme == "file":
                result = _copy(imported(url, imports), file, validators, room, progress)
            else:
                result = _get(url, file, validators, room, progress, bounds)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    if not result["changed"]:
        path.unlink()
    return result


class Room:
    """How much may be written: twice as much is wanted free, for the list and for what is compiled of it."""

    def __init__(self, directory: Path, limits: Limits) -> None:
        self._free = shutil.disk_usage(directory).free
        self._limits = limits

    def demand(self, octets: int) -> None:
        """Check that there is room for a list of so many octets.

        Raises:
            ListError: It is longer than any list may be.
            OSError: There is no room.
        """
        if octets > self._limits.max_octets:
            raise ListError(f"longer than the {_mb(self._limits.max_octets)} that a list may have")
        wanted = 2 * octets + self._limits.reserve_octets
        if wanted > self._free:
            raise OSError(
                f"too little room on the disk: {_mb(self._free)} are free, {_mb(wanted)} are wanted"
            )


def _mb(octets: int) -> str:
    return f"{octets / 1e6:.1f} MB"


def imported(url: str, imports: str | Path) -> Path:
    """Return the file that ``url`` names, whether there is one or not.

    Whoever adds a source must not read, or learn of, any other file of the box.

    Raises:
        OSError: It does not lie below the directory ``imports``; "" allows none.
    """
    source = Path(url2pathname(urlsplit(url).path)).resolve()
    if not imports or not source.is_relative_to(Path(imports).resolve()):
        raise OSError(f"only files below {imports or 'an import directory'} are read")
    return source


def unpack(source: Path, file: BinaryIO, directory: Path) -> None:
    """Write the list at ``source`` into ``file``, which lies in ``directory``, unpacked where it is packed with gzip.

    Raises:
        ListError: It is no file, too long, or packed and damaged.
        OSError: It can't be read, or there is no room.
    """
    if not source.is_file():
        if source.exists():
            what = "a directory; a file is wanted" if source.is_dir() else "no regular file"
        else:
            what = "no such file"
        raise ListError(f"{str(source)[:200]!r}: {what}")
    try:
        _copy(source, file, {}, Room(directory, Limits()), silent)
    except OSError as e:
        if e.errno is None:  # ours: cut short, or no room
            raise ListError(f"{str(source)[:200]!r}: {e}") from e
        raise


def _copy(
    source: Path, file: BinaryIO, validators: Mapping[str, str], room: Room, progress: Progress
) -> dict[str, Any]:
    if not source.is_file():
        raise OSError(f"{source} is no file")
    stat = source.stat()
    mark = f"{stat.st_mtime_ns}-{stat.st_size}"
    if validators.get("etag") == mark:
        return {"changed": False}
    writer = _Writer(file, room, progress, stat.st_size)
    with source.open("rb") as octets:
        while chunk := octets.read(_CHUNK_OCTETS):
            writer.write(chunk)
    return {"changed": True, "octets": writer.end(), "validators": {"etag": mark}}


def _get(
    url: str,
    file: BinaryIO,
    validators: Mapping[str, str],
    room: Room,
    progress: Progress,
    limits: Limits,
) -> dict[str, Any]:
    deadline = time.monotonic() + limits.total_s
    headers = {"User-Agent": "Schoolgate", "Accept-Encoding": "gzip"}
    headers |= {_ASKED[kind]: value for kind, value in validators.items() if kind in _ASKED}
    progress("connecting", 0, 0)
    with (
        _faults_told(),
        _Pool(
            headers=headers,
            timeout=urllib3.Timeout(connect=limits.idle_s, read=limits.idle_s),
            retries=False,
            ssl_context=ssl.create_default_context(),
        ) as pool,
        _answer(pool, url) as answer,
    ):
        if answer.status == 304:
            return {"changed": False}
        if answer.status != 200:
            raise OSError(
                f"the server answers {answer.status} {(answer.reason or '')[:60]}".rstrip()
            )
        if "html" in answer.headers.get("Content-Type", "").lower():
            raise ListError("the server sends a web page, not a list")
        if answer.headers.get("Content-Encoding", "gzip").lower() not in ("gzip", "identity"):
            raise ListError("packed in a way that was not asked for; gzip is understood")
        length = int(answer.headers.get("Content-Length", "0"))
        room.demand(length)
        writer = _Writer(file, room, progress, length)
        # One receive at a time: a read of a whole chunk would begin its wait anew with each octet that trickles in.
        while chunk := answer.read1(_CHUNK_OCTETS, decode_content=False):
            writer.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not there after {limits.total_s:.0f} seconds")
        if length and writer.received != length:
            raise OSError(f"cut short: {writer.received} of {length} octets came")
        said = {kind: answer.headers.get(name) for kind, name in _SAID.items()}
        kept = {kind: value for kind, value in said.items() if value}
        return {"changed": True, "octets": writer.end(), "validators": kept}


class _Guard:
    """Keeps a server of lists from leading the box to what only the box can reach.

    The address that was connected to is looked at, before anything is sent: what a name led to a moment ago says nothing.
    The first one may be any, since a school may have a server of lists of its own.
    """

    def __init__(self) -> None:
        self._first: tuple[str, int] | None = None

    def demand(self, connection: socket.socket) -> None:
        """Check whom ``connection`` leads to.

        Raises:
            OSError: A redirect led it into a private network, or to this machine.
        """
        address, port = connection.getpeername()[:2]
        if self._first is None:
            self._first = address, port
        elif (address, port) != self._first and not _is_public(address):
            raise OSError(
                "the server leads to an address that is not public, which is not followed"
            )


def _is_public(text: str) -> bool:
    octets = widened(ip_address(text.partition("%")[0]).packed)
    address = IPv6Address(octets)
    inner = address.ipv4_mapped or address.sixtofour
    return (inner or address).is_global and not (inner or address).is_multicast


class _Pool(urllib3.PoolManager):
    """A pool whose connections are looked at before they are used."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        demand = _Guard().demand

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _demanded(super()._new_conn(), demand)

        class Secured(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _demanded(super()._new_conn(), demand)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecuredPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secured

        self.pool_classes_by_scheme = {"http": PlainPool, "https": SecuredPool}


def _demanded(connection: socket.socket, demand: Callable[[socket.socket], None]) -> socket.socket:
    try:
        demand(connection)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _faults_told() -> Iterator[None]:
    """Turn what the library raises into builtin kinds, with a message for people."""
    try:
        yield
    except urllib3.exceptions.SSLError as e:
        raise OSError(f"the server can't prove who it is ({_innermost(e)})") from e
    except urllib3.exceptions.TimeoutError as e:
        raise TimeoutError("the server does not answer in time") from e
    except HTTPError as e:
        raise OSError(f"can't be got ({_innermost(e)})") from e
    except ValueError as e:
        if isinstance(e, ListError):
            raise
        raise OSError(f"the server's answer makes no sense ({e})") from e


def _innermost(fault: BaseException) -> str:
    while fault.args and isinstance(fault.args[-1], BaseException):
        fault = fault.args[-1]
    while inner := getattr(fault, "reason", None) if isinstance(fault, HTTPError) else None:
        if not isinstance(inner, BaseException):
            break
        fault = inner
    return str(fault)[:200]


@contextmanager
def _answer(pool: urllib3.PoolManager, url: str) -> Iterator[urllib3.BaseHTTPResponse]:
    """Give the answer for ``url``, after the redirects that lead to it."""
    for _ in range(MAX_REDIRECTS + 1):
        answer = pool.urlopen(
            "GET", url, redirect=False, preload_content=False, decode_content=False
        )
        try:
            target = answer.headers.get("Location", "")
            if answer.status not in _REDIRECTS or not target:
                yield answer
                return
        finally:
            # Not read to its end: the connection is closed, not kept.
            answer.close()
        before, url = url, urljoin(url, target)
        scheme = urlsplit(url).scheme
        if scheme not in ("https", "http") or (scheme == "http" and before.startswith("https:")):
            raise OSError(
                f"the server leads from https to {scheme or 'nowhere'}, which is not followed"
            )
    raise OSError(f"the server leads elsewhere more than {MAX_REDIRECTS} times")


class _Writer:
    """Writes what comes, unpacked where it begins as gzip does, and no more than there is room for."""

    def __init__(self, file: BinaryIO, room: Room, progress: Progress, of: int) -> None:
        self._file = file
        self._room = room
        self._progress = progress
        self._of = of
        self._gzip: Any = None
        self._written = 0
        self._first = b""
        self.received = 0
        """Octets, as they came."""

    def write(self, octets: bytes) -> None:
        """Take the next octets."""
        begins = self.received < 2
        self.received += len(octets)
        self._progress("downloading", self.received, self._of)
        if begins:
            # Two octets tell what it is; they may come one by one.
            octets = self._first + octets
            self._first = octets if len(octets) < 2 else b""
            if self._first:
                return
            if octets.startswith(_GZIP):
                self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
        if self._gzip is None:
            self._put(octets)
        else:
            self._unpack(octets)

    def end(self) -> int:
        """Return how many octets were written, once all have come.

        Raises:
            OSError: It was packed, and its end is missing.
        """
        self._put(self._first)
        if self._gzip is not None and not self._gzip.eof:
            raise OSError("cut short: the end of the packed list is missing")
        return self._written

    def _unpack(self, octets: bytes) -> None:
        try:
            while octets:
                if self._gzip.eof:
                    # Several packed files, one after the other, are one (RFC 1952, section 2.2).
                    self._gzip = zlib.decompressobj(zlib.MAX_WBITS | 16)
                # A few octets may unpack to gigabytes: a piece at a time.
                self._put(self._gzip.decompress(octets, _CHUNK_OCTETS))
                octets = self._gzip.unconsumed_tail or self._gzip.unused_data
        except zlib.error as e:
            raise ListError(f"packed with gzip, and damaged ({e})") from e

    def _put(self, octets: bytes) -> None:
        self._room.demand(self._written + len(octets))
        self._file.write(octets)
        self._written += len(octets)
