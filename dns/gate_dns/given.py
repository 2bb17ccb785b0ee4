"""What devices were given that may reach nothing else, for the classifier: which addresses, for which name.

What is new goes out at once where it was made, and every two seconds where it was kept; a request of the classifier brings
out all of it. Nobody's answer waits for any of this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from gate_core.given import MAX_ADDRESSES, MAX_ROWS, Given, News
from gate_core.ports import GivenLink
from gate_dns.askers import Asker, Who
from gate_dns.cache import Entry
from gate_dns.messages.codes import Qtype
from gate_dns.messages.service import read_service
from gate_dns.messages.wire import FAULTS, RECORD, read_labels

TOLD_S: Final = 60.0
"""How long nothing is said again: the classifier may have lost it meanwhile, to another's forged queries say."""
MAX_TOLD: Final = 8192
"""Names of clients that are known to have been told; beyond it those told first are said again."""
MAX_UNSENT: Final = 20_000
"""Rows that wait for a classifier that does not take them; beyond it the oldest are lost."""
ALIVE_S: Final = 3.0
"""Without a request for so long, nobody is there to be told."""
MAX_UNION: Final = 256
"""Addresses of one name that are known to have been told."""
_FORGET_AT_ONCE: Final = 256
_ADDRESS_OCTETS: Final = {int(Qtype.A): 4, int(Qtype.AAAA): 16}
_SERVICES: Final = (int(Qtype.HTTPS), int(Qtype.SVCB))
_COUNT: Final = struct.Struct("!6xH")


class GivenRecord:
    """What one worker gave to whom."""

    def __init__(self, link: GivenLink, worker: int, now: float) -> None:
        """Begin with nothing, at the monotonic time ``now``."""
        self._link = link
        self._worker = worker
        self._since = now
        self._alive_until = 0.0
        self._told: dict[tuple[Who, str], tuple[frozenset[bytes], float]] = {}
        self.unsent: list[Given] = []
        """Not yet taken by the classifier."""
        self._answers = 0
        """Request that is to be answered."""

    def put(self, asker: Asker, name: str, addresses: Iterable[bytes], now: float) -> None:
        """Take note of ``addresses`` that ``asker`` is about to get for ``name``."""
        who = asker.held_to_names
        if who is None or now > self._alive_until:
            return
        key = (who, name)
        told = given = frozenset(addresses)
        known = self._told.get(key)
        if known is not None and known[1] > now - TOLD_S:
            if known[0] >= given:
                return
            if len(known[0]) < MAX_UNION:
                told = given | known[0]
        elif len(self._told) >= MAX_TOLD:
            for oldest in tuple(self._told)[:_FORGET_AT_ONCE]:
                del self._told[oldest]
        # To the end, as what was told last.
        self._told.pop(key, None)
        self._told[key] = (told, now)
        self.unsent += _rows(who, name, given)
        if len(self.unsent) > MAX_UNSENT:
            del self.unsent[: MAX_UNSENT // 4]

    def put_kept(self, asker: Asker, entries: Iterable[Entry], now: float) -> None:
        """Take note of kept answers that ``asker`` got."""
        if asker.held_to_names is None or now > self._alive_until:
            return
        for entry in set(entries):
            if not entry.note.decision.blocked:
                if entry.addresses is None:
                    entry.addresses = frozenset(_addresses(entry))
                self.put(asker, entry.qname, entry.addresses, now)

    def flush(self, now: float) -> bool:
        """Send what is to be sent, and tell whether all of it went; the rest stays while there is somebody to take it."""
        if now > self._alive_until:
            self.unsent.clear()
            self._answers = 0
        while self.waiting:
            rows = tuple(self.unsent[:MAX_ROWS])
            last = len(rows) == len(self.unsent)
            answered = self._answers if last else 0
            if not self._link.send(News(self._worker, self._since, answered, rows)):
                return False
            del self.unsent[: len(rows)]
            self._answers = 0 if last else self._answers
        return True

    @property
    def waiting(self) -> bool:
        """Whether there is something to send."""
        return bool(self.unsent or self._answers)

    def hear(self, now: float) -> bool:
        """Take the classifier's requests; tell whether it wants to know what was given until now."""
        for request in self._link.requests():
            self._alive_until = now + ALIVE_S
            self._answers = max(self._answers, request.number)
            if request.everything:
                told = self._told.items()
                self.unsent = [row for (who, name), (a, _) in told for row in _rows(who, name, a)]
        return self._answers > 0

    def renew(self, now: float) -> None:
        """Say that this worker is there; to be called once a second."""
        if now > self._alive_until:
            # What was given meanwhile nobody knows.
            self._since = now
            self._told.clear()
        self._link.send(News(self._worker, self._since, 0))


def _rows(who: Who, name: str, addresses: frozenset[bytes]) -> list[Given]:
    all_ = tuple(addresses)
    places = range(0, len(all_), MAX_ADDRESSES)
    return [Given(*who, name, all_[p : p + MAX_ADDRESSES]) for p in places]


def _addresses(entry: Entry) -> list[bytes]:
    """Return the addresses in the answer section of a kept response, hints of HTTPS and SVCB records too."""
    message = b"\0\0" + entry.response
    found: list[bytes] = []
    try:
        place = entry.question_end
        for _ in range(_COUNT.unpack_from(message)[0]):
            place = read_labels(message, place)[1]
            kind, _, _, length = RECORD.unpack_from(message, place)
            begin = place + RECORD.size
            place = begin + length
            if length == _ADDRESS_OCTETS.get(kind):
                found.append(message[begin:place])
            elif kind in _SERVICES:
                for addresses in read_service(message, begin, place).hints.values():
                    found += addresses
    except FAULTS:
        # It was read when it came; what it leads to beyond this can't be reached, and that is the safe side.
        pass
    return found
