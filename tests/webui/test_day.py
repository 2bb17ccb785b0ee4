import pytest

from gate_core.desk import HourView
from gate_webui.day import WIDTH, GroupDay, picture_of

TITLES = {"ks2": "Key Stage 2", "staff": "Staff"}


def test_picture_adds_up_by_hour_and_by_group():
    hours = [
        HourView(9, "ks2", 30, 5),
        HourView(9, "staff", 10, 0),
        HourView(11, "ks2", 60, 0),
        HourView(11, "gone", 1, 1),
    ]
    picture = picture_of(hours, TITLES)
    assert picture.by_hour == ((9, 40, 5), (11, 61, 1))
    assert picture.by_group == (
        GroupDay("Key Stage 2", 90, 5),
        GroupDay("Staff", 10, 0),
        GroupDay("gone", 1, 1),
    )
    allowed, blocked = picture.rows
    assert [(bar.hour, bar.number) for bar in allowed.bars] == [(9, 40), (11, 61)]
    assert [(bar.hour, bar.number) for bar in blocked.bars] == [(9, 5), (11, 1)]
    assert (allowed.highest, blocked.highest) == (61, 5)


@pytest.mark.parametrize("hours", [{10: 7}, {0: 1, 23: 90_000}, dict.fromkeys(range(24), 3)])
def test_picture_stays_within_its_frame(hours):
    picture = picture_of([HourView(h, "ks2", n, n // 2) for h, n in hours.items()], TITLES)
    bars = [bar for row in picture.rows for bar in row.bars]
    assert all(bar.x >= 0 and bar.x + bar.width <= WIDTH for bar in bars)
    assert all(bar.y >= 0 and bar.y + bar.height <= picture.height for bar in bars)
    drawn = [hour for _, hour in picture.hours]
    assert drawn == list(range(drawn[0], drawn[-1] + 1))
    assert {8, 16, *hours} <= set(drawn)


def test_picture_of_a_small_number_beside_a_large_one_can_be_seen():
    row = picture_of([HourView(9, "ks2", 1, 0), HourView(10, "ks2", 90_000, 0)], TITLES).rows[0]
    assert row.bars[0].height >= 1


def test_there_is_no_picture_of_nothing():
    assert picture_of([], TITLES) is None
