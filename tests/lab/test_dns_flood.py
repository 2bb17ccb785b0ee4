"""One device asks without end: it is limited, that is told, and the others get every answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from appliance import Appliance
from laboratory import Laboratory
from plan import BOX, address_of
from sites import ALLOWED

HERE = Path(__file__).parent
QUERIES = 150_000
"""Some seconds of what one laptop can send; the kernel lets 1200 a second through, the sinkhole answers 300."""


def received(lab: Laboratory) -> int:
    """Return the datagrams that reached sockets of the box since it was made, and those for which they had no room."""
    names, counts = lab.run("box", ["grep", "^Udp:", "/proc/net/snmp"]).stdout.splitlines()
    row = dict(zip(names.split()[1:], map(int, counts.split()[1:]), strict=True))
    return row["InDatagrams"] + row["RcvbufErrors"]


def test_a_flood_of_one_device_takes_nobody_elses_answers(
    lab: Laboratory, school: Appliance
) -> None:
    ask = [sys.executable, str(HERE / "traffic.py"), "60", "6", f"dns://{ALLOWED}/"]
    asking = lab.popen("tablet", ask, log="asking")
    flood = [sys.executable, str(HERE / "flood_dns.py"), str(QUERIES), BOX.v4]
    lab.run("laptop", flood, timeout_s=60, check=True)
    asking.wait(30)
    outcomes = [json.loads(line)["outcome"] for line in lab.log("asking").splitlines()]
    assert len(outcomes) > 100
    # One may wait in vain for a processor of the machine that all hosts of the laboratory share.
    assert outcomes.count(str(address_of(ALLOWED))) >= len(outcomes) - 1
    assert received(lab) < QUERIES / 4
    told = school.gate("log", "--blocked", "--limit", "500")
    assert "flood" in told
