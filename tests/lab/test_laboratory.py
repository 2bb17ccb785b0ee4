"""The laboratory alone: a plain bridge stands where the appliance would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator

import pytest
from clients import chromium, curl, dig, openssl, segmented_tls
from laboratory import HERE, INSIDE, Laboratory
from leftovers import footprint, members, wait_for_end, wait_for_footprint
from plan import (
    CLIENTS,
    RESOLVER,
    RESOLVER_NAME,
    RESOLVER_V6,
    ROUTER,
    UNRESOLVED,
    UNRESOLVED_V6,
    Host,
    address6_of,
    address_of,
)
from relay import relay

BRIDGE = """
ip -n box link add br0 type bridge forward_delay 0 mcast_snooping 0
for port in lan0 wan0; do ip -n box link set $port master br0 up; done
ip -n box link set br0 up
ip -n box address add 10.77.0.2/24 dev br0
"""

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.name)
both_families = pytest.mark.parametrize("family", ["-4", "-6"], ids=["IPv4", "IPv6"])


@pytest.fixture(scope="module")
def lab(namespaces: None) -> Iterator[Laboratory]:
    with Laboratory("bridge") as lab:
        lab.run("-", ["sh", "-eu"], input=BRIDGE, check=True)
        yield lab


@every_client
@both_families
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl_reaches_every_name(lab: Laboratory, client: Host, family: str, scheme: str) -> None:
    page = curl(lab, client.name, f"{scheme}://www.school.example/", family)
    assert (page.status, page.fault) == (200, 0)
    assert "This is www.school.example" in page.body


@pytest.mark.parametrize("options", [[], ["+tcp"]], ids=["UDP", "TCP"])
@pytest.mark.parametrize("server", [ROUTER.v4, ROUTER.v6, RESOLVER, RESOLVER_V6, UNRESOLVED])
def test_dig_gets_answers_from_every_server(
    lab: Laboratory, server: str, options: list[str]
) -> None:
    answer = dig(lab, "laptop", "www.school.example", "A", f"@{server}", *options)
    assert answer.data == (str(address_of("www.school.example")),)
    answer = dig(lab, "laptop", "www.school.example", "AAAA", f"@{server}", *options)
    assert answer.data == (str(address6_of("www.school.example")),)


def test_dig_gets_special_names(lab: Laboratory) -> None:
    assert dig(lab, "laptop", "a.nx.example").status == "NXDOMAIN"
    assert dig(lab, "laptop", "www.school.example", "MX").data == ()
    chain = dig(lab, "laptop", "www.games.example.chain.example")
    assert chain.data == (
        "www.games.example.hop.example.",
        "www.games.example.",
        str(address_of("www.games.example")),
    )


@pytest.mark.parametrize("address", [UNRESOLVED, UNRESOLVED_V6])
def test_unresolved_address_serves_every_name(lab: Laboratory, address: str) -> None:
    target = f"[{address}]" if ":" in address else address
    page = curl(lab, "laptop", "https://some.example/", "--connect-to", f"::{target}:")
    assert page.status == 200


def test_doh_answers_curl(lab: Laboratory) -> None:
    page = curl(
        lab, "laptop", "http://by-doh.example/", "--doh-url", f"https://{RESOLVER_NAME}/dns-query"
    )
    assert page.status == 200
    assert "doh" in {s.kind for s in lab.served() if s.name == "by-doh.example"}


def test_dot_answers_a_query(lab: Laboratory) -> None:
    script = f"""
        import dns.message, dns.query
        query = dns.message.make_query("by-dot.example", "A")
        print(dns.query.tls(query, "{RESOLVER}", timeout=5, server_hostname="{RESOLVER}").answer[0][0])
    """
    done = lab.run("laptop", [sys.executable, "-c", textwrap.dedent(script)])
    assert done.stdout.strip() == str(address_of("by-dot.example")), done.stderr


def test_udp_443_echoes_from_the_address_that_was_asked(lab: Laboratory) -> None:
    script = f"""
        import socket
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect(("{address_of("quic.example")}", 443))
            s.send(b"hello")
            print(s.recv(100))
    """
    assert "hello" in lab.run("laptop", [sys.executable, "-c", textwrap.dedent(script)]).stdout


@pytest.mark.parametrize("address_of_name", [address_of, address6_of], ids=["IPv4", "IPv6"])
def test_segmented_tls_reaches_its_server(lab: Laboratory, address_of_name: object) -> None:
    address = str(address_of_name("segments.example"))  # type: ignore[operator]
    assert segmented_tls(lab, "laptop", address, "segments.example", 20) == "HTTP/1.1 200 OK"


def test_openssl_reaches_its_server(lab: Laboratory) -> None:
    assert "This is openssl.example" in openssl(
        lab, "laptop", str(address_of("openssl.example")), "openssl.example"
    )


def test_slow_download_is_bounded(lab: Laboratory) -> None:
    page = curl(lab, "laptop", "http://files.example/slow?seconds=0.5&rate=10000")
    assert (page.status, len(page.body)) == (200, 5000)


@pytest.mark.browser
def test_chromium_shows_a_page_over_tls(lab: Laboratory) -> None:
    with chromium(lab, "laptop") as browser:
        browser.get("https://www.school.example/")
        assert browser.title == "www.school.example"


def test_served_tells_what_the_servers_saw(lab: Laboratory) -> None:
    before = lab.mark()
    curl(lab, "tablet", "https://seen.example/some/path", "-4")
    seen = [s for s in lab.served(before) if s.name == "seen.example"]
    assert [s.kind for s in seen if s.port == 443] == ["hello", "request"]
    assert {s.client for s in seen} == {"10.77.0.11"}
    assert seen[-1].path == "/some/path"


def test_relay_carries_outer_connections_to_a_host(lab: Laboratory) -> None:
    port = relay(lab, "box", 80, address=ROUTER.v4)
    done = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "This is 127.0.0.1" in done.stdout


def test_two_laboratories_live_side_by_side(lab: Laboratory) -> None:
    with Laboratory("bridge") as other:
        before = lab.mark()
        other.run("-", ["sh", "-eu"], input=BRIDGE, check=True)
        assert curl(other, "laptop", "http://other.example/").status == 200
        assert not [s for s in lab.served(before) if s.name == "other.example"]
    assert curl(lab, "laptop", "http://still.example/").status == 200


OWNER = f"""
import sys, time
sys.path.insert(0, {str(HERE)!r})
from laboratory import Laboratory
lab = Laboratory("owner")
lab.up()
lab.popen("laptop", ["sleep", "1000"])
lab.run("box", ["nft", "add", "table", "inet", "left"], check=True)
print(lab.keeper, flush=True)
time.sleep(1000)
"""


def test_down_leaves_nothing(namespaces: None) -> None:
    before = footprint()
    lab = Laboratory("gone")
    lab.up()
    lab.popen("laptop", ["sleep", "1000"])
    lab.wait_for(
        lambda: "sleep" in lab.run("laptop", ["ps", "-eo", "comm"]).stdout, "the sleeper", 5
    )
    pids = members(lab.keeper)
    assert len(pids) == 6  # guard and keeper, the internet, the sleeper, and who runs those two
    lab.down()
    wait_for_end(pids)
    wait_for_footprint(before)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_owner_killed_leaves_nothing(namespaces: None, number: signal.Signals) -> None:
    before = footprint()
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout
        pids = members(int(owner.stdout.readline()))
        owner.send_signal(number)
    wait_for_end(pids)
    wait_for_footprint(before)


@pytest.mark.skipif(os.getuid() != 0, reason="the other tests ran without root already")
def test_laboratory_works_without_root(namespaces: None) -> None:
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        str(HERE / "test_laboratory.py"),
        "-k",
        "curl or dig or down or killed",
    ]
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *argv],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HOME": "/nonexistent", "CI": "true", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_processes_see_only_the_laboratory(lab: Laboratory) -> None:
    assert (
        lab.run("laptop", ["ip", "-o", "-4", "address", "show", "scope", "global"]).stdout.count(
            "\n"
        )
        == 1
    )
    seen = lab.run("laptop", ["ps", "-eo", "args"]).stdout
    assert "keeper.py" in seen.splitlines()[1]
    assert lab.path(INSIDE / "ca.pem").exists()
    assert not INSIDE.exists()
