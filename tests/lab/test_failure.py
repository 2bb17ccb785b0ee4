"""Every part is killed in turn while pupils try: nothing leaks, and service is back without a hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from appliance import PARTS, Appliance
from clients import curl
from laboratory import Laboratory
from pupils import leaks, pupils_trying, wait_until_served
from sites import ALLOWED, SHOP


@pytest.fixture(scope="module")
def school(namespaces: None) -> Iterator[Appliance]:
    """An appliance of this module alone: what is broken here must not be in others' way."""
    with Laboratory("failure") as lab, Appliance(lab) as appliance:
        appliance.seed()
        yield appliance


@pytest.mark.parametrize("part", PARTS)
def test_part_killed_leaks_nothing_and_comes_back(school: Appliance, part: str) -> None:
    lab = school.lab
    before = lab.mark()
    with pupils_trying(lab):
        killed = school.kill(part)
        lab.wait_for(lambda: school.living_pid(part) not in {None, killed}, f"another {part}", 15)
        school.wait_until_filtering()
        wait_until_served(school)
    assert leaks(lab, before) == []


def test_all_parts_killed_at_once_leaks_nothing_and_comes_back(school: Appliance) -> None:
    lab = school.lab
    before = lab.mark()
    with pupils_trying(lab):
        for part in PARTS:
            school.kill(part)
        school.wait_until_filtering()
        wait_until_served(school)
    assert leaks(lab, before) == []


def test_supervisor_killed_leaks_nothing(school: Appliance) -> None:
    lab = school.lab
    before = lab.mark()
    with pupils_trying(lab):
        school.kill_supervisor()
        lab.wait_for(
            lambda: not any(school.living_pid(part) for part in PARTS),
            "the parts to end with it",
            15,
        )
        curl(lab, "laptop", f"https://{ALLOWED}/", deadline_s=3)
        # As a service manager would.
        school.start()
        school.wait_until_filtering()
        wait_until_served(school)
    assert leaks(lab, before) == []


def test_stopped_appliance_leaks_nothing(school: Appliance) -> None:
    lab = school.lab
    before = lab.mark()
    with pupils_trying(lab):
        school.stop()
        curl(lab, "laptop", f"https://{ALLOWED}/", deadline_s=3)
        school.start()
        school.wait_until_filtering()
        wait_until_served(school)
    assert leaks(lab, before) == []


def test_policy_of_before_holds_after_a_kill(school: Appliance) -> None:
    lab = school.lab
    with school.cells({"ks2": "acceptable"}, "shopping"):
        school.kill("steward")
        assert curl(lab, "laptop", f"http://{SHOP}/").status == 200
        school.wait_until_filtering()
        assert curl(lab, "laptop", f"http://{SHOP}/").status == 200
