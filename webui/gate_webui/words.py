"""What the pages say for the desk's values: times, states and actions in plain words, as template filters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from gate_core.acceptable_use import Cell
from gate_core.desk import ActivityRecord, Component, Lamp, Status, without_errno
from gate_core.events import MANY
from gate_core.protocols import BY_ID as PROTOCOLS
from gate_core.record import Entry
from gate_core.roles import TITLES, Role
from gate_core.sources import Progress
from gate_webui.sentences import said
from gate_webui.texts import gettext, known, lazy_gettext, ngettext, written_day

CELL_WORDS: Final = {
    Cell.ACCEPTABLE.value: (lazy_gettext("Acceptable"), lazy_gettext("Open at any time.")),
    Cell.TIMES.value: (
        lazy_gettext("Acceptable at certain times"),
        lazy_gettext("Open only at the times in the school's timetable."),
    ),
    Cell.NOMINATED.value: (
        lazy_gettext("Acceptable for nominated users"),
        lazy_gettext(
            "Open only for people or devices the school has named. While none are named, closed for everyone."
        ),
    ),
    Cell.UNACCEPTABLE.value: (lazy_gettext("Unacceptable"), lazy_gettext("Closed.")),
    Cell.ILLEGAL.value: (
        lazy_gettext("Unacceptable and illegal"),
        lazy_gettext("Closed for everyone. Nobody can open it."),
    ),
}
"""Cell to the heading of its column, as printed, and what it means here."""

SHORT_WORDS: Final = {
    Cell.ACCEPTABLE.value: lazy_gettext("✓ Yes"),
    Cell.TIMES.value: lazy_gettext("◐ Times"),
    Cell.NOMINATED.value: lazy_gettext("◐ Named"),
    Cell.UNACCEPTABLE.value: lazy_gettext("✕ No"),
    Cell.ILLEGAL.value: lazy_gettext("✕ Illegal"),
}
"""Cell to what stands for it where all groups are beside each other."""

SEARCH_WORDS: Final = {
    "safe": (
        lazy_gettext("Safe results only"),
        lazy_gettext(
            "Google, Bing, DuckDuckGo, Brave, Ecosia, Qwant and Pixabay leave out what is for adults. Engines that can't do"
            " that are closed where the table says so of “Search engines without safe search”."
        ),
    ),
    "all": (
        lazy_gettext("All results"),
        lazy_gettext(
            "Engines answer as they do at home. Those without safe search are sites like any other."
        ),
    ),
}
"""How a group searches, and what that means."""

YOUTUBE_WORDS: Final = {
    "strict": (
        lazy_gettext("Restricted mode, strict"),
        lazy_gettext("The smallest choice of videos, and no comments below them."),
    ),
    "moderate": (
        lazy_gettext("Restricted mode, moderate"),
        lazy_gettext(
            "A larger choice, for lessons and older pupils. What is plainly for adults stays out."
        ),
    ),
    "off": (lazy_gettext("All of YouTube"), lazy_gettext("Whatever YouTube shows at home.")),
}
"""How much of YouTube a group gets, and what that means."""

ADDRESS_WORDS: Final = {
    "named": (
        lazy_gettext("Only addresses that our own name service gave, and only by a name"),
        lazy_gettext(
            "A program that brings an address along gets nowhere: VPNs, proxies, hidden resolvers, peer-to-peer."
        ),
    ),
    "any": (
        lazy_gettext("Any address"),
        lazy_gettext(
            "Connections are judged by their names and by what they are. What shows neither is decided like a site on no"
            " list. For cameras, door entry and the like, which know their servers by address."
        ),
    ),
}
"""Which addresses the devices of a group reach, and what that means."""

QUIC_WORDS: Final = {
    "closed": (
        lazy_gettext("Closed"),
        lazy_gettext(
            "Browsers use the older form of connection by themselves; sites open as before. In it, each connection shows"
            " its name."
        ),
    ),
    "open": (
        lazy_gettext("Open"),
        lazy_gettext(
            "Newer and a little faster. The box reads the name that a connection begins with, and not what is begun"
            " within it later."
        ),
    ),
}
"""Whether QUIC is open to a group, and what that means."""

PART_WORDS: Final = {
    "dns": lazy_gettext("Site names (DNS)"),
    "firewall": lazy_gettext("Connections (packet filter)"),
    "policy": lazy_gettext("Policy"),
    "lists": lazy_gettext("Block lists"),
    "clock": lazy_gettext("Clock"),
    "panel": lazy_gettext("Panel"),
    "recorder": lazy_gettext("Activity record"),
    "illegal-content": lazy_gettext("Test of the filter for illegal content"),
    "identity": lazy_gettext("Telling devices apart"),
    "accounts": lazy_gettext("Accounts"),
}

_DOCUMENT: Final = re.compile(r" ?\(docs/[a-z-]+\.md\)")

_BANNERS: Final = ("illegal-content", "identity", "accounts")
"""Parts that say what somebody has to do where they are not well."""

_BANNER_WORDS: Final = {
    ("illegal-content", "off"): (
        lazy_gettext("Nobody has checked that illegal content is filtered"),
        lazy_gettext(
            "The lists of the Internet Watch Foundation (IWF) and of the police's Counter Terrorism Internet Referral Unit"
            " (CTIRU) are not given to schools: the internet provider, or the school's trust, has to filter by them."
        ),
    ),
    ("illegal-content", "degraded"): (
        lazy_gettext("It is not certain that illegal content is filtered"),
        "",
    ),
    ("illegal-content", "down"): (lazy_gettext("Illegal content may not be filtered"), ""),
    ("identity", "degraded"): (lazy_gettext("The box can't tell the school's devices apart"), ""),
    ("accounts", "degraded"): (lazy_gettext("A recovery code was used"), ""),
}
"""Part and state to the banner's heading, and what one has to know first."""

