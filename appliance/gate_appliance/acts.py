"""The desk's part for what is in force for a while: pauses, lessons, isolation, suspension, loans.

A role does these alone, at once, with a reason; they end by themselves, and the record keeps both.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final, Literal

from gate_appliance.counter import BUTTON, Counter, Who, change, mac_of, minutes_of, text_of
from gate_appliance.health import pause_view
from gate_core.desk import (
    ActsView,
    IsolationView,
    LessonView,
    LoanView,
    RefusedError,
    SuspensionView,
)
from gate_core.effects import has_rights
from gate_core.names import MalformedNameError, NameSet
from gate_core.policy import Lesson, LessonMode, unacceptable_row
from gate_core.roles import Act, Leave, leave
from gate_core.services import BY_ID as SERVICES_BY_ID
from gate_core.services import in_mask as services_in
from gate_core.services import mask_of as services_mask
from gate_core.timetable import Span
from gate_core.written import DeviceText, PlaceText, aware

MAX_PAUSE_MINUTES: Final = 480
MAX_LESSON_MINUTES: Final = 240
MAX_LOAN_MINUTES: Final = 1440
MAX_SUSPENSION_DAYS: Final = 366

_MAX_LESSON_NAMES: Final = 200


class ActsDesk(Counter):
    """What is in force for a while."""

    def acts(self) -> ActsView:
        """Return what is in force for a while."""
        acts, written = self._store.acts(), self._steward.written
        status = self._steward.status(0, 0.0)
        confirmed = status.pause is not None and status.pause.on_the_wire
        today = self._now().date().isoformat()
        devices, people = written.devices, written.people
        return ActsView(
            pauses=tuple(pause_view(p, confirmed) for p in acts.pauses if self._lasts(p.span)),
            lessons=tuple(_lesson_view(x) for x in acts.lessons if self._lasts(x.span)),
            isolations=tuple(
                IsolationView(
                    i.mac,
                    devices[i.mac].name if i.mac in devices else i.mac,
                    _iso(i.since),
                    i.by,
                    i.why,
                )
                for i in acts.isolations
            ),
            suspensions=tuple(
                SuspensionView(
                    s.id,
                    s.kind,
                    s.subject,
                    (devices if s.kind == "device" else people)[s.subject].name
                    if s.subject in (devices if s.kind == "device" else people)
                    else s.subject,
                    _iso(s.span.since),
                    _iso(s.span.until),
                    s.review,
                    bool(s.review) and s.review <= today,
                    s.why,
                    s.by,
                    s.essentials_stay,
                )
                for s in acts.suspensions
                if self._lasts(s.span)
            ),
            loans=tuple(
                LoanView(
                    str(r["id"]),
                    r["mac"],
                    devices[r["mac"]].name if r["mac"] in devices else r["mac"],
                    r["person"],
                    people[r["person"]].name if r["person"] in people else r["person"],
                    r["lesson"],
                    r["since"],
                    r["until"],
                    r["by"],
                    bool(r["returned"]),
                )
                for r in self._store.loans(500)
            ),
        )

    def start_pause(
        self,
        *,
        groups: tuple[str, ...] = (),
        rooms: tuple[str, ...] = (),
        minutes: int,
        why: str = "",
        actor: str,
    ) -> None:
        """Pause groups and rooms (none named: all that the button reaches) for 1 to 480 minutes from now."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.PAUSE)
            minutes_of(minutes, MAX_PAUSE_MINUTES)
            written = self._steward.written
            _known(groups, written.groups, "group", "groups")
            _known(rooms, written.rooms, "room", "rooms")
            if allowed is Leave.OWN:
                _own(who, (*groups, *rooms))
            chosen = sorted(groups)
            if not groups and not rooms:
                chosen = sorted(id_ for id_, g in written.groups.items() if g.pausable)
            # Without a known time a pause holds until somebody ends it: see Question.active.
            since = self._now()
            until = since + timedelta(minutes=minutes)
            note = change(
                who,
                "started the internet pause",
                ", ".join((*chosen, *sorted(rooms))),
                after=f"until {_iso(until)}",
                reason=text_of(why, "why", 500, least=0),
            )
            with self._steward.changing(note) as db:
                # A new pause takes its groups and rooms out of older ones, and leaves the others in theirs.
                for pause in self._store.acts().pauses:
                    if allowed is Leave.OWN and pause.span.until > until:
                        continue  # A teacher's short pause ends no longer one that somebody else has begun.
                    rest = sorted(pause.groups - set(chosen))
                    rest_rooms = sorted(pause.rooms - set(rooms))
                    if (rest or rest_rooms) and pause.span.until > since:
                        db.table("pause").update(
                            int(pause.id),
                            {"groups": json.dumps(rest), "rooms": json.dumps(rest_rooms)},
                        )
                    else:
                        db.table("pause").delete(int(pause.id))
                db.table("pause").insert(
                    {
                        "groups": json.dumps(chosen),
                        "rooms": json.dumps(sorted(rooms)),
                        "since": since.isoformat(),
                        "until": until.isoformat(),
                        "by": who.name,
                        "why": note.reason,
                    }
                )

    def end_pause(self, *, id: str = "", actor: str) -> None:  # noqa: A002  # as everywhere
        """End one internet pause; "" ends all."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.PAUSE)
            pauses = [p for p in self._store.acts().pauses if not id or p.id == id]
            if not pauses:
                return
            if allowed is Leave.OWN:
                for pause in pauses:
                    _own(who, (*pause.groups, *pause.rooms))
                    if pause.by not in (who.name, BUTTON):
                        raise RefusedError(
                            f"this pause was started by {pause.by}, who can end it", "id"
                        )
            scope = sorted({s for p in pauses for s in (*p.groups, *p.rooms)})
            with self._steward.changing(
                change(who, "ended the internet pause", ", ".join(scope))
            ) as db:
                for pause in pauses:
                    db.table("pause").delete(int(pause.id))

    def start_lesson(
        self,
        *,
        group: str = "",
        room: str = "",
        mode: Literal["only", "also"],
        names: tuple[str, ...] = (),
        services: tuple[str, ...] = (),
        minutes: int,
        actor: str,
    ) -> None:
        """Begin a lesson for one group or one room: only these sites, or also these, for 1 to 240 minutes."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.LESSON)
            written = self._steward.written
            if bool(group) == bool(room):
                raise RefusedError("name one group or one room", "group")
            _known((group,) if group else (), written.groups, "group", "group")
            _known((room,) if room else (), written.rooms, "room", "room")
            minutes_of(minutes, MAX_LESSON_MINUTES)
            if allowed is Leave.OWN:
                _own(who, (group or room,))
                self._teacher_may(group, room, minutes)
            rules = _rules(names)
            try:
                mask = services_mask(services)
            except ValueError as e:
                raise RefusedError(str(e), "services") from e
            if not rules and not mask:
                raise RefusedError("name at least one site or service", "names")
            self._demand_acceptable(group, room, rules, services)
            since = self._now()
            until = since + timedelta(minutes=minutes)
            acts = self._store.acts()
            replaced = [x for x in acts.lessons if (x.group, x.room) == (group, room)]
            note = change(
                who,
                "started a lesson",
                group or room,
                before=", ".join(f"lesson {x.id} of {x.by}" for x in replaced),
                after=f"{mode} {', '.join((*services, *sorted(rules)))} until {_iso(until)}",
            )
            with self._steward.changing(note) as db:
                # One lesson a class: the new one takes the place of the old.
                for lesson in replaced:
                    db.table("lesson").delete(int(lesson.id))
                db.table("lesson").insert(
                    {
                        "grp": group,
                        "room": room,
                        "mode": mode,
                        "names": json.dumps(sorted(rules)),
                        "services": mask,
                        "since": since.isoformat(),
                        "until": until.isoformat(),
                        "by": who.name,
                    }
                )

    def end_lesson(self, *, id: str, actor: str) -> None:  # noqa: A002
        """End a lesson."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.LESSON)
            lesson = next((x for x in self._store.acts().lessons if x.id == id), None)
            if lesson is None:
                return
            if allowed is Leave.OWN:
                _own(who, (lesson.group or lesson.room,))
            note = change(who, "ended a lesson", lesson.group or lesson.room)
            with self._steward.changing(note) as db:
                db.table("lesson").delete(int(id))

    def isolate(self, *, mac: str, why: str, actor: str) -> None:
        """Cut a device off at once, below IP, until somebody ends it; nothing is sent to it."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.ISOLATE)
            mac = mac_of(mac)
            why = text_of(why, "why", 500)
            if any(i.mac == mac for i in self._store.acts().isolations):
                raise RefusedError(f"{mac} is isolated already", "mac")
            note = change(who, "isolated a device", self._device(mac), reason=why)
            with self._steward.changing(note) as db:
                db.table("isolation").insert(
                    {"mac": mac, "since": self._now().isoformat(), "by": who.name, "why": why}
                )

    def end_isolation(self, *, mac: str, why: str, actor: str) -> None:
        """Let an isolated device back."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.ISOLATE)
            mac = mac_of(mac)
            if not any(i.mac == mac for i in self._store.acts().isolations):
                raise RefusedError(f"{mac} is not isolated", "mac")
            note = change(
                who, "ended an isolation", self._device(mac), reason=text_of(why, "why", 500)
            )
            with self._steward.changing(note) as db:
                db.table("isolation").delete(mac)

    def suspend(
        self,
        *,
        kind: Literal["person", "device"],
        subject: str,
        until: str,
        review: str = "",
        why: str,
        essentials_stay: bool = False,
        actor: str,
    ) -> None:
        """Suspend somebody's or a device's internet until a time, at most a year away."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.SUSPEND)
            if kind == "device":
                subject = mac_of(subject)
            else:
                _known((subject,), self._steward.written.people, "person", "subject")
            since = self._now()
            try:
                end = aware(until, self._clock.zone)
            except ValueError:
                raise RefusedError(
                    f"{until[:40]!r} is no date and time such as 2027-01-22T15:30", "until"
                ) from None
            if not since < end <= since + timedelta(days=MAX_SUSPENSION_DAYS):
                raise RefusedError(
                    f"{until} is not between now and {MAX_SUSPENSION_DAYS} days from now", "until"
                )
            note = change(
                who,
                f"suspended a {kind}",
                self._device(subject) if kind == "device" else subject,
                after=f"until {_iso(end)}, review {review or 'none'}",
                reason=text_of(why, "why", 500),
            )
            with self._steward.changing(note) as db:
                db.execute("delete from suspension where kind = ? and subject = ?", [kind, subject])
                db.table("suspension").insert(
                    {
                        "kind": kind,
                        "subject": subject,
                        "since": since.isoformat(),
                        "until": end.isoformat(),
                        "review": _date(review, "review"),
                        "why": note.reason,
                        "by": who.name,
                        "essentials_stay": int(essentials_stay),
                    }
                )

    def end_suspension(self, *, id: str, why: str, actor: str) -> None:  # noqa: A002
        """End a suspension early."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.SUSPEND)
            found = next((s for s in self._store.acts().suspensions if s.id == id), None)
            if found is None:
                raise RefusedError(f"there is no suspension {id[:20]}", "id")
            note = change(who, "ended a suspension", found.subject, reason=text_of(why, "why", 500))
            with self._steward.changing(note) as db:
                db.table("suspension").delete(int(id))

    def lend(self, *, mac: str, person: str, lesson: str = "", minutes: int, actor: str) -> None:
        """Write down who has a device for 1 to 1440 minutes; a loan of it before ends."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.LEND)
            mac = mac_of(mac)
            written = self._steward.written
            device = written.devices.get(mac)
            if device is None:
                raise RefusedError(
                    f"{mac} is no device that the school knows: name it first", "mac"
                )
            _known((person,), written.people, "person", "person")
            minutes_of(minutes, MAX_LOAN_MINUTES)
            if allowed is Leave.OWN and not {device.group, device.room} & who.rooms:
                raise RefusedError(f"{device.name} is in none of your classes or rooms", "mac")
            if leave(who.role, Act.APPROVE) is not Leave.YES and has_rights(written, person):
                # Else a loan would open what an approval is needed for.
                raise RefusedError(
                    f"{person} is nominated, or has exceptions of their own: the head teacher, the safeguarding"
                    " lead or the e-safety coordinator lends to them",
                    "person",
                )
            since = self._now()
            until = since + timedelta(minutes=minutes)
            lesson = text_of(lesson, "lesson", 60, least=0)
            note = change(
                who,
                "lent a device",
                self._device(mac),
                after=f"{person} until {_iso(until)}",
                reason=lesson,
            )
            with self._steward.changing(note) as db:
                db.execute(
                    "update loan set returned = ? where mac = ? and returned = ''",
                    [since.isoformat(), mac],
                )
                db.table("loan").insert(
                    {
                        "mac": mac,
                        "person": person,
                        "lesson": lesson,
                        "since": since.isoformat(),
                        "until": until.isoformat(),
                        "by": who.name,
                        "returned": "",
                    }
                )

    def take_back(self, *, id: str, actor: str) -> None:  # noqa: A002
        """Note that a lent device is back."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.LEND)
            loan = next((x for x in self._store.acts().loans if x.id == id), None)
            if loan is None:
                return
            device = self._steward.written.devices.get(loan.mac)
            mine = device is not None and {device.group, device.room} & who.rooms
            if allowed is Leave.OWN and not mine and loan.by != who.name:
                raise RefusedError("this device is in none of your classes or rooms", "id")
            note = change(who, "took back a device", self._device(loan.mac), before=loan.person)
            with self._steward.changing(note) as db:
                db.table("loan").update(int(id), {"returned": self._now().isoformat()})

    def _demand_acceptable(
        self, group: str, room: str, rules: frozenset[str], services: tuple[str, ...]
    ) -> None:
        """Refuse what would stay closed: a lesson opens nothing that the school calls unacceptable."""
        wanted = [(rule.removeprefix("="), 0, rule, "names") for rule in sorted(rules)]
        wanted += [
            ("", services_mask([id_]), SERVICES_BY_ID[id_].title, "services") for id_ in services
        ]
        for its_group in self._groups(group, room):
            for name, mask, shown, field in wanted:
                row = unacceptable_row(self._steward.policy, its_group, name, mask)
                if row is not None:
                    title = self._steward.written.groups[its_group].title
                    raise RefusedError(
                        f"{shown} is unacceptable for {title} (“{row.title}”), and stays closed: leave it out, or ask for"
                        " it",
                        field,
                    )

    def _groups(self, group: str, room: str) -> list[str]:
        """Return the groups whose devices are in a lesson's scope."""
        written = self._steward.written
        places: tuple[DeviceText | PlaceText, ...]
        places = (*written.devices.values(), *written.networks.values(), *written.vlans.values())
        return [group] if group else sorted({p.group for p in places if p.room == room})

    def _teacher_may(self, group: str, room: str, minutes: int) -> None:
        written = self._steward.written
        groups = self._groups(group, room)
        most = min((written.groups[g].teacher_minutes for g in groups), default=0)
        if most == 0:
            raise RefusedError(
                "for this class the policy lets no teacher change what is open: ask for the site instead",
                "group",
            )
        # Also where it closes the rest: what it names, it opens.
        if minutes > most:
            raise RefusedError(
                f"a teacher may set a lesson for at most {most} minutes; start it again then",
                "minutes",
            )

    def _device(self, mac: str) -> str:
        device = self._steward.written.devices.get(mac)
        return f"{device.name} ({mac})" if device else mac

    def _lasts(self, span: Span) -> bool:
        now = self._clock.now()
        return now is None or now < span.until


