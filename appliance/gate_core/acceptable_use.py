"""The acceptable-use table: 22 rows, five columns, and the cells each group is shipped with.

The rows are those of the table that UK schools print in their e-safety policy; the wording is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from gate_core.categories import CATEGORIES
from gate_core.timetable import Timetable, WeeklySpan


class Cell(Enum):
    """A column of the table: what the policy says of an activity for one group."""

    ACCEPTABLE = "acceptable"
    TIMES = "times"
    """Acceptable at certain times."""
    NOMINATED = "nominated"
    """Acceptable for nominated users."""
    UNACCEPTABLE = "unacceptable"
    ILLEGAL = "illegal"
    """Unacceptable and illegal."""


STRICTNESS: Final = {cell: place for place, cell in enumerate(Cell)}
"""Higher is stricter: the columns of the table from left to right."""


@dataclass(frozen=True, slots=True)
class Row:
    """One activity of the table."""

    id: str
    number: int
    """Place in the table, from 1."""
    title: str
    categories: int
    """Mask of the categories that this row decides."""
    services: int = 0
    """Mask of the services that this row decides, instead of the rows of their categories."""

    @property
    def locked(self) -> bool:
        """Whether the row belongs to the illegal tier, which nobody can change."""
        return self.id in ILLEGAL_ROWS

    @property
    def by_supervision(self) -> bool:
        """Whether technology can't tell this activity, so that people have to."""
        return not (self.categories or self.services)


_TITLES: Final = (
    ("child-abuse", "Images of child sexual abuse"),
    ("grooming", "Grooming or arranging sexual acts with children"),
    ("extreme-pornography", "Extreme pornography"),
    ("criminal-hatred", "Criminally racist material, incitement to hatred, terrorism"),
    ("pornography", "Pornography"),
    ("discrimination", "Promoting discrimination of any kind"),
    ("violence", "Threats, promotion of violence or of mental harm"),
    ("ethos", "Material that offends or goes against the ethos of the school"),
    ("private-business", "Running a private business"),
    ("bypass", "Getting round the filtering or other safeguards"),
    ("copyright", "Infringing copyright"),
    ("confidential", "Revealing confidential information or passwords"),
    ("malware", "Making or spreading viruses and harmful files"),
    ("unfair-usage", "Unfair use: large transfers that slow others down"),
    ("games-educational", "Online games (educational)"),
    ("games", "Online games (not educational)"),
    ("gambling", "Online gambling"),
    ("shopping", "Online shopping"),
    ("file-sharing", "File sharing"),
    ("social-media", "Social media"),
    ("messaging", "Messaging apps"),
    ("video", "Video sharing, such as YouTube"),
)

ILLEGAL_ROWS: Final = frozenset(
    ("child-abuse", "grooming", "extreme-pornography", "criminal-hatred")
)

ROWS: Final = tuple(
    Row(id_, number, title, sum(c.mask for c in CATEGORIES if c.row == id_))
    for number, (id_, title) in enumerate(_TITLES, start=1)
)

_PRINTED: Final = {
    **{row.id: Cell.UNACCEPTABLE for row in ROWS},
    **dict.fromkeys(ILLEGAL_ROWS, Cell.ILLEGAL),
    "games-educational": Cell.ACCEPTABLE,
    **dict.fromkeys(("games", "shopping", "social-media", "messaging", "video"), Cell.TIMES),
}
# Pupils of a primary school are under 13: shopping and the services with that age limit stay off.
_PUPILS: Final = {
    **_PRINTED,
    **dict.fromkeys(("shopping", "social-media", "messaging"), Cell.UNACCEPTABLE),
}
_STRICTEST: Final = {
    row.id: Cell.ILLEGAL if row.id in ILLEGAL_ROWS else Cell.UNACCEPTABLE for row in ROWS
}

SHIPPED_CELLS: Final[Mapping[str, Mapping[str, Cell]]] = {
    "ks1": {**_PUPILS, "games": Cell.UNACCEPTABLE, "video": Cell.UNACCEPTABLE},
    "ks2": _PUPILS,
    "staff": {**_PRINTED, "video": Cell.ACCEPTABLE},
    "guest": {**_PRINTED, "games": Cell.UNACCEPTABLE},
    "infrastructure": _STRICTEST,
    # Whoever looks into an incident may have to see what happened; who that is, is written down first.
    "investigation": {
        **_PRINTED,
        **dict.fromkeys(
            (
                "pornography",
                "discrimination",
                "violence",
                "ethos",
                "social-media",
                "messaging",
                "video",
            ),
            Cell.NOMINATED,
        ),
    },
    "quarantine": _STRICTEST,
}
"""Group id to row id to cell, as a new appliance has them."""

_SCHOOL_DAYS: Final = frozenset(range(5))

SHIPPED_TIMETABLE: Final = Timetable(
    spans=(
        WeeklySpan(_SCHOOL_DAYS, 0, 8 * 60 + 45, "Before school"),
        WeeklySpan(_SCHOOL_DAYS, 12 * 60, 13 * 60, "Lunch"),
        WeeklySpan(_SCHOOL_DAYS, 15 * 60 + 30, 24 * 60, "After school"),
        WeeklySpan(frozenset((5, 6)), 0, 24 * 60, "Weekend"),
    )
)
"""The certain times of a new appliance: outside lessons."""
