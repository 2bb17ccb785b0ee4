"""Answers that are kept, in two rooms.

``Answers`` holds what upstreams said, by question: it knows no policy and outlives one, and keeps what has ended for a
while, as an old answer is better than none (RFC 8767).

``Entries`` holds responses as they go to a client, for the batch loop: a view of the policy and the octets of a plain query
to the octets of its response. An entry gives what the readable path would give, with younger TTLs; it ends when the TTL or
the decision does. All entries end with the policy version.

Both are bounded: where one is full, those kept longest go, some hundred at a time, as freeing thousands of objects at once
would hold up answers. What is asked for often comes back at once, and for that nobody has to note each use.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Final

from gate_core.events import Outcome
from gate_core.policy import Decision
from gate_dns.messages.answer import Answer, with_ttls
from gate_dns.messages.render import Rendered
from gate_dns.messages.wire import HEADER_OCTETS, Query, Transport

MAX_ENTRIES: Final = 20_480
"""Entries of all views; each takes about 0.6 kB besides its octets."""
MAX_ENTRY_OCTETS: Final = 6 << 20
"""Octets of all responses: those over UDP have some hundred at most, over TCP up to 65,535."""
MAX_ANSWERS: Final = 10_240
"""Answers of upstreams; each takes about 0.7 kB besides its octets."""
MAX_ANSWER_OCTETS: Final = 4 << 20
"""Octets of all answers."""
STALE_S: Final = 86_400.0
"""How long an answer is kept after its end: RFC 8767, section 5, suggests one to three days."""

_SLACK: Final = 16
"""The octets of an entry are used for a sixteenth of what is left of its life before their TTLs are written anew."""
_PREFETCH: Final = 8
"""What is asked for in the last eighth of its life is fetched anew before it ends..."""
_PREFETCH_FROM_S: Final = 16.0
"""... where it lives this long: a shorter life is the choice of whoever owns the name."""
_FREE_AT_ONCE: Final = 200
_MAX_RESTS: Final = 256
_MAX_MOMENTS: Final = 1024

View = tuple[str, Transport]
"""``Policy.view`` of the client, and what carried the query: over TCP nothing is truncated."""


class Note:
    """What is recorded of a query, whoever asks for whatever name: one object for all alike (``Journal.note``)."""

    __slots__ = ("decision", "outcome")

    def __init__(self, decision: Decision, outcome: Outcome) -> None:
        self.decision = decision
        self.outcome = outcome
        """The same as it is put out."""


Checked = tuple["Room", Decision, Decision | None]
"""Room and decision for which an upstream's answer was looked at, and what stops it; the same for both objects' life."""


class Kept:
    """What an upstream said, and when."""

    __slots__ = (
        "answer",
        "answers",
        "checked",
        "ends",
        "key",
        "repeats_until",
        "stored",
        "upstream",
        "wanted",
    )

    def __init__(
        self, answers: Answers, key: bytes, answer: Answer, upstream: str, now: float
    ) -> None:
        self.answers = answers
        """Where it is kept."""
        self.key = key
        """``Query.upstream_key``."""
        self.answer = answer
        self.upstream = upstream
        self.stored = now
        """Monotonic time in seconds."""
        self.ends = now + answer.ttl_s
        self.repeats_until: float | None = None
        """Where it repeats an old answer, until when that is better than none."""
        self.wanted = False
        """Whether it is to be fetched anew."""
        self.checked: Checked | None = None
        """How it was found when it was last looked at."""

    @property
    def stale_until(self) -> float:
        """Until when it is better than none, in monotonic seconds."""
        return self.ends + STALE_S if self.repeats_until is None else self.repeats_until

    @property
    def wanted_from(self) -> float:
        """From when on it is to be fetched anew where it is asked for, in monotonic seconds."""
        life = self.ends - self.stored
        return self.ends - life / _PREFETCH if life >= _PREFETCH_FROM_S else math.inf


class Answers:
    """What upstreams said, by the question as they see it."""

    def __init__(self, capacity: int = MAX_ANSWERS, octets: int = MAX_ANSWER_OCTETS) -> None:
        self._capacity = capacity
        self._most_octets = octets
        self._octets = 0
        self._kept: dict[bytes, Kept] = {}
        self.find = self._kept.get
        """Returns what is kept for ``Query.upstream_key``, whether or not it has ended; None where there is nothing."""
        self.wanted: list[bytes] = []
        """Keys of what is to be fetched anew; whoever does removes them."""

    def store(self, key: bytes, answer: Answer, upstream: str, now: float) -> Kept:
        """Keep what ``upstream`` said at the monotonic time ``now``, if it may be kept; return it as kept."""
        kept = Kept(self, key, answer, upstream, now)
        if answer.ttl_s:
            while len(self._kept) >= self._capacity or self._octets > self._most_octets:
                for oldest in list(islice(self._kept, _FREE_AT_ONCE)):
                    self._octets -= len(self._kept.pop(oldest).answer.records)
            if before := self._kept.get(key):
                self._octets -= len(before.answer.records)
            self._octets += len(answer.records)
            self._kept[key] = kept
        return kept

    def want(self, key: bytes) -> None:
        """Fetch what is kept anew soon, once."""
        kept = self._kept.get(key)
        if kept is not None and not kept.wanted:
            kept.wanted = True
            self.wanted.append(key)

    def __len__(self) -> int:
        return len(self._kept)


_rests: dict[bytes, bytes] = {}
_moments: dict[int, float] = {}


class _Looked:
    """What the batch loop looks at: it comes first in an entry, and so mostly lies in one line of the processor's cache."""

    __slots__ = ("fresh_until", "response")

    fresh_until: float
    """Monotonic time in seconds until which ``response`` may be given as it is."""
    response: bytes
    """All but the ID, the name in lower case, as most clients ask."""


