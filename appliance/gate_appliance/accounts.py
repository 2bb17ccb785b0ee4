"""The desk's part for accounts: who may sign in, as what, and who has said so."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from datetime import datetime, timedelta
from typing import Any, Final

import pyotp
from sqlite_utils import Database

from gate_appliance.counter import (
    BUTTON,
    COMMAND_LINE,
    Counter,
    Who,
    approves_accounts,
    change,
    text_of,
)
from gate_appliance.store import Change
from gate_core.desk import LANGUAGES, USERNAME, Account, AccountView, Invitation, RefusedError
from gate_core.edits import Edit, apply
from gate_core.roles import ACCOUNT_ROLES, TITLES, Act, Leave, Role, leave
from gate_core.written import aware, revise

FAILURES_EVERY_S: Final = 10.0
"""How often a failed sign-in is written down: somebody who guesses must not write the record full."""

INVITED_DAYS: Final = 7

_SECRET: Final = re.compile("[A-Z2-7]{32}")
"""160 bits (RFC 4226, section 4), as apps take them."""

_WAITS: Final = (
    "Somebody else has to approve this: the head teacher, the safeguarding lead, the e-safety coordinator, IT or a"
    " governor."
)

RECOVERY_CODES: Final = 8
"""What fits on a small sheet of paper."""

# 60 random bits, or 80, in the letters of RFC 4648, section 6: none of its digits looks like one of its letters.
_ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


class AccountsDesk(Counter):
    """Accounts."""

    _failures_noted_s = float("-inf")

    def is_set_up(self) -> bool:
        """Tell whether the first-run wizard has been completed."""
        return bool(self._store.accounts())

    def set_up(
        self, *, code: str, school: str, username: str, full_name: str, password_hash: str
    ) -> None:
        """Complete the first run: the school and its first coordinator."""
        with self._steward.lock:
            if self.is_set_up():
                raise RefusedError("the first run has been completed; sign in instead")
            expected = self._steward.places.first_run_code.read_text().strip()
            if not _same(code, expected):
                raise RefusedError(
                    "this is not the first-run code of this appliance: 12 letters and digits, printed at its start"
                    " and kept in the file first-run-code of its state directory",
                    "code",
                )
            school = text_of(school, "school", 100)
            row = _row(username, full_name, Role.COORDINATOR)
            _password(password_hash)
            before = self._steward.document, self._steward.written
            edit = Edit.of(("school",), before[1].school, school)
            policy = revise(apply(before[0], [edit]), self._clock.zone, before)
            note = Change(
                row["username"],
                Role.COORDINATOR.value,
                "first run",
                school,
                after=f"{row['full_name']} is {TITLES[Role.COORDINATOR]}",
            )
            with self._steward.changing(note, policy) as db:
                db.table("account").insert(
                    row | {"password_hash": password_hash, "state": "active"}
                )
            self._steward.places.first_run_code.unlink()

    def account(self, *, username: str) -> Account | None:
        """Return the account of that name, for signing in; None where it may not be used."""
        row = self._store.account(username.strip().lower())
        if row is None or not self._is_active(row):
            return None
        return Account(
            row["username"],
            row["full_name"],
            row["role"],
            row["password_hash"],
            row["session_epoch"],
            tuple(r for r in row["rooms"].split(",") if r),
            row["until"],
            self._store.language(row["username"]),
            bool(self._store.second_factor(row["username"])[0]),
        )

    def accounts(self, *, actor: str) -> tuple[AccountView, ...]:
        """Return all accounts."""
        self._demand(actor, Act.SEE_POLICY)
        return tuple(
            AccountView(
                row["username"],
                row["full_name"],
                row["role"],
                tuple(r for r in row["rooms"].split(",") if r),
                row["until"],
                "ended" if row["state"] == "active" and not self._is_active(row) else row["state"],
                bool(self._store.second_factor(row["username"])[0]),
            )
            for row in self._store.accounts()
        )

    def invite(
        self,
        *,
        username: str,
        full_name: str,
        role: str,
        rooms: tuple[str, ...] = (),
        until: str = "",
        reason: str,
        actor: str,
    ) -> Invitation:
        """Open an account; one that may approve changes needs somebody else's approval, once there is somebody."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.GRANT)
            its_role = next((r for r in ACCOUNT_ROLES if r.value == role), None)
            if its_role is None:
                words = ", ".join(r.value for r in ACCOUNT_ROLES)
                raise RefusedError(f"{role[:40]!r} is none of {words}", "role")
            row = _row(username, full_name, its_role)
            before = self._store.account(row["username"])
            if before and before["state"] != "ended":
                raise RefusedError(f"{row['username']!r} has an account already", "username")
            # Else it would be forgotten that there has been somebody who could approve.
            if before and approves_accounts(Role(before["role"])) and before["role"] != role:
                raise RefusedError(
                    f"{row['username']!r} was somebody with another role; take another user name",
                    "username",
                )
            row["rooms"] = ",".join(self._own_rooms(rooms, its_role))
            row["until"] = self._until(until)
            reason = text_of(reason, "reason", 500)
            code, fields = self._new_code()
            row |= fields
            # Ended accounts keep their name in the record: nobody signs in with an old session.
            row["session_epoch"] = before["session_epoch"] + 1 if before else 1
            waits = self._needs_somebody(who, its_role)
            row["state"] = "waiting" if waits else "invited"
            note = change(
                who,
                "asked for an account" if waits else "opened an account",
                row["username"],
                after=f"{row['full_name']}, {TITLES[its_role]}",
                reason=reason,
            )
            with self._store.noting(note, self._clock.now()) as db:
                db.table("account").upsert(row, pk="username")
                if waits:
                    self._ask(db, who, reason, _sentence(row, its_role), grants=row["username"])
            self._steward.look()
            return Invitation(row["username"], code, waits)

    def renew_invitation(self, *, username: str, reason: str, actor: str) -> Invitation:
        """Give somebody who has lost their password a new code; only whoever stands before the box can."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.GRANT)
            if not who.name.startswith(COMMAND_LINE):
                raise RefusedError(
                    "only the command line of the box gives a new code: gate account renew", "actor"
                )
            row = self._store.account(username)
            if row is None or row["state"] not in ("active", "invited"):
                raise RefusedError(f"{username[:60]!r} is no account", "username")
            others = [r for r in self._store.accounts() if r["username"] != username]
            if approves_accounts(Role(row["role"])) and any(
                approves_accounts(Role(r["role"])) and self._is_active(r) for r in others
            ):
                # Else whoever stands before the box could approve as somebody else.
                raise RefusedError(
                    "this account approves changes, and others do too: have it removed and invited again, which one"
                    " of them approves",
                    "username",
                )
            code, fields = self._new_code()
            note = change(who, "gave a new code", username, reason=text_of(reason, "reason", 500))
            with self._store.noting(note, self._clock.now()) as db:
                db.table("account").update(
                    username,
                    {
                        **fields,
                        "state": "invited",
                        "password_hash": "",
                        "session_epoch": row["session_epoch"] + 1,
                    },
                )
            self._steward.look()
            return Invitation(username, code, "")

    def accept_invitation(self, *, username: str, code: str, password_hash: str) -> None:
        """Set the first password of an account."""
        with self._steward.lock:
            row = self._store.account(username.strip().lower())
            wrong = RefusedError(
                "there is no open invitation with this user name and code; codes are good for"
                f" {INVITED_DAYS} days and once",
                "code",
            )
            if row is None or row["state"] not in ("invited", "waiting"):
                raise wrong
            if not secrets.compare_digest(_digest(code), row["invitation"]):
                self._note_failure(row, "gave a wrong invitation code")
                raise wrong
            if row["state"] == "waiting":
                raise RefusedError("this account waits for an approval: try again later", "code")
            if self._now() >= aware(row["invited_until"], self._clock.zone):
                raise wrong
            _password(password_hash)
            note = Change(row["username"], row["role"], "took up the invitation", row["username"])
            with self._store.noting(note, self._clock.now()) as db:
                db.table("account").update(
                    row["username"],
                    {"password_hash": password_hash, "state": "active", "invitation": ""},
                )

    def change_account(
        self, *, username: str, rooms: tuple[str, ...], until: str, reason: str, actor: str
    ) -> None:
        """Change a teacher's own rooms and groups, or when an account ends."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.GRANT)
            row = self._store.account(username)
            if row is None or row["state"] == "ended":
                raise RefusedError(f"{username[:60]!r} is no account", "username")
            if username == who.name:
                raise RefusedError("nobody changes their own account", "username")
            after = {
                "rooms": ",".join(self._own_rooms(rooms, Role(row["role"]))),
                "until": self._until(until),
            }
            if approves_accounts(Role(row["role"])) and after["until"] != row["until"]:
                raise RefusedError(
                    "this account may approve, so that its end takes somebody else's approval: ask for it to be"
                    " removed, or open another",
                    "until",
                )
            note = change(
                who,
                "changed an account",
                username,
                before=f"{row['rooms'] or 'no rooms'}, until {row['until'] or 'further notice'}",
                after=f"{after['rooms'] or 'no rooms'}, until {after['until'] or 'further notice'}",
                reason=text_of(reason, "reason", 500),
            )
            with self._store.noting(note, self._clock.now()) as db:
                db.table("account").update(username, after)

    def remove_account(self, *, username: str, reason: str, actor: str) -> str:
        """End an account and its sessions; never the last one that may grant accounts."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.GRANT)
            row = self._store.account(username)
            if row is None or row["state"] == "ended":
                raise RefusedError(f"{username[:60]!r} is no account", "username")
            reason = text_of(reason, "reason", 500)
            self._keep_somebody(username, "username")
            its_role = Role(row["role"])
            words = f"{row['full_name']}, {TITLES[its_role]}"
            # Nobody gets rid of those who would have to approve.
            waits = row["state"] == "active" and approves_accounts(its_role)
            if waits and any(
                p["ends"] == username
                for p in self._store.proposals(0, 500, waiting=True, username="")
            ):
                raise RefusedError("somebody has asked for its end already", "username")
            note = change(
                who,
                "asked for the end of an account" if waits else "ended an account",
                username,
                before=words,
                reason=reason,
            )
            with self._store.noting(note, self._clock.now()) as db:
                if waits:
                    self._ask(db, who, reason, f"{words}, has an account no longer", ends=username)
                else:
                    end_account(db, username)
            self._steward.look()
            return _WAITS if waits else ""

    def record_sign_in(self, *, username: str, address: str, succeeded: bool) -> None:
        """Write into the record who signed in or failed to."""
        row = self._store.account(username.strip().lower())
        if row is None:
            return  # What a stranger types is no entry: anybody could write the record full.
        if not succeeded:
            self._note_failure(row, "failed to sign in", address[:60])
            return
        note = Change(row["username"], row["role"], "signed in", address[:60])
        with self._store.noting(note, self._clock.now()):
            pass

    def choose_language(self, *, language: str, actor: str) -> None:
        """Have the pages speak to ``actor`` in that language from here on."""
        if language not in LANGUAGES:
            raise RefusedError(
                f"{language[:20]!r} is no language of the pages; allowed are {', '.join(LANGUAGES)}",
                "language",
            )
        self._store.set_language(self._somebody(actor).name, language)

    def offer_second_factor(self, *, actor: str) -> str:
        """Return a secret for an app that shows codes (TOTP, RFC 6238); nothing has changed yet."""
        self._somebody(actor)
        return str(pyotp.random_base32())

    def begin_second_factor(self, *, secret: str, code: str, actor: str) -> None:
        """Have ``actor`` sign in with a code besides the password from here on; ``code`` shows that their app has the secret."""
        who = self._somebody(actor)
        if not _SECRET.fullmatch(secret):
            raise RefusedError("this is no secret that was offered", "secret")
        step = _step_of(secret, code, self._now())
        if step is None:
            raise RefusedError(
                "this is not the code that the app shows now: 6 digits, each good for half a minute",
                "code",
            )
        note = change(who, "began to sign in with a second factor", who.name)
        with self._store.noting(note, self._clock.now()) as db:
            row = {"username": who.name, "secret": secret, "step": step}
            db.table("second_factor").upsert(row, pk="username")

    def end_second_factor(self, *, username: str, actor: str) -> None:
        """Have somebody sign in by the password alone: oneself, or with the right to grant, such as when a phone is lost."""
        who = self._who(actor)
        if actor != username:
            self._demand(actor, Act.GRANT)
        if not self._store.second_factor(username)[0]:
            raise RefusedError(f"{username[:60]!r} has no second factor", "username")
        note = change(who, "ended a second factor", username)
        with self._store.noting(note, self._clock.now()) as db:
            db.table("second_factor").delete(username)

    def check_second_factor(self, *, username: str, code: str) -> bool:
        """Tell whether ``code`` is what the account's app shows, and has not been used."""
        secret, _ = self._store.second_factor(username.strip().lower())
        step = _step_of(secret, code, self._now()) if secret else None
        return step is not None and self._store.use_step(username.strip().lower(), step)

    def make_recovery_codes(self, *, actor: str) -> tuple[str, ...]:
        """Return new codes to be kept on paper, each good for one ``recover``; those from before are void."""
        with self._steward.lock:
            who = self._somebody(actor)
            codes = [_random_letters(16) for _ in range(RECOVERY_CODES)]
            note = change(who, "printed recovery codes", who.name)
            with self._store.noting(note, self._clock.now()) as db:
                db.table("recovery_code").delete_where("username = ?", [who.name])
                db.table("recovery_code").insert_all(
                    {"digest": _digest(code), "username": who.name, "used": ""} for code in codes
                )
            self._steward.look()
            return tuple(_spaced(code) for code in codes)

    def recovery_codes(self, *, actor: str) -> int:
        """Return how many recovery codes of one's own are left."""
        return sum(
            not used for used in self._store.recovery_codes(self._somebody(actor).name).values()
        )

    def recover(self, *, username: str, code: str, password_hash: str) -> None:
        """Set another password by a recovery code, which is told to all; sessions and a second factor end."""
        with self._steward.lock:
            row = self._store.account(username.strip().lower())
            wrong = RefusedError(
                "there is no recovery code like this for this user name; each is good once", "code"
            )
            if row is None or not self._is_active(row):
                raise wrong
            given = _digest(code)
            if self._store.recovery_codes(row["username"]).get(given) != "":
                self._note_failure(row, "gave a wrong recovery code")
                raise wrong
            _password(password_hash)
            note = Change(row["username"], row["role"], "used a recovery code", row["username"])
            with self._store.noting(note, self._clock.now()) as db:
                now = self._now().isoformat(timespec="seconds")
                db.table("recovery_code").update(given, {"used": now})
                db.table("second_factor").delete_where("username = ?", [row["username"]])
                changed = {
                    "password_hash": password_hash,
                    "session_epoch": row["session_epoch"] + 1,
                }
                db.table("account").update(row["username"], changed)
            self._steward.look()

    def change_password(self, *, password_hash: str, actor: str) -> None:
        """Set another password of one's own; all sessions end."""
        who = self._somebody(actor)
        _password(password_hash)
        row = self._store.account(who.name)
        epoch = row["session_epoch"] + 1 if row else 1
        note = change(who, "changed their password", who.name)
        with self._store.noting(note, self._clock.now()) as db:
            changed = {"password_hash": password_hash, "session_epoch": epoch}
            db.table("account").update(who.name, changed)

    def _somebody(self, actor: str) -> Who:
        """Return who ``actor`` is, if it is somebody with an account of their own."""
        who = self._who(actor)
        if self._store.account(who.name) is None:
            raise RefusedError("this is for somebody who signs in", "actor")
        return who

    def end_sessions(self, *, username: str, actor: str) -> None:
        """End every session of an account: one's own, or with the right to grant."""
        who = self._who(actor)
        if actor != username:
            self._demand(actor, Act.GRANT)
        row = self._store.account(username.strip().lower())
        if row is None:
            raise RefusedError(f"{username[:60]!r} is no account", "username")
        note = change(who, "ended sessions", row["username"])
        with self._store.noting(note, self._clock.now()) as db:
            db.table("account").update(row["username"], {"session_epoch": row["session_epoch"] + 1})

    def _note_failure(self, row: dict[str, Any], action: str, subject: str = "") -> None:
        if time.monotonic() < self._failures_noted_s + FAILURES_EVERY_S:
            return
        self._failures_noted_s = time.monotonic()
        note = Change(row["username"], row["role"], action, subject or row["username"])
        with self._store.noting(note, self._clock.now()):
            pass

    def _keep_somebody(self, username: str, field: str) -> None:
        """Refuse that ``username`` ends where nobody else would be left to grant accounts."""
        others = [r for r in self._store.accounts() if r["username"] != username]
        # One that ends by itself would leave nobody.
        if not any(_may(r, Act.GRANT) and self._is_active(r) and not r["until"] for r in others):
            raise RefusedError(
                "this is the last account without an end that may grant accounts", field
            )

    def _ask(
        self,
        db: Database,
        who: Who,
        reason: str,
        sentence: str,
        *,
        grants: str = "",
        ends: str = "",
    ) -> None:
        """Have somebody else approve that an account is opened or ended."""
        now = self._now()
        db.table("proposal").insert(
            {
                "at": now.isoformat(timespec="seconds"),
                "username": who.name,
                "role": who.role.value,
                "reason": reason,
                "edits": "[]",
                "grants": grants,
                "ends": ends,
                "sentences": json.dumps([sentence]),
                "approvals": 1,
                "state": "waiting",
                "lapses": (now + timedelta(days=INVITED_DAYS)).isoformat(),
            }
        )

    def _new_code(self) -> tuple[str, dict[str, str]]:
        """Return a one-time code as people read it, and what the store keeps of it."""
        letters = _random_letters(12)
        until = self._now() + timedelta(days=INVITED_DAYS)
        return _spaced(letters), {
            "invitation": _digest(letters),
            "invited_until": until.isoformat(),
        }

    def _needs_somebody(self, who: Who, role: Role) -> str:
        """Return whose approval the account of ``role`` needs, as a sentence; "" where nobody's.

        The school's second approver is the one whom nobody else could approve.
        """
        # Ended accounts count: nobody becomes the only one by ending those of the others.
        others = [r for r in self._store.accounts() if r["username"] != who.name]
        if not approves_accounts(role) or not any(
            approves_accounts(Role(r["role"])) for r in others
        ):
            return ""
        return _WAITS

    def _own_rooms(self, rooms: tuple[str, ...], role: Role) -> list[str]:
        written = self._steward.written
        known = [*written.rooms, *written.groups]
        for room in rooms:
            if room not in known:
                raise RefusedError(
                    f"{room[:40]!r} is no room or group; there are {', '.join(known)}", "rooms"
                )
        if rooms and role is not Role.TEACHER:
            raise RefusedError("only a teacher has rooms or groups of their own", "rooms")
        return sorted(set(rooms))

    def _until(self, until: str) -> str:
        if not until:
            return ""
        try:
            time_ = aware(until, self._clock.zone)
        except ValueError:
            raise RefusedError(f"{until[:40]!r} is no date such as 2027-07-21", "until") from None
        if time_ <= self._now():
            raise RefusedError(f"{until} is in the past", "until")
        return time_.isoformat()


