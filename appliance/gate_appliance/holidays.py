"""The bank holidays of the United Kingdom, to be added to a school's term dates."""

from __future__ import annotations

from datetime import date
from typing import Final

NATIONS: Final = ("England", "Wales", "Scotland", "Northern Ireland")


def bank_holidays(first: date, last: date, nation: str = "England") -> tuple[tuple[date, str], ...]:
    """Return the bank holidays from ``first`` to ``last``, both included, in their order.

    One that falls on a weekend is told by its substitute day only, as the government lists them.

    Raises:
        ValueError: ``nation`` is none of ``NATIONS``, or ``last`` lies before ``first``.
    """
    # Here, as it takes 17 MB and 50 ms (November 2026), for a button that is pressed once a year.
    from holidays import country_holidays  # noqa: PLC0415  # see above

    if nation not in NATIONS:
        raise ValueError(f"nation: {nation!r} is none of {', '.join(NATIONS)}")
    if last < first:
        raise ValueError(f"the first day comes before the last: {first} to {last}")
    years = range(first.year, last.year + 1)
    found = country_holidays("GB", subdiv=nation, years=years, language="en_GB")
    return tuple(
        (day, title)
        for day, title in sorted(found.items())
        if first <= day <= last and day.weekday() < 5
    )
