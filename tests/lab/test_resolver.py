"""Resolver mode: one port, DNS only, for clients that ask the box because the school's DHCP says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from appliance import Appliance
from clients import curl, dig
from laboratory import Laboratory
from plan import BOX, CLIENTS, Host, address6_of, address_of
from sites import ALLOWED, BLOCKED

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.name)


@pytest.fixture(scope="module")
def school(namespaces: None) -> Iterator[Appliance]:
    with Laboratory("resolver", mode="resolver") as lab, Appliance(lab) as appliance:
        appliance.seed()
        yield appliance


@every_client
@pytest.mark.parametrize("server", [BOX.v4, BOX.v6])
def test_resolver_answers_and_blocks(lab: Laboratory, client: Host, server: str) -> None:
    assert dig(lab, client.name, ALLOWED, "A", f"@{server}").data == (str(address_of(ALLOWED)),)
    assert dig(lab, client.name, ALLOWED, "AAAA", f"@{server}").data == (str(address6_of(ALLOWED)),)
    assert dig(lab, client.name, BLOCKED, "A", f"@{server}").data == (BOX.v4,)
    assert dig(lab, client.name, BLOCKED, "AAAA", f"@{server}").data == (BOX.v6,)


@every_client
def test_resolver_shows_the_block_page(lab: Laboratory, client: Host) -> None:
    assert curl(lab, client.name, f"http://{ALLOWED}/").status == 200
    assert curl(lab, client.name, f"http://{BLOCKED}/").status == 403


def test_resolver_says_what_it_does_not_cover(school: Appliance) -> None:
    status = school.status()
    assert status["mode"] == "resolver"
    assert status["filtering"] is True
    assert status["uncovered"]
    assert "firewall" not in {c["name"] for c in status["components"]}
    school.lab.wait_for(
        lambda: lamps(school).get("filtering") == "flash", "the green lamp to flash", 10
    )


def lamps(school: Appliance) -> dict[str, str]:
    panel = school.status()["panel"]
    return {lamp["name"]: lamp["pattern"] for lamp in panel["lamps"]} if panel else {}