def end_account(db: Database, username: str) -> None:
    """End an account and its sessions; within a change."""
    db.execute(
        "update account set state = 'ended', password_hash = '', invitation = '', session_epoch = session_epoch + 1"
        " where username = ?",
        [username],
    )
    for table in ("second_factor", "recovery_code"):
        db.table(table).delete_where("username = ?", [username])
    # Else it would grant whatever account is next asked for under this name.
    db.execute(
        "update proposal set state = 'withdrawn' where (grants = ? or ends = ?) and state = 'waiting'",
        [username, username],
    )


def _row(username: str, full_name: str, role: Role) -> dict[str, Any]:
    username = text_of(username, "username", 40).lower()
    if not USERNAME.fullmatch(username) or username == BUTTON:
        raise RefusedError(
            "write letters a to z, digits, full stops, hyphens or underscores, beginning with a letter",
            "username",
        )
    return {
        "username": username,
        "full_name": text_of(full_name, "full_name", 100),
        "role": role.value,
        "password_hash": "",
        "session_epoch": 1,
        "rooms": "",
        "until": "",
        "invitation": "",
        "invited_until": "",
        "state": "",
    }


def _sentence(row: dict[str, Any], role: Role) -> str:
    return f"{row['full_name']} ({row['username']}) gets an account as {TITLES[role]}"


