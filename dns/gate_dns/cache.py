"""Answers kept for the batch loop: a view of the policy and the octets of a plain query to the octets of its answer.

An entry gives what the readable path would give, with younger TTLs; it ends when the TTL or the decision does. All
entries end with the policy version.
"""

from __future__ import annotations

import math
from typing import Final

from gate_core.policy import Decision
from gate_dns.wire import HEADER_OCTETS, Query, Rendered, Transport, with_ttls

CAPACITY: Final = 16_384
"""Entries of a generation; two are held, about 25 MB when full."""

_SLACK: Final = 16
"""The octets of an entry are used for a sixteenth of what is left of its life before their TTLs are written anew."""

View = tuple[str, Transport]
"""``Policy.view`` of the client, and what carried the query: over TCP nothing is truncated."""


class Note:
    """What is recorded of a query, whoever asks; compared by identity."""

    __slots__ = ("decision", "kind", "qname", "version")

    def __init__(self, qname: str, kind: str, decision: Decision, version: int) -> None:
        self.qname = qname
        self.kind = kind
        self.decision = decision
        self.version = version


class Entry:
    """A kept answer: all of it but the ID and the question, which are the client's own."""

    __slots__ = (
        "_expires",
        "_offsets",
        "_original",
        "_stored",
        "fresh_until",
        "head",
        "note",
        "question_end",
        "rest",
        "tail",
    )

    def __init__(
        self, query: Query, rendered: Rendered, note: Note, now: float, lasts_s: float
    ) -> None:
        """Keep an answer.

        Args:
            query: What was asked.
            rendered: The answer to it.
            note: What is recorded of each query that it answers.
            now: Monotonic time in seconds.
            lasts_s: How long it may be given: no longer than the least of its TTLs that run down.
        """
        message = rendered.message
        self.question_end = HEADER_OCTETS + len(query.question)
        self.head = message[2:HEADER_OCTETS]
        self.rest = query.rest
        self.note = note
        self._original = message[self.question_end :]
        self._offsets = rendered.ttl_offsets
        self._stored = now
        self._expires = now + lasts_s
        self.tail = self._original
        self.fresh_until = self._expires
        self.refresh(now)

    def refresh(self, now: float) -> bool:
        """Write the TTLs for the time from ``now`` to ``fresh_until``; False where the entry has ended.

        They are those of the end of that time: never more than what is left, and less by a sixteenth and a second at most.
        """
        left = self._expires - now
        if left <= 0:
            return False
        if self._offsets:
            self.fresh_until = min(self._expires, now + max(1.0, left / _SLACK))
            age = math.ceil(self.fresh_until - self._stored)
            self.tail = with_ttls(self._original, self._offsets, lambda ttl: max(0, ttl - age))
        return True

    def answer(self, query: Query) -> bytes:
        """Return the answer for ``query``, which has the key and the rest of this entry."""
        return query.id.to_bytes(2, "big") + self.head + query.question + self.tail


class AnswerCache:
    """The entries of all views, bounded: when a generation is full the one before it goes, and who is used stays."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._young: dict[View, dict[bytes, Entry]] = {}
        self._old: dict[View, dict[bytes, Entry]] = {}
        self._count = 0

    def answers(self, view: View) -> dict[bytes, Entry]:
        """Return the young entries of ``view`` by ``Query.key``: always the same dictionary until ``clear``."""
        return self._young.setdefault(view, {})

    def find(self, view: View, query: Query, now: float) -> Entry | None:
        """Return the entry that answers ``query`` at ``now``, for reading at once."""
        key = query.key
        entry = self.answers(view).get(key)
        young = entry is not None
        if entry is None:
            entry = self._old.get(view, {}).get(key)
        if entry is None or entry.rest != query.rest:
            return None
        if entry.fresh_until <= now and not entry.refresh(now):
            return None
        if not young:
            self.store(view, query, entry)
        return entry

    def store(self, view: View, query: Query, entry: Entry) -> None:
        """Keep ``entry`` for ``query``."""
        if self._count >= self._capacity:
            self._old = {v: answers.copy() for v, answers in self._young.items()}
            for answers in self._young.values():
                answers.clear()
            self._count = 0
        answers = self.answers(view)
        key = query.key
        self._count += key not in answers
        answers[key] = entry

    def clear(self) -> None:
        """Forget all entries; dictionaries handed out before are to be forgotten too."""
        self._young = {}
        self._old = {}
        self._count = 0

    def __len__(self) -> int:
        return sum(len(a) for views in (self._young, self._old) for a in views.values())
