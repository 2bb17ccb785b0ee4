"""The laboratory as fixtures: one with an appliance for the whole session, and the means to make others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import Appliance
from clients import dig, openssl
from laboratory import Laboratory, LaboratoryError
from plan import LAPTOP, UNRESOLVED, address_of

from gate_core.edits import Edit
from gate_core.given import LEARNT_S

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.netns)


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Skip what needs network namespaces where this machine gives none; under continuous integration that is a failure."""
    try:
        with Laboratory("probe"):
            pass
    except LaboratoryError as e:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"neither root nor an unprivileged user namespace: {e}")


@pytest.fixture(scope="session")
def school(namespaces: None) -> Iterator[Appliance]:
    """A laboratory with a running, seeded appliance; tests leave the policy as they found it."""
    with Laboratory("tests") as lab, Appliance(lab) as appliance:
        appliance.seed()
        yield appliance


@pytest.fixture
def lab(school: Appliance) -> Laboratory:
    """The laboratory of ``school``."""
    return school.lab


@pytest.fixture(scope="module")
def learnt(school: Appliance) -> Iterator[None]:
    """Run a firewall whose clock is ahead, so that it holds pupils to what they were given: else that takes ten minutes.

    The last tests of a module may ask for it; from then on it is no part of ``gate up``.
    """
    lab, name = school.lab, "files.example"

    def opens(address: str) -> bool:
        return "This is" in openssl(lab, LAPTOP.name, address, name)

    ahead = ["unshare", "--time", "--monotonic", str(int(LEARNT_S)), "--fork", "--kill-child"]
    with school.other_firewall(*ahead):
        dig(lab, LAPTOP.name, name)
        lab.wait_for(lambda: opens(str(address_of(name))), "the firewall", 20)
        lab.wait_for(lambda: not opens(UNRESOLVED), "the workers' record", 10)
        yield


@pytest.fixture(scope="class")
def pupils_have_quic(school: Appliance) -> Iterator[None]:
    """Open QUIC to pupils, who have none as schools begin."""

    def change(before: bool, after: bool) -> None:
        school.adopt(Edit.of(("groups", LAPTOP.group, "quic"), before, after))
        school.wait_until_filtering()

    change(False, True)
    try:
        yield
    finally:
        change(True, False)


@pytest.fixture
def fresh_school(namespaces: None) -> Iterator[Appliance]:
    """A laboratory whose appliance has been configured and not started; for one test alone."""
    with Laboratory("tests") as lab:
        appliance = Appliance(lab)
        try:
            yield appliance
        finally:
            appliance.stop()
