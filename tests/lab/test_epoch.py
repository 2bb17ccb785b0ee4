"""What was allowed when it began is cut once it no longer is: a policy holds for live flows, not for new ones alone."""

from __future__ import annotations

import struct
import time
from datetime import UTC, datetime, timedelta

from appliance import CONFIG_FILE, STATE, USERNAME, Appliance
from laboratory import INSIDE, ZONES, Laboratory
from plan import LAPTOP, STAFF, TABLET
from sites import ALLOWED, BLOCKED, SHOP

from gate_core.edits import Edit
from gate_core.timetable import write_minutes

LISTED = "www.listed.example"
PUPILS_KEPT, STAFFS_KEPT = "www.kept.example", "files.example"
HOSTS = {
    **dict.fromkeys((ALLOWED, BLOCKED, LISTED, SHOP), LAPTOP),
    PUPILS_KEPT: TABLET,
    STAFFS_KEPT: STAFF,
}
CUT = {18, 56}
"""curl's exit status where the other side ends too early, or resets."""
RATE = 20_000
LIST = STATE / "lists-import" / "ours.txt"
EDGE_AFTER_S, SETTLED_S = 25, 14
"""When the edge of the timetable comes: after so long, or minutes later where the start has left less than this of it."""
EXPIRES_BEFORE_S = 3
"""How long before the edge of the timetable the exception ends."""


class Downloads:
    """Downloads over TLS that run until somebody ends them, one a name."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab
        self._since = lab.mark()
        path = f"slow?seconds=300&rate={RATE}"
        self._running = {
            name: lab.popen(
                host.name, ["curl", "-sSN", "-o", self._file(name), f"https://{name}/{path}"]
            )
            for name, host in HOSTS.items()
        }
        lab.wait_for(lambda: self._seen("request") == set(HOSTS), "the downloads", 10)

    def _file(self, name: str) -> str:
        return str(INSIDE / "tmp" / name)

    def _seen(self, kind: str) -> set[str]:
        return {s.name for s in self._lab.served(self._since) if s.kind == kind}

    def running(self) -> set[str]:
        """Return the names of those that have ended neither here nor at the server."""
        living = {name for name, process in self._running.items() if process.poll() is None}
        return living - self._seen("cut")

    def wait_until_cut(self, name: str) -> int:
        """Wait until both ends of a connection know of its end; return curl's exit status."""
        status = self._running[name].wait(90)
        self._lab.wait_for(lambda: name in self._seen("cut"), f"{name} to end at the server", 10)
        return status

    def demand_more(self, name: str) -> None:
        """Wait until another second of a download has come."""
        file = self._lab.path(INSIDE / "tmp" / name)
        enough = file.stat().st_size + RATE
        self._lab.wait_for(lambda: file.stat().st_size >= enough, f"more from {name}", 10)

    def stop(self) -> None:
        for process in self._running.values():
            process.kill()


def test_live_flow_is_cut_whatever_ends_its_permission(fresh_school: Appliance) -> None:
    """An exception that expires, an edge of the timetable, a list, a pause; what stays allowed goes on through all four."""
    school, lab = fresh_school, fresh_school.lab
    edge = int(time.time()) + EDGE_AFTER_S
    zone = zone_with_a_minute_at(lab, edge)
    config = lab.path(CONFIG_FILE)
    config.write_text(config.read_text().replace("mode =", f'timezone = "{zone}"\nmode ='))
    school.start()
    school.wait_until_filtering()
    school.seed()
    lab.path(LIST.parent).mkdir(exist_ok=True)
    lab.path(LIST).write_text("other.example\n")
    source = ("ours", "gambling", f"file:{LIST}", "--title", "Ours", "--licence", "ours")
    school.gate("lists", "add-source", *source)
    while edge < time.time() + SETTLED_S:
        edge += 60
    expiry = edge - EXPIRES_BEFORE_S
    open_until(school, expiry, edge)
    downloads = Downloads(lab)
    try:
        left = set(HOSTS)
        assert downloads.running() == left

        assert downloads.wait_until_cut(BLOCKED) in CUT
        assert time.time() >= expiry
        assert downloads.running() == (left := left - {BLOCKED})

        assert downloads.wait_until_cut(SHOP) in CUT
        assert time.time() >= edge
        assert downloads.running() == (left := left - {SHOP})

        lab.path(LIST).write_text(f"other.example\n{LISTED}\n")
        school.gate("lists", "update", "ours")
        assert downloads.wait_until_cut(LISTED) in CUT
        assert downloads.running() == (left := left - {LISTED})

        school.desk.start_pause(rooms=("oak",), minutes=5, why="a test", actor=USERNAME)
        assert downloads.wait_until_cut(ALLOWED) in CUT
        for name in (PUPILS_KEPT, STAFFS_KEPT):
            downloads.demand_more(name)
        assert downloads.running() == {PUPILS_KEPT, STAFFS_KEPT}
    finally:
        downloads.stop()


def zone_with_a_minute_at(lab: Laboratory, at: int) -> str:
    """Make a time zone in which a minute begins at ``at``, in seconds since 1970, and return its name.

    An edge of the timetable lies on a minute, and so need not be waited for until the world's next one.
    """
    seconds = -at % 60
    # RFC 8536: one kind of local time without changes, and the rule for what comes behind the last of them.
    block = struct.pack(">6llBB", 0, 0, 0, 0, 1, 4, seconds, 0, 0) + b"LAB\0"
    octets = 2 * (b"TZif2" + bytes(15) + block) + f"\nLAB-0:00:{seconds:02d}\n".encode()
    lab.path(ZONES).mkdir()
    lab.path(ZONES / "School").write_bytes(octets)
    return "School"


def open_until(school: Appliance, expiry: int, edge: int) -> None:
    """Open a blocked site until ``expiry`` and shops until ``edge``, in seconds since 1970, to pupils; give the laptop a room."""
    until = datetime.fromtimestamp(expiry, UTC)
    # The last minute before the edge, on the school's clock.
    last = datetime.fromtimestamp(edge + -edge % 60 - 60, UTC)
    exception = {
        "action": "allow",
        "scope": "group",
        "subject": LAPTOP.group,
        "names": [BLOCKED],
        "since": (until - timedelta(minutes=5)).isoformat(),
        "until": until.isoformat(),
        "why": "a test",
    }
    day = {"title": "A test", "open": [f"00:00-{write_minutes(last.hour * 60 + last.minute + 1)}"]}
    school.adopt(
        Edit.of(("exceptions", "site"), None, exception),
        Edit.of(("groups", LAPTOP.group, "cells", "shopping"), "unacceptable", "times"),
        Edit.of(("timetable", "one_off", last.date().isoformat()), None, day),
        Edit.of(("rooms", "oak"), None, {"title": "Oak room"}),
        Edit.of(("devices", LAPTOP.mac, "room"), "", "oak"),
    )
    school.wait_until_filtering()
