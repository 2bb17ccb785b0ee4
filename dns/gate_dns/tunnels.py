"""Notices DNS tunnels: traffic that a client hides in the names it asks for. Pure, and bounded in memory.

What a tunnel can't do without: each piece of what the client sends is a new name below a zone of the other side's, long
and dense; or it asks for record types that programs of a school do not; and the other side answers. Slow ones, which carry
little, are let be.

Anybody on the network can ask in another's name, so little follows from it: only what was answered counts, and only names
that look like data themselves are said to belong to a tunnel.
"""

from __future__ import annotations

import re
from typing import Final

from gate_core.names import is_under
from gate_core.suffixes import registered
from gate_dns.messages.answer import Answer

WINDOW_S: Final = 60.0
HOLD_S: Final = 600.0
"""How long what was noticed counts; a query that still looks like it begins it anew."""

LEAST_NAMES: Final = 12
"""So many different names of odd types within a window are a tunnel."""
LEAST_OCTETS: Final = 2_000
"""Different names that carry so much within a window are a tunnel. A handshake of iodine or dns2tcp has 2,500..."""
LEAST_PAGE_OCTETS: Final = 16_000
"""... and of such names as pages have it takes this: 200 hosts of one shop, of 50 octets each, are none."""

MAX_WINDOWS: Final = 1024
"""Pairs of client and parent watched at a time; the one begun first makes room."""
MAX_NAMES: Final = 65_536
"""Names remembered in all windows together; the window begun first makes room."""
MAX_SOURCES: Final = 256
"""Clients with a noticed tunnel."""
MAX_PARENTS: Final = 8
"""Noticed parents of a client."""

_LEAST_CARRIED: Final = 32
"""A name carries data that has so many octets before its parent, however they are cut into labels."""
_LEAST_DIFFERENT: Final = 12
"""Different characters that it has at least: IPv4 addresses in reverse have fewer."""
_LEAST_CARRIED_ELSEWHERE: Final = 12
_LEAST_DIFFERENT_ELSEWHERE: Final = 8
"""The same in queries for types that pages do not need: nobody asks for many such names below one parent."""
_REVERSE_IPV6: Final = re.compile(r"(?:[0-9a-f]\.){31}[0-9a-f](?:\..*)?")
"""What block lists are asked for."""
_LEAST_LONG: Final = 96
"""One in ten thousand of the names on public lists has so many octets before the registered name."""

_NULL: Final = 10
_KEY: Final = 25
_CNAME: Final = 5
_PRIVATE_USE: Final = range(65280, 65535)
"""RFC 6895, section 3.1."""
_PAGE_TYPES: Final = (1, 28, 65)
"""A, AAAA, HTTPS: what browsers ask for."""

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
    " microsoft.com msedge.net office.com office.net office365.com on.aws onmicrosoft.com outlook.com"
    " r2.dev sharepoint.com translate.goog wikimedia.org wikipedia.org windows.net windowsupdate.com"
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
        self._windows: dict[bytes, dict[str, _Window]] = {}
        """Source to registered names."""
        self._open = 0
        """How many windows there are."""
        self._names = 0
        """Names in all windows."""
        self._noticed: dict[bytes, dict[str, float]] = {}
        """Source to parents, each with the time when it ends."""

    def noticed(self, qname: str, qtype: int, source: bytes, now: float) -> str | None:
        r"""Return the noticed parent of a query that looks like data below it; None for any other.

        For the parent itself and ordinary names below it, such as ``www``, it is None.

        Args:
            qname: Canonical; octets that no host name has are written ``\228``.
            qtype: Type of record that is asked for.
            source: Whose query it is; any bytes that tell clients apart.
            now: Monotonic time in seconds.
        """
        # Nearly every query ends here.
        if not self._noticed or (parents := self._noticed.get(source)) is None:
            return None
        for parent, end in parents.items():
            if qname == parent or not is_under(qname, parent):
                continue
            if now >= end:
                del parents[parent]
                if not parents:
                    del self._noticed[source]
                return None
            looks_like_data = _is_odd(qtype) or _carried(qname[: -len(parent) - 1], qtype)
            if looks_like_data and not self._is_exempt(qname):
                parents[parent] = now + HOLD_S
                return parent
        return None

    def learn(self, qname: str, qtype: int, answer: Answer, source: bytes, now: float) -> None:
        """Take note of what a query was answered with; queries without records in answer count nothing.

        Args:
            qname: As for ``noticed``.
            qtype: As for ``noticed``.
            answer: What came back; for an odd type, it counts where it holds records of that type.
            source: As for ``noticed``.
            now: As for ``noticed``.
        """
        # Most answers end here: a name that is too short to begin a window, of a client that has none.
        if len(qname) <= _LEAST_CARRIED and qtype in _PAGE_TYPES and source not in self._windows:
            return
        odd = _is_odd(qtype)
        if answer.rcode or not answer.counts[0] or (odd and not _holds(answer, qtype)):
            return
        above = registered(qname)
        if above == qname:
            return
        before = qname[: -len(above) - 1]
        carried = _carried(before, qtype)
        window = self._window(source, above, qname, now, begin=carried > 0 or odd)
        if window is None:
            return
        self._names += window.add(qname, qtype, carried, _octets(before))
        if window.is_tunnel(above):
            self._notice(window.parent, source, now)
            self._end(source, above)

    def _window(
        self, source: bytes, above: str, qname: str, now: float, *, begin: bool
    ) -> _Window | None:
        """Return the window in which a name counts, with room for it; None where it counts in none."""
        while self._names >= MAX_NAMES:
            self._end_first()
        window = self._windows.get(source, {}).get(above)
        if window is not None and now >= window.end:
            self._end(source, above)
            window = None
        # Nearly every answer ends here.
        if (window is None and not begin) or self._is_exempt(qname):
            return None
        if window is not None or not _may_hide(above):
            return window
        if self._open >= MAX_WINDOWS:
            self._end_first()
        window = _Window(now + WINDOW_S, qname.partition(".")[2])
        self._windows.setdefault(source, {})[above] = window
        self._open += 1
        return window

    def _is_exempt(self, qname: str) -> bool:
        return any(is_under(qname, zone) for zone in self._exempt)

    def _end(self, source: bytes, above: str) -> None:
        windows = self._windows[source]
        self._names -= len(windows.pop(above).names)
        self._open -= 1
        if not windows:
            del self._windows[source]

    def _end_first(self) -> None:
        source, windows = next(iter(self._windows.items()))
        self._end(source, next(iter(windows)))

    def _notice(self, parent: str, source: bytes, now: float) -> None:
        parents = self._noticed.get(source)
        if parents is None:
            while len(self._noticed) >= MAX_SOURCES:
                del self._noticed[next(iter(self._noticed))]
            parents = self._noticed[source] = {}
        while len(parents) >= MAX_PARENTS and parent not in parents:
            del parents[next(iter(parents))]
        parents[parent] = now + HOLD_S


