"""A busy school: its devices, its people, and weeks of decisions.

What the bench knows of the product's interfaces stands here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher

from gate_appliance.activity import ActivityLog
from gate_appliance.desk import StewardDesk
from gate_appliance.places import Places
from gate_appliance.steward import Steward
from gate_core.categories import CATEGORIES
from gate_core.config import ApplianceConfig, Config, DnsConfig
from gate_core.edits import Edit
from gate_core.events import Batch, Outcome, Source, Who

USERNAME: Final = "r.example"
PASSWORD: Final = "copper otter umbrella"  # noqa: S105  # of a school that does not exist
HEAD: Final = "h.example"
ZONE: Final = ZoneInfo("Europe/London")
DAYS: Final = 28
NAMES: Final = 60_000
"""Different sites in all."""
GROUPS: Final = ("ks1", "ks2", "staff", "guest", "infrastructure")
RARE, COMMON, ABSENT = "site59990-", "site1", "nowhere-at-all"
"""Parts of names that few decisions have, many, and none."""

_DAY_MS: Final = 8 * 3_600_000
_BATCH: Final = 20_000
_SEED: Final = 4


def mac_of(number: int) -> str:
    """Return the MAC address of a device."""
    return f"00:00:5e:00:{number >> 8:02x}:{number & 255:02x}"


def config_text(folder: Path, *, port: int, block_port: int, dns_port: int, upstream: int) -> str:
    """Return the configuration of an appliance on loopback whose files are in ``folder``."""
    return f"""
        [appliance]
        mode = "resolver"
        state_directory = "{folder / "state"}"
        run_directory = "{folder / "run"}"
        [dns]
        listen = ["127.0.0.1"]
        port = {dns_port}
        upstreams = ["127.0.0.1:{upstream}"]
        rate_limit = 0
        [web]
        listen = ["127.0.0.1"]
        port = {port}
        block_page_port = {block_port}
        """


def make_school(folder: Path, devices: int) -> None:
    """Complete the first run, and register ``devices`` and their people."""
    config = Config(
        appliance=ApplianceConfig(
            mode="resolver",
            state_directory=str(folder / "state"),
            run_directory=str(folder / "run"),
        ),
        dns=DnsConfig(upstreams=("192.0.2.1",)),
    )
    steward = Steward(config)
    desk = StewardDesk(steward)
    try:
        hashed = PasswordHasher().hash(PASSWORD)
        desk.set_up(
            code=steward.places.first_run_code.read_text("ascii").strip(),
            school="Example Primary School",
            username=USERNAME,
            full_name="Robin Example",
            password_hash=hashed,
        )
        invited = desk.invite(
            username=HEAD, full_name="Harper Example", role="head", reason="New", actor=USERNAME
        )
        for waiting in desk.proposals(actor=USERNAME, waiting=True):
            desk.answer(id=waiting.id, approve=True, actor="command line (bench)")
        desk.accept_invitation(username=HEAD, code=invited.code, password_hash=hashed)
        made = desk.propose(edits=tuple(_inventory(devices)), reason="Inventory", actor=USERNAME)
        if made.state == "waiting":
            desk.answer(id=made.id, approve=True, actor=HEAD)
    finally:
        desk.close()
        steward.close()


def _inventory(devices: int) -> Iterator[Edit]:
    for number in range(0, devices, 4):
        yield Edit.of(("people", f"p-{number}"), None, {"name": f"Pupil {number}", "kind": "pupil"})
    for number in range(devices):
        person = f"p-{number}" if number % 4 == 0 else ""
        value: dict[str, Any] = {
            "name": f"Device {number}",
            "group": GROUPS[number % len(GROUPS)],
            "room": "",
            "person": person,
            "until": "",
        }
        yield Edit.of(("devices", mac_of(number)), None, value)


def fill_log(folder: Path, rows: int, devices: int) -> None:
    """Write ``rows`` decisions of the last ``DAYS`` days, and settle all days but today."""
    log = ActivityLog(Places(folder / "state", folder / "run").activity, ZONE)
    today = datetime.fromtimestamp(time.time(), ZONE)
    midnight = today.replace(hour=0, minute=0, second=0, microsecond=0)
    draw = random.Random(_SEED)  # noqa: S311  # the same school each time
    try:
        for ago in reversed(range(DAYS)):
            begin = int((midnight - timedelta(days=ago)).timestamp() * 1000)
            # Lessons are from eight to four; of today, what has been of it.
            span = _DAY_MS if ago else max(1, int(time.time() * 1000) - begin)
            start = begin + (_DAY_MS if ago else 0)
            _write_day(log, draw, (start, span), rows // DAYS, devices)
        log.settle(midnight.date())
    finally:
        log.close()


def _write_day(
    log: ActivityLog, draw: random.Random, span: tuple[int, int], rows: int, devices: int
) -> None:
    whos = [
        Who(
            f"10.0.{number >> 8}.{number & 255}",
            mac_of(number),
            f"Device {number}",
            GROUPS[number % len(GROUPS)],
            f"p-{number}" if number % 4 == 0 else "",
        )
        for number in range(devices)
    ]
    masks = [category.mask for category in CATEGORIES]
    start, length = span
    for done in range(0, rows, _BATCH):
        many = min(_BATCH, rows - done)
        firewall = done // _BATCH % 3 == 0
        kind = "tls" if firewall else "A"
        outcomes = [Outcome(kind, "allow", "default", "default:ks2", 0, 7, "")]
        outcomes += [
            Outcome(kind, "block", "matrix", f"row:{place}", mask, 7, "")
            for place, mask in enumerate(masks)
        ]
        at = [start + (done + place) * length // rows for place in range(many)]
        who = [int(draw.random() * devices) for _ in range(many)]
        # Some sites are asked for often, most seldom; one decision in twenty blocks.
        names = [site(int(NAMES * draw.random() ** 4)) for _ in range(many)]
        which = [
            0 if draw.random() < 0.95 else int(draw.random() ** 3 * len(masks)) + 1
            for _ in range(many)
        ]
        remotes = (
            [f"203.0.{int(draw.random() * 40)}.{int(draw.random() * 250)} 443/tcp" for _ in at]
            if firewall
            else ()
        )
        source = Source.FIREWALL if firewall else Source.DNS
        log.append_batches(
            [Batch(source, whos, outcomes, at, who, which, names, [1] * many, [0] * many, remotes)]
        )


def site(number: int) -> str:
    """Return the name of a site."""
    return f"{'www' if number % 3 else 'cdn'}.site{number}-{number * 7919 % 99_991:x}.example"
