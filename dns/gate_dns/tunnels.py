"""Notices DNS tunnels: traffic that a client hides in the names it asks for. Pure, and bounded in memory.

What a tunnel can't do without: each piece of what the client sends is a new name below a zone of the other side's, long
and dense; or it asks for record types that programs of a school do not. Slow ones, which carry little, are let be.
"""

from __future__ import annotations

from typing import Final

from gate_core.names import is_under

WINDOW_S: Final = 60.0
HOLD_S: Final = 600.0
"""How long what was noticed counts; a query that still looks like it begins it anew."""

LEAST_NAMES: Final = 12
LEAST_OCTETS: Final = 1500
"""So many different names that carry so much within a window are a tunnel. A page with advertisements brings three or four
such names below one parent, a handshake of iodine or dns2tcp thirty with 4,000 octets."""

MAX_WINDOWS: Final = 1024
"""Pairs of client and parent watched at a time; the one begun first makes room."""
MAX_SOURCES: Final = 256
"""Clients with a noticed tunnel."""
MAX_PARENTS: Final = 8
"""Noticed parents of a client."""

_LEAST_CARRIED: Final = 32
_LEAST_LABEL: Final = 24
"""A name carries data that has so many octets before its parent, and a label as long as this."""
_LEAST_DIFFERENT: Final = 12
"""Different characters that it has at least: addresses in reverse, written in single digits, have fewer."""

_NULL: Final = 10
_KEY: Final = 25
_CNAME: Final = 5
_PRIVATE_USE: Final = range(65280, 65535)
"""RFC 6895, section 3.1."""

# Below these of a country, what is registered has one label more.
_SHARED = "ac co com edu go gob gov gv ltd me mod ne net nhs or org plc police sch"
_SHARED_SECOND: Final = frozenset(_SHARED.split())

# Antivirus programs and mail filters ask for hashes and encoded addresses.
_LOOK_UPS = (
    "avast.com avg.com barracudabrts.com barracudacentral.org brightcloud.com cymru.com dnswl.org e5.sk"
    " f-secure.com fortiguard.com hackerwatch.org kaspersky.com kaspersky-labs.com mailspike.net mcafee.com"
    " msbl.org senderbase.org sorbs.net sophosxl.com sophosxl.net spamcop.net spamhaus.net spamhaus.org"
    " spameatingmonkey.net surbl.org symantec.com trellix.com trendmicro.com uribl.com webroot.com"
)
# The owners of content networks, clouds and measurements answer for every name below theirs.
_NETWORKS = (
    "akadns.net akamai.net akamaiedge.net akamaihd.net amazonaws.com apple.com azure.com azureedge.net"
    " azurefd.net cedexis-radar.net cloudapp.net cloudfront.net doubleclick.net facebook.com"
    " fastly-insights.com fastly.net fbcdn.net footprintdns.com google.com googleapis.com"
    " googlesyndication.com googleusercontent.com googlevideo.com gstatic.com icloud.com live.com"
    " microsoft.com msedge.net office.com office.net office365.com on.aws r2.dev sharepoint.com"
    " translate.goog windows.net windowsupdate.com"
)
NO_TUNNELS: Final = frozenset((*_LOOK_UPS.split(), *_NETWORKS.split()))
"""Parents below which nobody in a school has a server of their own."""


