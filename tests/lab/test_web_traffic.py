"""Web traffic through the appliance, by curl, openssl and Chromium: what passes, what is stopped, and what the server saw."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from appliance import Appliance
from clients import chromium, curl, dig, openssl, segmented_tls
from laboratory import Laboratory, Served
from plan import CLIENTS, ROUTER, UNRESOLVED, UNRESOLVED_V6, Host, address6_of, address_of
from selenium.common.exceptions import WebDriverException
from sites import ALLOWED, BLOCKED, FOR_STAFF, SHOP

PASSES_FOR_STAFF = [("laptop", False), ("tablet", False), ("staff", True), ("guest", False)]

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.name)
both_families = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
both_schemes = pytest.mark.parametrize("scheme", ["http", "https"])


@pytest.fixture(scope="module", autouse=True)
def video_is_for_staff(school: Appliance) -> Iterator[None]:
    """Close video to pupils and guests at any time, so that the tests do not depend on the hour."""
    with school.cells(
        {"ks2": "unacceptable", "guest": "unacceptable", "staff": "acceptable"}, "video"
    ):
        yield


def address(name: str, family: int) -> str:
    return str(address_of(name) if family == 4 else address6_of(name))


def at(target: str) -> tuple[str, str]:
    """Return curl's options to connect to ``target`` whatever the name."""
    return "--connect-to", f"::[{target}]:" if ":" in target else f"::{target}:"


def reached(lab: Laboratory, since: int, name: str) -> list[Served]:
    """Return what shows that a request with ``name`` came through; a TCP handshake alone carries no name."""
    return [
        s for s in lab.served(since) if s.name == name and s.kind in {"hello", "request", "dns"}
    ]


@every_client
@both_families
@both_schemes
def test_allowed_name_is_served(lab: Laboratory, client: Host, family: int, scheme: str) -> None:
    before = lab.mark()
    page = curl(lab, client.name, f"{scheme}://{ALLOWED}/", f"-{family}")
    assert (page.status, page.fault) == (200, 0)
    assert f"This is {ALLOWED}" in page.body
    source = client.v4 if family == 4 else client.v6
    assert [s.kind for s in lab.served(before) if s.client == source and s.kind == "request"] == [
        "request"
    ]


@every_client
@both_families
def test_blocked_name_over_http_shows_the_block_page(
    lab: Laboratory, client: Host, family: int
) -> None:
    before = lab.mark()
    page = curl(lab, client.name, f"http://{BLOCKED}/some/path", f"-{family}")
    assert page.status == 403
    assert BLOCKED in page.body
    assert not reached(lab, before, BLOCKED)


@every_client
@both_families
def test_blocked_name_over_https_is_refused(lab: Laboratory, client: Host, family: int) -> None:
    before = lab.mark()
    page = curl(lab, client.name, f"https://{BLOCKED}/", f"-{family}")
    assert (page.status, page.fault) == (0, 7)
    assert not reached(lab, before, BLOCKED)


@every_client
@both_families
@both_schemes
def test_blocked_name_at_an_allowed_address_is_cut(
    lab: Laboratory, client: Host, family: int, scheme: str
) -> None:
    dig(lab, client.name, ALLOWED, "A" if family == 4 else "AAAA")
    before = lab.mark()
    page = curl(lab, client.name, f"{scheme}://{BLOCKED}/", *at(address(ALLOWED, family)))
    assert page.status == 0
    assert page.fault in {35, 52, 56}, "cut off at once, not left to time out"
    assert not reached(lab, before, BLOCKED)


@pytest.mark.parametrize(("client", "passes"), PASSES_FOR_STAFF)
@both_families
@both_schemes
def test_each_group_gets_its_own_policy(
    lab: Laboratory,
    client: str,
    passes: bool,  # a table's column
    family: int,
    scheme: str,
) -> None:
    before = lab.mark()
    page = curl(lab, client, f"{scheme}://{FOR_STAFF}/", f"-{family}")
    assert (page.status == 200) is passes
    assert (
        bool([s for s in lab.served(before) if s.kind == "request" and s.name == FOR_STAFF])
        is passes
    )


@pytest.mark.parametrize("target", [UNRESOLVED, UNRESOLVED_V6])
@both_schemes
@every_client
def test_blocked_name_at_an_address_that_nobody_resolved_is_cut(
    lab: Laboratory, client: Host, target: str, scheme: str
) -> None:
    before = lab.mark()
    page = curl(lab, client.name, f"{scheme}://{BLOCKED}/", *at(target))
    assert page.status == 0
    assert not [s for s in lab.served(before) if s.address == target and s.kind != "accepted"]


@every_client
@both_families
@pytest.mark.parametrize("octets", [1, 40, 300])
def test_name_is_read_across_segments(
    lab: Laboratory, client: Host, family: int, octets: int
) -> None:
    dig(lab, client.name, ALLOWED, "A" if family == 4 else "AAAA")
    before = lab.mark()
    target = address(ALLOWED, family)
    assert segmented_tls(lab, client.name, target, ALLOWED, octets) == "HTTP/1.1 200 OK"
    assert segmented_tls(lab, client.name, target, BLOCKED, octets) == "cut"
    assert not reached(lab, before, BLOCKED)