STATE_WORDS: Final = {
    "ok": (lazy_gettext("Working"), "green"),
    "starting": (lazy_gettext("Starting"), "blue"),
    "degraded": (lazy_gettext("Needs attention"), "yellow"),
    "down": (lazy_gettext("Not working"), "red"),
    "off": (lazy_gettext("Not set up"), "grey"),
}

PLACE_WORDS: Final = {
    "illegal tier": lazy_gettext("Is it illegal content?"),
    "device isolated or suspended": lazy_gettext("Is the device cut off?"),
    "internet pause": lazy_gettext("Is the internet pause on?"),
    "canaries and protected names": lazy_gettext(
        "Is it a way round the filter, or a site that is always protected?"
    ),
    "dated exceptions": lazy_gettext("Is there an exception for it?"),
    "lesson mode": lazy_gettext("Does a lesson's list say something?"),
    "acceptable-use table": lazy_gettext("What does the acceptable-use table say?"),
    "default of the group": lazy_gettext("What does the group get for sites on no list?"),
}
"""Place of the order of decisions to the question it asks."""

PROPOSAL_WORDS: Final = {
    "waiting": (lazy_gettext("Waiting"), "yellow"),
    "in force": (lazy_gettext("In force"), "green"),
    "refused": (lazy_gettext("Refused"), "red"),
    "withdrawn": (lazy_gettext("Withdrawn"), "grey"),
    "lapsed": (lazy_gettext("Lapsed"), "grey"),
    "overtaken": (lazy_gettext("Overtaken"), "grey"),
}
"""State of a proposal to what the pages call it, and the colour of its tag."""

APPROVAL_WORDS: Final = (
    lazy_gettext(
        "Nobody else has to approve this. It is in force as soon as you press the button."
    ),
    lazy_gettext(
        "One other person has to approve this first: the head teacher, the safeguarding lead or the e-safety coordinator."
    ),
    lazy_gettext(
        "Two other people have to approve this first: of the head teacher, the safeguarding lead and the e-safety"
        " coordinator; IT may be the second."
    ),
)
"""How many others have to approve a change to what the page says of it."""

