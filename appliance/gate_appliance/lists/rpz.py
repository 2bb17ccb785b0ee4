"""Response policy zones as text: what each record of a zone file says about a name, or about addresses.

Pure, line by line, so that a zone of any size takes no room. The form is that of RFC 1035, section 5, as far as policy zones
use it; what a policy zone means is said in draft-vixie-dnsop-dns-rpz, sections 3 to 5.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gate_core.names import MAX_NAME_OCTETS

# Where a file does not say what its zone is called, its names are taken to be below this one (RFC 2606).
_NAMELESS: Final = "zone.invalid"

_ADDRESS_TRIGGER: Final = "rpz-ip"
_OTHER_TRIGGERS: Final = ("rpz-client-ip", "rpz-nsip", "rpz-nsdname")
_SERVICE_TYPES: Final = frozenset(
    ("SOA", "NS", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM", "DNSKEY", "CDS", "CDNSKEY", "TYPE65534")
)
_CLASSES: Final = frozenset(("IN", "CH", "HS", "ANY"))
_TTL: Final = re.compile(r"(?:[0-9]+[WDHMSwdhms]?)+")
_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# A quoted text, a word (in which a backslash takes the special meaning of what follows), a bracket, a comment.
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|(?:[^\s();"\\]|\\.)+|[()]|;.*|["\\]')

_MAX_ABSOLUTE: Final = len(f"*..{_NAMELESS}") + MAX_NAME_OCTETS
"""Longest name with wildcard and zone, in characters. A longer one is none (RFC 1035, section 2.3.4), and an origin that is put behind
itself again and again must not grow."""

_MAX_WORDS: Final = 64
"""Longest record, in words: an SOA has eleven, and a bracket that is never closed must not swallow the file unseen."""


class Says(Enum):
    """What a rule says about its name or addresses."""

    BLOCK = "block"
    PASS = "pass"  # noqa: S105  # no password
    TCP_ONLY = "rpz-tcp-only"
    LOCAL_DATA = "local data"
    """The name leads elsewhere, to safe search for one, which does not say that it is bad."""
    OTHER_TRIGGER = "another trigger"
    """A rule about clients or name servers."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One record of a policy zone that is a rule."""

    says: Says
    name: str
    """As written, without zone and without a leading ``*.``; of another trigger its kind, such as ``rpz-nsip``."""
    is_network: bool = False
    """Whether it is about answers with an address in the network ``name``, such as ``192.0.2.0/24``; it may be none."""


class MalformedRecordError(ValueError):
    """A line that is no record of a zone; the message tells why."""


class ZoneText:
    """Reads a zone file; lives for one file."""

    def __init__(self) -> None:
        self._origin = self._apex = _NAMELESS
        self._owner = ""
        self._open: list[str] = []
        """Words of a record whose bracket has not been closed."""
        self._depth = 0

    @property
    def is_plain(self) -> bool:
        """Whether a line such as ``example.org CNAME .`` now means just that."""
        return not self._depth and self._origin in (self._apex, _NAMELESS)

    def read(self, line: str) -> Rule | None:
        """Return the rule that ends with ``line``; None where it ends none.

        Args:
            line: With the blanks at its beginning, which mean the owner name of the record before.

        Raises:
            MalformedRecordError: It is no record, or one out of the zone; the next line is read as if it were not there.
        """
        words = [w for w in _TOKEN.findall(line) if not w.startswith(";")]
        if not self._depth:
            self._open = [""] if line[:1] in (" ", "\t") and words else []
        for word in words:
            if word in ("(", ")"):
                self._depth += 1 if word == "(" else -1
            else:
                self._open.append(word)
        if self._depth < 0 or len(self._open) > _MAX_WORDS:
            self._depth, self._open = 0, []
            raise MalformedRecordError("brackets that do not close")
        if self._depth or not self._open:
            return None
        words, self._open = self._open, []
        if words[0].startswith("$"):
            self._directive(words)
            return None
        return self._record(words)

    def end(self) -> None:
        """Check that nothing is left open at the end of the file.

        Raises:
            MalformedRecordError: A bracket is; what it began is no rule.
        """
        if self._depth:
            raise MalformedRecordError("brackets that do not close")

    def _directive(self, words: list[str]) -> None:
        match words:
            case ["$TTL", _]:
                return
            case ["$ORIGIN", name]:
                self._origin = self._absolute(name)
            case _:
                raise MalformedRecordError("only $ORIGIN and $TTL are read")

    def _absolute(self, name: str) -> str:
        if name == "@":
            return self._origin
        name = name.lower()
        name = name[:-1] if name.endswith(".") else f"{name}.{self._origin}".rstrip(".")
        if len(name) > _MAX_ABSOLUTE:
            raise MalformedRecordError(f"a name longer than {MAX_NAME_OCTETS} octets")
        return name

    def _record(self, words: list[str]) -> Rule | None:
        owner, *rest = words
        if owner:
            self._owner = self._absolute(owner)
        # Time to live and class, in either order.
        while rest and (rest[0].upper() in _CLASSES or _TTL.fullmatch(rest[0])):
            del rest[0]
        if len(rest) < 2 or not _TYPE.fullmatch(rest[0]):
            raise MalformedRecordError("not a record such as example.org CNAME .")
        qtype, data = rest[0].upper(), rest[1:]
        if qtype == "SOA":
            self._apex = self._owner
        if qtype in _SERVICE_TYPES:
            return None
        return self._rule(qtype, data)

    def _rule(self, qtype: str, data: list[str]) -> Rule | None:
        name = self._below_apex()
        if not name:
            return None
        above, _, kind = name.rpartition(".")
        if kind in _OTHER_TRIGGERS:
            return Rule(Says.OTHER_TRIGGER, kind)
        name = name.removeprefix("*.")
        says = _says(name, qtype, data)
        if kind == _ADDRESS_TRIGGER:
            return Rule(says, _network(above), is_network=True)
        return Rule(says, name)

    def _below_apex(self) -> str:
        for apex in (self._apex, _NAMELESS):
            if self._owner == apex:
                return ""
            if self._owner.endswith(f".{apex}"):
                return self._owner.removesuffix(f".{apex}")
        raise MalformedRecordError(f"out of the zone {self._apex[:60]!r}")


def _says(name: str, qtype: str, data: list[str]) -> Says:
    if qtype != "CNAME" or len(data) != 1:
        return Says.LOCAL_DATA
    match data[0].lower():
        case "." | "*." | "rpz-drop.":
            return Says.BLOCK
        case "rpz-passthru.":
            return Says.PASS
        case "rpz-tcp-only.":
            return Says.TCP_ONLY
        case target:
            # The first drafts let a name pass by leading it to itself.
            return Says.PASS if target == f"{name}." else Says.LOCAL_DATA


def _network(labels: str) -> str:
    """Return the network that ``labels`` stand for: a prefix length, and the parts of its first address turned round.

    >>> _network("24.0.2.0.192"), _network("128.1.zz.db8.2001")
    ('192.0.2.0/24', '2001:db8:0:0:0:0:0:1/128')
    """
    width, *parts = labels.split(".")
    parts.reverse()
    if len(parts) == 4 and "zz" not in parts:
        return f"{'.'.join(parts)}/{width}"
    if "zz" in parts:
        place = parts.index("zz")
        parts[place : place + 1] = ["0"] * (9 - len(parts))
    return f"{':'.join(parts)}/{width}"
