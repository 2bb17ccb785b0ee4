"""Measure what a decision takes beside the bare look-up in the lists, and how long the replay of a million takes.

Run as ``python appliance/bench_policy.py``. The school is made up, and larger than any: 8 groups, 22
rows, 300 devices, 500 exceptions, two lessons, and a million names in 60 categories, compiled once below ``var/``.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from itertools import repeat
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from gate_appliance.activity import ActivityLog
from gate_appliance.library import name_set
from gate_appliance.lists.compile import Source as ListSource
from gate_appliance.lists.compile import compile_lists
from gate_appliance.lists.index import MappedIndex, open_index, path_of
from gate_appliance.whatif import Request, WhatIfJobs
from gate_core.acceptable_use import ILLEGAL_ROWS
from gate_core.categories import BY_ID, CATEGORIES, Category
from gate_core.clients import Client
from gate_core.compile import Acts, Surroundings, compile_policy
from gate_core.events import Event, Source
from gate_core.names import NameSet
from gate_core.policy import Lesson, LessonMode, Policy, decide
from gate_core.services import SERVICES
from gate_core.timetable import Span
from gate_core.written import Plain, parse, plain, shipped

LISTED: Final = 1_000_000
BITS: Final = 60
DEVICES: Final = 300
EXCEPTIONS: Final = 500
NAMES: Final = 4000
"""Different names of each class."""
WARM_UPS: Final = 40
"""Rounds until nearly all that is asked was asked before; the very first one is printed apart."""
ROUNDS: Final = 21
RECORDS: Final = 1_000_000
DAYS: Final = 7
MOST: Final = 3.0
"""What a decision may take, in times of the bare look-up."""

ZONE: Final = ZoneInfo("Europe/London")
NOW: Final = datetime(2026, 11, 24, 10, 0, tzinfo=ZONE)
FOLDER: Final = Path(__file__).parents[1] / "var" / "bench-policy"

_ONSETS: Final = "bcdfghklmnprstvw"
_SYLLABLES: Final = [a + b for a in _ONSETS for b in ("a", "e", "i", "o", "u", "ar", "en", "is")]
_ENDINGS: Final = (
    "com", "net", "org", "co.uk", "de", "io", "app", "info", "com", "xyz", "top", "online", "site", "club", "shop",
    "store", "live", "tv", "fr", "nl", "ru", "it", "es", "pl", "eu", "us", "ca", "com.au", "com.br", "jp", "cn", "in",
    "ch", "at", "be", "se", "cz", "org.uk", "me.uk", "biz", "dev", "cloud", "pro", "icu", "vip", "me", "cc", "ws", "to",
    "gg",
)  # fmt: skip
_HOSTS: Final = ("", "www.", "cdn.", "img7.static.")


@dataclass(frozen=True, slots=True)
class Figure:
    """What one class of names took."""

    names: str
    look_up_us: float
    decide_us: float
    ratio: float
    """Median of the rounds' ratios."""
    first_us: float
    """A decision in the first round after a new policy."""


def invented(number: int) -> str:
    """Return a name for a ``number`` up to 2^32: all different, in no order; the first million are listed."""
    rest = number * 0x9E3779B1 % 2**32
    syllables = []
    for _ in range(5):
        rest, place = divmod(rest, len(_SYLLABLES))
        syllables.append(_SYLLABLES[place])
    return f"{''.join(syllables)}.{_ENDINGS[number % len(_ENDINGS)]}"


def bits(number: int) -> tuple[int, ...]:
    """Return the categories of a listed name: one, or three for each tenth name."""
    first = number % BITS
    three = number // BITS % 10 == 0
    return (first, (first + 7) % BITS, (first + 19) % BITS) if three else (first,)