ACTION_WORDS: Final = {"allow": lazy_gettext("Allowed"), "block": lazy_gettext("Blocked")}

_ROLES: Final = frozenset(role.value for role in Role)

_LAMP_WORDS: Final = {
    "fault": lazy_gettext("Fault"),
    "attention": lazy_gettext("Attention"),
    "filtering": lazy_gettext("Filtering"),
    "pause": lazy_gettext("Pause"),
}

_COLOUR_WORDS: Final = {
    "red": lazy_gettext("red"),
    "amber": lazy_gettext("amber"),
    "yellow": lazy_gettext("yellow"),
    "green": lazy_gettext("green"),
    "blue": lazy_gettext("blue"),
    "white": lazy_gettext("white"),
}

_PATTERN_WORDS: Final = {
    "on": lazy_gettext("lit"),
    "blink": lazy_gettext("blinking"),
    "flash": lazy_gettext("flashing"),
}


@dataclass(frozen=True, slots=True)
class Headline:
    """How the appliance does, in one sentence."""

    tone: str
    """``good``, ``warn``, ``bad`` or ``pause``: colour and icon."""
    sentence: str
    detail: str


def headline(status: Status) -> Headline:
    """Return the state of filtering as one sentence, the worst first."""
    ill = [part_words(c.name) for c in status.components if c.state in {"down", "degraded"}]
    attention = gettext("Needs attention: %(parts)s.", parts=", ".join(ill)) if ill else ""
    if not status.filtering:
        if any(c.state == "starting" for c in status.components) and not ill:
            return Headline(
                "warn", gettext("Filtering is starting"), gettext("This takes a few seconds.")
            )
        return Headline("bad", gettext("Filtering is not fully working"), attention)
    if status.pause:
        words = (
            gettext("Internet pause is on. Filtering is working")
            if status.pause.on_the_wire
            else gettext("Internet pause is starting. Filtering is working")
        )
        return Headline("pause", words, attention)
    if ill:
        return Headline(
            "warn", gettext("Filtering is working, but something needs attention"), attention
        )
    return Headline("good", gettext("Filtering is working"), "")


def banners(status: Status) -> tuple[Component, ...]:
    """Return the parts that somebody has to do something about, which no lamp may be enough to say."""
    fine = {"ok", "starting"}
    return tuple(c for c in status.components if c.name in _BANNERS and c.state not in fine)


def banner_words(part: Component) -> tuple[str, str]:
    """Return the heading of a banner, and what one has to know before its detail."""
    return _BANNER_WORDS.get((part.name, part.state), (part_words(part.name), ""))


def role_words(role: str) -> str:
    """Return what the pages call a role; the word itself where it is none."""
    return known(TITLES[Role(role)]) if role in _ROLES else role.capitalize()


def part_words(name: str) -> str:
    """Return what the pages call a component."""
    return str(PART_WORDS.get(name, name.capitalize()))


def lamp_name(name: str) -> str:
    """Return what the pages call a lamp."""
    return str(_LAMP_WORDS.get(name, name.capitalize()))


def lamp_words(lamp: Lamp) -> str:
    """Return what can be seen of a lamp: colour and rhythm."""
    if lamp.pattern == "off":
        return gettext("off")
    colour = _COLOUR_WORDS.get(lamp.colour, lamp.colour)
    return f"{colour}, {_PATTERN_WORDS.get(lamp.pattern, lamp.pattern)}"


