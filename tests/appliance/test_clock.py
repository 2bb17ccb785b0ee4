import os
from datetime import UTC, datetime, timedelta

import pytest

from gate_appliance.clock import RELEASED, SystemClock


@pytest.fixture
def clock_at(tmp_path):
    """A clock on a machine that last remembered a certain time."""

    def make(remembered: datetime | None) -> SystemClock:
        if remembered:
            (tmp_path / "clock").touch()
            os.utime(tmp_path / "clock", (remembered.timestamp(),) * 2)
        return SystemClock("Europe/London", tmp_path)

    return make


def test_now_is_in_the_school_s_zone(clock_at):
    now = clock_at(None).now()
    assert now is not None
    assert str(now.tzinfo) == "Europe/London"
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)  # noqa: TID251  # what it is compared with


def test_now_behind_what_was_remembered_is_not_known(clock_at):
    tomorrow = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251  # the machine's own clock stands behind it
    clock = clock_at(tomorrow)
    assert clock.now() is None
    assert clock.now_or_floor() == tomorrow


def test_now_before_the_program_was_written_is_not_known(clock_at):
    assert (
        clock_at(datetime(1970, 1, 1, tzinfo=UTC))._floor == RELEASED.timestamp()
    )  # no clock is set back here


def test_remember_keeps_a_known_time_and_no_other(clock_at, tmp_path):
    clock_at(None).remember()
    kept = (tmp_path / "clock").stat().st_mtime
    assert abs(kept - datetime.now(UTC).timestamp()) < 60  # noqa: TID251  # what it is compared with
    tomorrow = datetime.now(UTC) + timedelta(days=1)  # noqa: TID251  # the machine's own clock stands behind it
    clock_at(tomorrow).remember()
    assert (tmp_path / "clock").stat().st_mtime == pytest.approx(tomorrow.timestamp())