class Tunnels:
    """What the clients of one worker have asked of late, as far as it looks like a tunnel."""

    def __init__(self, exempt: frozenset[str] = frozenset()) -> None:
        """Begin with nothing noticed.

        Args:
            exempt: Canonical names of the school's own zones; nothing below them is a tunnel.
        """
        self._exempt = exempt
        self._windows: dict[tuple[bytes, str], _Window] = {}
        self._noticed: dict[bytes, dict[str, float]] = {}
        """Source to parents, each with the time when it ends."""

    def suspicious(self, qname: str, qtype: int, source: bytes, now: float) -> str | None:
        r"""Return the parent of a query that belongs to a tunnel; None for any other.

        A parent that was noticed is returned for every name below it, for the same source, until ``HOLD_S`` after the
        last query that looked like it.

        Args:
            qname: Canonical; octets that no host name has are written ``\228``.
            qtype: Type of record that is asked for.
            source: Whose query it is; any bytes that tell clients apart.
            now: Monotonic time in seconds.
        """
        known = self._known(qname, source, now) if self._noticed else None
        # Nearly every query ends here.
        if len(qname) < _LEAST_CARRIED and not _is_odd(qtype):
            return known
        return self._look(qname, qtype, source, now) or known

    def _known(self, qname: str, source: bytes, now: float) -> str | None:
        parents = self._noticed.get(source)
        if parents is None:
            return None
        for parent, end in parents.items():
            if is_under(qname, parent):
                if now < end:
                    return parent
                del parents[parent]
                break
        if not parents:
            del self._noticed[source]
        return None

    def _look(self, qname: str, qtype: int, source: bytes, now: float) -> str | None:
        key = _registered(qname)
        if not key or key in NO_TUNNELS or key == "arpa" or key.endswith((".arpa", ".local")):
            return None
        carried = _carried(qname[: -len(key) - 1])
        if not (carried or _is_odd(qtype)) or any(is_under(qname, zone) for zone in self._exempt):
            return None
        window = self._windows.get((source, key))
        if window is None or now >= window.end:
            self._windows.pop((source, key), None)
            while len(self._windows) >= MAX_WINDOWS:
                del self._windows[next(iter(self._windows))]
            window = self._windows[source, key] = _Window(now + WINDOW_S, qname.partition(".")[2])
        if not window.is_tunnel():
            window.add(qname, carried, odd=_is_odd(qtype))
        if window.is_tunnel() and is_under(qname, window.parent):
            return self._notice(window.parent, source, now)
        return None

    def _notice(self, parent: str, source: bytes, now: float) -> str:
        parents = self._noticed.get(source)
        if parents is None:
            while len(self._noticed) >= MAX_SOURCES:
                del self._noticed[next(iter(self._noticed))]
            parents = self._noticed[source] = {}
        while len(parents) >= MAX_PARENTS and parent not in parents:
            del parents[next(iter(parents))]
        parents[parent] = now + HOLD_S
        return parent


class _Window:
    """What one client has asked below one parent, within a minute."""

    __slots__ = ("end", "names", "octets", "odd", "parent")

    def __init__(self, end: float, parent: str) -> None:
        self.end = end
        self.parent = parent
        """The longest name that all that counted are below of."""
        self.names: set[int] = set()
        """Hashes of the different names; no more are kept than make a tunnel."""
        self.octets = 0
        self.odd = 0

    def add(self, qname: str, carried: int, *, odd: bool) -> None:
        name = hash(qname)
        if name in self.names:
            return
        self.names.add(name)
        self.octets += carried
        self.odd += odd
        while not is_under(qname, self.parent):
            self.parent = self.parent.partition(".")[2]

    def is_tunnel(self) -> bool:
        # Of names for ordinary types there have to be many long ones; the others need not be long.
        return self.odd >= LEAST_NAMES or (
            self.octets >= LEAST_OCTETS and len(self.names) - self.odd >= LEAST_NAMES
        )


def _is_odd(qtype: int) -> bool:
    """Tell whether it is a type that programs other than tunnels and mail servers do not ask for."""
    return qtype in (_CNAME, _NULL, _KEY) or qtype in _PRIVATE_USE


def _registered(qname: str) -> str:
    """Return the name that somebody has registered, as far as its form tells; "" where nothing is below it."""
    labels = qname.rsplit(".", 3)
    count = len(labels)
    if count > 2 and len(labels[-1]) == 2 and labels[-2] in _SHARED_SECOND:
        return ".".join(labels[-3:]) if count > 3 else ""
    return ".".join(labels[-2:]) if count > 2 else ""


def _carried(before: str) -> int:
    """Return the octets of data in what stands before a parent; 0 where it looks like none."""
    octets = len(before)
    if "\\" in before:
        # Each octet that is written as a number takes four characters.
        octets -= 3 * before.count("\\")
    if octets < _LEAST_CARRIED or len(set(before)) < _LEAST_DIFFERENT:
        return 0
    return octets if max(map(len, before.split("."))) >= _LEAST_LABEL else 0