VISIT_S: Final = 5.0
"""A device looks a name up in two or three ways and then connects: equal decisions this close are one visit."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Equal decisions within a moment, shown as one."""

    record: ActivityRecord
    """The newest of them, or the newest that tells of a safe version."""
    lookups: int
    connections: int
    resolver: str
    """Who answered the newest look-up, of those that were asked for if there are any; "" where the box did itself."""
    took_us: int
    """How long that took, in microseconds; 0 where the box knew already."""
    down: int
    """Octets that connections carried to the device, of those that have ended."""
    up: int
    """The same from it."""

    @property
    def how(self) -> str:
        """How often it was looked up and connected to, in words."""
        looked, connected = self.lookups, self.connections
        ways = []
        if looked:
            ways.append(ngettext("looked up", "looked up %(num)s times", looked))
        if connected and self.record.action == "block":
            ways.append(ngettext("tried to connect", "tried to connect %(num)s times", connected))
        elif connected:
            ways.append(ngettext("connected", "connected %(num)s times", connected))
        return ", ".join(ways).capitalize()


def visits(records: Iterable[ActivityRecord]) -> list[Visit]:
    """Return ``records``, newest first, with those joined that tell of one visit."""
    found: list[Visit] = []
    place: dict[tuple[str, ...], int] = {}
    for r in records:
        key = (r.mac or r.address, r.group, r.name, r.action, r.reason)
        lookups, connections = (r.count, 0) if r.source == "dns" else (0, r.count)
        at = place.get(key)
        if r.name and at is not None and _near(found[at].record.at, r.at):
            its = found[at]
            asked = (its.resolver, its.took_us)
            # What a connection is allowed by says nothing of the answer that led to it.
            safer = _is_safe(r) and not _is_safe(its.record)
            found[at] = Visit(
                r if safer else its.record,
                its.lookups + lookups,
                its.connections + connections,
                *(asked if its.took_us or not r.upstream else (r.upstream, r.took_us)),
                its.down + (r.down or 0),
                its.up + (r.up or 0),
            )
        else:
            place[key] = len(found)
            found.append(
                Visit(r, lookups, connections, r.upstream, r.took_us, r.down or 0, r.up or 0)
            )
    return found


def place_words(remote: str) -> str:
    """Return where a connection went, such as ``203.0.113.5 port 443/tcp``."""
    address, _, port = remote.partition(" ")
    return gettext("%(address)s port %(port)s", address=address, port=port) if port else address


def protocol_of(record: ActivityRecord) -> str:
    """Return the protocol that the packets of a connection showed; "" where it decided nothing."""
    return record.kind if record.kind in PROTOCOLS else ""


def asked_for(record: ActivityRecord) -> str:
    """Return what a decision was about, in words: a site, else where a connection went, with the protocol it showed."""
    what = gettext("Many names") if record.name == MANY else record.name
    return what_words(
        what or place_words(record.remote) or gettext("No name seen"), protocol_of(record)
    )


def what_words(what: str, protocol: str) -> str:
    """Return a site or place with the title of the ``protocol`` before it, where one of the two may be ""."""
    return ": ".join(filter(None, (known(PROTOCOLS[protocol].title) if protocol else "", what)))


def explained(record: ActivityRecord) -> dict[str, str]:
    """Return what the page "Check a site" is asked to explain a decision; the record alone where the policy had no say."""
    asked = {"record": str(record.id)}
    protocol = protocol_of(record)
    if protocol:
        asked = {"protocol": protocol} | asked
    if record.name or protocol:
        asked = {"client": record.mac or record.address, "name": record.name} | asked
    return asked


def _is_safe(record: ActivityRecord) -> bool:
    return record.rule_id.startswith("safesearch:")


def _near(newer: str, older: str) -> bool:
    a, b = _parse(newer), _parse(older)
    if a is None or b is None or (a.tzinfo is None) != (b.tzinfo is None):
        return False
    return abs((a - b).total_seconds()) <= VISIT_S


@dataclass(frozen=True, slots=True)
class Titles:
    """What the ids in the record stand for."""

    groups: Mapping[str, str]
    devices: Mapping[str, str]
    """MAC address to name."""
    people: Mapping[str, str]
    """User name to full name."""


@dataclass(frozen=True, slots=True)
class EntryWords:
    """An entry of the record in words."""

    entry: Entry
    who: str
    role: str
    subject: str
    before: str
    after: str
    written: str
    """Before and after as the written policy has it, for whoever wants to see it exactly; "" where there is no such."""
    approvers: str


