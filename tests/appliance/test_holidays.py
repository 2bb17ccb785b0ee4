import subprocess
import sys
from datetime import date

import pytest

from gate_appliance.holidays import NATIONS, bank_holidays


def days(nation, first="2026-01-01", last="2026-12-31"):
    found = bank_holidays(date.fromisoformat(first), date.fromisoformat(last), nation)
    return [day.isoformat()[5:] for day, _ in found]


# As www.gov.uk/bank-holidays lists them.
@pytest.mark.parametrize(
    ("nation", "first", "last", "expected"),
    [
        pytest.param(
            "England",
            "2027-01-01",
            "2027-12-31",
            "01-01 03-26 03-29 05-03 05-31 08-30 12-27 12-28",
            id="England, Christmas on a weekend",
        ),
        pytest.param(
            "England",
            "2022-01-01",
            "2022-12-31",
            "01-03 04-15 04-18 05-02 06-02 06-03 08-29 09-19 12-26 12-27",
            id="England, a jubilee and a state funeral",
        ),
        pytest.param(
            "Wales",
            "2026-01-01",
            "2026-12-31",
            "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28",
            id="Wales",
        ),
        pytest.param(
            "Scotland",
            "2027-01-01",
            "2027-12-31",
            "01-01 01-04 03-26 05-03 05-31 08-02 11-30 12-27 12-28",
            id="Scotland, no Easter Monday",
        ),
        pytest.param(
            "Northern Ireland",
            "2026-01-01",
            "2026-12-31",
            "01-01 03-17 04-03 04-06 05-04 05-25 07-13 08-31 12-25 12-28",
            id="Northern Ireland, two more",
        ),
    ],
)
def test_bank_holidays_are_the_governments(nation, first, last, expected):
    assert days(nation, first, last) == expected.split()


def test_bank_holidays_include_both_ends_and_pass_the_new_year():
    assert bank_holidays(date(2026, 12, 28), date(2027, 1, 1)) == (
        (date(2026, 12, 28), "Boxing Day (observed)"),
        (date(2027, 1, 1), "New Year's Day"),
    )


@pytest.mark.parametrize(
    ("last", "nation", "message"),
    [
        pytest.param(
            date(2026, 9, 2),
            "Cornwall",
            f"nation: 'Cornwall' is none of {', '.join(NATIONS)}",
            id="no nation",
        ),
        pytest.param(
            date(2026, 8, 31),
            "England",
            "before the last: 2026-09-01 to 2026-08-31",
            id="backwards",
        ),
    ],
)
def test_bank_holidays_refuse(last, nation, message):
    with pytest.raises(ValueError, match=message):
        bank_holidays(date(2026, 9, 1), last, nation)


def test_bank_holidays_load_their_package_only_when_asked():
    code = "import sys, gate_appliance.holidays; sys.exit('holidays' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
