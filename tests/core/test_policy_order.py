"""The order of the eight places, held against a plain model of it while everything changes at random."""

from copy import deepcopy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from ipaddress import ip_address, ip_network
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gate_core.categories import mask_of
from gate_core.compile import Acts, Isolation, Loan, Surroundings, Suspension, compile_policy
from gate_core.names import NameSet, suffixes
from gate_core.policy import Lesson, LessonMode, Pause, decide, explain
from gate_core.services import SERVICES
from gate_core.services import mask_of as services_mask
from gate_core.snapshot import parse_snapshot, render_snapshot
from gate_core.timetable import Span
from gate_core.written import PolicyError, parse, plain

LONDON = ZoneInfo("Europe/London")
START = datetime(2026, 11, 23, 10, 0, tzinfo=LONDON)
PUPIL, TEACHER, TABLET, PRINTER, NEW, TAGGED, STRANGER = (f"00:00:5e:00:53:0{n}" for n in range(1, 8))  # fmt: skip
CLIENTS = (
    (PUPIL, "198.51.100.1"),
    (TEACHER, "192.0.2.10"),
    (TABLET, "192.0.2.10"),
    (PRINTER, "198.51.100.1"),
    (NEW, "198.51.100.1"),
    (TAGGED, "192.0.2.10"),
    (STRANGER, "192.0.2.10"),
    (STRANGER, "192.0.2.200"),
    (None, "198.51.100.1"),
)
SEEN_IN_VLAN = {TAGGED: 20, PUPIL: 20}
ILLEGAL = {"child-abuse", "grooming", "extreme-pornography", "terrorism"}
LISTED = {
    "abuse.example": {"child-abuse", "video"},
    "games.example": {"games"},
    "learn.games.example": {"games-educational"},
    "video.example": {"video"},
    "mixed.example": {"video", "gambling"},
    "porn.example": {"pornography"},
    "youtube.com": {"video"},
    "snapchat.com": {"social-media"},
}
CANARIES = ("canary.example",)
NAMES = (
    "abuse.example",
    "WWW.abuse.example.",
    "www.canary.example",
    "helpline.example",
    "office.example.",
    "games.example",
    "Learn.Games.Example",
    "video.example",
    "mixed.example",
    "porn.example.",
    "www.YouTube.com",
    "snapchat.com",
    "other.example",
    "wiki.example",
)
RULES = st.lists(
    st.sampled_from([n.lower().removesuffix(".") for n in NAMES] + ["=wiki.example", "example"]),
    min_size=1,
    max_size=3,
)
SERVICES_DRAWN = st.lists(st.sampled_from(["youtube", "snapchat"]), max_size=1)
GROUPS = st.sampled_from(["ks1", "ks2", "staff", "infrastructure", "quarantine"])
ROOMS = st.sampled_from(["room-1", "room-2"])
PEOPLE = st.sampled_from(["p1", "p2", "t1"])
MACS = st.sampled_from([PUPIL, TEACHER, TABLET, PRINTER, NEW])
HOURS = st.tuples(st.integers(-3, 3), st.integers(1, 5))
DAYS = {"Mon-Fri": range(5), "Sat, Sun": (5, 6)}


class Index:
    """The lists of the model, as the core wants them."""

    def mask(self, name):
        return mask_of(id_ for suffix in suffixes(name) for id_ in LISTED.get(suffix, ()))


# The model: what the pages say about the order, as plainly as it can be written.


def covered(name, its_rule):
    exact = its_rule.startswith("=")
    its_rule = its_rule.removeprefix("=")
    return name == its_rule or (not exact and name.endswith("." + its_rule))


def in_any(name, rules):
    return any(covered(name, r) for r in rules)


@cache
def categories_of(name):
    found = {c for listed, ids in LISTED.items() if covered(name, listed) for c in ids}
    return found - {"games"} if "games-educational" in found else found


@cache
def services_of(name):
    return {s.id for s in SERVICES if in_any(name, s.names)}


