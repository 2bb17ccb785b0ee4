"""The appliance starts while its ports are flooded: nothing of a blocked kind arrives on the other side."""

from __future__ import annotations

import os
import shutil

import pytest
from appliance import CONFIG_FILE, Appliance
from pupils import leaks, pupils_trying, wait_until_served
from sites import ALLOWED

TOOLS = ("nft", "iptables-nft-restore", "ip6tables-nft-restore")


@pytest.fixture
def slow_tools(fresh_school: Appliance) -> dict[str, str]:
    """Have each tool that loads rules take a second more: what is open between two steps then is so for long."""
    folder = fresh_school.lab.path(CONFIG_FILE.parent / "slow")
    folder.mkdir()
    for tool in TOOLS:
        path = folder / tool
        path.write_text(f'#!/bin/sh\nsleep 1\nexec {shutil.which(tool)} "$@"\n')
        path.chmod(0o755)
    return {"PATH": f"{CONFIG_FILE.parent / 'slow'}:{os.environ['PATH']}"}


def test_start_under_traffic_leaks_nothing(
    fresh_school: Appliance, slow_tools: dict[str, str]
) -> None:
    lab = fresh_school.lab
    with pupils_trying(lab, rate=100):
        fresh_school.start(slow_tools)
        fresh_school.wait_until_filtering()
        # Until then nobody knows these devices, and nothing is open to them.
        fresh_school.place_devices()
        wait_until_served(fresh_school)
    assert leaks(lab, 0) == []
    # The log does see what passes: else the line above would show nothing.
    assert [s for s in lab.served() if s.kind == "request" and s.name == ALLOWED]


def test_nothing_is_wrong_after_a_start(school: Appliance) -> None:
    # Each other part waits for what a laboratory has none of: look-ups by people, a check of illegal content.
    looked = {"dns", "firewall", "policy", "lists", "clock", "recorder", "panel"}
    found = {c["name"]: c["state"] for c in school.status()["components"] if c["name"] in looked}
    assert found == dict.fromkeys(looked, "ok")


def test_second_start_under_traffic_leaks_nothing(fresh_school: Appliance) -> None:
    lab = fresh_school.lab
    with fresh_school:
        fresh_school.seed()
    with pupils_trying(lab, rate=100):
        fresh_school.start()
        fresh_school.wait_until_filtering()
        wait_until_served(fresh_school)
    assert leaks(lab, 0) == []