class Entry(_Looked):
    """A response as it is kept: all of it but the ID, and the question's letters, which are the client's own.

    Compared by identity.
    """

    __slots__ = (
        "_answers",
        "_expires",
        "_key",
        "_offsets",
        "_stored",
        "_wanted_from",
        "addresses",
        "note",
        "qname",
        "question_end",
        "rest",
    )

    def __init__(
        self,
        query: Query,
        rendered: Rendered,
        note: Note,
        now: float,
        lasts_s: float,
        kept: Kept | None = None,
    ) -> None:
        """Keep a response.

        Args:
            query: What was asked.
            rendered: The response to it, with the TTLs of the time ``now``.
            note: What is recorded of each query that it answers.
            now: Monotonic time in seconds.
            lasts_s: How long it may be given: no longer than the least of its TTLs that run down.
            kept: The answer of an upstream that it was made from.
        """
        message = rendered.message
        self.question_end = HEADER_OCTETS + len(query.question)
        # The header before the name and the type and class behind it stay as they are.
        self.response = (
            message[2:HEADER_OCTETS]
            + query.question[:-4].lower()
            + message[self.question_end - 4 :]
        )
        # One object for all: there are a few.
        self.rest = _rests.get(query.rest) or _rests.setdefault(query.rest, query.rest)
        if len(_rests) > _MAX_RESTS:
            _rests.clear()
        self.qname = query.qname
        self.note = note
        self.addresses: frozenset[bytes] | None = None
        """Those in the response, once somebody has read them."""
        self._offsets = rendered.ttl_offsets
        self._stored = now
        self._expires = now + lasts_s
        # Not the answer itself, which is forgotten sooner.
        self._answers = kept.answers if kept else None
        self._key = kept.key if kept else b""
        self._wanted_from = kept.wanted_from if kept else math.inf
        # TTLs that run down are written at the first use: many names are asked for once.
        self.fresh_until = now if rendered.ttl_offsets else self._expires

    def refresh(self, now: float) -> bool:
        """Write the TTLs for the time from ``now`` to ``fresh_until``; False where the entry has ended.

        They are those of the end of that time: never more than what is left, and less by a sixteenth and a second at most.
        """
        left = self._expires - now
        if left <= 0:
            return False
        if now >= self._wanted_from and self._answers is not None:
            self._answers.want(self._key)
        if self._offsets:
            self.fresh_until = _moment(min(self._expires, now + max(1.0, left / _SLACK)), now)
            age = math.ceil(self.fresh_until - self._stored)
            self._stored += age
            begin = self.question_end - 2
            tail = with_ttls(self.response[begin:], self._offsets, lambda ttl: max(0, ttl - age))
            self.response = self.response[:begin] + tail
        return True

    def answer(self, message_id: bytes, question: bytes) -> bytes:
        """Return the response for a query that has the key and the rest of this entry."""
        response = self.response
        return message_id + response[:10] + question + response[self.question_end - 2 :]