def minutes(text):
    return int(text[:2]) * 60 + int(text[3:])


def span_of(e):
    since, until = (datetime.fromisoformat(e[k]).replace(tzinfo=LONDON) for k in ("since", "until"))
    return Span(since, until)


def is_certain_time(doc, group, at):
    if at is None:
        return False
    day, minute = at.date().isoformat(), at.hour * 60 + at.minute
    timetable = doc["timetable"]
    if one_off := timetable["one_off"].get(day):
        spans = [text.split("-") for text in one_off["open"]]
    elif day in timetable["holidays"] or not any(
        t["first"] <= day <= t["last"] for t in timetable["terms"].values()
    ):
        return True
    else:
        weekly = doc["groups"][group]["times"] or timetable["times"]
        spans = [(s["since"], s["until"]) for s in weekly.values() if at.weekday() in DAYS[s["days"]]]  # fmt: skip
    return any(minutes(since) <= minute < minutes(until) for since, until in spans)


class World:
    """What is written, what people have done, and the time."""

    def __init__(self, doc):
        self.doc = deepcopy(doc)
        self.pauses, self.lessons, self.suspensions, self.loans = [], [], [], []
        self.isolated = set()
        self.at = START

    def holds(self, span, *, strict=True):
        return strict if self.at is None else span.since <= self.at < span.until

    def who(self, mac, address):
        """Return group, room and person of a client."""
        doc, device = self.doc, self.doc["devices"].get(mac)
        if device and device["until"]:
            until = datetime.fromisoformat(device["until"]).replace(tzinfo=LONDON)
            device = None if self.at is None or until <= self.at else device
        if device:
            borrower = [x.person for x in self.loans if x.mac == mac and self.holds(x.span, strict=False)]  # fmt: skip
            return device["group"], device["room"], (borrower or [device["person"]])[-1]
        if mac in self.isolated or self.suspended(mac, ""):
            return "quarantine", "", ""
        if mac in SEEN_IN_VLAN and "20" in doc["vlans"]:
            place = doc["vlans"]["20"]
            return place["group"], place["room"], ""
        within = [n for n in doc["networks"] if ip_address(address) in ip_network(n)]
        if not within:
            return "quarantine", "", ""
        place = doc["networks"][max(within, key=lambda n: ip_network(n).prefixlen)]
        return place["group"], place["room"], ""

    def suspended(self, mac, person):
        # Without a clock, whoever may hold the device counts as well.
        who = {mac, person, *(x.person for x in self.loans if x.mac == mac and self.at is None)}
        # Nor does a loan to somebody else end the suspension of the one it is written down for.
        who |= (
            {self.doc["devices"][mac]["person"]} if person and mac in self.doc["devices"] else set()
        )
        return [s for s in self.suspensions if s.subject in who and self.holds(s.span)]

    def answer(self, mac, address, name):  # noqa: C901, PLR0911, PLR0912  # eight places, one after the other
        name = name.lower().removesuffix(".")
        group, room, person = self.who(mac, address)
        categories, services = categories_of(name), services_of(name)
        essential = in_any(name, self.doc["names"]["essential"])
        # 1
        if categories & ILLEGAL:
            return "block", "illegal"
        # 2
        if mac in self.isolated:
            return "block", "isolated"
        if suspensions := self.suspended(mac, person):
            if essential and all(s.essentials_stay for s in suspensions):
                return "allow", "essential"
            return "block", "suspended"
        # 3
        if any((group in p.groups or room in p.rooms) and self.holds(p.span) for p in self.pauses):
            return ("allow", "essential") if essential else ("block", "paused")
        # 4
        if in_any(name, CANARIES):
            return "block", "canary"
        if in_any(name, self.doc["names"]["protected"]):
            return "allow", "protected"
        # 5
        for scope, subject in (("person", person), ("device", mac), ("group", group), ("school", "")):  # fmt: skip
            for action in ("block", "allow"):
                for e in self.doc["exceptions"].values():
                    if (
                        (e["scope"], e["subject"], e["action"]) == (scope, subject, action)
                        and (in_any(name, e["names"]) or services & set(e["services"]))
                        and self.holds(span_of(e), strict=action == "block")
                        and (action == "block" or self.was_meant(e, name, (group, mac, person)))
                    ):
                        return action, "exception"
        # 6
        cells = self.cells(group, categories, services)
        for lesson in self.lessons:
            only = lesson.mode is LessonMode.ONLY
            its_own = lesson.room == room if lesson.room else lesson.group == group
            if its_own and self.holds(lesson.span, strict=only):
                listed = in_any(name, lesson.names.rules) or services_mask(services) & lesson.services  # fmt: skip
                if listed and self.at is not None and "unacceptable" not in cells.values():
                    return "allow", "lesson"
                if only:
                    return "block", "lesson"
        # 7
        if cells:
            passed = [self.lets_through(row, cell, mac, person, group) for row, cell in cells.items()]  # fmt: skip
            return ("allow" if all(passed) else "block"), "matrix"
        # 8
        return self.doc["groups"][group]["default"], "default"

    def cells(self, group, categories, services):
        rows = self.doc["rows"]
        named = {id_ for id_, row in rows.items() if services & set(row["services"])}
        settled = {s for id_ in named for s in services & set(rows[id_]["services"])}
        left = categories - {c for s in SERVICES if s.id in settled for c in s.categories}
        deciding = named | {id_ for id_, row in rows.items() if left & set(row["categories"])}
        its = self.doc["groups"][group]["cells"]
        return {id_: its.get(id_, "unacceptable") for id_ in deciding}

    def was_meant(self, e, name, who):
        """Return whether nothing that a list has for ``name`` itself, and not for what was allowed, is closed."""
        group, mac, person = who
        rules = [r for r in e["names"] if in_any(name, [r])]
        seen = [categories_of(r.removeprefix("=")) for r in rules]
        its = services_of(name) & set(e["services"])
        seen += [set(s.categories) for s in SERVICES if s.id in its]
        unseen = categories_of(name).difference(*seen)
        cells = self.doc["groups"][group]["cells"]
        return all(
            self.lets_through(id_, cells.get(id_, "unacceptable"), mac, person, group)
            for id_, row in self.doc["rows"].items()
            if unseen & set(row["categories"])
        )

    def lets_through(self, row, cell, mac, person, group):  # one cell
        nominees = self.doc["nominees"].get(row, [])
        return (
            cell == "acceptable"
            or (cell == "times" and is_certain_time(self.doc, group, self.at))
            or (cell == "nominated" and bool({f"device:{mac}", f"person:{person}"} & set(nominees)))
        )


