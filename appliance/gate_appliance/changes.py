"""The desk's part for changes of the written policy: proposed by one person, approved by others, then in force.

Whoever proposes is never one of those who approve. How many have to is told by what the change means
(``gate_core.effects``), looked at again when it comes into force, as the policy may have moved on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final

from sqlite_utils import Database

from gate_appliance.accounts import end_account
from gate_appliance.bundle import read_bundle, render_bundle
from gate_appliance.counter import (
    COMMAND_LINE,
    Counter,
    Who,
    approves_accounts,
    change,
    not_allowed,
    text_of,
)
from gate_appliance.holidays import bank_holidays
from gate_appliance.signing import Signer
from gate_appliance.steward import Steward
from gate_appliance.store import Change, end_proposal, proposal_name
from gate_appliance.whatif import Request, WhatIfJobs
from gate_core.acceptable_use import ILLEGAL_ROWS
from gate_core.desk import (
    AnswerView,
    ImportView,
    Preview,
    ProposalView,
    RefusedError,
    TableRowView,
    TableView,
    WhatIfView,
)
from gate_core.edits import ConflictError, Edit, MalformedEditError, apply, differences, new_id
from gate_core.effects import Draft, Effect, IllegalError, approvals, effects
from gate_core.pasted import NotATableError, ReadRow, read_table
from gate_core.roles import TITLES, Act, Leave, Role, holders, leave
from gate_core.written import Plain, PolicyError, WrittenPolicy, aware, plain, revise

LAPSES_DAYS: Final = 14
"""How long a proposal waits for its approvals."""

MAX_EDITS: Final = 5_000

MAX_WAITING: Final = 30
"""Requests of one teacher that wait at a time."""

MAX_REQUESTS: Final = 20
MAX_REQUEST_CHARACTERS: Final = 20_000
"""What a teacher may ask for at once."""

_DAILY: Final = ("devices", "networks", "vlans", "people", "rooms")
"""Tables in which a school of one person may work before there is a second one who could approve."""


class ChangesDesk(Counter):
    """Proposals, and the written policy as text."""

    def __init__(self, steward: Steward) -> None:
        super().__init__(steward)
        self._signer = Signer(steward.places.signing_key)
        self._what_ifs = WhatIfJobs()

    def close(self) -> None:
        """End what runs."""
        self._what_ifs.close()

    def written(self) -> WrittenPolicy:
        """Return the written policy in force."""
        return self._steward.written

    def preview(self, *, edits: tuple[Edit, ...]) -> Preview:
        """Tell what ``edits`` would mean; nothing changes."""
        try:
            _, found = self._draft(edits)
        except RefusedError as e:
            return Preview((), 0, tuple(str(e).split("\n")))
        return Preview(_sentences(found), approvals(found), ())

    def propose(self, *, edits: tuple[Edit, ...], reason: str, actor: str) -> ProposalView:
        """Propose ``edits``; where nobody else has to approve, they are in force when this returns."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.PROPOSE)
            reason = text_of(reason, "reason", 500)
            if allowed is Leave.OWN:
                _only_requests(edits)
            policy, found = self._draft(edits)
            # As the policy tells them: what somebody sent may say a thing twice, or in another form.
            edits = differences(self._steward.document, policy[0])
            needed = approvals(found)
            if allowed is Leave.OWN:
                needed = max(needed, 1)
                mine = self._store.proposals(0, MAX_WAITING, waiting=True, username=who.name)
                if len(mine) >= MAX_WAITING:
                    raise RefusedError(
                        f"{MAX_WAITING} of your requests wait already; withdraw one, or wait for an answer",
                        "actor",
                    )
            waived = self._waived(who, edits, needed)
            now = self._now()
            row = {
                "at": now.isoformat(timespec="seconds"),
                "username": who.name,
                "role": who.role.value,
                "reason": reason,
                "edits": json.dumps([[list(e.path), e.before, e.after] for e in edits]),
                "grants": "",
                "ends": "",
                "sentences": json.dumps(_sentences(found)),
                "approvals": 0 if waived else needed,
                "state": "waiting" if needed and not waived else "in force",
                "lapses": (now + timedelta(days=LAPSES_DAYS)).isoformat(timespec="seconds"),
            }
            before, after = _sides(edits)
            note = change(
                who,
                "changed the policy" if row["state"] == "in force" else "proposed a change",
                _subject(found, edits),
                before=before,
                after=after,
                reason=reason,
                approvers="nobody else could approve yet" if waived else "",
            )
            if row["state"] == "in force":
                with self._steward.changing(note, policy) as db:
                    db.table("proposal").insert(row)
            else:
                with self._store.noting(note, self._clock.now()) as db:
                    db.table("proposal").insert(row)
                self._steward.look()
            return self._view(self._store.proposals(0, 1, waiting=False, username="")[0])

    def proposals(
        self, *, actor: str, waiting: bool = False, before: int = 0, limit: int = 50
    ) -> tuple[ProposalView, ...]:
        """Return proposals, newest first; a teacher's are their own."""
        who = self._who(actor)
        allowed = leave(who.role, Act.PROPOSE)
        reads = leave(who.role, Act.READ_RECORD)
        if Leave.YES not in (allowed, reads) and allowed is not Leave.OWN:
            raise not_allowed(who, Act.PROPOSE)
        own = "" if Leave.YES in (allowed, reads) else who.name
        rows = self._store.proposals(before, min(max(limit, 1), 500), waiting=waiting, username=own)
        return tuple(self._view(row) for row in rows)

    def answer(self, *, id: int, approve: bool, note: str = "", actor: str) -> ProposalView:  # noqa: A002  # as everywhere
        """Approve or refuse a proposal; never one's own. A refusal says why."""
        with self._steward.lock:
            who = self._who(actor)
            row = self._waiting(id)
            answers = self._standing(id)
            note = text_of(note, "note", 500, least=0 if approve else 1)
            self._may_answer(who, row, answers)
            answer = {
                "proposal": id,
                "username": who.name,
                "role": who.role.value,
                "at": self._now().isoformat(timespec="seconds"),
                "approved": int(approve),
                "note": note,
            }
            if not approve:
                self._close(
                    row,
                    "refused",
                    change(who, "refused a proposal", proposal_name(row), reason=note),
                    answer,
                )
            elif row["ends"]:
                self._end(row, who, answer)
            elif row["grants"]:
                self._grant(row, who, answer)
            else:
                self._approve(row, who, [*answers, answer])
            return self._proposal(id)

    def withdraw(self, *, id: int, actor: str) -> ProposalView:  # noqa: A002
        """Take back one's own proposal."""
        with self._steward.lock:
            who = self._who(actor)
            row = self._waiting(id)
            if row["username"] != who.name:
                raise RefusedError(
                    "only who made a proposal can withdraw it; refuse it instead", "actor"
                )
            self._close(row, "withdrawn", change(who, "withdrew a proposal", proposal_name(row)))
            return self._proposal(id)

    def audit_exception(self, *, id: str, note: str, actor: str) -> None:  # noqa: A002
        """Tick an exception that has ended as audited: it leaves the written policy, the record keeps it."""
        with self._steward.lock:
            who, allowed = self._demand(actor, Act.APPROVE)
            exception = self._steward.document["exceptions"].get(id)
            if exception is None:
                raise RefusedError(f"{id[:60]!r} is no exception", "id")
            if aware(exception["until"], self._clock.zone) > self._now():
                raise RefusedError(f"{id} has not ended; end it first", "id")
            del allowed  # IT ticks alone: nothing opens or closes by it
            edit = Edit.of(("exceptions", id), exception, None)
            policy, _ = self._draft([edit])
            done = change(
                who,
                "audited an exception",
                id,
                before=edit.before,
                reason=text_of(note, "note", 500),
            )
            with self._steward.changing(done, policy):
                pass

    def bank_holidays(self) -> tuple[Edit, ...]:
        """Return the edits that add the bank holidays of the school's terms, to be proposed."""
        terms = self._steward.written.timetable.terms.values()
        known = self._steward.written.timetable.holidays
        days = {
            day.isoformat(): title
            for term in terms
            for day, title in bank_holidays(
                date.fromisoformat(term.first), date.fromisoformat(term.last)
            )
        }
        return tuple(
            Edit.of(("timetable", "holidays", day), None, title)
            for day, title in sorted(days.items())
            if day not in known
        )

    # As text

    def export_policy(self, *, actor: str) -> str:
        """Return the written policy as commented, signed TOML."""
        who, allowed = self._demand(actor, Act.PROPOSE)
        if allowed is not Leave.YES:  # It holds the names of people.
            raise not_allowed(who, Act.PROPOSE)
        return render_bundle(
            self._steward.written,
            self._signer,
            version=self._steward.policy.version,
            at=self._clock.now(),
        )

    def read_policy(self, *, text: str) -> ImportView:
        """Tell what the policy in a TOML ``text`` would change; ``propose`` its edits to import it."""
        try:
            bundle = read_bundle(text, self._clock.zone, self._signer.fingerprint)
        except PolicyError as e:
            return ImportView((), Preview((), 0, e.faults), "")
        edits = differences(self._steward.document, plain(bundle.written))
        preview = self.preview(edits=edits) if edits else Preview((), 0, ())
        return ImportView(edits, preview, bundle.signature)

    def read_table(
        self, *, text: str, groups: tuple[str, ...], take: tuple[int, ...] = ()
    ) -> TableView:
        """Tell what an acceptable-use table pasted from a document says, and would change for ``groups``."""
        document = self._steward.document
        for group in groups:
            if group not in document["groups"]:
                raise RefusedError(
                    f"{group[:40]!r} is no group; there are {', '.join(document['groups'])}",
                    "groups",
                )
        try:
            reading = read_table(text)
        except NotATableError as e:
            raise RefusedError(str(e), "text") from e
        draft: Plain = json.loads(json.dumps(document))
        for row in reading.rows:
            if row.sure or row.line in take:
                _take_row(draft, row, groups)
        edits = differences(document, draft)
        rows = tuple(
            TableRowView(
                row.line,
                row.text,
                row.cell.value if row.cell else "",
                row.row or "",
                document["rows"][row.row]["title"] if row.row in document["rows"] else "",
                row.sure,
                row.note,
            )
            for row in reading.rows
        )
        preview = self.preview(edits=edits) if edits else Preview((), 0, ())
        return TableView(rows, reading.notes, edits, preview)

    def start_what_if(self, *, edits: tuple[Edit, ...], days: int, actor: str) -> str:
        """Begin to replay the decisions of the last 1 to 31 ``days`` against the policy with ``edits``; return its id."""
        who, _ = self._demand(actor, Act.PROPOSE)
        # It tells which names a group has asked for.
        self._demand(actor, Act.SEARCH_ACTIVITY)
        if not 1 <= days <= 31:
            raise RefusedError(f"{days} is not a number of days from 1 to 31", "days")
        (document, _), _ = self._draft(edits)
        note = change(who, "replayed the log against a draft", f"{days} days")
        with self._store.noting(note, self._clock.now()):
            pass
        around = self._steward.around
        places = self._steward.places
        return self._what_ifs.start(
            Request(
                present=self._steward.document,
                draft=document,
                lists=str(places.snapshots),
                sha256=self._steward.lists,
                activity=str(places.activity),
                zone=self._clock.zone.key,
                until=self._now().isoformat(),
                days=days,
                essential=tuple(around.essential.rules),
                canaries=tuple(around.canaries.rules),
                protected=tuple(around.protected.rules),
                tagged=dict(around.tagged),
            )
        )

    def what_if(self, *, id: str) -> WhatIfView:  # noqa: A002
        """Return how far a replay is, and what it found."""
        view = self._what_ifs.view(id)
        if view is None:
            raise RefusedError("this replay is over and forgotten; start it again", "id")
        return view

    # How

    def _draft(
        self, edits: Iterable[Edit]
    ) -> tuple[tuple[Plain, WrittenPolicy], tuple[Effect, ...]]:
        """Return the policy with ``edits``, and what they mean.

        Raises:
            RefusedError: They can't be; a line a fault.
        """
        edits = tuple(edits)
        if not 0 < len(edits) <= MAX_EDITS:
            raise RefusedError(f"a change has 1 to {MAX_EDITS} edits, not {len(edits)}", "edits")
        before = self._steward.document, self._steward.written
        try:
            after = revise(apply(before[0], edits), self._clock.zone, before)
            real = differences(before[0], after[0])
            if not 0 < len(real) <= MAX_EDITS:
                raise RefusedError(
                    f"a change has at most {MAX_EDITS} places, not {len(real)}"
                    if real
                    else "this changes nothing: the policy says so already"
                )
            draft = Draft(before[1], after[1], self._steward.around.index, self._clock.zone)
            found = effects(draft, real)
        except ConflictError as e:
            raise RefusedError(f"somebody has changed this since: {e}") from e
        except (MalformedEditError, IllegalError, PolicyError) as e:
            raise RefusedError(str(e)) from e
        return after, found

    def _waived(self, who: Who, edits: Iterable[Edit], needed: int) -> bool:
        """Tell whether daily work goes on although nobody else could approve it."""
        if needed != 1 or not all(e.path[0] in _DAILY for e in edits):
            return False
        # Also one whose account has ended: nobody comes to work alone by ending the others' accounts.
        return not any(
            row["username"] != who.name
            and row["state"] != "waiting"
            and leave(Role(row["role"]), Act.APPROVE) is Leave.YES
            for row in self._store.accounts()
        )

    def _approvers(self, besides: str) -> list[str]:
        """Return the accounts that may approve alone."""
        return [
            row["username"]
            for row in self._store.accounts()
            if row["username"] != besides
            and self._is_active(row)
            and leave(Role(row["role"]), Act.APPROVE) is Leave.YES
        ]

    def _waiting(self, id_: int) -> dict[str, Any]:
        row = self._store.proposal(id_)
        if row is None:
            raise RefusedError(f"there is no proposal {id_}", "id")
        if row["state"] == "waiting" and aware(row["lapses"], self._clock.zone) <= self._now():
            self._steward.lapse(row)
            self._steward.look()
            row = self._store.proposal(id_) or row
        if row["state"] != "waiting":
            hint = (
                f"its time to be approved ended on {row['lapses'][:10]}; propose it again"
                if row["state"] == "lapsed"
                else "it waits no more"
            )
            raise RefusedError(f"proposal {id_} is {row['state']}: {hint}", "id")
        return row

    def _standing(self, id_: int) -> list[dict[str, Any]]:
        """Return the answers to a proposal but those of people who may not give them any more."""
        role_of = {r["username"]: r["role"] for r in self._store.accounts() if self._is_active(r)}
        return [
            a
            for a in self._store.answers(id_)
            if a["username"].startswith(f"{COMMAND_LINE} ")
            or role_of.get(a["username"]) == a["role"]
        ]

    def _may_answer(self, who: Who, row: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        if who.is_also(row["username"]):
            raise RefusedError("nobody approves or refuses what they proposed themselves", "actor")
        if row["grants"] == who.name:
            raise RefusedError("nobody approves their own account", "actor")
        if any(who.is_also(a["username"]) for a in answers):
            raise RefusedError(
                "you have approved this already; somebody else has to be the next", "actor"
            )
        allowed = leave(who.role, Act.APPROVE)
        if row["grants"] or row["ends"]:
            if not approves_accounts(who.role):
                raise not_allowed(who, Act.APPROVE)
            if who.name.startswith(COMMAND_LINE) and self._others_who_approve(row):
                # Whoever can come to the box is nobody in particular.
                raise RefusedError(
                    "somebody with an account of their own has to approve this", "actor"
                )
            if who.role.value == row["role"] == Role.IT.value and self._anybody_but_it():
                raise RefusedError(
                    "IT has asked for this account: somebody else than IT approves it", "actor"
                )
            return
        if allowed is Leave.NO:
            raise not_allowed(who, Act.APPROVE)
        if allowed is Leave.SECOND and not any(
            leave(Role(a["role"]), Act.APPROVE) is Leave.YES for a in answers
        ):
            raise RefusedError(
                "IT approves as the second of two: first the head teacher, the safeguarding lead or the e-safety"
                " coordinator",
                "actor",
            )

    def _others_who_approve(self, row: dict[str, Any]) -> bool:
        """Tell whether an account besides those it is about may approve a proposal about accounts."""
        about = (row["username"], row["grants"], row["ends"])
        return any(
            approves_accounts(Role(r["role"])) and self._is_active(r) and r["username"] not in about
            for r in self._store.accounts()
        )

    def _anybody_but_it(self) -> bool:
        """Tell whether somebody besides IT may approve accounts."""
        roles = [Role(r["role"]) for r in self._store.accounts() if self._is_active(r)]
        return any(approves_accounts(role) and role is not Role.IT for role in roles)

    def _approve(self, row: dict[str, Any], who: Who, answers: list[dict[str, Any]]) -> None:
        edits = _edits(row)
        try:
            policy, found = self._draft(edits)
        except RefusedError as e:
            done = change(
                who, "found a proposal overtaken", proposal_name(row), reason=str(e)[:500]
            )
            self._close(row, "overtaken", done)
            raise RefusedError(f"the policy has changed since this was proposed: {e}") from e
        needed = max(row["approvals"], approvals(found))
        told = json.dumps(_sentences(found))
        if told != row["sentences"]:
            done = change(who, "found that a proposal means something else now", proposal_name(row))
            with self._store.noting(done, self._clock.now()) as db:
                db.table("proposal").update(row["id"], {"sentences": told, "approvals": needed})
                db.execute("delete from answer where proposal = ?", [row["id"]])
            raise RefusedError(
                "what this means has changed since it was proposed: read it again, and answer then"
            )
        approvers = "; ".join(f"{a['username']} ({a['role']})" for a in answers)
        if len(answers) < needed:
            note = change(
                who, "approved a proposal", proposal_name(row), reason=answers[-1]["note"]
            )
            with self._store.noting(note, self._clock.now()) as db:
                _put(db, answers[-1])
                db.table("proposal").update(row["id"], {"approvals": needed})
            return
        before, after = _sides(edits)
        note = replace(
            change(
                who,
                "changed the policy",
                _subject(found, edits),
                before=before,
                after=after,
                reason=row["reason"],
                approvers=approvers,
            ),
            # Whose change it is: the one who wanted it; who let it come into force are the approvers.
            actor=row["username"],
            role=row["role"],
        )
        with self._steward.changing(note, policy) as db:
            _put(db, answers[-1])
            db.table("proposal").update(row["id"], {"state": "in force", "approvals": needed})

    def _grant(self, row: dict[str, Any], who: Who, answer: dict[str, Any]) -> None:
        note = change(who, "approved an account", row["grants"], reason=answer["note"])
        with self._store.noting(note, self._clock.now()) as db:
            _put(db, answer)
            db.table("proposal").update(row["id"], {"state": "in force"})
            db.execute(
                "update account set state = 'invited' where username = ? and state = 'waiting'",
                [row["grants"]],
            )
        self._steward.look()

    def _end(self, row: dict[str, Any], who: Who, answer: dict[str, Any]) -> None:
        note = change(who, "ended an account", row["ends"], reason=row["reason"])
        with self._store.noting(note, self._clock.now()) as db:
            _put(db, answer)
            db.table("proposal").update(row["id"], {"state": "in force"})
            end_account(db, row["ends"])
        self._steward.look()

    def _close(
        self,
        row: dict[str, Any],
        state: str,
        note: Change,
        answer: dict[str, Any] | None = None,
    ) -> None:
        with self._store.noting(note, self._clock.now()) as db:
            end_proposal(db, row, state)
            if answer:
                _put(db, answer)
        self._steward.look()

    def _proposal(self, id_: int) -> ProposalView:
        row = self._store.proposal(id_)
        assert row is not None  # noqa: S101  # just written
        return self._view(row)

    def _view(self, row: dict[str, Any]) -> ProposalView:
        state = row["state"]
        answers = (
            self._standing(row["id"]) if state == "waiting" else self._store.answers(row["id"])
        )
        if state == "waiting" and aware(row["lapses"], self._clock.zone) <= self._now():
            state = "lapsed"
        return ProposalView(
            row["id"],
            row["at"],
            row["username"],
            row["role"],
            row["reason"],
            tuple(json.loads(row["sentences"])),
            _edits(row),
            row["approvals"],
            tuple(
                AnswerView(a["username"], a["role"], a["at"], bool(a["approved"]), a["note"])
                for a in answers
            ),
            state,
            row["lapses"],
            self._waits_for(row, answers) if state == "waiting" else "",
        )

    def _waits_for(self, row: dict[str, Any], answers: list[dict[str, Any]]) -> str:
        missing = row["approvals"] - sum(a["approved"] for a in answers)
        titles = [TITLES[role] for role in holders(Act.APPROVE)]
        if row["grants"] or row["ends"]:
            titles += [TITLES[Role.IT], TITLES[Role.GOVERNOR]]
        elif row["approvals"] == 2:
            titles.append(f"{TITLES[Role.IT]} as the second")
        people = "one more person" if missing == 1 else f"{missing} more people"
        able = self._approvers(besides=row["username"])
        enough = len(able) >= missing or row["grants"] or row["ends"]
        hint = "" if enough else "; too few accounts may approve: add one on the page Accounts"
        return f"Waits for {people} to approve: {', '.join(titles)}{hint}."


def _put(db: Database, answer: dict[str, Any]) -> None:
    # In place of an older one, which stands no more.
    db.table("answer").upsert(answer, pk=("proposal", "username"))


def _take_row(draft: Plain, row: ReadRow, groups: tuple[str, ...]) -> None:
    """Write what was read of one row into ``draft``, for ``groups``."""
    if row.cell is None or row.row in ILLEGAL_ROWS or row.cell.value == "illegal":
        return
    id_ = row.row or new_id(row.text, draft["rows"])
    if id_ not in draft["rows"]:
        number = max(r["number"] for r in draft["rows"].values()) + 1
        draft["rows"][id_] = {
            "title": row.text[:300],
            "number": number,
            "categories": [],
            "services": [],
            "note": "",
        }
        for group in draft["groups"].values():
            group["cells"][id_] = "unacceptable"
    for group in groups:
        draft["groups"][group]["cells"][id_] = row.cell.value


def _only_requests(edits: tuple[Edit, ...]) -> None:
    """Refuse what is no request for exceptions, or so long that others would have to wait for it."""
    if not all(len(e.path) == 2 and e.path[0] == "exceptions" and not e.before for e in edits):
        raise RefusedError(
            "a teacher may ask for a site to be allowed or blocked, and for nothing else", "actor"
        )
    characters = sum(len(e.after) for e in edits)
    if len(edits) > MAX_REQUESTS or characters > MAX_REQUEST_CHARACTERS:
        raise RefusedError(
            f"ask for at most {MAX_REQUESTS} exceptions at once, in {MAX_REQUEST_CHARACTERS} characters;"
            f" these are {len(edits)} in {characters}",
            "edits",
        )


def _sentences(found: Iterable[Effect]) -> tuple[str, ...]:
    return tuple(effect.sentence for effect in found)


def _edits(row: dict[str, Any]) -> tuple[Edit, ...]:
    return tuple(
        Edit(tuple(path), before, after) for path, before, after in json.loads(row["edits"])
    )


def _sides(edits: Iterable[Edit]) -> tuple[str, str]:
    """Return what was and what is, a line a place."""
    edits = tuple(edits)
    before = "\n".join(f"{e.place}: {_shown(e, e.before)}" for e in edits)
    after = "\n".join(f"{e.place}: {_shown(e, e.after)}" for e in edits)
    return before, after


def _shown(edit: Edit, value: str) -> str:
    # The record is read by governors, and never forgets: people are in it by their code alone.
    return (
        "(kept in the policy alone)" if value and edit.path[0] == "people" else value or "nothing"
    )


def _subject(found: Iterable[Effect], edits: Iterable[Edit]) -> str:
    sentences = _sentences(found)
    return "; ".join(sentences[:20]) or ", ".join(e.place for e in edits)
