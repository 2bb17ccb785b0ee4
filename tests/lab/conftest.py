"""The laboratory as fixtures: one with an appliance for the whole session, and the means to make others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from appliance import Appliance
from laboratory import Laboratory, LaboratoryError

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


@pytest.fixture
def fresh_school(namespaces: None) -> Iterator[Appliance]:
    """A laboratory whose appliance has been configured and not started; for one test alone."""
    with Laboratory("tests") as lab:
        appliance = Appliance(lab)
        try:
            yield appliance
        finally:
            appliance.stop()
