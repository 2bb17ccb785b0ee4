"""The four forms in which lists of names are published, and what could not be read of them.

Pure: octets in, values out; names are handed on one by one, so that a list of any length takes no room. A name in a list
means the name and everything below it, whatever the form says: who lists ``example.org`` does not want
``www.example.org`` left open. An address or network, where the form has a place
for them, means each answer that leads there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from itertools import chain, islice
from typing import BinaryIO, Final, Protocol

from gate_appliance.lists.networks import MalformedNetworkError, is_network, read_network
from gate_appliance.lists.rpz import MalformedRecordError, Says, ZoneText
from gate_core.names import MAX_NAME_OCTETS, MalformedNameError, parse_name
from gate_core.suffixes import PUBLIC_SUFFIXES, too_wide

MAX_LIST_OCTETS: Final = 100 << 20
"""Largest list that is read: some five million names."""

MAX_NETWORKS: Final = 250_000
"""Addresses and networks of a list, listed or excluded: more than the largest published ones hold."""

MAX_LINE_OCTETS: Final = 2000
"""Longest line that is looked at; longer ones are reported."""

MAX_REPORTED_LINES: Final = 50
"""How many lines a report quotes; the rest is counted."""

MAX_QUOTED_CHARACTERS: Final = 100
"""How much of a line a report quotes."""

# How far to look for the form of a list: past the longest comments at the head of one, and then no further.
_HEAD_LINES: Final = 2000
_VOTING_LINES: Final = 200

_ALLOWED: Final = (
    "allowed are one name a line, one address a line, hosts lines (0.0.0.0 name), adblock host rules (||name^,"
    " @@||name^), or a response policy zone (name CNAME .)"
)

_BINARY: Final = f"a binary file, or text that is not in UTF-8; {_ALLOWED}"

Take = Callable[[str], object]
"""Is handed each canonical name, and each network as ``read_network`` returns it, in the order of the list; one may
come twice. ``is_network`` tells them apart."""


class ListError(ValueError):
    """A text that is no list of names, or a compiled list that can't be used; the message tells what is allowed."""


class Format(Enum):
    """How a list writes its names."""

    NAMES = "names"
    """``example.org``, one a line; ``.example.org`` and ``*.example.org`` mean the same. Also ``192.0.2.1`` and
    ``2001:db8::/32``."""
    HOSTS = "hosts"
    """``0.0.0.0 example.org``, as in hosts(5)."""
    ADBLOCK = "adblock"
    """``||example.org^``, and ``@@||example.org^`` for what the list must not cover."""
    RPZ = "rpz"
    """``example.org CNAME .`` in a zone file, and ``CNAME rpz-passthru.`` for what the list must not cover. Also
    ``24.0.2.0.192.rpz-ip`` for addresses."""


@dataclass(frozen=True, slots=True)
class UnreadLine:
    """A line that was not understood, and so is not enforced."""

    number: int
    """From 1."""
    text: str
    """At most ``MAX_QUOTED_CHARACTERS``, printable."""
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a list held."""

    lines: int
    names: int
    exclusions: int
    addresses: int
    """IP addresses in the place of names: they are left out, since a query never asks for one."""
    networks: int
    """Addresses and networks that are listed as such: answers that lead there are stopped."""
    not_understood: int
    unread: tuple[UnreadLine, ...]
    """The first ``MAX_REPORTED_LINES`` lines that were not understood."""
    others: tuple[tuple[str, int], ...] = ()
    """What a response policy zone says besides, and is not enforced: its kind, such as ``rpz-nsip``, and how many."""


@dataclass(frozen=True, slots=True)
class ParsedList:
    """A list of names, read."""

    format: Format
    names: tuple[str, ...]
    """Canonical, in the order of the list; a name may come twice."""
    networks: tuple[str, ...]
    """Canonical, as ``names``."""
    exclusions: tuple[str, ...]
    """Canonical names that this list does not cover, nor anything below them; and networks."""
    report: Report


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of ``file``; of one that is too long to be looked at no more than tells so.

    A line of a hundred megabytes takes no more room than any other.
    """
    while line := file.readline(MAX_LINE_OCTETS + 1):
        yield line
        while len(line) > MAX_LINE_OCTETS and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_OCTETS + 1)