@every_client
@both_families
def test_openssl_with_a_hello_in_small_segments(lab: Laboratory, client: Host, family: int) -> None:
    dig(lab, client.name, ALLOWED, "A" if family == 4 else "AAAA")
    target = address(ALLOWED, family)
    # The server asks for segments of 100 octets at most, and so the client's kernel cuts what openssl writes: at
    # once, and not at some later device.
    source = f"{client.v4}/32" if family == 4 else f"{client.v6}/128"
    route = [source, "dev", "eth0", "advmss", "100"]
    lab.run(client.name, ["ip", "link", "set", "eth0", "gso_max_segs", "1"], check=True)
    lab.run(ROUTER.name, ["ip", f"-{family}", "route", "add", *route], check=True)
    try:
        before = lab.mark()
        assert f"This is {ALLOWED}" in openssl(lab, client.name, target, ALLOWED)
        assert "This is" not in openssl(lab, client.name, target, BLOCKED)
        assert not reached(lab, before, BLOCKED)
    finally:
        lab.run(ROUTER.name, ["ip", f"-{family}", "route", "del", *route], check=True)
        lab.run(client.name, ["ip", "link", "set", "eth0", "gso_max_segs", "65535"], check=True)


ASK_BY_UDP = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as s:
    s.settimeout(2)
    s.connect((address, port))
    s.send(b"hello")
    print(s.recv(100))
"""


@pytest.mark.parametrize(("client", "passes"), PASSES_FOR_STAFF)
@both_families
def test_udp_443_is_open_to_staff_only(
    lab: Laboratory,
    client: str,
    passes: bool,  # a table's column
    family: int,
) -> None:
    target = address(ALLOWED, family)
    dig(lab, client, ALLOWED, "A" if family == 4 else "AAAA")
    before = lab.mark()
    asked = lab.run(client, [sys.executable, "-c", ASK_BY_UDP, target, "443"])
    assert ("hello" in asked.stdout) is passes, asked.stderr
    assert bool([s for s in lab.served(before) if s.kind == "udp"]) is passes


def test_policy_change_holds_for_the_next_request(lab: Laboratory, school: Appliance) -> None:
    assert curl(lab, "laptop", f"http://{SHOP}/").status == 403
    with school.cells({"ks2": "acceptable"}, "shopping"):
        assert curl(lab, "laptop", f"http://{SHOP}/").status == 200
        assert curl(lab, "laptop", f"https://{SHOP}/").status == 200
    assert curl(lab, "laptop", f"http://{SHOP}/").status == 403


def test_policy_change_cuts_a_running_download(lab: Laboratory, school: Appliance) -> None:
    with school.cells({"ks2": "acceptable"}, "shopping"):
        before = lab.mark()
        download = lab.popen(
            "laptop",
            ["curl", "-sS", "-o", "/dev/null", f"http://{SHOP}/slow?seconds=60&rate=50000"],
        )
        lab.wait_for(
            lambda: [s for s in lab.served(before) if s.path == "/slow"], "the download", 5
        )
        assert download.poll() is None
    assert download.wait(10) in {18, 56}


@contextmanager
def one_way(lab: Laboratory, client: str, family: int) -> Iterator[None]:
    """Leave ``client`` only one family's way to the internet."""
    other = ("-6", "2001:db8:113::/64") if family == 4 else ("-4", "203.0.113.0/24")
    lab.run(client, ["ip", other[0], "route", "add", "unreachable", other[1]], check=True)
    try:
        yield
    finally:
        lab.run(client, ["ip", other[0], "route", "del", "unreachable", other[1]], check=True)


@pytest.mark.browser
@pytest.mark.parametrize(("client", "passes"), PASSES_FOR_STAFF)
@both_families
def test_chromium(
    lab: Laboratory,
    client: str,
    passes: bool,  # a table's column
    family: int,
) -> None:
    def title(url: str) -> str:
        try:
            browser.get(url)
        except WebDriverException as e:
            return "refused" if "ERR_CONNECTION" in str(e) else str(e)
        return browser.title

    with one_way(lab, client, family), chromium(lab, client) as browser:
        before = lab.mark()
        assert title(f"https://{ALLOWED}/") == ALLOWED
        assert title(f"http://{ALLOWED}/") == ALLOWED
        requests = [s for s in lab.served(before) if s.kind == "request" and s.name == ALLOWED]
        assert requests
        assert all((":" in s.client) is (family == 6) for s in requests)
        assert title(f"https://{FOR_STAFF}/") == (FOR_STAFF if passes else "refused")
        assert title(f"https://{BLOCKED}/") == "refused"
        browser.get(f"http://{BLOCKED}/")
        assert BLOCKED in browser.page_source
        assert f"This is {BLOCKED}" not in browser.page_source
        assert not reached(lab, before, BLOCKED)
