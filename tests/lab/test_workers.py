"""Two processes of the firewall share the packets: what holds for one holds for both."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from appliance import Appliance
from clients import curl
from laboratory import Laboratory
from plan import BOX, LAPTOP, TABLET
from pupils import leaks, pupils_trying

from gate_firewall.queues import LISTING, QueueState, parse_queues

NAMES = [f"www.site{number}.example" for number in range(8)]
"""At as many addresses: by the pair of addresses the kernel chooses a queue."""
SECOND = "firewall-2"


@pytest.fixture(scope="module")
def school(namespaces: None) -> Iterator[Appliance]:
    """An appliance of this module alone."""
    with Laboratory("workers") as lab, Appliance(lab, "[firewall]\nworkers = 2\n") as appliance:
        appliance.seed()
        lab.wait_for(lambda: len(closed_queues(lab)) == 2, "both processes", 10)
        yield appliance


def closed_queues(lab: Laboratory) -> list[QueueState]:
    """Return the state of the queues of those who fail closed."""
    listing = lab.run(BOX.name, ["cat", str(LISTING)], check=True).stdout
    return [state for state in parse_queues(listing) if state.number in (10, 11)]


def fetch_all(lab: Laboratory) -> set[int]:
    """Fetch every name with both pupils' devices; return the statuses that came."""
    return {
        curl(lab, host.name, f"https://{name}/", deadline_s=4).status
        for host in (LAPTOP, TABLET)
        for name in NAMES
    }


def downloads(lab: Laboratory) -> list[subprocess.Popen[str]]:
    since = lab.mark()
    path = "slow?seconds=300&rate=20000"
    argv = ["curl", "-sSN", "-o", "/dev/null"]
    running = [lab.popen(LAPTOP.name, [*argv, f"https://{name}/{path}"]) for name in NAMES]

    def asked() -> set[str]:
        return {s.name for s in lab.served(since) if s.kind == "request"}

    lab.wait_for(lambda: asked() == set(NAMES), "the downloads", 15)
    return running


def test_both_judge(school: Appliance) -> None:
    lab = school.lab
    before = {state.number: state.queued for state in closed_queues(lab)}
    since = lab.mark()
    with pupils_trying(lab):
        assert fetch_all(lab) == {200}

    assert {10, 11} <= {queue["number"] for queue in school.status()["queues"]}
    more = [state.queued - before[state.number] for state in closed_queues(lab)]
    assert len(more) == 2
    assert min(more) > 20
    assert leaks(lab, since) == []


def test_pause_cuts_what_either_let_pass(school: Appliance) -> None:
    lab = school.lab
    running = downloads(lab)
    try:
        school.gate("pause", "start", "--minutes", "5")
        assert {process.wait(20) for process in running} <= {18, 56}
        assert fetch_all(lab) == {0}
    finally:
        school.gate("pause", "end")
        for process in running:
            process.kill()
    school.wait_until_filtering()
    assert fetch_all(lab) == {200}


@pytest.mark.parametrize("part", ["firewall", SECOND])
def test_one_that_dies_leaks_nothing_and_judges_again(school: Appliance, part: str) -> None:
    lab = school.lab
    since = lab.mark()
    with pupils_trying(lab):
        killed = school.kill(part)
        lab.wait_for(lambda: school.living_pid(part) not in {None, killed}, f"another {part}", 10)
        school.gate("pause", "start", "--minutes", "5")
        assert fetch_all(lab) == {0}
        school.gate("pause", "end")
        school.wait_until_filtering()
        lab.wait_for(lambda: fetch_all(lab) == {200}, "both to judge", 30)
    assert leaks(lab, since) == []


def test_one_that_stands_still_keeps_no_policy_from_the_other(school: Appliance) -> None:
    lab = school.lab
    since = lab.mark()
    pid = str(school.pid(SECOND))
    lab.run(BOX.name, ["kill", "-STOP", pid], check=True)
    try:
        school.gate("pause", "start", "--minutes", "5")
        assert fetch_all(lab) == {0}
        told = f"The process {SECOND}, one of 2, does not answer"
        lab.wait_for(lambda: told in school.gate("status", check=False), "it to be missed", 10)
    finally:
        lab.run(BOX.name, ["kill", "-CONT", pid], check=True)
    time.sleep(1)
    assert fetch_all(lab) == {0}
    school.gate("pause", "end")
    school.wait_until_filtering()
    assert fetch_all(lab) == {200}
    assert leaks(lab, since) == []