class _Window:
    """What one client was told below one registered name, within a minute."""

    __slots__ = ("carried", "end", "names", "octets", "odd", "parent", "unusual")

    def __init__(self, end: float, parent: str) -> None:
        self.end = end
        self.parent = parent
        """The longest name that all that look like data are below of."""
        self.names: set[int] = set()
        """Hashes of the different names."""
        self.octets = 0
        """Before the registered name, of all names."""
        self.carried = 0
        """Of those that look like data..."""
        self.unusual = 0
        """... and that pages do not have."""
        self.odd = 0

    def add(self, qname: str, qtype: int, carried: int, octets: int) -> bool:
        """Count a name; tell whether it is a new one."""
        name = hash(qname)
        if name in self.names:
            return False
        self.names.add(name)
        odd = _is_odd(qtype)
        if odd and qtype != _CNAME:
            # Whoever asks for such a type hides something, be the name short.
            carried = octets
        self.octets += octets
        self.carried += carried
        self.odd += odd
        if carried >= _LEAST_LONG or qtype not in _PAGE_TYPES:
            self.unusual += carried
        if carried or odd:
            while not is_under(qname, self.parent):
                self.parent = self.parent.partition(".")[2]
        return True

    def is_tunnel(self, registered: str) -> bool:
        # The name of many is none: most that is asked for below it must be data.
        if self.parent == registered and 2 * self.carried <= self.octets:
            return False
        return (
            self.odd >= LEAST_NAMES
            or self.unusual >= LEAST_OCTETS
            or self.carried >= LEAST_PAGE_OCTETS
        )


def _is_odd(qtype: int) -> bool:
    """Tell whether it is a type that programs other than tunnels and mail servers do not ask for."""
    return qtype in (_CNAME, _NULL, _KEY) or qtype in _PRIVATE_USE


def _may_hide(above: str) -> bool:
    """Tell whether a server below a registered name may be the other side of a tunnel."""
    if not above or above in NO_TUNNELS:
        return False
    return above != "arpa" and not above.endswith((".arpa", ".local"))


def _octets(before: str) -> int:
    """Return the octets in what stands before a parent."""
    # Each that is written as a number takes four characters.
    return len(before) - 3 * before.count("\\")


def _carried(before: str, qtype: int) -> int:
    """Return the octets of data in what stands before a parent; 0 where it looks like none."""
    least, different = _LEAST_CARRIED, _LEAST_DIFFERENT
    if qtype not in _PAGE_TYPES:
        least, different = _LEAST_CARRIED_ELSEWHERE, _LEAST_DIFFERENT_ELSEWHERE
    if len(before) < least or len(set(before)) < different:
        return 0
    octets = _octets(before)
    return 0 if octets < least or _REVERSE_IPV6.fullmatch(before) else octets


def _holds(answer: Answer, qtype: int) -> bool:
    """Tell whether there is a record of the type in the answer section."""
    # Owner, type, class, TTL: RFC 1035, section 4.1.3.
    return any(
        int.from_bytes(answer.records[at - 4 : at - 2]) == qtype
        for at in answer.ttl_offsets[: answer.counts[0]]
    )
