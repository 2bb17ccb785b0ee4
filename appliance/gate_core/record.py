"""The record: who changed what, when and why, each entry sealed with the one before it.

An entry's hash is the SHA-256 of its fields and of the hash before it, as one JSON array in ASCII: whoever has the
entries can check them without this program, and whoever has written down one hash can tell that nothing up to it has
been changed, taken out or put in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import Final

NO_HASH: Final = "0" * 64
"""What stands for the hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the record."""

    number: int
    """From 1, without a gap."""
    at: str
    """Time in the school's zone, ISO 8601; "time not known" where the clock was not set."""
    at_utc: str
    actor: str
    role: str
    action: str
    subject: str
    before: str
    after: str
    reason: str
    approvers: str
    """Who approved, with their roles; "" where the role may do it alone."""
    version: int
    """Version of the policy after it."""
    policy: str
    """SHA-256 of the written policy after it."""
    state: str
    """SHA-256 of accounts, of what is in force for a while, and of what waits, after it."""
    previous: str
    """Hash of the entry before."""
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a record holds."""

    entries: int
    """How many entries were read."""
    head: str
    """Hash of the last entry that holds."""
    broken: int
    """Number of the first entry that does not hold; 0 where all do."""
    fault: str
    """What is wrong with it; "" where nothing is."""


def seal(entry: Entry) -> str:
    """Return the hash that ``entry`` must have."""
    fields = json.dumps(astuple(entry)[:-1], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(fields.encode("ascii")).hexdigest()


def verify(entries: Iterable[Entry], *, number: int = 0, head: str = "") -> Verdict:
    """Tell whether ``entries`` are a whole record from its beginning.

    Args:
        entries: All of them, in order.
        number: Number of an entry whose hash somebody kept elsewhere; 0 for none.
        head: That hash.
    """
    count, previous, fault = 0, NO_HASH, ""
    for count, entry in enumerate(entries, start=1):  # counted on behind the loop
        if entry.number != count:
            fault = f"entry {count} is missing: entry {entry.number} stands in its place"
        elif entry.previous != previous:
            fault = f"entry {count} does not follow the entry before it"
        elif entry.hash != seal(entry):
            fault = f"entry {count} has been changed: its hash does not fit its text"
        elif count == number and entry.hash != head:
            fault = f"entry {count} is another one than was signed: its hash is not the one kept"
        if fault:
            return Verdict(count, previous, count, fault)
        previous = entry.hash
    if number > count:
        return Verdict(
            count, previous, count + 1, f"the record ends at entry {count}, before entry {number}"
        )
    return Verdict(count, previous, 0, "")