def lists() -> tuple[str, MappedIndex]:
    """Return a million names in 60 categories and their SHA-256, compiled now or in an earlier run."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    record = FOLDER / "sha256"
    if not record.exists():
        for bit in range(len(CATEGORIES), BITS):
            BY_ID[f"more-{bit}"] = Category(bit, f"more-{bit}", f"More {bit}", "ethos", "content")
        names: dict[str, list[str]] = {c.id: [] for c in BY_ID.values()}
        ids = list(names)
        for number in range(LISTED):
            for bit in bits(number):
                names[ids[bit]].append(invented(number))
        # As real lists do: they hold the services, and of the names that must not be blocked some.
        for service in SERVICES:
            for id_ in service.categories:
                names[id_] += service.names
        for id_, fixed in (("encrypted-dns", "canaries"), ("advertising", "protected")):
            rules = sorted(name_set(fixed).rules)
            names[id_] += [rule.removeprefix("=") for rule in rules[::2]]
        made = compile_lists([ListSource(id_, its) for id_, its in names.items()], FOLDER)
        record.write_text(made.sha256)
    sha256 = record.read_text()
    return sha256, open_index(path_of(FOLDER, sha256), sha256)


def mac(number: int) -> str:
    """Return the address of the device with a ``number``."""
    return f"00:00:5e:00:{number >> 8:02x}:{number & 255:02x}"


def document() -> Plain:
    """Return the written policy of the school."""
    some = random.Random(1)  # noqa: S311  # the same school each time
    school = plain(shipped())
    school["groups"]["clubs"] = school["groups"]["ks2"] | {"title": "Clubs", "number": 8}
    groups = list(school["groups"])
    free = [row for row in school["rows"] if row not in ILLEGAL_ROWS]
    for place, service in enumerate(SERVICES[::3]):
        school["rows"][free[place % len(free)]].setdefault("services", []).append(service.id)
    school["rooms"] = {f"room-{n}": {"title": f"Room {n}"} for n in range(10)}
    school["people"] = {f"p{n}": {"name": f"Person {n}"} for n in range(DEVICES)}
    school["devices"] = {
        mac(n): {
            "name": f"Device {n}",
            "group": groups[n % len(groups)],
            "room": f"room-{n % 10}",
            "person": f"p{n}",
        }
        for n in range(DEVICES)
    }
    school["nominees"] = {
        row: [f"person:p{n}" for n in some.sample(range(DEVICES), 20)] for row in free[:3]
    }
    school["exceptions"] = {
        f"exception-{n}": _exception(n, some, groups) for n in range(EXCEPTIONS)
    }
    return school


def _exception(number: int, some: random.Random, groups: list[str]) -> dict[str, Any]:
    scope = ("school", "group", "person", "device")[number % 4]
    n = some.randrange(DEVICES)
    subjects = {"school": "", "group": some.choice(groups), "person": f"p{n}", "device": mac(n)}
    services = [some.choice(SERVICES).id] if number % 25 == 0 else []
    return {
        "action": some.choice(("allow", "block")),
        "scope": scope,
        "subject": subjects[scope],
        "since": (NOW - timedelta(days=some.randrange(1, 60))).isoformat(),
        "until": (NOW + timedelta(days=some.randrange(1, 60))).isoformat(),
        "why": "Asked for",
        "names": excepted(number),
        "services": services,
    }


def excepted(number: int) -> list[str]:
    """Return the names of an exception: half are on a list, and each is below a parent of its own."""
    listed = number * 997 % LISTED
    return [f"class.{invented(listed)}", invented(LISTED + number)]


def policy(index: MappedIndex, school: Plain) -> Policy:
    """Return the policy in force, with two lessons; a new one each time, with nothing remembered."""
    while_on = Span(NOW - timedelta(minutes=10), NOW + timedelta(minutes=40))
    lessons = (
        Lesson("1", "", LessonMode.ONLY, NameSet.of(taught(0)), while_on, room="room-3"),
        Lesson("2", "ks2", LessonMode.ALSO, NameSet.of(taught(1)), while_on),
    )
    around = Surroundings(
        index, ZONE, name_set("essential"), name_set("canaries"), name_set("protected")
    )
    made = compile_policy(parse(school, ZONE), Acts(lessons=lessons), around, version=1, at=NOW)
    # The categories that the program does not have yet, spread over the rows.
    free = [row.id for row in made.rows if row.id not in ILLEGAL_ROWS]
    more = {
        row: sum(1 << b for b in range(len(CATEGORIES) + n, BITS, len(free)))
        for n, row in enumerate(free)
    }
    rows = (replace(r, categories=r.categories | more.get(r.id, 0)) for r in made.rows)
    return replace(made, rows=tuple(rows))


def taught(lesson: int) -> list[str]:
    """Return the list of a lesson; half of it is on lists, which is why a teacher asks."""
    numbers = range(50 * lesson, 50 * lesson + 50)
    return [invented(n * 991 if n % 2 else 2 * LISTED + n) for n in numbers]


def classes(its: Policy) -> dict[str, list[str]]:
    """Return the classes of names, each with ``NAMES`` different ones."""
    some = random.Random(2)  # noqa: S311  # the same names each time
    listed = some.sample(range(LISTED), LISTED // 4)
    alone = [n for n in listed if len(bits(n)) == 1]
    rules = {
        "canary": sorted(its.canaries.rules),
        "protected": sorted(its.protected.rules),
        "in an exception": [name for n in range(EXCEPTIONS) for name in excepted(n)],
        "of a service": sorted(rule for service in SERVICES for rule in service.names),
        "of a lesson": taught(0) + taught(1),
    }
    unlisted = [invented(3 * LISTED + n) for n in range(NAMES)]
    return {
        "on no list": _asked(unlisted),
        "on one list": _asked(invented(n) for n in alone if bits(n)[0] > 3),
        "on several": _asked(invented(n) for n in listed if len(bits(n)) > 1),
        "illegal": _asked(invented(n) for n in alone if bits(n)[0] <= 3),
        **{what: list(_below(names)) for what, names in rules.items()},
        "of six labels": [f"e{n % 97}.a.eu-1.cdn{n % 7}.{name}" for n, name in enumerate(unlisted)],
        "of one label": [name.partition(".")[0] for name in unlisted],
    }  # fmt: skip


def _asked(names: Iterable[str]) -> list[str]:
    """Return names as devices ask for them: themselves and what is below."""
    pairs = zip(range(NAMES), names)  # noqa: B905  # there are more names
    return [_HOSTS[n % len(_HOSTS)] + name for n, name in pairs]


def _below(rules: list[str]) -> Iterator[str]:
    """Yield ``NAMES`` different names that ``rules`` cover."""
    for n in range(NAMES):
        rule, turn = rules[n % len(rules)], n // len(rules)
        # Of a rule for one name alone there is but that one.
        yield rule[1:] if rule.startswith("=") else f"n{turn}.{rule}" if turn else rule


def decide_figures(index: MappedIndex, school: Plain) -> list[Figure]:
    """Return what each class takes, decision and look-up in turns, so that a busy machine slows both alike."""
    its = policy(index, school)
    clients = [its.client(ip_address(f"10.0.{n >> 8}.{n & 255}"), mac(n)) for n in range(DEVICES)]
    some = random.Random(3)  # noqa: S311  # the same clients each time
    figures = []
    for what, names in classes(its).items():
        its = policy(index, school)
        rounds = []
        for _ in range(WARM_UPS + ROUNDS):
            # Each name once a round, and from round to round for another device.
            asking = some.choices(clients, k=len(names))
            rounds.append((_looking_up(index, names), _deciding(its, asking, names)))
        measured = rounds[WARM_UPS:]
        look_up, deciding = map(statistics.median, zip(*measured, strict=True))
        ratio = statistics.median(d / m for m, d in measured)
        figures.append(Figure(what, look_up, deciding, ratio, rounds[0][1]))
    return figures


def first_ms(index: MappedIndex, school: Plain) -> float:
    """Return what the first decision takes, which prepares a new policy: a median."""
    spent = []
    for _ in range(5):
        its = policy(index, school)
        client = its.client(ip_address("10.0.0.1"), mac(1))
        since = time.process_time_ns()
        decide(its, client, "www.example.org", NOW)
        spent.append((time.process_time_ns() - since) / 1e6)
    return statistics.median(spent)


def _looking_up(index: MappedIndex, names: list[str]) -> float:
    return _mean_us(map(index.mask, names), len(names))


def _deciding(its: Policy, clients: list[Client], names: list[str]) -> float:
    return _mean_us(map(decide, repeat(its), clients, names, repeat(NOW)), len(names))


def _mean_us(calls: Iterator[object], number: int) -> float:
    """Return the processor time of one of ``calls``; the loop itself is one in C."""
    since = time.process_time_ns()
    deque(calls, maxlen=0)
    return (time.process_time_ns() - since) / number / 1000


def activity() -> Path:
    """Return the directory of a log of a week, written now or in an earlier run."""
    folder = FOLDER / f"log-{RECORDS}"
    if not folder.exists():
        some = random.Random(4)  # noqa: S311  # the same week each time
        # As everywhere: few names make most of the traffic, and most names are seen but once or twice.
        names = [_HOSTS[n % len(_HOSTS)] + invented(n * 7) for n in range(LISTED // 10)]
        names += [f"{n}.{rule}" for n in range(20) for s in SERVICES for rule in s.names]
        groups = list(shipped().groups)
        unfinished = FOLDER / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        log = ActivityLog(unfinished, ZONE)
        step = timedelta(days=DAYS) / RECORDS
        events = []
        for n in range(RECORDS):
            device = some.randrange(DEVICES)
            name = names[int(len(names) * some.random() ** 4)]
            at_ms = int((NOW - timedelta(days=DAYS) + n * step).timestamp() * 1000)
            events.append(
                Event(
                    at_ms, Source.DNS, f"10.0.{device >> 8}.{device & 255}", mac(device), f"Device {device}",
                    groups[device % len(groups)], name, "A", "allow", "default", "default:ks2", 0, 1,
                )
            )  # fmt: skip
            if len(events) == 50_000 or n == RECORDS - 1:
                log.append(events)
                events.clear()
        unfinished.rename(folder)
    return folder


def what_if_seconds(sha256: str, school: Plain) -> float:
    """Return how long the replay of a week against a draft takes, in a process of its own as on the appliance."""
    draft = deepcopy(school)
    draft["groups"]["ks2"]["cells"] |= {"video": "acceptable", "social-media": "times"}
    draft["groups"]["guest"]["default"] = "block"
    draft["timetable"]["times"]["club"] = {"days": "Wed", "since": "14:00", "until": "15:00"}
    for n in range(10):
        draft["devices"][mac(n)]["group"] = "ks1"
    essential, canaries, protected = (
        tuple(name_set(kind).rules) for kind in ("essential", "canaries", "protected")
    )
    request = Request(
        school,
        draft,
        str(FOLDER),
        sha256,
        str(activity()),
        ZONE.key,
        NOW.isoformat(),
        DAYS,
        essential,
        canaries,
        protected,
    )
    jobs = WhatIfJobs()
    since = time.monotonic()
    id_ = jobs.start(request)
    told = 0
    while (view := jobs.view(id_)) and view.state == "running":
        if view.done - told >= RECORDS // 5:
            told = view.done
            print(f"what-if: {view.done} of {view.total} decisions")  # noqa: T201  # its output
        time.sleep(0.05)
    spent = time.monotonic() - since
    jobs.close()
    if view is None or view.state != "done":
        sys.exit(f"what-if: {view.fault if view else 'forgotten'}")
    print(f"what-if: {view.total} decisions in {spent:.1f} s, {view.changed} would change")  # noqa: T201  # its output
    return spent


def print_decide() -> float:
    """Print what decisions take, and return the worst ratio of a class."""
    _, index = lists()
    school = document()
    print(f"first decision after a new policy: {first_ms(index, school):.1f} ms")  # noqa: T201  # its output
    figures = decide_figures(index, school)
    print(f"{'names':<18}{'look-up':>10}{'decide':>10}{'ratio':>8}{'new policy':>13}")  # noqa: T201  # its output
    for f in figures:
        times = (
            f"{f.look_up_us:>7.2f} µs{f.decide_us:>7.2f} µs{f.ratio:>8.2f}{f.first_us:>10.2f} µs"
        )
        print(f"{f.names:<18}{times}{'' if f.ratio <= MOST else f'  more than {MOST}'}")  # noqa: T201  # its output
    return max(f.ratio for f in figures)


def print_what_if() -> float:
    """Print how long a replay takes, and return the seconds."""
    sha256, _ = lists()
    return what_if_seconds(sha256, document())


def main() -> None:
    """Print all figures."""
    worst, seconds = print_decide(), print_what_if()
    print(f"policy: decide {worst:.2f} of trie, what-if {seconds:.1f} s")  # noqa: T201  # its output


if __name__ == "__main__":
    main()
