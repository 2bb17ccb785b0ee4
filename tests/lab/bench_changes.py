"""How soon a change of the policy, and a pause, are on the wire: second half of ``make bench-policy``.

A pupil's device holds 5,000 connections through the appliance, with a policy of 8 groups, 300 devices and 500 exceptions
in force. Measured is the time from the request's arrival at the steward's desk to the last packet with a payload that
crosses the bridge, in either direction, by the kernel's time stamps.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable
from statistics import median

from appliance import CONFIG_FILE, USERNAME, Appliance
from clients import dig
from laboratory import HERE, INSIDE, Laboratory
from plan import LAPTOP, address_of

from gate_core.edits import Edit

FLOWS = 5_000
ROUNDS = 50
RATE = 2_000
PORT = 8_080
NAME = "vimeo.com"
WATCHED_S = 1.2
FOLDER = INSIDE / "flood"


def main(rounds: int = ROUNDS) -> tuple[float, float, float]:
    """Return median of the changes, median and worst of the pauses, in ms."""
    with Laboratory("bench") as lab:
        appliance = Appliance(lab)
        # One device stands for a whole school.
        with lab.path(CONFIG_FILE).open("a") as file:
            file.write("[firewall]\npacket_rate = 1000000\n")
        with appliance:
            appliance.seed()
            fill(appliance)
            bench = Bench(lab, appliance)
            changes = bench.measure("change", rounds, bench.close_row, bench.open_row)
            pauses = bench.measure("pause", rounds, bench.pause, bench.end_pause)
        return median(changes), median(pauses), max(pauses)


def fill(appliance: Appliance) -> None:
    """Bring a policy of full size into force."""
    groups = appliance.desk.written().groups
    cells = dict(groups["ks2"].cells)
    edits = [Edit.of(("groups", "ks2", "cells", "video"), cells["video"], "acceptable")]
    edits.append(
        Edit.of(
            ("groups", "year6"),
            None,
            {"title": "Year 6", "number": 8, "cells": {**cells, "video": "times"}},
        )
    )
    for n in range(300):
        device = {"name": f"Tablet {n}", "group": ("ks1", "ks2", "year6", "guest")[n % 4]}
        edits.append(
            Edit.of(("devices", f"02:00:00:00:{n // 256:02x}:{n % 256:02x}"), None, device)
        )
    for n in range(500):
        exception = {
            "action": ("allow", "block")[n % 2],
            "scope": "group",
            "subject": ("ks1", "ks2", "staff")[n % 3],
            "names": [f"site-{n}.example", f"other-{n}.example.org"],
            "since": "2026-11-01T00:00",
            "until": "2027-07-01T00:00",
            "why": "A full policy",
        }
        edits.append(Edit.of(("exceptions", f"full-{n}"), None, exception))
    appliance.adopt(*edits)
    appliance.wait_until_filtering()


class Bench:
    """The flood, and what is done to it."""

    def __init__(self, lab: Laboratory, appliance: Appliance) -> None:
        self._lab, self._appliance, self._desk = lab, appliance, appliance.desk
        self._folder = lab.path(FOLDER)
        self._folder.mkdir()
        server = str(address_of(NAME))
        script = [sys.executable, str(HERE / "flood.py")]
        lab.popen("router", [*script, "serve", str(PORT)], log="flood-serve")
        for host, port in (("router", "eth0"), (LAPTOP.name, "eth0")):
            lab.popen(
                host, [*script, "watch", port, str(PORT), str(FOLDER / host)], log=f"flood-{host}"
            )
        keep = ["keep", server, str(PORT), NAME, str(FLOWS), str(RATE), str(FOLDER)]
        lab.popen(LAPTOP.name, [*script, *keep], log="flood-keep")

    def measure(
        self, what: str, rounds: int, act: Callable[[], object], undo: Callable[[], object]
    ) -> list[float]:
        """Return the milliseconds of each round from before ``act`` to the last leaked packet."""
        found = []
        for number in range(1, rounds + 1):
            self._fill()
            for host in ("router", LAPTOP.name):
                # Appended to by the watcher, which goes on at the new end.
                (self._folder / host).write_bytes(b"")
            time.sleep(0.3)
            (self._folder / "go").unlink()
            before = time.time()
            act()
            time.sleep(WATCHED_S)
            leaked = [t for host in ("router", LAPTOP.name) for t in self._times(host)]
            assert min(leaked) < before, "no traffic before the change"
            assert max(leaked) < before + WATCHED_S - 0.2, "traffic goes on after the change"
            found.append((max(before, *leaked) - before) * 1000)
            undo()
            self._appliance.wait_until_filtering()
            print(f"  {what} {number:2} of {rounds}: {found[-1]:6.1f} ms", flush=True)
        return found

    def close_row(self) -> None:
        self._set_video("acceptable", "unacceptable")

    def open_row(self) -> None:
        self._appliance.adopt(self._video("unacceptable", "acceptable"))

    def pause(self) -> None:
        self._desk.start_pause(groups=("ks2",), minutes=5, actor="button")

    def end_pause(self) -> None:
        self._desk.end_pause(actor="button")

    def _set_video(self, before: str, after: str) -> None:
        self._desk.propose(
            edits=(self._video(before, after),), reason="a measurement", actor=USERNAME
        )

    def _video(self, before: str, after: str) -> Edit:
        return Edit.of(("groups", "ks2", "cells", "video"), before, after)

    def _fill(self) -> None:
        # Known to the firewall, however long it has been up.
        dig(self._lab, LAPTOP.name, NAME)
        (self._folder / "go").touch()
        self._lab.wait_for(self._is_full, f"{FLOWS} connections", 60)

    def _is_full(self) -> bool:
        ready = self._folder / "ready"
        return ready.exists() and int(ready.read_text() or "0") >= FLOWS

    def _times(self, host: str) -> list[float]:
        octets = (self._folder / host).read_bytes()
        return [t for (t,) in struct.iter_unpack("d", octets[: len(octets) // 8 * 8])]


def decisions() -> tuple[float, float]:
    """Run the half that needs no network; return worst ratio of a decision to the look-up, and seconds of the what-if."""
    sys.path.insert(0, str(HERE.parents[1] / "appliance"))
    import bench_policy  # noqa: PLC0415  # lies in another folder

    return bench_policy.print_decide(), bench_policy.print_what_if()


if __name__ == "__main__":
    worst_ratio, what_if_s = decisions()
    change_ms, pause_ms, worst_ms = main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
    print(
        f"policy: decide {worst_ratio:.1f} of trie, change {change_ms:.0f} ms,"
        f" pause {pause_ms:.0f} ms worst {worst_ms:.0f} ms, what-if {what_if_s:.1f} s"
    )