def _own(who: Who, scope: Iterable[str]) -> None:
    scope = tuple(scope)
    if not scope or not set(scope) <= who.rooms:
        own = ", ".join(sorted(who.rooms)) or "none: the e-safety coordinator sets them"
        raise RefusedError(f"only your own classes and rooms: {own}", "actor")


def _known(ids: Iterable[str], known: Iterable[str], kind: str, field: str) -> None:
    known = tuple(known)
    for id_ in ids:
        if id_ not in known:
            some = ", ".join(known[:20]) or "none yet"
            raise RefusedError(f"{id_[:40]!r} is no {kind}; there are {some}", field)


def _rules(names: tuple[str, ...]) -> frozenset[str]:
    if len(names) > _MAX_LESSON_NAMES:
        raise RefusedError(f"{len(names)} sites; at most {_MAX_LESSON_NAMES} are allowed", "names")
    try:
        return NameSet.of(names).rules
    except MalformedNameError as e:
        raise RefusedError(str(e), "names") from e


def _lesson_view(lesson: Lesson) -> LessonView:
    return LessonView(
        lesson.id,
        lesson.group,
        lesson.room,
        "only" if lesson.mode is LessonMode.ONLY else "also",
        tuple(sorted(lesson.names.rules)),
        tuple(service.id for service in services_in(lesson.services)),
        _iso(lesson.span.since),
        _iso(lesson.span.until),
        lesson.by,
    )


def _date(text: str, field: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if text else ""
    except ValueError:
        raise RefusedError(f"{text[:40]!r} is no date such as 2027-01-22", field) from None


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
