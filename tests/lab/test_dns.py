"""DNS through the appliance, asked with dig by everybody, everywhere."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator

import pytest
from appliance import Appliance
from clients import curl, dig
from laboratory import Laboratory
from plan import (
    BOX,
    CLIENTS,
    RESOLVER,
    RESOLVER_V6,
    ROUTER,
    UNRESOLVED,
    Host,
    address6_of,
    address_of,
)
from sites import ALLOWED, BLOCKED, FOR_STAFF

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.name)
every_server = pytest.mark.parametrize(
    "server", [BOX.v4, BOX.v6, ROUTER.v4, ROUTER.v6, RESOLVER, RESOLVER_V6], ids=lambda s: f"at {s}"
)
transports = pytest.mark.parametrize("options", [[], ["+tcp"]], ids=["UDP", "TCP"])


@pytest.fixture(scope="module", autouse=True)
def video_is_for_staff(school: Appliance) -> Iterator[None]:
    """Close video to pupils and guests at any time, so that the tests do not depend on the hour."""
    with school.cells(
        {"ks2": "unacceptable", "guest": "unacceptable", "staff": "acceptable"}, "video"
    ):
        yield


@every_client
@every_server
@transports
def test_dns_answers_an_allowed_name(
    lab: Laboratory, client: Host, server: str, options: list[str]
) -> None:
    assert dig(lab, client.name, ALLOWED, "A", f"@{server}", *options).data == (
        str(address_of(ALLOWED)),
    )
    assert dig(lab, client.name, ALLOWED, "AAAA", f"@{server}", *options).data == (
        str(address6_of(ALLOWED)),
    )


@every_client
@every_server
@transports
def test_dns_gives_the_block_page_for_a_blocked_name(
    lab: Laboratory, client: Host, server: str, options: list[str]
) -> None:
    before = lab.mark()
    for kind, address in (("A", BOX.v4), ("AAAA", BOX.v6)):
        answer = dig(lab, client.name, BLOCKED, kind, f"@{server}", *options)
        assert (answer.status, answer.data, answer.ttls) == ("NOERROR", (address,), (1,))
        assert any(text.startswith("15 (Blocked)") for text in answer.ede)
    assert dig(lab, client.name, BLOCKED, "HTTPS", f"@{server}", *options).data == ()
    assert not [s for s in lab.served(before) if s.name == BLOCKED]


@pytest.mark.parametrize(
    "name", [BLOCKED.upper(), BLOCKED.title(), f"a.b.c.{BLOCKED}", f"{BLOCKED}."]
)
def test_dns_blocks_any_writing_of_a_name(lab: Laboratory, name: str) -> None:
    assert dig(lab, "laptop", name).data == (BOX.v4,)


def test_dns_lets_a_name_pass_that_only_ends_alike(lab: Laboratory) -> None:
    assert dig(lab, "laptop", "notbet365.com").data == (str(address_of("notbet365.com")),)


@pytest.mark.parametrize(
    ("client", "passes"), [("laptop", False), ("tablet", False), ("staff", True), ("guest", False)]
)
def test_dns_answers_each_group_by_its_own_policy(
    lab: Laboratory, client: str, passes: bool
) -> None:  # a table's column
    # Staff may have it, in its restricted mode.
    safe = "restrictmoderate.youtube.com"
    expected = (f"{safe}.", str(address_of(safe))) if passes else (BOX.v4,)
    assert dig(lab, client, FOR_STAFF).data == expected
    assert dig(lab, client, FOR_STAFF, "A", f"@{ROUTER.v6}").data == expected


@every_client
def test_dns_answers_search_engines_by_their_safe_version(lab: Laboratory, client: Host) -> None:
    safe = "forcesafesearch.google.com"
    for kind, address in (("A", address_of(safe)), ("AAAA", address6_of(safe))):
        answer = dig(lab, client.name, "www.google.co.uk", kind)
        assert answer.data == (f"{safe}.", str(address))
    assert dig(lab, client.name, "www.google.co.uk", "HTTPS").data == ()


@every_client
@pytest.mark.parametrize(
    "name", ["use-application-dns.net", "mask.icloud.com", "mask-h2.icloud.com"]
)
def test_dns_denies_canaries(lab: Laboratory, client: Host, name: str) -> None:
    answer = dig(lab, client.name, name)
    assert (answer.status, answer.data) == ("NXDOMAIN", ())


def test_dns_looks_behind_aliases(lab: Laboratory) -> None:
    assert dig(lab, "laptop", f"{BLOCKED}.chain.example").data == (BOX.v4,)
    assert dig(lab, "laptop", f"{ALLOWED}.chain.example").data[-1] == str(address_of(ALLOWED))


def test_dns_passes_on_what_does_not_exist(lab: Laboratory) -> None:
    assert dig(lab, "laptop", "a.nx.example").status == "NXDOMAIN"
    nodata = dig(lab, "laptop", ALLOWED, "MX")
    assert (nodata.status, nodata.data) == ("NOERROR", ())


def test_dns_of_a_client_reaches_no_server_by_itself(lab: Laboratory) -> None:
    before = lab.mark()
    for server in (ROUTER.v4, ROUTER.v6, RESOLVER, RESOLVER_V6, UNRESOLVED):
        for options in ([], ["+tcp"]):
            dig(lab, "laptop", "asked-outside.example", "A", f"@{server}", *options)
    asked = {s.client for s in lab.served(before) if s.kind in {"dns", "accepted"}}
    assert asked <= {BOX.v4, BOX.v6}


DOT = """
import dns.exception, dns.message, dns.query
query = dns.message.make_query("by-dot.example", "A")
try:
    dns.query.tls(query, {address!r}, timeout=4, verify=False)
    print("answered")
except (OSError, dns.exception.DNSException):
    print("stopped")
"""


@pytest.mark.parametrize("client", ["laptop", "tablet", "guest"])
@pytest.mark.parametrize("address", [RESOLVER, RESOLVER_V6, ROUTER.v4])
def test_dns_over_tls_is_closed(lab: Laboratory, client: str, address: str) -> None:
    before = lab.mark()
    done = lab.run(client, [sys.executable, "-c", textwrap.dedent(DOT.format(address=address))])
    assert done.stdout.strip() == "stopped", done.stderr
    assert not [s for s in lab.served(before) if s.port == 853]


def test_dns_over_https_by_a_listed_name_is_blocked(lab: Laboratory) -> None:
    before = lab.mark()
    options = (
        "--doh-url",
        "https://dns.google/dns-query",
        "--resolve",
        f"dns.google:443:{RESOLVER}",
    )
    assert curl(lab, "laptop", f"http://{ALLOWED}/", *options).fault
    assert not [s for s in lab.served(before) if s.kind == "doh"]