_OF_THE_POLICY: Final = frozenset(
    ("changed the policy", "proposed a change", "audited an exception")
)
"""Actions whose subject says in words what before and after say in the policy's own form."""

_OTHERS: Final = {
    "button": lazy_gettext("The button on the panel"),
    "the appliance": lazy_gettext("The box itself"),
}
"""Actors that are no people."""

_APPROVER: Final = re.compile(r"(\S+) \(([a-z]+)\)")


def entry_words(entry: Entry, titles: Titles, now: datetime | None) -> EntryWords:
    """Return ``entry`` with titles and names for ids; what has none any more keeps its id."""
    of_the_policy = entry.action in _OF_THE_POLICY
    before, after = (
        "" if of_the_policy else with_times(value, now) for value in (entry.before, entry.after)
    )
    written = gettext(
        "Before:\n%(before)s\n\nAfter:\n%(after)s",
        before=entry.before or gettext("nothing"),
        after=entry.after or gettext("nothing"),
    )
    return EntryWords(
        entry,
        _who(entry.actor, titles),
        role_words(entry.role) if entry.role and entry.actor not in _OTHERS else "",
        _subject(entry.subject, titles),
        before,
        after,
        written if of_the_policy else "",
        _APPROVER.sub(
            lambda m: f"{titles.people.get(m[1], m[1])} ({role_words(m[2])})", entry.approvers
        ),
    )


def approvers_of(entry: Entry) -> tuple[str, ...]:
    """Return the user names of those who approved."""
    return tuple(found[1] for found in _APPROVER.finditer(entry.approvers))


def _who(actor: str, titles: Titles) -> str:
    if actor.startswith("command line"):
        person = actor.removeprefix("command line").strip(" ()")
        # A number is nobody's name: who has none there, such as a service.
        line = gettext("The command line of the box")
        return f"{line} ({person})" if person and not person.isdigit() else line
    return str(titles.people.get(actor, _OTHERS.get(actor, actor)))


def _subject(subject: str, titles: Titles) -> str:
    if subject in titles.devices:
        return titles.devices[subject]
    if all(part in titles.groups for part in subject.split(", ")):
        return ", ".join(titles.groups[part] for part in subject.split(", "))
    return titles.people.get(subject, subject)


_TIME: Final = re.compile(
    r"(until )?(\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:\d\d)?)", re.ASCII
)

_MIDNIGHT: Final = re.compile(r"until (\w{3} \d{1,2} \w{3} \d{4}) 00:00", re.ASCII)
"""An end at midnight, as the core writes it in sentences."""


def with_times(text: str, now: datetime | None) -> str:
    """Return ``text`` with each ISO 8601 time in it as ``when`` has it, and ends as ``last_moment`` has them."""
    text = _MIDNIGHT.sub(_last_day, text)
    return _TIME.sub(
        lambda found: _until(last_moment(found[2], now)) if found[1] else when(found[2], now),
        text,
    )


def _until(end: str) -> str:
    return gettext("until %(time)s", time=end)


def _last_day(found: re.Match[str]) -> str:
    try:
        last = datetime.strptime(found[1], "%a %d %b %Y") - timedelta(days=1)  # noqa: DTZ007  # a day, in no zone
    except (ValueError, OverflowError):  # No day, or none before it.
        return found[0]
    return _until(_end_of(written_day(last, "EEE d MMM y")))


def _end_of(day: str) -> str:
    return gettext("the end of %(day)s", day=day)


def clock_time(iso: str) -> str:
    """Return the time of day of an ISO 8601 time, ``14:05``; the text itself where it is none."""
    at = _parse(iso)
    return f"{at:%H:%M}" if at else iso


def exact_time(iso: str) -> str:
    """Return the time of day with seconds, ``14:05:09``."""
    at = _parse(iso)
    return f"{at:%H:%M:%S}" if at else iso


