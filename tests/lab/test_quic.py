"""QUIC and browsers through the appliance: the name in the Initial packets decides, as it does over TCP."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import pytest
from appliance import Appliance, blocked
from clients import chromium, dig
from laboratory import HERE, INSIDE, Laboratory, Served
from plan import LAPTOP, STAFF, Host, address6_of, address_of
from programs import firefox, http3
from selenium.common.exceptions import WebDriverException
from sites import ALLOWED, BLOCKED, SHOP

EVERYBODY = (LAPTOP, STAFF)
NAMES = (ALLOWED, BLOCKED, SHOP)

versions = pytest.mark.parametrize(("version", "family"), [("v1", 4), ("v2", 6)])
everybody = pytest.mark.parametrize("host", EVERYBODY, ids=lambda h: h.name)


@pytest.fixture(scope="module", autouse=True)
def server(school: Appliance) -> Iterator[None]:
    """Answer by QUIC at the addresses of these names; shops are for staff, whatever the hour."""
    shops = {"ks2": "unacceptable", "staff": "acceptable"}
    with school.cells(shops, "shopping"), http3(school.lab, *NAMES):
        yield


def get(lab: Laboratory, host: Host, at: str, name: str, version: str, family: int = 4) -> str:
    """Ask for ``name`` at the address of ``at``, by aioquic; return the page, ``cut`` or ``timeout``."""
    dig(lab, host.name, at, "A" if family == 4 else "AAAA")
    address = str(address_of(at) if family == 4 else address6_of(at))
    argv = [sys.executable, str(HERE / "http3.py"), "get", address, name, version]
    return lab.run(host.name, argv).stdout.strip()


def asked(lab: Laboratory, since: int, name: str) -> list[Served]:
    return [s for s in lab.served(since) if s.name == name and s.kind in {"hello", "request", "h3"}]


@versions
def test_named_site_is_served_to_staff(lab: Laboratory, version: str, family: int) -> None:
    before = lab.mark()
    assert f"This is {ALLOWED}" in get(lab, STAFF, ALLOWED, ALLOWED, version, family)
    assert [s.kind for s in asked(lab, before, ALLOWED)] == ["h3"]


@versions
@everybody
def test_blocked_name_is_never_served(
    lab: Laboratory, host: Host, version: str, family: int
) -> None:
    before = lab.mark()
    assert get(lab, host, ALLOWED, BLOCKED, version, family) in {"cut", "timeout"}
    assert not asked(lab, before, BLOCKED)


def test_quic_is_closed_to_pupils(lab: Laboratory) -> None:
    before = lab.mark()
    assert get(lab, LAPTOP, ALLOWED, ALLOWED, "v1") in {"cut", "timeout"}
    assert not asked(lab, before, ALLOWED)


@pytest.mark.usefixtures("pupils_have_quic")
class TestPupilsHaveQuic:
    @versions
    def test_name_decides(self, lab: Laboratory, version: str, family: int) -> None:
        before = lab.mark()
        assert f"This is {ALLOWED}" in get(lab, LAPTOP, ALLOWED, ALLOWED, version, family)
        for name in (BLOCKED, SHOP):
            assert get(lab, LAPTOP, name, name, version, family) in {"cut", "timeout"}
            assert not asked(lab, before, name)


@pytest.mark.browser
@everybody
def test_chromium_that_speaks_quic(lab: Laboratory, host: Host) -> None:
    for name in NAMES:
        dig(lab, host.name, name)
    # Their true addresses, which the name service does not give for what is blocked.
    rules = ",".join(f"MAP {name} {address_of(name)}" for name in NAMES)
    origins = ",".join(f"{name}:443" for name in NAMES)
    flags = (f"--origin-to-force-quic-on={origins}", f"--host-resolver-rules={rules}")
    key = lab.path(INSIDE / "quic" / "leaf.spki").read_text()
    with chromium(lab, host.name, *flags, quic_key=key) as browser:
        before = lab.mark()
        for name in NAMES:
            try:
                browser.get(f"https://{name}/")
            except WebDriverException as e:
                assert "ERR_" in str(e)  # noqa: PT017  # a page or a fault: the server says which is right
    served = {name for name in NAMES if asked(lab, before, name)}
    assert served == ({ALLOWED, SHOP} if host is STAFF else set())


@pytest.mark.browser
@everybody
def test_firefox(school: Appliance, host: Host) -> None:
    lab = school.lab
    before, since = lab.mark(), time.time()
    shown = {ALLOWED, SHOP} if host is STAFF else {ALLOWED}
    for name in NAMES:
        dig(lab, host.name, name)

        def settled(name: str = name) -> bool:
            if name in shown:
                return bool(asked(lab, before, name))
            # Of a pupil's flow to an address that nobody was given, no name is read.
            unread = f"{address_of(name)} 443/tcp"
            return any(
                record.name == name or record.remote == unread
                for record in blocked(school, host, since)
            )

        with firefox(lab, host, f"https://{name}/", at=str(address_of(name))):
            lab.wait_for(settled, f"{name} in Firefox", 60)
    assert {name for name in NAMES if asked(lab, before, name)} == shown
