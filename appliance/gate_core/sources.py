"""Sources of lists: where a list comes from, under what licence, into which category, and how often it is looked for.

They are the school's setting, not part of its written policy: what a list may do is said there, by category.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import urlsplit

from gate_core.categories import BY_ID, ILLEGAL_MASK
from gate_core.names import MalformedNameError, parse_name

SOURCE_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
"""Id of a source; its list is called the same."""

MAX_TEXT_CHARACTERS: Final = 100
MAX_URL_CHARACTERS: Final = 500
MIN_INTERVAL_H: Final = 1
MAX_INTERVAL_H: Final = 24 * 31

FORMATS: Final = ("", "names", "hosts", "adblock", "rpz")
"""Forms that a source may be bound to; "" takes whichever its list has."""

ALGORITHMS: Final = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
"""TSIG algorithms (RFC 8945, section 6); those that it calls no longer fit are left out."""

KEPT_LEAST: Final = 0.7
"""Share of its names that a list keeps from one update to the next; what is shorter waits for a person."""

State = Literal["new", "ok", "stale", "refused"]


class Trust(Enum):
    """Who answers for a list."""

    OFFICIAL = "official"
    """An authority, the school's trust or local authority, or a licence holder; only these feed the illegal tier."""
    CURATED = "curated"
    """A project with maintainers who look at what they list."""
    COMMUNITY = "community"
    """Anybody's contributions, hardly looked at."""


TRUST_TITLES: Final = {
    Trust.OFFICIAL: "An authority, or a provider of the school",
    Trust.CURATED: "A project with maintainers",
    Trust.COMMUNITY: "Contributions from anybody",
}


ONLY_OFFICIAL: Final = "what is on a list of illegal content can't be opened by anybody: only official sources feed those"


class SourceError(ValueError):
    """A source that can't be; the message tells what is allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


@dataclass(frozen=True, slots=True)
class ListSource:
    """Where a list comes from."""

    id: str
    title: str
    url: str
    """``https://``, ``http://``, ``file:/PATH``, or ``rpz://ADDRESS[:PORT]/ZONE`` for a zone transfer."""
    licence: str
    category: str
    """Id of ``gate_core.categories``."""
    trust: str = Trust.CURATED.value
    format: str = ""
    """One of ``FORMATS``; a list of another form is refused."""
    interval_h: int = 24
    """Hours between two looks at it; a policy zone is asked for no oftener than this either."""
    key_name: str = ""
    """Name of the TSIG key of a zone transfer; "" without one."""
    key_algorithm: str = ""

    @property
    def is_zone(self) -> bool:
        """Whether it comes by zone transfer."""
        return self.url.startswith("rpz:")

    @property
    def is_illegal(self) -> bool:
        """Whether it feeds the illegal tier, and so can only add."""
        return bool(BY_ID[self.category].mask & ILLEGAL_MASK)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of looking at a source."""

    state: Literal["new", "ok", "refused"] = "new"
    reason: str = ""
    """Why the list was refused, a sentence without its full stop."""
    looked_at: str = ""
    """When it was looked at last; ISO 8601, "" for never."""
    good_at: str = ""
    """When what is in force was last found to be the newest."""
    names: int = 0
    """Of the list in force."""
    octets: int = 0
    refused_lost: int = 0
    """How many names the list that was refused lacks; a person may accept that."""
    serial_went_back: bool = False
    """Whether a zone was refused since its serial went back; a person may accept that too."""
    note: str = ""
    """What of the list in force is not enforced, a sentence without its full stop."""
    validators: Mapping[str, str] = field(default_factory=dict)
    """``etag`` and ``last_modified`` of a download, or ``serial`` of a zone: what to ask for a newer one by."""


@dataclass(frozen=True, slots=True)
class SourceView:
    """A source as pages and terminal show it."""

    source: ListSource
    state: State
    reason: str
    looked_at: str
    good_at: str
    names: int
    octets: int
    acceptable: bool
    """Whether a list was refused that a person may accept."""
    note: str


@dataclass(frozen=True, slots=True)
class OwnList:
    """A list that no source keeps up to date: somebody added it by hand, or its source was removed."""

    name: str
    category: str
    names: int
    added_at: str
    """As the record has it; "" where no entry speaks of it."""
    added_by: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an update of lists is."""

    id: str
    """Of the source; "" while all lists are compiled."""
    phase: str
    """``connecting``, ``downloading``, ``checking``, ``reading``, ``compiling``."""
    done: int
    of: int
    """0 where it is not known."""
    unit: str
    """``octets``, ``records`` (of a zone) or ``lists``."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A published list that a school may choose; nothing is downloaded before somebody does."""

    id: str
    title: str
    url: str
    licence: str
    category: str
    trust: str
    names: int
    """Roughly, when it was looked at for this program."""
    home: str
    """Page of the project, where its licence is."""