def when(iso: str, now: datetime | None) -> str:
    """Return day and time, ``today, 14:05`` or ``3 November 2026, 14:05``; the day as of ``now``."""
    at = _parse(iso)
    if at is None:
        return iso or gettext("never")
    return f"{_day(at, now)}, {at:%H:%M}"


def last_moment(until: str, now: datetime | None) -> str:
    """Return an end as people say it: as ``when`` has it, but midnight is the end of the day before."""
    at = _parse(until)
    if at is None or at.time() != time() or at.date() == date.min:
        return when(until, now)
    return _end_of(_day(at - timedelta(days=1), now))


def day_words(iso: str, now: datetime | None) -> str:
    """Return a day, such as “yesterday” or “22 November 2026”."""
    return _day(datetime.fromisoformat(iso), now)


def _day(at: datetime, now: datetime | None) -> str:
    if now is not None and at.date() == now.date():
        return gettext("today")
    if now is not None and at.date() == now.date() - timedelta(days=1):
        return gettext("yesterday")
    return written_day(at, "d MMMM y")


def minutes_left(until: str, now: datetime | None) -> int | None:
    """Return the minutes from ``now`` to ``until``, rounded up; None where either is not known."""
    end = _parse(until)
    if end is None or now is None or end.tzinfo is None:
        return None
    return max(0, -int((now - end).total_seconds() // 60))


def time_left(until: str, now: datetime | None) -> str:
    """Return how long it is from ``now`` to ``until``, such as “5 minutes left”; "" where either is not known."""
    left = minutes_left(until, now)
    return "" if left is None else ngettext("%(num)s minute left", "%(num)s minutes left", left)


def name_in(id_: str, names: Mapping[str, str]) -> str:
    """Return what ``names`` has for an id; the id itself where it has none any more."""
    return names.get(id_, id_)


def join_words(words: Iterable[str]) -> str:
    """Return ``words`` as one reads them out: “A, B and C”."""
    *some, last = words
    return gettext("%(some)s and %(last)s", some=", ".join(some), last=last) if some else last


def capitalize_first(text: str) -> str:
    """Return ``text`` with a capital at its beginning; names within it keep theirs."""
    return text[:1].upper() + text[1:]


def sentence(message: str) -> str:
    """Return a ``message`` of the desk as a sentence: with a capital at its beginning, and a full stop."""
    text = capitalize_first(said(message))
    return text + ("" if text.endswith((".", "?", "!")) else ".")


def reason_words(reason: str) -> str:
    """Return why a list did not come, without the numbers of the system and the forms that are allowed."""
    return capitalize_first(said(without_errno(reason).partition("; allowed are")[0]))


def detail_words(detail: str) -> str:
    """Return what a part says of itself, without the numbers of the system and the files that engineers read."""
    return _DOCUMENT.sub("", said(without_errno(detail)))


def amount(progress: Progress) -> str:
    """Return how much of an update is done, such as ``5.0 of 20.0 MB``; "" before there is any."""
    if not progress.done:
        return ""
    if progress.unit == "octets":
        done, of, unit = f"{progress.done / 1e6:.1f}", f"{progress.of / 1e6:.1f}", "MB"
    else:
        done, of, unit = thousands(progress.done), thousands(progress.of), known(progress.unit)
    if not progress.of:
        return f"{done} {unit}"
    return gettext("%(done)s of %(of)s %(unit)s", done=done, of=of, unit=unit)


def megabytes(octets: int) -> str:
    """Return an amount of data as ``1,234 MB``, with a decimal below 10 MB, with two below 0.1 MB."""
    number = octets / 1e6
    if 0 < number < 0.095:
        return f"{octets / 1e6:.2f} MB" if octets >= 5000 else "0.01 MB"
    return f"{number:,.0f} MB" if number >= 9.95 else f"{number:.1f} MB"


def thousands(number: int) -> str:
    """Return a number with commas, as it is written in the UK."""
    return f"{number:,}"


def _parse(iso: str) -> datetime | None:
    try:
        return datetime.fromisoformat(iso)
    except ValueError:
        return None