def _may(row: dict[str, Any], act: Act) -> bool:
    return leave(Role(row["role"]), act) is not Leave.NO


def _password(password_hash: str) -> None:
    if not password_hash.startswith("$argon2id$"):
        raise RefusedError("the password must come as an argon2id hash", "password_hash")


def _step_of(secret: str, code: str, now: datetime) -> int | None:
    """Return the step (RFC 6238, section 4) whose code it is, of the one that is on, the last and the next; None where none is."""
    totp = pyotp.TOTP(secret)
    on = int(now.timestamp()) // totp.interval
    digits = re.sub(r"\s", "", code)
    if not re.fullmatch("[0-9]{6}", digits):
        return None
    steps = (on, on - 1, on + 1)
    return next((s for s in steps if secrets.compare_digest(totp.generate_otp(s), digits)), None)


def _random_letters(number: int) -> str:
    """Return letters of five random bits each."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(number))


def _spaced(code: str) -> str:
    """Return a code as people read it."""
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))


def _bare(code: str) -> str:
    """Return a code as it counts: however its hyphens and letter case were typed."""
    return re.sub("[^A-Z0-9]", "", code.upper())


def _same(code: str, expected: str) -> bool:
    return secrets.compare_digest(_bare(code).encode(), _bare(expected).encode())


def _digest(code: str) -> str:
    return hashlib.sha256(_bare(code).encode()).hexdigest()
