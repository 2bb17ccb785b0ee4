"""A pupil's device reaches what it was given by name and nothing else, however soon it comes after the answer."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from appliance import Appliance, blocked
from clients import dig, openssl
from laboratory import HERE, Laboratory
from plan import (
    BOX,
    GUEST,
    LAPTOP,
    STAFF,
    TABLET,
    UNRESOLVED,
    UNRESOLVED_V6,
    Host,
    address6_of,
    address_of,
)
from sites import ALLOWED

from gate_core.edits import Edit

PORT = 7000
CONNECTS = 5_000
"""Of each of two devices."""
SEARCH, SAFE_SEARCH = "www.google.com", "forcesafesearch.google.com"
OTHER = "files.example"
CLOSED = {"ConnectionResetError", "ConnectionRefusedError"}
"""A connection that nobody gave: when the classifier blocks it at the SYN, and when at the hello."""

families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def echo(school) -> Iterator[None]:
    """A server of no known protocol at every address of the internet."""
    argv = [sys.executable, str(HERE / "connects.py"), "serve", str(PORT)]
    process = school.lab.popen("router", argv)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield
    process.kill()
    process.wait()


def connects(lab: Laboratory, host: str, *more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, str(HERE / "connects.py"), "connect", BOX.v4, str(PORT), *more]
    return lab.popen(host, argv)


@pytest.mark.usefixtures("echo")
@pytest.mark.parametrize("address", [UNRESOLVED, UNRESOLVED_V6])
def test_what_nobody_gave_is_closed_to_pupils(lab: Laboratory, address: str) -> None:
    argv = [sys.executable, str(HERE / "connects.py"), "once", address, str(PORT)]

    assert lab.run(LAPTOP.name, argv).stdout.strip() in CLOSED
    assert lab.run(STAFF.name, argv).stdout.strip() == "echoed"


# Without SNI, without Host (HTTP/1.0 needs none), and neither of both.
NAMELESS = {
    "TLS": "timeout 8 openssl s_client -connect {there}:443 -noservername < /dev/null | grep -o 'BEGIN CERTIFICATE'",
    "HTTP": "curl -sS -o /dev/null -w %{{http_code}} --max-time 8 --http1.0 -H Host: http://{there}/",
    "TCP": f"{sys.executable} {HERE / 'connects.py'} once {{address}} {PORT}",
}
SERVED = ("BEGIN CERTIFICATE", "200", "echoed")


@pytest.mark.usefixtures("echo")
@families
@pytest.mark.parametrize("kind", NAMELESS)
def test_flow_without_a_name_goes_nowhere_though_its_address_was_given(
    school: Appliance, kind: str, family: int
) -> None:
    """Else whoever has a server gets to it under any name that is allowed."""
    lab, since = school.lab, time.time()
    address = str(address_of(ALLOWED) if family == 4 else address6_of(ALLOWED))
    there = f"[{address}]" if family == 6 else address
    command = ["bash", "-c", NAMELESS[kind].format(there=there, address=address)]
    for host in (LAPTOP, STAFF):
        assert dig(lab, host.name, ALLOWED, "A" if family == 4 else "AAAA").data

    assert lab.run(STAFF.name, command).stdout.strip() in SERVED
    assert lab.run(LAPTOP.name, command).stdout.strip() not in SERVED
    lab.wait_for(
        lambda: f"nameless:{LAPTOP.group}" in {r.rule_id for r in blocked(school, LAPTOP, since)},
        "the record",
        deadline_s=10,
    )


@pytest.mark.usefixtures("echo")
def test_a_direct_connection_is_open_to_its_group_without_a_name(school) -> None:
    lab = school.lab
    argv = [sys.executable, str(HERE / "connects.py"), "once", UNRESOLVED, str(PORT)]
    its = {
        "title": "Door entry",
        "networks": [f"{UNRESOLVED}/32"],
        "protocol": "tcp",
        "ports": str(PORT),
        "why": "a test",
        "group": LAPTOP.group,
    }
    school.adopt(Edit.of(("direct", "door"), None, its))
    try:
        school.wait_until_filtering()
        assert lab.run(LAPTOP.name, argv).stdout.strip() == "echoed"
        assert lab.run(GUEST.name, argv).stdout.strip() in CLOSED
    finally:
        school.adopt(Edit.of(("direct", "door"), its, None))
    school.wait_until_filtering()
    assert lab.run(LAPTOP.name, argv).stdout.strip() in CLOSED
    where = f"{UNRESOLVED} {PORT}/tcp"
    lab.wait_for(
        lambda: (
            (where, f"unasked:{GUEST.group}")
            in {(r.remote, r.rule_id) for r in blocked(school, GUEST, since=0.0)}
        ),
        "the record",
        deadline_s=10,
    )


@pytest.mark.usefixtures("echo")
def test_the_record_survives_a_firewall_that_begins_anew(school) -> None:
    lab, name = school.lab, "kept.laptop.example"
    script, address = str(HERE / "connects.py"), str(address_of(name))
    argv = [sys.executable, script, "once", address, str(PORT), name]
    dig(lab, LAPTOP.name, name)
    assert lab.run(LAPTOP.name, argv).stdout.strip() == "echoed"
    school.kill("firewall")
    school.wait_until_filtering()
    # The workers say within a second that they are there, and are asked for everything.
    lab.wait_for(
        lambda: lab.run(LAPTOP.name, argv).stdout.strip() == "echoed", "the record", deadline_s=10
    )


def served_over_tls(lab: Laboratory, host: Host, name: str, at: str, family: int) -> bool:
    """Ask for ``name`` with openssl at the address of ``at``; tell whether it was served, of which both ends agree."""
    address = str(address_of(at) if family == 4 else address6_of(at))
    before = lab.mark()
    served = f"This is {name}" in openssl(lab, host.name, address, name)
    assert served is bool([s for s in lab.served(before) if s.name == name and s.kind != "dns"])
    return served


@families
@pytest.mark.parametrize("host", [LAPTOP, STAFF], ids=lambda h: h.name)
def test_search_engine_is_served_by_its_safe_version_alone(
    lab: Laboratory, host: Host, family: int
) -> None:
    for name in (SEARCH, OTHER):
        assert dig(lab, host.name, name, "A" if family == 4 else "AAAA").data

    # The address of the engine itself, which the device knows from elsewhere, and one that it was given for another name.
    assert not served_over_tls(lab, host, SEARCH, SEARCH, family)
    assert not served_over_tls(lab, host, SEARCH, OTHER, family)
    assert served_over_tls(lab, host, SEARCH, SAFE_SEARCH, family)


@pytest.mark.usefixtures("learnt")
def test_allowed_name_is_served_at_its_own_address_alone(lab: Laboratory) -> None:
    for family, kind in ((4, "A"), (6, "AAAA")):
        for host in (LAPTOP, STAFF):
            for name in (ALLOWED, OTHER):
                assert dig(lab, host.name, name, kind).data

        assert not served_over_tls(lab, LAPTOP, ALLOWED, OTHER, family)
        assert served_over_tls(lab, LAPTOP, ALLOWED, ALLOWED, family)
        assert served_over_tls(lab, STAFF, ALLOWED, OTHER, family)


@pytest.mark.usefixtures("learnt")
@pytest.mark.parametrize("address", [UNRESOLVED, UNRESOLVED_V6])
def test_nothing_opens_to_a_pupil_at_what_nobody_gave(lab: Laboratory, address: str) -> None:
    """Whatever it would say: no server sees its SYN."""
    dig(lab, LAPTOP.name, ALLOWED)
    for host in (LAPTOP, STAFF):
        before = lab.mark()
        shown = openssl(lab, host.name, address, ALLOWED)
        assert (f"This is {ALLOWED}" in shown) is (host is STAFF)
        assert any(s.address == address for s in lab.served(before)) is (host is STAFF)


@pytest.mark.usefixtures("echo", "learnt")
def test_what_one_device_was_given_is_no_other_s(lab: Laboratory) -> None:
    name = "only.laptop.example"
    assert dig(lab, LAPTOP.name, name, "AAAA").data == (str(address6_of(name)),)
    script, address = str(HERE / "connects.py"), str(address6_of(name))
    argv = [sys.executable, script, "once", address, str(PORT), name]

    assert lab.run(LAPTOP.name, argv).stdout.strip() == "echoed"
    assert lab.run(TABLET.name, argv).stdout.strip() == "ConnectionRefusedError"
    assert dig(lab, TABLET.name, name, "AAAA").data
    assert lab.run(TABLET.name, argv).stdout.strip() == "echoed"


@pytest.mark.usefixtures("echo", "learnt")
def test_no_connection_right_behind_an_answer_is_lost(lab: Laboratory) -> None:
    """Both ask for the same names at the same time: one gets each answer fresh, the other a kept one.

    Not while the firewall is learning, when an allowed name is enough.
    """
    running = [connects(lab, host.name, str(CONNECTS)) for host in (LAPTOP, TABLET)]
    found = []
    for process in running:
        text, _ = process.communicate(timeout=240)
        found.append(json.loads(text))

    assert found == [{"echoed": CONNECTS, "lost": []}] * 2