class Order(RuleBasedStateMachine):
    """Edits and acts at random; after each, every client asks for every name."""

    document = None

    def __init__(self):
        super().__init__()
        self.world = World(self.document)
        self.clock = START
        self.number = 0
        # So that places of the order meet from the beginning.
        self.teach(("staff", ""), LessonMode.ONLY, ["wiki.example"], [], (-1, 3))
        self.teach(("ks1", ""), LessonMode.ALSO, ["games.example", "porn.example"], [], (-1, 3))
        self.pause(frozenset({"infrastructure"}), frozenset({"room-2"}), (-1, 2))
        self.suspend(("person", "p2"), (-1, 2), essentials_stay=True)
        self.lend(PRINTER, "p2", (-1, 1))

    def compile(self):
        world = self.world
        acts = Acts(
            tuple(world.pauses),
            tuple(world.lessons),
            tuple(Isolation(mac, START, "it", "why") for mac in sorted(world.isolated)),
            tuple(world.suspensions),
            tuple(world.loans),
        )
        around = Surroundings(Index(), LONDON, canaries=NameSet.of(CANARIES), tagged=SEEN_IN_VLAN)
        self.number += 1
        self.policy = compile_policy(
            parse(world.doc, LONDON), acts, around, version=self.number, at=world.at
        )

    def span(self, hours):
        since = self.clock + timedelta(hours=hours[0])
        return Span(since, since + timedelta(hours=hours[1]))

    def edit(self, *path, to):
        """Write a value, unless the policy with it could not be."""
        doc = deepcopy(self.world.doc)
        table = doc
        for name in path[:-1]:
            if name not in table:
                return
            table = table[name]
        if to is None:
            table.pop(path[-1], None)
        else:
            table[path[-1]] = to
        try:
            self.world.doc = plain(parse(doc, LONDON))
        except PolicyError:
            return
        self.compile()

    # What is written

    @rule(
        group=GROUPS,
        row=st.sampled_from(["games", "games-educational", "video", "social-media", "gambling", "row-23"]),
        cell=st.sampled_from(["acceptable", "times", "nominated", "unacceptable", None]),
    )  # fmt: skip
    def set_cell(self, group, row, cell):
        self.edit("groups", group, "cells", row, to=cell)

    @rule(group=GROUPS, default=st.sampled_from(["allow", "block"]))
    def set_default(self, group, default):
        self.edit("groups", group, "default", to=default)

    @rule(services=SERVICES_DRAWN, categories=st.lists(st.sampled_from(["games", "video"]), max_size=1))  # fmt: skip
    def add_row(self, services, categories):
        self.edit("rows", "row-23", to={"title": "Row", "number": 23, "services": services, "categories": categories})  # fmt: skip

    @rule(row=st.sampled_from(["games", "video"]), services=SERVICES_DRAWN)
    def give_row_services(self, row, services):
        self.edit("rows", row, "services", to=services)

    @rule(
        id_=st.sampled_from(["x1", "x2", "e1", "e4"]),
        action=st.sampled_from(["allow", "block"]),
        subject=st.one_of(
            st.tuples(st.just("person"), PEOPLE),
            st.tuples(st.just("device"), MACS),
            st.tuples(st.just("group"), GROUPS),
            st.just(("school", "")),
        ),
        names=RULES,
        services=SERVICES_DRAWN,
        hours=HOURS,
    )
    def except_names(self, id_, action, subject, names, services, hours):  # of one rule
        span = self.span(hours)
        self.edit(
            "exceptions",
            id_,
            to={
                "action": action,
                "scope": subject[0],
                "subject": subject[1],
                "names": names,
                "services": services,
                "since": span.since.replace(tzinfo=None).isoformat(),
                "until": span.until.replace(tzinfo=None).isoformat(),
                "why": "why",
            },
        )

    @rule(id_=st.sampled_from(["e1", "e2", "e3", "e4", "e5"]))
    def end_exception(self, id_):
        self.edit("exceptions", id_, to=None)

    @rule(mac=MACS, group=GROUPS, room=st.just("") | ROOMS, person=st.just("") | PEOPLE)
    def name_device(self, mac, group, room, person):
        self.edit("devices", mac, to={"name": mac, "group": group, "room": room, "person": person})

    @rule(mac=MACS, hours=st.integers(1, 5))
    def let_device_end(self, mac, hours):
        until = self.clock + timedelta(hours=hours)
        self.edit("devices", mac, "until", to=until.replace(tzinfo=None).isoformat())

    @rule(mac=MACS)
    def forget_device(self, mac):
        self.edit("devices", mac, to=None)

    @rule(network=st.sampled_from(["192.0.2.0/24", "192.0.2.128/25"]), group=GROUPS, room=st.just("") | ROOMS)  # fmt: skip
    def place_network(self, network, group, room):
        self.edit("networks", network, to={"group": group, "room": room})

    @rule(
        row=st.sampled_from(["games", "video", "gambling"]),
        who=st.lists(st.sampled_from(["person:p1", "person:t1", f"device:{TABLET}"]), max_size=2),
    )
    def nominate(self, row, who):
        self.edit("nominees", row, to=who)

    @rule(kind=st.sampled_from(["essential", "protected"]), names=RULES)
    def protect(self, kind, names):
        self.edit("names", kind, to=names)

    # What is in force for a while

    @rule(groups=st.frozensets(GROUPS, max_size=2), rooms=st.frozensets(ROOMS, max_size=1), hours=HOURS)  # fmt: skip
    def pause(self, groups, rooms, hours):
        self.world.pauses.append(Pause(f"p{self.number}", groups, self.span(hours), "it", rooms))
        self.compile()

    @rule()
    def end_pauses(self):
        self.world.pauses.clear()
        self.compile()

    @rule(
        where=st.tuples(GROUPS, st.just("")) | st.tuples(st.just(""), ROOMS),
        mode=st.sampled_from(LessonMode),
        names=RULES,
        services=SERVICES_DRAWN,
        hours=HOURS,
    )
    def teach(self, where, mode, names, services, hours):
        group, room = where
        self.world.lessons.append(
            Lesson(
                f"l{self.number}",
                group,
                mode,
                NameSet.of(names),
                self.span(hours),
                room,
                services_mask(services),
            )
        )
        self.compile()

    @rule(
        who=st.tuples(st.just("person"), PEOPLE)
        | st.tuples(st.just("device"), MACS | st.just(STRANGER)),
        hours=HOURS,
        essentials_stay=st.booleans(),
    )
    def suspend(self, who, hours, essentials_stay):
        self.world.suspensions.append(
            Suspension(
                f"s{self.number}", *who, self.span(hours), "", "why", "head", essentials_stay
            )
        )
        self.compile()

    @rule()
    def end_suspensions(self):
        self.world.suspensions.clear()
        self.compile()

    @rule(mac=MACS | st.just(STRANGER))
    def isolate_or_let_back(self, mac):
        self.world.isolated ^= {mac}
        self.compile()

    @rule(mac=MACS, person=PEOPLE, hours=HOURS)
    def lend(self, mac, person, hours):
        # The steward ends a loan before another one of the same device begins.
        self.world.loans = [x for x in self.world.loans if x.mac != mac]
        self.world.loans.append(Loan(f"n{self.number}", mac, person, "", self.span(hours), "it"))
        self.compile()

    # Time

    @rule(minutes=st.sampled_from([1, 29, 60, 120, 300, 24 * 60, 3 * 24 * 60]))
    def wait(self, minutes):
        before, self.clock = self.clock, self.clock + timedelta(minutes=minutes)
        if self.world.at is None:
            return
        self.world.at = self.clock
        # What the policy says of itself: only at its edges does it have to be compiled anew.
        if any(before < edge <= self.clock for edge in self.policy.edges):
            self.compile()

    @rule()
    def lose_or_find_the_clock(self):
        self.world.at = self.clock if self.world.at is None else None
        self.compile()

    # What holds after each

    @invariant()
    def every_decision_is_that_of_the_model(self):
        world, policy = self.world, self.policy
        fresh = replace(policy)
        restored = parse_snapshot(render_snapshot(policy, ""), lambda _: Index()).policy
        views = {}
        for mac, address in CLIENTS:
            client = policy.client(ip_address(address), mac)
            again = restored.client(ip_address(address), mac)
            assert again == client
            for name in NAMES:
                found = decide(policy, client, name, world.at)
                says = found.action.value, found.reason.value
                assert says == world.answer(mac, address, name), (mac, address, name, found.rule_id)
                assert decide(fresh, client, name, world.at) == found
                assert decide(restored, again, name, world.at) == found
                told = [d for _, d in explain(policy, client, name, world.at) if d]
                assert told[0] == found
                assert views.setdefault((policy.view(client), name), says) == says


def test_order_is_that_of_the_model_whatever_happens(document):
    class Here(Order):
        pass

    Here.document = document
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=15,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