@dataclass(frozen=True, slots=True)
class SourcesView:
    """All sources, and what goes on."""

    sources: tuple[SourceView, ...]
    progress: Progress | None
    """None while no update runs."""
    suggestions: tuple[Suggestion, ...]
    faults: tuple[str, ...]
    """What keeps lists from coming into force, whichever source they are of; sentences."""


def check_source(source: ListSource, secret: str = "") -> ListSource:
    """Return ``source`` in its stored form.

    Args:
        source: As a person gave it.
        secret: The TSIG key in base64; "" without one.

    Raises:
        SourceError: A field is wrong; the message tells what is allowed.
    """
    if not SOURCE_ID.fullmatch(source.id):
        raise SourceError("id", f"{source.id[:60]!r} is not 1 to 40 of a-z, 0-9 and '-'")
    for name, text in (("title", source.title), ("licence", source.licence)):
        if not text.strip() or len(text) > MAX_TEXT_CHARACTERS or not text.isprintable():
            raise SourceError(
                name, f"1 to {MAX_TEXT_CHARACTERS} characters on one line are allowed"
            )
    if source.category not in BY_ID:
        raise SourceError(
            "category",
            f"{source.category[:60]!r} is no category; allowed are {', '.join(sorted(BY_ID))}",
        )
    if source.trust not in {trust.value for trust in Trust}:
        raise SourceError("trust", f"{source.trust[:40]!r} is none of official, curated, community")
    if source.is_illegal and source.trust != Trust.OFFICIAL.value:
        raise SourceError("trust", ONLY_OFFICIAL)
    if source.format not in FORMATS:
        raise SourceError("format", f"{source.format[:40]!r} is none of names, hosts, adblock, rpz")
    if not MIN_INTERVAL_H <= source.interval_h <= MAX_INTERVAL_H:
        raise SourceError("interval_h", f"{MIN_INTERVAL_H} to {MAX_INTERVAL_H} hours are allowed")
    _check_url(source)
    _check_key(source, secret)
    return source


@dataclass(frozen=True, slots=True)
class Zone:
    """Where a zone is transferred from."""

    address: str
    port: int
    name: str
    """Canonical."""


def zone_of(url: str) -> Zone:
    """Return the zone that an ``rpz://ADDRESS[:PORT]/ZONE`` names.

    Raises:
        SourceError: It is none.
    """
    try:
        parts = urlsplit(url)
        address = str(ip_address(parts.hostname or ""))
        port = parts.port or 53
        name = parse_name(parts.path.strip("/"))
    except (ValueError, MalformedNameError):
        raise SourceError(
            "url",
            "a zone is named as rpz://ADDRESS/ZONE or rpz://ADDRESS:PORT/ZONE, with an IP address,"
            " such as rpz://192.0.2.53/rpz.trust.example",
        ) from None
    return Zone(address, port, name)


def _check_url(source: ListSource) -> None:
    url = source.url
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        raise SourceError("url", f"at most {MAX_URL_CHARACTERS} printable ASCII characters")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise SourceError("url", f"{url[:80]!r} is no URL") from None
    if parts.username is not None or parts.password is not None:
        # The URL is shown on pages and kept in the record.
        raise SourceError("url", "a URL without user name and password is allowed")
    match parts.scheme:
        case "https" | "http" if host:
            if parts.scheme == "http" and source.is_illegal:
                raise SourceError("url", "a list of illegal content comes by https, rpz or file")
        case "file" if not parts.netloc and parts.path.startswith("/"):
            return
        case "rpz":
            zone_of(url)
        case _:
            raise SourceError(
                "url",
                "allowed are https://HOST/PATH, http://HOST/PATH, file:/PATH and rpz://ADDRESS/ZONE",
            )


def _check_key(source: ListSource, secret: str) -> None:
    if not (source.key_name or source.key_algorithm or secret):
        return
    if not source.is_zone:
        raise SourceError("key_name", "only a zone transfer has a key")
    try:
        parse_name(source.key_name)
    except MalformedNameError as e:
        raise SourceError("key_name", str(e)) from None
    if source.key_algorithm not in ALGORITHMS:
        raise SourceError("key_algorithm", f"allowed are {', '.join(ALGORITHMS)}")
    try:
        octets = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        octets = b""
    if not 16 <= len(octets) <= 512:
        raise SourceError("secret", "the key in base64, 16 to 512 octets, is wanted")
