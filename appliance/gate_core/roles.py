"""Who may do what: one table, asked by the desk for everything that anybody does."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Role(Enum):
    """What somebody is in the school."""

    HEAD = "head"
    SAFEGUARDING = "safeguarding"
    """Designated safeguarding lead (DSL)."""
    COORDINATOR = "coordinator"
    """E-safety coordinator."""
    IT = "it"
    """Technician or provider; also whoever works at the command line of the box."""
    GOVERNOR = "governor"
    TEACHER = "teacher"
    AUDITOR = "auditor"
    """Somebody from outside who reads the evidence."""
    PANEL = "panel"
    """The buttons on the wall: no account has this role."""


TITLES: Final = {
    Role.HEAD: "Head teacher",
    Role.SAFEGUARDING: "Safeguarding lead",
    Role.COORDINATOR: "E-safety coordinator",
    Role.IT: "IT",
    Role.GOVERNOR: "Governor",
    Role.TEACHER: "Teacher",
    Role.AUDITOR: "Auditor",
    Role.PANEL: "Button",
}

ACCOUNT_ROLES: Final = tuple(role for role in Role if role is not Role.PANEL)


class Act(Enum):
    """What somebody may want to do."""

    SEE_POLICY = "see the policy"
    EXPLAIN = "check a site"
    SEARCH_ACTIVITY = "search the log"
    READ_RECORD = "read the record"
    SIGN_RECORD = "sign the record"
    PROPOSE = "propose a change"
    APPROVE = "approve a change"
    PAUSE = "pause the internet"
    LESSON = "set a lesson"
    LEND = "lend a device"
    ISOLATE = "isolate a device"
    SUSPEND = "suspend access"
    GRANT = "grant an account"
    MANAGE_LISTS = "manage lists"


class Leave(Enum):
    """What the table says."""

    NO = "no"
    YES = "yes"
    OWN = "own"
    """Their own rooms, classes and requests only."""
    SECOND = "second"
    """As the second of two who approve, never alone."""
    MASKED = "masked"
    """Without the names of people."""


_NO, _YES, _OWN, _SECOND, _MASKED = Leave.NO, Leave.YES, Leave.OWN, Leave.SECOND, Leave.MASKED

_COLUMNS: Final = (
    Role.HEAD, Role.SAFEGUARDING, Role.COORDINATOR, Role.IT,
    Role.GOVERNOR, Role.TEACHER, Role.AUDITOR, Role.PANEL,
)  # fmt: skip

_TABLE: Final = {
    Act.SEE_POLICY:      (_YES, _YES, _YES, _YES,    _YES, _YES, _YES, _NO),
    Act.EXPLAIN:         (_YES, _YES, _YES, _YES,    _YES, _YES, _YES, _NO),
    Act.SEARCH_ACTIVITY: (_YES, _YES, _YES, _MASKED, _NO,  _NO,  _NO,  _NO),
    Act.READ_RECORD:     (_YES, _YES, _YES, _YES,    _YES, _OWN, _YES, _NO),
    Act.SIGN_RECORD:     (_NO,  _NO,  _NO,  _NO,     _YES, _NO,  _NO,  _NO),
    Act.PROPOSE:         (_YES, _YES, _YES, _YES,    _NO,  _OWN, _NO,  _NO),
    Act.APPROVE:         (_YES, _YES, _YES, _SECOND, _NO,  _NO,  _NO,  _NO),
    Act.PAUSE:           (_YES, _YES, _YES, _YES,    _NO,  _OWN, _NO,  _YES),
    Act.LESSON:          (_YES, _YES, _YES, _NO,     _NO,  _OWN, _NO,  _NO),
    Act.LEND:            (_YES, _YES, _YES, _YES,    _NO,  _OWN, _NO,  _NO),
    Act.ISOLATE:         (_YES, _YES, _YES, _YES,    _NO,  _NO,  _NO,  _NO),
    Act.SUSPEND:         (_YES, _YES, _YES, _NO,     _NO,  _NO,  _NO,  _NO),
    Act.GRANT:           (_NO,  _NO,  _YES, _YES,    _NO,  _NO,  _NO,  _NO),
    Act.MANAGE_LISTS:    (_NO,  _NO,  _YES, _YES,    _NO,  _NO,  _NO,  _NO),
}  # fmt: skip


def leave(role: Role, act: Act) -> Leave:
    """Return what ``role`` may do; the illegal tier is in no row, for nobody may lower it."""
    return _TABLE[act][_COLUMNS.index(role)]


def holders(act: Act) -> tuple[Role, ...]:
    """Return the roles of accounts that may do ``act`` by themselves and for the whole school, for messages."""
    return tuple(role for role in ACCOUNT_ROLES if leave(role, act) is Leave.YES)
