"""A greedy device and a modest one on a narrow line."""

from __future__ import annotations

import json
import time

from appliance import CONFIG_FILE, Appliance
from clients import curl
from laboratory import Laboratory
from plan import LAPTOP, ROUTER, TABLET

LINE_MBIT = 16
DOWNLOADS = 12
"""Of the greedy device at once; the modest one has one."""
SETTLED_S, MEASURED_S = 3.0, 5.0
URL = "http://files.example/slow?seconds=60&rate=4000000"


def received(lab: Laboratory, client: str) -> int:
    [port] = json.loads(lab.run(client, ["ip", "-j", "-s", "link", "show", "eth0"]).stdout)
    return int(port["stats64"]["rx"]["bytes"])


def modest_share(school: Appliance, *limits: str) -> float:
    """Return what part of all that is received the modest device gets."""
    lab = school.lab
    with lab.path(CONFIG_FILE).open("a") as file:
        file.write("\n".join(("[firewall]", *limits, "")))
    rate = ["rate", f"{LINE_MBIT}mbit", "burst", "32kb", "latency", "50ms"]
    lab.run(ROUTER.name, ["tc", "qdisc", "add", "dev", "eth0", "root", "tbf", *rate], check=True)
    school.start()
    school.wait_until_filtering()
    school.place_devices()
    school.wait_until_filtering()
    assert curl(lab, TABLET.name, "http://files.example/").status == 200
    fetch = ["curl", "-sS", "-o", "/dev/null", URL]
    running = [lab.popen(LAPTOP.name, fetch) for _ in range(DOWNLOADS)]
    running.append(lab.popen(TABLET.name, fetch))
    try:
        time.sleep(SETTLED_S)
        before = [received(lab, client.name) for client in (LAPTOP, TABLET)]
        time.sleep(MEASURED_S)
        after = [received(lab, client.name) for client in (LAPTOP, TABLET)]
    finally:
        for process in running:
            process.terminate()
            process.wait(10)
    greedy, modest = (a - b for a, b in zip(after, before, strict=True))
    assert greedy + modest > LINE_MBIT * 125_000 * MEASURED_S / 3, "the line was not in use"
    return modest / (greedy + modest)


def test_without_limits_a_greedy_device_takes_the_line(fresh_school: Appliance) -> None:
    assert modest_share(fresh_school) < 0.25


def test_a_limit_leaves_the_rest_of_the_line_to_others(fresh_school: Appliance) -> None:
    """A quarter of the line: what is dropped behind the line has used it, so that half of it would leave others a third."""
    assert modest_share(fresh_school, f"device_down_mbit = {LINE_MBIT // 4}") > 0.35
