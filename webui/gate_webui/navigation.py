"""The pages in the navigation: a line of sections, and a second line for the pages of the one in use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from flask import request

from gate_core.desk import UnavailableError
from gate_core.roles import Act
from gate_webui import access, proposals
from gate_webui.proposing import fully
from gate_webui.texts import lazy_gettext


@dataclass(frozen=True, slots=True)
class Page:
    """A page with a place in the navigation."""

    title: str
    endpoint: str
    act: Act
    """Shown to roles that may do this."""
    whole: bool = False
    """Only to those that may do it for the whole school."""

    @property
    def here(self) -> bool:
        """Whether the request is for this page or one below it."""
        return (request.endpoint or "").split(".")[0] == self.endpoint.split(".")[0]


@dataclass(frozen=True, slots=True)
class Section:
    """Pages that belong together."""

    title: str
    pages: tuple[Page, ...]
    """Those for the role in question; the section leads to the first."""
    waiting: int = 0
    """What waits there for an answer of who is signed in."""

    @property
    def here(self) -> bool:
        """Whether the request is for one of its pages."""
        return any(page.here for page in self.pages)


_CHANGES: Final = lazy_gettext("Changes")

_SECTIONS: Final = (
    Section(lazy_gettext("Today"), (Page(lazy_gettext("Today"), "today.page", Act.SEE_POLICY),)),
    Section(
        lazy_gettext("Policy"),
        (
            Page(lazy_gettext("Acceptable use"), "acceptable_use.index", Act.SEE_POLICY),
            Page(lazy_gettext("Services and exceptions"), "exceptions.index", Act.SEE_POLICY),
            Page(lazy_gettext("Direct connections"), "direct.index", Act.SEE_POLICY),
            Page(lazy_gettext("Times"), "times.index", Act.SEE_POLICY),
            Page(lazy_gettext("Lists"), "lists.index", Act.SEE_POLICY),
            Page(lazy_gettext("Policy text"), "policy_text.index", Act.PROPOSE, whole=True),
        ),
    ),
    Section(_CHANGES, (Page(lazy_gettext("Changes"), "proposals.index", Act.SEE_POLICY),)),
    Section(
        lazy_gettext("People and devices"),
        (
            Page(lazy_gettext("Devices"), "devices.index", Act.LEND),
            Page(lazy_gettext("Rooms and networks"), "places.index", Act.LEND),
            Page(lazy_gettext("People"), "people.index", Act.LEND),
            Page(lazy_gettext("Accounts"), "accounts.index", Act.GRANT),
        ),
    ),
    Section(
        lazy_gettext("In class"),
        (
            Page(lazy_gettext("My class"), "lessons.index", Act.LESSON),
            Page(lazy_gettext("Paused and suspended"), "holds.index", Act.PAUSE),
        ),
    ),
    Section(
        lazy_gettext("Activity"),
        (
            Page(lazy_gettext("Activity"), "activity.page", Act.SEARCH_ACTIVITY),
            Page(lazy_gettext("Data use"), "usage.today", Act.SEARCH_ACTIVITY),
            Page(lazy_gettext("Check a site"), "why.page", Act.EXPLAIN),
        ),
    ),
    Section(
        lazy_gettext("Record"), (Page(lazy_gettext("Record"), "record.page", Act.READ_RECORD),)
    ),
)


def sections() -> tuple[Section, ...]:
    """Return the sections for who is signed in."""
    found = []
    for section in _SECTIONS:
        pages = tuple(p for p in section.pages if (fully(p.act) if p.whole else access.may(p.act)))
        if pages:
            waiting = _to_answer() if section.title == _CHANGES else 0
            found.append(Section(section.title, pages, waiting))
    return tuple(found)


def _to_answer() -> int:
    try:
        return proposals.to_answer(access.kept().services.desk.status())
    except UnavailableError:
        # The page that tells of it has a navigation too.
        return 0