class Room:
    """The entries of one view."""

    __slots__ = ("exact", "folded")

    def __init__(self) -> None:
        self.exact: dict[bytes, Entry] = {}
        """By the octets of a plain query behind its ID, the name in lower case; always the same dictionary."""
        self.folded: dict[bytes, Entry] = {}
        """By ``Query.key`` where that is another, as of queries for HTTPS records: of several the last one, so that the rest
        has to be compared. Always the same dictionary."""


class Entries:
    """The entries of all views."""

    def __init__(self, capacity: int = MAX_ENTRIES, octets: int = MAX_ENTRY_OCTETS) -> None:
        self._capacity = capacity
        self._most_octets = octets
        self._octets = 0
        self._rooms: dict[View, Room] = {}
        self._ended: list[dict[bytes, Entry]] = []
        self._count = 0

    def room(self, view: View) -> Room:
        """Return the room of ``view``: always the same until ``clear``."""
        room = self._rooms.get(view)
        if room is None:
            room = self._rooms[view] = Room()
        return room

    def find(self, room: Room, query: Query, now: float) -> Entry | None:
        """Return the entry that answers ``query`` at ``now``, for reading at once."""
        entry = room.exact.get(_exact(query))
        if entry is None or (entry.fresh_until <= now and not entry.refresh(now)):
            return None
        return entry

    def store(self, room: Room, query: Query, entry: Entry) -> None:
        """Keep ``entry`` for ``query``."""
        while self._count >= self._capacity or self._octets > self._most_octets:
            self._forget_oldest()
        exact = _exact(query)
        before = room.exact.get(exact)
        if before is None:
            self._count += 1
        else:
            self._octets -= len(before.response)
        self._octets += len(entry.response)
        room.exact[exact] = entry
        if exact != query.key:
            room.folded[query.key] = entry

    def _forget_oldest(self) -> None:
        room = max(self._rooms.values(), key=lambda room: len(room.exact))
        for exact in list(islice(room.exact, _FREE_AT_ONCE)):
            entry = room.exact.pop(exact)
            key = exact.lower()
            if room.folded.get(key) is entry:
                del room.folded[key]
            self._count -= 1
            self._octets -= len(entry.response)

    def clear(self) -> None:
        """Forget all entries; rooms handed out before are to be forgotten too."""
        for room in self._rooms.values():
            self._ended += (room.exact, room.folded)
        self._rooms = {}
        self._count = self._octets = 0

    def free(self) -> bool:
        """Free a part of what has been forgotten; tell whether there is more."""
        ended = self._ended
        while ended and not ended[-1]:
            ended.pop()
        if ended:
            for _ in range(min(_FREE_AT_ONCE, len(ended[-1]))):
                ended[-1].popitem()
        return bool(ended)

    def __len__(self) -> int:
        return self._count


def _moment(at: float, now: float) -> float:
    """Return a time shortly before ``at``, but after ``now``: one object for many, which is looked at with each query."""
    quarter = math.floor(at * 4)
    if quarter <= now * 4:
        return at
    if len(_moments) >= _MAX_MOMENTS:
        _moments.clear()
    return _moments.setdefault(quarter, quarter / 4)


def _exact(query: Query) -> bytes:
    key, rest = query.key, query.rest
    return key if key.endswith(rest) else key[: -len(rest)] + rest
