"""The internet pause: a pupil's running download is cut, the staff's goes on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from appliance import Appliance
from clients import curl, dig
from laboratory import Laboratory
from plan import BOX
from sites import ALLOWED

DOWNLOAD = "http://files.example/slow?seconds=60&rate=50000"
CUT = {18, 56}
"""curl's exit status where the other side ends too early, or resets."""


def by_command_line(school: Appliance) -> None:
    school.gate("pause", "start", "--minutes", "5")


def by_panel(school: Appliance) -> None:
    school.buttons.press(button="pause", seconds=0.2)


@pytest.fixture
def downloads(lab: Laboratory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """A download running on each of these clients."""
    before = lab.mark()
    running = {
        client: lab.popen(client, ["curl", "-sS", "-o", "/dev/null", DOWNLOAD])
        for client in ("laptop", "tablet", "staff")
    }
    try:
        lab.wait_for(
            lambda: len({s.client for s in lab.served(before) if s.path == "/slow"}) == 3,
            "the downloads",
            10,
        )
        yield running
    finally:
        for process in running.values():
            process.terminate()
            process.wait(10)


@pytest.fixture
def no_pause_behind(school: Appliance) -> Iterator[None]:
    yield
    school.gate("pause", "end", check=False)
    school.wait_until_filtering()


@pytest.mark.parametrize("start", [by_command_line, by_panel], ids=["command line", "panel"])
@pytest.mark.usefixtures("no_pause_behind")
def test_pause_cuts_pupils_and_not_staff(
    school: Appliance,
    downloads: dict[str, subprocess.Popen[str]],
    start: Callable[[Appliance], None],
) -> None:
    assert all(process.poll() is None for process in downloads.values())
    start(school)
    assert downloads["laptop"].wait(10) in CUT
    assert downloads["tablet"].wait(10) in CUT
    time.sleep(1)  # time in which the staff's download would be cut as well
    assert downloads["staff"].poll() is None
    lab = school.lab
    assert curl(lab, "staff", f"https://{ALLOWED}/").status == 200
    assert curl(lab, "laptop", f"https://{ALLOWED}/").status == 0
    assert dig(lab, "laptop", ALLOWED).data == (BOX.v4,)
    school.gate("pause", "end")
    school.wait_until_filtering()
    assert curl(lab, "laptop", f"https://{ALLOWED}/").status == 200


@pytest.mark.usefixtures("no_pause_behind")
def test_pause_is_told_as_on_the_wire(school: Appliance) -> None:
    school.gate("pause", "start", "--minutes", "5")
    # Told by each process as it takes the policy, and not with its next sign of life.
    school.lab.wait_for(lambda: school.status()["pause"]["on_the_wire"], "the pause on the wire", 5)
    pause = school.status()["pause"]
    assert "staff" not in pause["groups"]