def read_names(
    lines: Iterable[bytes], take: Take, exclude: Take, *, quotes: bool = True
) -> tuple[Format, Report]:
    """Hand on what the list in ``lines`` holds, whose form is found out from its first lines.

    Args:
        lines: Lines with or without line ends, in UTF-8; of a file those of ``lines_of``.
        take: What is listed.
        exclude: What this list does not cover, nor anything below it.
        quotes: Whether a refusal may quote a line: not where it is shown to people who may not read the file.

    Raises:
        ListError: HTML, empty, in no known form, or mostly not understood; what was handed on until then is no list.
    """
    rest = iter(lines)
    head = list(islice(rest, _HEAD_LINES))
    format_ = detect(head, quotes=quotes)
    reading = _Reading(take, exclude)
    _FORMS[format_].read(chain(head, rest), reading)
    report = reading.report()
    if report.not_understood > reading.understood:
        first = report.unread[0]
        if _is_binary(first.text):
            raise ListError(_BINARY)
        quoted = f", {first.text!r} ({first.reason})" if quotes else ""
        raise ListError(
            f"{report.not_understood} of {report.lines} lines were not understood, first line {first.number}{quoted};"
            f" {_ALLOWED}"
        )
    if not report.names and not report.networks:
        raise ListError(f"{report.lines} lines and no name among them; {_ALLOWED}")
    return format_, report


def parse_list(lines: Iterable[bytes]) -> ParsedList:
    """Return the list in ``lines``, all of it: for short ones.

    Raises:
        ListError: See ``read_names``.
    """
    entries: list[str] = []
    exclusions: list[str] = []
    format_, report = read_names(lines, entries.append, exclusions.append)
    return ParsedList(
        format_,
        tuple(e for e in entries if not is_network(e)),
        tuple(e for e in entries if is_network(e)),
        tuple(exclusions),
        report,
    )


def detect(head: Iterable[bytes], *, quotes: bool = True) -> Format:
    """Return the form of the list that begins with the lines ``head``: the one that most of them have.

    Raises:
        ListError: HTML, nothing but comments, or in no known form.
    """
    texts = (_decode(raw[:MAX_LINE_OCTETS]) for raw in head)
    sample = list(islice((t for t in texts if not _is_comment(t)), _VOTING_LINES))
    if not sample:
        raise ListError(f"an empty list; {_ALLOWED}")
    if sample[0].startswith("<"):
        raise ListError(f"HTML or XML, not a list of names; {_ALLOWED}")
    votes = {f: sum(form.understands(text) for text in sample) for f, form in _FORMS.items()}
    if not any(votes.values()):
        if any(map(_is_binary, sample)):
            raise ListError(_BINARY)
        quoted = f"; its first line is {_quoted(sample[0])!r}" if quotes else ""
        raise ListError(f"no list of names{quoted}; {_ALLOWED}")
    return max(votes, key=votes.__getitem__)


@dataclass(slots=True)
class _Reading:
    """What has been read of a list so far; lives for one call of ``read_names``."""

    take: Take
    exclude: Take
    names: int = 0
    exclusions: int = 0
    lines: int = 0
    addresses: int = 0
    networks: int = 0
    read_networks: int = 0
    """Listed and excluded."""
    passed_over: int = 0
    not_understood: int = 0
    unread: list[UnreadLine] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def understood(self) -> int:
        counted = self.names + self.networks + self.exclusions + self.addresses
        return counted + self.passed_over + self.others.total()

    def listed(self, text: str) -> None:
        if name := self._name(text):
            self.names += 1
            self.take(name)

    def network_listed(self, network: str) -> None:
        self._count_network()
        self.networks += 1
        self.take(network)

    def excluded(self, text: str) -> None:
        if name := self._name(text):
            self.exclusions += 1
            self.exclude(name)

    def network_excluded(self, network: str) -> None:
        self._count_network()
        self.exclusions += 1
        self.exclude(network)

    def _count_network(self) -> None:
        self.read_networks += 1
        if self.read_networks > MAX_NETWORKS:
            raise ListError(f"more than the {MAX_NETWORKS} addresses and networks that are read")

    def _name(self, text: str) -> str:
        """Return the canonical form of a name; "" where an address stands in its place.

        Raises:
            _NotUnderstoodError: It would cover a whole top-level domain, or what is as good as one.
            MalformedNameError: It is no name.
        """
        if _is_address(text):
            self.addresses += 1
            return ""
        name = parse_name(text)
        if wide := too_wide(name):
            raise _NotUnderstoodError(wide)
        return name

    def reject(self, text: str, reason: str) -> None:
        self.not_understood += 1
        if len(self.unread) < MAX_REPORTED_LINES:
            self.unread.append(UnreadLine(self.lines, _quoted(text), reason))

    def report(self) -> Report:
        return Report(
            self.lines,
            self.names,
            self.exclusions,
            self.addresses,
            self.networks,
            self.not_understood,
            tuple(self.unread),
            tuple(sorted(self.others.items())),
        )


class _NotUnderstoodError(ValueError):
    """A line that says nothing in the form at hand."""


_LINE_FAULTS: Final = (_NotUnderstoodError, MalformedNameError, MalformedNetworkError)


Reader = Callable[[str, _Reading], None]


class _Form(Protocol):
    """How one form of lists is read."""

    def read(self, lines: Iterable[bytes], reading: _Reading) -> None:
        """Read a whole list."""

    def understands(self, text: str) -> bool:
        """Tell whether ``text``, which is no comment, says something in this form."""


