"""What every part of the desk stands on: who asks, what their role allows, and how texts are checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from gate_appliance.steward import Steward
from gate_appliance.store import Change
from gate_core.clients import MalformedMacError, parse_mac
from gate_core.desk import USERNAME, RefusedError
from gate_core.roles import TITLES, Act, Leave, Role, holders, leave
from gate_core.written import aware

COMMAND_LINE: Final = "command line"
BUTTON: Final = "button"
"""Actors that are no accounts."""


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks the desk for something."""

    name: str
    role: Role
    rooms: frozenset[str] = frozenset()
    """Rooms and groups that are a teacher's own."""

    def is_also(self, name: str) -> bool:
        """Tell whether ``name`` may be the same person: at the command line anybody can take any name."""
        at_box = f"{COMMAND_LINE} "
        return name == self.name or (name.startswith(at_box) and self.name.startswith(at_box))


class Counter:
    """The base of the desk's parts."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._store = steward.store
        self._clock = steward.clock

    def _who(self, actor: str) -> Who:
        """Return who ``actor`` is.

        Raises:
            RefusedError: Nobody of that name may do anything here.
        """
        # No user name has a space.
        if actor.startswith(f"{COMMAND_LINE} ") and actor.isprintable():
            return Who(actor[:100], Role.IT)
        if actor == BUTTON:
            return Who(BUTTON, Role.PANEL)
        # What is no user name is asked of nobody: SQLite can't even be asked for every text.
        account = self._store.account(actor) if USERNAME.fullmatch(actor) else None
        if account is None or not self._is_active(account):
            raise RefusedError(f"{actor[:60]!r} is no account that may be used", "actor")
        return Who(actor, Role(account["role"]), frozenset(_rooms(account)))

    def _demand(self, actor: str, act: Act) -> tuple[Who, Leave]:
        """Return who ``actor`` is and how far their role may ``act``.

        Raises:
            RefusedError: It may not.
        """
        who = self._who(actor)
        allowed = leave(who.role, act)
        if allowed is Leave.NO:
            raise not_allowed(who, act)
        return who, allowed

    def _is_active(self, account: dict[str, object]) -> bool:
        """Tell whether an account as stored may be used."""
        if account["state"] != "active":
            return False
        until, now = str(account["until"]), self._clock.now()
        return not until or (now is not None and now < aware(until, self._clock.zone))

    def _now(self) -> datetime:
        return self._clock.now_or_floor()


def approves_accounts(role: Role) -> bool:
    """Tell whether ``role`` may approve the account of somebody who approves.

    Where all who approve changes have left, a governor or whoever stands before the box still can.
    """
    return role is Role.GOVERNOR or leave(role, Act.APPROVE) is not Leave.NO


def not_allowed(who: Who, act: Act) -> RefusedError:
    """Return the refusal for somebody whose role may not ``act``."""
    titles = ", ".join(TITLES[role] for role in holders(act))
    return RefusedError(f"{TITLES[who.role]} may not {act.value}; allowed are: {titles}", "actor")


def change(who: Who, action: str, subject: str, **more: str) -> Change:
    """Return what the record keeps of what ``who`` does."""
    return Change(who.name, who.role.value, action, subject, **more)


def text_of(text: str, field: str, most: int, least: int = 1) -> str:
    """Return a text that a person wrote, with single spaces.

    Raises:
        RefusedError: It is too short, too long, or not printable.
    """
    text = " ".join(text.split())
    if not least <= len(text) <= most:
        raise RefusedError(f"write {least} to {most} characters", field)
    if not text.isprintable():
        raise RefusedError("write letters, digits and signs: no control characters", field)
    return text


def mac_of(text: str) -> str:
    """Return a MAC address that a person wrote.

    Raises:
        RefusedError: It is none.
    """
    try:
        return parse_mac(text)
    except MalformedMacError as e:
        raise RefusedError(str(e), "mac") from e


def minutes_of(minutes: int, most: int) -> int:
    """Return a number of minutes.

    Raises:
        RefusedError: It is not from 1 to ``most``.
    """
    if not 1 <= minutes <= most:
        raise RefusedError(f"{minutes} is not a number of minutes from 1 to {most}", "minutes")
    return minutes


def _rooms(account: dict[str, object]) -> list[str]:
    return [room for room in str(account["rooms"]).split(",") if room]
