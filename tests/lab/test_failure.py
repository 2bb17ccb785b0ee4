"""Every part is killed in turn while pupils try: nothing leaks, and service is back without a hand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from appliance import PARTS, Appliance
from clients import curl
from laboratory import INSIDE, Laboratory
from plan import BOX, LAPTOP, STAFF, Host, address_of
from pupils import PUPIL_ADDRESSES, leaks, pupils_trying, wait_until_served
from sites import ALLOWED, BLOCKED, SHOP

from gate_core.edits import Edit

KNOWN = ("--connect-to", f"::{address_of(ALLOWED)}:")
RESTARTS = 20
# More than a queue holds, and no more at once than one device may.
FILL = """
import socket, sys, time
for number in range(6000):
    if number % 100 == 0:
        time.sleep(0.07)
    with socket.socket() as one:
        # As the connections that come after it: the queue goes by addresses and protocol.
        one.setblocking(False)
        one.connect_ex((sys.argv[1], 9000))
"""


FAULTY = "faulty.example"
# Python runs it before a program, and only in a process whose path it is on.
MISTAKE = f"""
from gate_firewall import hello

read = hello._read

def read_or_fail(octets, start, end):
    if b"{FAULTY}" in octets:
        raise KeyError("a mistake of the reader")
    return read(octets, start, end)

hello._read = read_or_fail
"""


@pytest.fixture(scope="module")
def school(namespaces: None) -> Iterator[Appliance]:
    """An appliance of this module alone: what is broken here must not be in others' way."""
    with Laboratory("failure") as lab, Appliance(lab) as appliance:
        appliance.seed()
        yield appliance


def opens(lab: Laboratory, host: Host) -> bool:
    """Tell whether a new flow passes, to an address that the device asked for before."""
    return curl(lab, host.name, f"https://{ALLOWED}/", *KNOWN, deadline_s=3).status == 200


def test_dead_firewall_holds_new_flows_of_pupils_and_lets_staff_s_pass(school: Appliance) -> None:
    lab = school.lab
    wait_until_served(school)
    assert opens(lab, STAFF)
    before = lab.mark()
    with school.without_firewall():
        assert not opens(lab, LAPTOP)
        assert opens(lab, STAFF)
        assert {s.client for s in lab.served(before) if s.kind == "tls"} <= {STAFF.v4}
    wait_until_served(school)


def test_stopped_firewall_holds_new_flows_of_pupils_and_lets_staff_s_pass(
    school: Appliance,
) -> None:
    """Those of staff once the queue is full, as the kernel can't know that nobody looks into it."""
    lab = school.lab
    wait_until_served(school)
    before = lab.mark()
    pids = list(map(str, school.firewalls().values()))
    lab.run(BOX.name, ["kill", "-STOP", *pids], check=True)
    try:
        fill = [sys.executable, "-c", FILL, str(address_of(ALLOWED))]
        lab.run(STAFF.name, fill, check=True)
        assert not opens(lab, LAPTOP)
        assert opens(lab, STAFF)
        assert {s.client for s in lab.served(before) if s.kind == "tls"} <= {STAFF.v4}
    finally:
        lab.run(BOX.name, ["kill", "-CONT", *pids], check=True)
    wait_until_served(school)


def test_firewall_without_memory_leaks_nothing_and_comes_back(school: Appliance) -> None:
    lab = school.lab
    before = lab.mark()
    firewall = school.pid("firewall")
    with pupils_trying(lab):
        # Less than it has: it gets no more, and what it starts gets none.
        limit = ["prlimit", "--pid", str(firewall), "--as=1000000"]
        lab.run(BOX.name, limit, check=True)
        school.gate("pause", "start", "--minutes", "5")
        lab.wait_for(
            lambda: school.living_pid("firewall") not in {None, firewall}, "another firewall", 15
        )
        school.wait_until_filtering()
        assert not opens(lab, LAPTOP)
        assert opens(lab, STAFF)
        school.gate("pause", "end")
        wait_until_served(school)
    assert leaks(lab, before) == []


def test_firewall_that_begins_anew_again_and_again_leaks_nothing(school: Appliance) -> None:
    lab = school.lab
    before = lab.mark()
    with pupils_trying(lab, rate=30), school.without_firewall():
        for number in range(RESTARTS):
            log = f"firewall-{number}"
            process = school.run_firewall("firewall", log=log)
            lab.wait_for(lambda log=log: "action=share" in lab.log(log), "the firewall", 10)
            process.kill()
            process.wait(10)
    wait_until_served(school)
    assert leaks(lab, before) == []


@pytest.fixture
def mistaken(school: Appliance) -> Iterator[list[subprocess.Popen[str]]]:
    """Run a firewall whose reader fails over one name."""
    lab = school.lab
    folder = INSIDE / "mistake"
    lab.path(folder).mkdir(exist_ok=True)
    lab.path(folder / "sitecustomize.py").write_text(MISTAKE)
    with school.other_firewall(env={"PYTHONPATH": str(folder)}) as running:
        wait_until_served(school)
        yield running
    wait_until_served(school)


@pytest.mark.parametrize("on_fault", ["open", "closed"])
def test_mistake_of_a_reader_costs_a_flow_what_its_group_has_for_that(
    school: Appliance, mistaken: list[subprocess.Popen[str]], on_fault: str
) -> None:
    lab = school.lab
    setting = ("groups", STAFF.group, "on_fault")
    if on_fault == "closed":
        school.adopt(Edit.of(setting, "open", "closed"))
        school.wait_until_filtering()
    before = lab.mark()
    try:
        for host in (LAPTOP, STAFF):
            curl(lab, host.name, f"https://{FAULTY}/", deadline_s=4)
        went = {s.client for s in lab.served(before) if s.name == FAULTY and s.kind != "dns"}
        assert went & {STAFF.v4, STAFF.v6} if on_fault == "open" else went == set()
        assert not went & PUPIL_ADDRESSES
        assert "packets not judged kind=KeyError count=1 " in lab.log("gate-other")
        # It goes on, and knows what it reads.
        for host in (LAPTOP, STAFF):
            assert curl(lab, host.name, f"https://{ALLOWED}/").status == 200
            assert curl(lab, host.name, f"https://{BLOCKED}/", *KNOWN).status == 0
        assert BLOCKED not in {s.name for s in lab.served(before) if s.kind != "dns"}
        assert [process.poll() for process in mistaken] == [None] * len(mistaken)
    finally:
        if on_fault == "closed":
            school.adopt(Edit.of(setting, "closed", "open"))


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