@dataclass(frozen=True, slots=True)
class _LineForm:
    """A form of which each line stands for itself."""

    plain: re.Pattern[bytes]
    """Matches a whole line that lists one plain ASCII name, its first group: nearly every line of a real list."""
    read_line: Reader
    """Takes any other line that is no comment; raises one of ``_LINE_FAULTS``."""

    def read(self, lines: Iterable[bytes], reading: _Reading) -> None:
        # One pass of a regular expression instead of the checks of parse_name: 1 s a million names, not 8 s
        # (measured on the build machine).
        plain, take = self.plain.fullmatch, reading.take
        number = quick = 0
        for number, raw in enumerate(lines, 1):
            match = plain(raw.lower()) if len(raw) <= MAX_LINE_OCTETS else None
            if match and len(match[1]) <= MAX_NAME_OCTETS and match[1] not in _SUFFIXES:
                take(match[1].decode("ascii"))
                quick += 1
                continue
            reading.lines = number
            self._read_other(raw, reading)
        reading.lines = number
        reading.names += quick

    def _read_other(self, raw: bytes, reading: _Reading) -> None:
        if _is_too_long(raw, reading):
            return
        text = _decode(raw)
        if _is_comment(text):
            return
        try:
            self.read_line(text, reading)
        except _LINE_FAULTS as e:
            reading.reject(text, str(e))

    def understands(self, text: str) -> bool:
        try:
            self.read_line(text, _Reading(_ignore, _ignore))
        except _LINE_FAULTS:
            return False
        return True


@dataclass(frozen=True, slots=True)
class _ZoneForm:
    """Response policy zones, whose records may stretch over lines."""

    plain: re.Pattern[bytes]
    """Matches a whole line that blocks one plain ASCII name, its first group."""

    def read(self, lines: Iterable[bytes], reading: _Reading) -> None:
        zone = ZoneText()
        plain = self.plain.fullmatch
        for number, raw in enumerate(lines, 1):
            reading.lines = number
            if _is_too_long(raw, reading):
                continue
            if zone.is_plain and (match := plain(raw.lower())):
                name = match[1]
                # A rule about addresses looks like one about a name.
                is_name = b".rpz-" not in name and name not in _SUFFIXES
                if is_name and len(name) <= MAX_NAME_OCTETS:
                    reading.names += 1
                    reading.take(name.decode("ascii"))
                    continue
            # Blanks at the beginning of a line mean something in a zone.
            text = raw.decode("utf-8", errors="replace").removeprefix("\ufeff").rstrip()
            try:
                self._read_line(text, zone, reading)
            except (*_LINE_FAULTS, MalformedRecordError) as e:
                reading.reject(text, str(e))
        try:
            zone.end()
        except MalformedRecordError as e:
            reading.reject("", str(e))

    def _read_line(self, text: str, zone: ZoneText, reading: _Reading) -> None:
        rule = zone.read(text)
        if rule is None:
            return
        match rule.says:
            case Says.BLOCK if rule.is_network:
                reading.network_listed(_demand_network(rule.name))
            case Says.BLOCK:
                reading.listed(rule.name)
            case Says.PASS if rule.is_network:
                reading.network_excluded(_demand_network(rule.name))
            case Says.PASS:
                reading.excluded(rule.name)
            case Says.TCP_ONLY:
                reading.others[rule.says.value] += 1
            case Says.OTHER_TRIGGER:
                reading.others[rule.name] += 1
            case Says.LOCAL_DATA:
                raise _NotUnderstoodError(
                    "leads elsewhere, which does not say that it is bad; CNAME ., CNAME *., CNAME rpz-drop. and"
                    " CNAME rpz-passthru. are allowed"
                )

    def understands(self, text: str) -> bool:
        return bool(_RECORD.match(text))


def _demand_network(text: str) -> str:
    network = read_network(text)
    if network is None:
        raise _NotUnderstoodError("no address or network such as 24.0.2.0.192.rpz-ip")
    return network


def _ignore(_: str) -> None:
    """Take nothing: where only the form is in question."""


def _is_too_long(raw: bytes, reading: _Reading) -> bool:
    if len(raw) <= MAX_LINE_OCTETS:
        return False
    reading.reject(_decode(raw[:MAX_LINE_OCTETS]), f"longer than {MAX_LINE_OCTETS} octets")
    return True


def _read_names(text: str, reading: _Reading) -> None:
    name = _without_comment(text)
    if " " in name or "\t" in name:
        raise _NotUnderstoodError("more than one word; one name a line is allowed")
    if network := read_network(name):
        reading.network_listed(network)
    else:
        reading.listed(name.removeprefix("*").removeprefix("."))


# What a hosts file says of the machine it lies on; the lines mean nothing to a filter.
_LOCAL_NAMES: Final = frozenset(
    (
        "localhost",
        "localhost.localdomain",
        "localhost4",
        "localhost6",
        "local",
        "broadcasthost",
        "ip6-localhost",
        "ip6-loopback",
        "ip6-localnet",
        "ip6-mcastprefix",
        "ip6-allnodes",
        "ip6-allrouters",
        "ip6-allhosts",
        "0.0.0.0",  # noqa: S104  # no address to listen on
    )
)
_BLOCKING_ADDRESSES: Final = ("0.0.0.0", "127.0.0.1", "::", "::1", "0")  # noqa: S104  # no address to listen on


def _read_hosts(text: str, reading: _Reading) -> None:
    address, *names = _without_comment(text).split()
    if not names or not _is_address(address):
        raise _NotUnderstoodError("not an address and names, such as 0.0.0.0 example.org")
    names = [name for name in names if name.lower().removesuffix(".") not in _LOCAL_NAMES]
    if not names:
        reading.passed_over += 1
        return
    if address not in _BLOCKING_ADDRESSES:
        # A hosts file that leads names elsewhere, to safe search for one, does not say that they are bad.
        raise _NotUnderstoodError(
            f"gives another address; a listed name has one of {', '.join(_BLOCKING_ADDRESSES)}"
        )
    for name in names:
        reading.listed(name)


_HOST_RULE: Final = re.compile(r"(@@)?\|\|([^/^$|*\s]+)\^(\$.*)?")


def _read_adblock(text: str, reading: _Reading) -> None:
    rule = _HOST_RULE.fullmatch(text)
    if not rule:
        raise _NotUnderstoodError("not a host rule; ||name^ and @@||name^ are allowed")
    exclusion, name, options = rule.groups()
    if options:
        raise _NotUnderstoodError(
            f"options such as {_quoted(options)[:20]!r} change what a rule means; none is allowed"
        )
    if exclusion:
        reading.excluded(name)
    else:
        reading.listed(name)


_SUFFIXES: Final = frozenset(name.encode("ascii") for name in PUBLIC_SUFFIXES)

# The same labels as gate_core.names allows; the last one begins with a letter, so that no address fits.
_PLAIN_NAME: Final = (
    rb"((?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?)"
)
# A directive, or owner name, time to live and class as they come, and a type that policy zones have.
_RECORD: Final = re.compile(
    r"\$(?:TTL|ORIGIN)\s|(?:\S+\s+){0,3}(?:CNAME|SOA|NS|A|AAAA|TXT)\s", re.IGNORECASE
)
_FORMS: Final[dict[Format, _Form]] = {
    Format.NAMES: _LineForm(re.compile(_PLAIN_NAME + rb"\s*"), _read_names),
    # Not localhost.localdomain, which the slow way passes over.
    Format.HOSTS: _LineForm(
        re.compile(rb"(?:0\.0\.0\.0|127\.0\.0\.1)[ \t]+(?!localhost\.)" + _PLAIN_NAME + rb"\s*"),
        _read_hosts,
    ),
    Format.ADBLOCK: _LineForm(re.compile(rb"\|\|" + _PLAIN_NAME + rb"\^\s*"), _read_adblock),
    Format.RPZ: _ZoneForm(
        re.compile(
            rb"(?:\*\.)?"
            + _PLAIN_NAME
            + rb"[ \t]+(?:[0-9]+[ \t]+)?(?:in[ \t]+)?cname[ \t]+(?:\*\.|\.)[ \t]*\r?\n?"
        )
    ),
}

# Adblock lists hide parts of pages by rules that begin with ##, #@# and the like: no comments.
_HIDING_RULE: Final = re.compile(r"#[@?$%]*#[^#\s]")


def _is_comment(text: str) -> bool:
    if not text or text[0] in "!;":
        return True
    if text[0] == "[":
        return text.endswith("]")
    return text[0] == "#" and not _HIDING_RULE.match(text)


def _without_comment(text: str) -> str:
    return re.split(r"\s[#;]", text, maxsplit=1)[0].rstrip()


def _is_address(text: str) -> bool:
    try:
        ip_address(text.strip("[]"))
    except ValueError:
        # Short forms such as "0" and zone suffixes are written in hosts files too.
        return text == "0" or (":" in text and "%" in text)
    return True


def _decode(raw: bytes) -> str:
    # A byte order mark may come with each of several lists that somebody has joined.
    return raw.decode("utf-8", errors="replace").strip().removeprefix("\ufeff").strip()


def _is_binary(text: str) -> bool:
    return "\ufffd" in text or not text.replace("\t", " ").isprintable()


def _quoted(text: str) -> str:
    return "".join(c if c.isprintable() else "\ufffd" for c in text[:MAX_QUOTED_CHARACTERS])
