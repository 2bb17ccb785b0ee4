"""A school in a temporary directory, with the real steward's desk on it, and the pages in front."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient

from gate_appliance import steward as steward_module
from gate_appliance.desk import StewardDesk
from gate_appliance.library import ADDED
from gate_appliance.neighbours import Neighbour
from gate_appliance.steward import Steward
from gate_appliance.store import Change
from gate_core.config import ApplianceConfig, Config, DnsConfig, WebConfig
from gate_core.desk import Component, Lamp, PanelReport, ProposalView, Status, UnavailableError
from gate_core.edits import Edit
from gate_core.events import Event, Source, Traffic, Who
from gate_core.policy import decide
from gate_webui.access import Kept
from gate_webui.app import create_app
from gate_webui.passwords import Passwords
from gate_webui.server import Services, WebSettings, serve
from gate_webui.sessions import Sessions
from gate_webui.throttle import Throttle

NOW = datetime(2027, 1, 12, 10, 41, 7, tzinfo=ZoneInfo("Europe/London"))
PASSWORD = "copper otter umbrella"  # noqa: S105  # of a school that does not exist
USERNAME = "r.example"
FULL_NAME = "Robin Example"
SCHOOL = "Example Primary School"
SETTINGS = WebSettings(Path("/nonexistent"))

STAFF = {
    "h.example": ("Harper Example", "head", ()),
    "s.example": ("Sam Example", "safeguarding", ()),
    "i.example": ("Indra Example", "it", ()),
    "g.example": ("Gray Example", "governor", ()),
    "t.example": ("Taylor Example", "teacher", ("ks2",)),
    "a.example": ("Alex Example", "auditor", ()),
}
"""Everybody besides the coordinator: full name, role, a teacher's own."""

PAUSE_LAMP_OFF = Lamp("pause", "blue", "off", "No pause: press to pause pupils' internet.")

_LISTS = {
    "games": "games.example",
    "games-educational": "sums.example",
    "messaging": "chat.example",
    "video": "films.example",
    "shopping": "shop.example",
    "advertising": "tracker.example",
    "child-abuse": "bad.example",
}
"""Category to the one name that the school's own list of it holds."""

LAPTOP, TABLET, OFFICE = "00:00:5e:00:53:10", "00:00:5e:00:53:11", "00:00:5e:00:53:20"
UNNAMED = "3e:1f:a0:00:53:41"


@dataclass(frozen=True)
class FixedClock:
    at: datetime | None = NOW

    @property
    def zone(self) -> tzinfo:
        return NOW.tzinfo

    def now(self) -> datetime | None:
        return self.at

    def now_or_floor(self) -> datetime:
        return self.at or NOW

    def remember(self) -> None:
        """Nothing to keep."""


@dataclass
class MemoryButtons:
    pressed: list[str] = field(default_factory=list)
    away: bool = False

    def press(self, *, button: str, seconds: float = 0.1) -> None:
        if self.away:
            raise UnavailableError("panel.sock: nobody there")
        self.pressed.append(button)


class WatchedDesk:
    """The real desk on a real steward; knows what it was asked, and can be made unreachable."""

    def __init__(self, steward: Steward) -> None:
        self.steward = steward
        self.away = False
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Method and arguments of each call."""
        self.shown: dict[str, Any] = {}
        """Fields of the status that only a data plane could set."""
        self._desk = StewardDesk(steward)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._desk, name)

        def ask(**arguments: Any) -> Any:
            self.asked.append((name, arguments))
            if self.away:
                raise UnavailableError("desk.sock: nobody there")
            return method(**arguments)

        return ask

    def status(self, **arguments: Any) -> Status:
        # A name of the class is not looked up by ``__getattr__``.
        found = WatchedDesk.__getattr__(self, "status")(**arguments)
        pause = found.pause and replace(found.pause, on_the_wire=True)
        return replace(found, **{"pause": pause, **self.shown})

    def cell(self, group: str, row: str) -> str:
        return self.steward.document["groups"][group]["cells"][row]

    def entry(self):
        """The newest entry of the record."""
        return self.steward.store.entries(limit=1)[0]

    def close(self) -> None:
        self._desk.close()
        self.steward.close()


@contextmanager
def opened(state: Path, clock: FixedClock | None = None) -> Iterator[WatchedDesk]:
    """Open the school in ``state``, or a new one; the steward's threads stay off, so that time stands still."""
    # Names of unix sockets have 107 octets at most (unix(7)); pytest's own directories may be longer.
    with tempfile.TemporaryDirectory(prefix="gate") as run:
        config = Config(
            appliance=ApplianceConfig(mode="inline", state_directory=str(state), run_directory=run),
            dns=DnsConfig(upstreams=("192.0.2.1",)),
        )
        its = clock or FixedClock()
        with mock.patch.object(steward_module, "SystemClock", return_value=its):
            desk = WatchedDesk(Steward(config))
        # The kernel's neighbour table is the only thing here that a test can't have.
        desk.steward.mac_of = lambda address: next(
            (s.mac for s in desk.steward.sightings.all().values() if str(address) in s.addresses),
            None,
        )
        try:
            yield desk
        finally:
            desk.close()


def first_run_code(desk: WatchedDesk) -> str:
    return desk.steward.places.first_run_code.read_text("ascii").strip()


class QuickPasswords(Passwords):
    """As the real ones, but for hashes that take next to no work to make, and to check."""

    def __init__(self) -> None:
        super().__init__()
        self._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@cache
def password_hash() -> str:
    return QuickPasswords().hash(PASSWORD)


def set_up_school(desk: WatchedDesk) -> None:
    """Complete the first run, and give everybody an account."""
    desk.set_up(
        code=first_run_code(desk),
        school=SCHOOL,
        username=USERNAME,
        full_name=FULL_NAME,
        password_hash=password_hash(),
    )
    for username, (full_name, role, rooms) in STAFF.items():
        invitation = desk.invite(
            username=username,
            full_name=full_name,
            role=role,
            rooms=rooms,
            reason="Beginning of the school year",
            actor=USERNAME,
        )
        for proposal in desk.proposals(actor=USERNAME, waiting=True):
            desk.answer(id=proposal.id, approve=True, actor="h.example")
        desk.accept_invitation(
            username=username, code=invitation.code, password_hash=password_hash()
        )


def change(
    desk: WatchedDesk, *edits: Edit, reason: str, approvers: tuple[str, ...] = ()
) -> ProposalView:
    """Have the coordinator propose ``edits``, and ``approvers`` approve them."""
    made = desk.propose(edits=edits, reason=reason, actor=USERNAME)
    for approver in approvers:
        made = desk.answer(id=made.id, approve=True, actor=approver)
    return made


def fill(desk: WatchedDesk) -> None:
    """Give the school a morning."""
    with tempfile.TemporaryDirectory() as folder:
        for category, name in _LISTS.items():
            path = Path(folder) / f"{category}.txt"
            path.write_text(f"{name}\n", "utf-8")
            list_name = f"own-{category}"
            if category != "child-abuse":
                desk.add_list(name=list_name, category=category, path=str(path), actor=USERNAME)
                continue
            # As one of an official source comes: by hand nobody may add it.
            with desk.steward.library.lock:
                staged = desk.steward.library.stage(list_name, category, path)
                note = Change(
                    "the appliance", "", ADDED, f"{list_name} to {category}", after="1 names"
                )
                desk.steward.put_lists(desk.steward.library.make([staged]), [(staged, note)])
    _place_devices(desk)
    _see_devices(desk)
    _record_decisions(desk)
    _record_traffic(desk)
    change(
        desk,
        Edit.of(("groups", "ks2", "cells", "games"), "times", "unacceptable"),
        reason="Too many asked for games in lessons.",
    )
    _make_exceptions(desk)
    change(
        desk,
        Edit.of(("groups", "staff", "cells", "social-media"), "times", "acceptable"),
        reason="The page of the school is looked after in lessons too.",
    )
    desk.start_pause(minutes=10, actor="button")
    desk.end_pause(actor=USERNAME)


def _place_devices(desk: WatchedDesk) -> None:
    def device(mac: str, name: str, group: str, person: str = "") -> Edit:
        value = {"name": name, "group": group, "room": "", "person": person, "until": ""}
        return Edit.of(("devices", mac), None, value)

    change(
        desk,
        Edit.of(("people", "p-17"), None, {"name": "Pupil 17", "kind": "pupil"}),
        Edit.of(("people", "office"), None, {"name": "School office", "kind": "staff"}),
        Edit.of(("rooms", "ict"), None, {"title": "ICT room"}),
        device(LAPTOP, "Laptop 7", "ks2", "p-17"),
        device(TABLET, "Year 1 tablet 12", "ks1"),
        device(OFFICE, "Office PC", "staff", "office"),
        device("00:00:5e:00:53:60", "Hall printer", "infrastructure"),
        reason="The inventory",
        approvers=("h.example",),
    )


def _see_devices(desk: WatchedDesk) -> None:
    seen = (
        (UNNAMED, 41, 0),
        ("00:00:5e:00:53:42", 42, 0),
        (LAPTOP, 10, 40),
        (TABLET, 11, 40),
        (OFFICE, 20, 40),
    )
    for mac, host, days in seen:
        found = [Neighbour(ip_address(f"2001:db8::{host}"), mac)] if host in {10, 41} else []
        found += [Neighbour(ip_address(f"192.0.2.{host}"), mac)]
        for ago in (timedelta(days=days, minutes=3), timedelta(seconds=8)):
            desk.steward.sightings.take(found, NOW - ago)
    desk.steward.sightings.save()


def _record_decisions(desk: WatchedDesk) -> None:
    asked = (
        (LAPTOP, 10, "www.games.example", "A", Source.DNS),
        (LAPTOP, 10, "sums.example", "tls", Source.FIREWALL),
        (TABLET, 11, "films.example", "AAAA", Source.DNS),
        (OFFICE, 20, "news.example", "HTTPS", Source.DNS),
        (UNNAMED, 41, "chat.example", "A", Source.DNS),
        (OFFICE, 20, "tracker.example", "A", Source.DNS),
        (TABLET, 11, "stories.example", "tls", Source.FIREWALL),
    )
    policy = desk.steward.policy
    events = []
    for number in range(1, 121):
        mac, host, name, kind, source = asked[number % len(asked)]
        address = ip_address(f"192.0.2.{host}")
        client = policy.client(address, mac)
        says = decide(policy, client, name, NOW)
        events.append(
            Event(
                int(NOW.timestamp() * 1000) - 9000 * (120 - number),
                source,
                str(address),
                mac,
                client.name if mac != UNNAMED else "",
                client.group,
                name,
                kind,
                says.action.value,
                says.reason.value,
                says.rule_id,
                says.categories,
                policy.version,
                1 + number % 3,
                "p-17" if mac == LAPTOP else "",
            )
        )
    desk.steward.activity.append(events)


def _record_traffic(desk: WatchedDesk) -> None:
    used = (
        (Who("192.0.2.10", LAPTOP, "Laptop 7", "ks2", "p-17"), 1, "cdn.sums.example", 90, 2),
        (Who("192.0.2.10", LAPTOP, "Laptop 7", "ks2", "p-17"), 0, "www.sums.example", 30, 1),
        (Who("192.0.2.11", TABLET, "Tablet 2", "ks1", ""), 0, "stories.example", 450, 4),
        (Who("192.0.2.20", OFFICE, "Office PC", "staff", ""), 1, "news.example", 2000, 60),
        (Who("192.0.2.20", OFFICE, "Office PC", "staff", ""), 0, "", 6, 6),
    )
    desk.steward.activity.append_sums(
        Traffic(
            int((NOW - timedelta(days=days)).timestamp() * 1000),
            (who,), (0,), (name,), (down * 1_000_000,), (up * 1_000_000,), (1,),
        )
        for who, days, name, down, up in used
    )  # fmt: skip


def _make_exceptions(desk: WatchedDesk) -> None:
    def exception(number: int, action: str, since: str, until: str, **more: Any) -> Edit:
        value = {"action": action, "since": since, "until": until, "names": [], "services": []}
        return Edit.of(("exceptions", f"exception-{number}"), None, value | more)

    change(
        desk,
        exception(
            1,
            "block",
            "2027-01-11T09:00",
            "2027-01-15T15:30",
            scope="school",
            subject="",
            services=["tiktok"],
            why="A dare is going round",
        ),
        reason="A dare is going round",
    )
    for number, since, until, why in (
        (2, "2027-01-12T09:00", "2027-01-12T10:00", "Film club"),
        (3, "2027-01-14T13:00", "2027-01-14T14:00", "Topic work on volcanoes"),
    ):
        change(
            desk,
            exception(
                number,
                "allow",
                since,
                until,
                scope="group",
                subject="ks2",
                names=["films.example"],
                why=why,
            ),
            reason=why,
            approvers=("h.example",),
        )


def pretend(desk: WatchedDesk) -> None:
    """Have ``desk`` report a data plane and a panel that do well."""
    desk.shown = {
        "filtering": True,
        "components": (
            Component("dns", "ok", "Site names are filtered."),
            Component("firewall", "ok", "Connections are filtered."),
            Component("lists", "ok", "1,062,937 names are on the lists."),
            Component("clock", "ok", "The time is known."),
            Component("panel", "ok", "The panel is simulated."),
            Component("recorder", "ok", "Every decision is recorded."),
        ),
        "allowed_today": 41_208,
        "blocked_today": 1_377,
        "devices_today": 46,
        "listed_names": 1_062_937,
    }
    desk.report_panel(
        report=PanelReport(
            virtual=True,
            lamps=(
                # In the words of gate_hardware.panel.LAMPS, which pages may not import.
                Lamp("fault", "red", "off", "No fault."),
                Lamp("attention", "amber", "blink", "The time is not known; strict rules hold."),
                Lamp("filtering", "green", "on", "Pupils' internet is filtered."),
                PAUSE_LAMP_OFF,
            ),
        )
    )


@cache
def template(kind: str) -> Path:
    """Return the files of a school, made once a run: ``empty``, ``staffed`` or ``full``; tests open copies of them."""
    state = Path(tempfile.mkdtemp(prefix="gate"))
    atexit.register(shutil.rmtree, state)
    if kind != "empty":
        before = template("staffed" if kind == "full" else "empty")
        shutil.copytree(before, state, dirs_exist_ok=True)
    with opened(state) as desk:
        if kind == "staffed":
            set_up_school(desk)
        elif kind == "full":
            fill(desk)
    return state


@contextmanager
def school(kind: str) -> Iterator[WatchedDesk]:
    """Open a copy of a ``template``."""
    with tempfile.TemporaryDirectory(prefix="gate") as state:
        shutil.copytree(template(kind), state, dirs_exist_ok=True)
        with opened(Path(state)) as desk:
            pretend(desk)
            yield desk


@pytest.fixture
def known() -> SimpleNamespace:
    """What the demonstration school knows."""
    return SimpleNamespace(password=PASSWORD, username=USERNAME, now=NOW)


@pytest.fixture
def empty_desk() -> Iterator[WatchedDesk]:
    """An appliance before its first run."""
    with school("empty") as desk:
        yield desk


@pytest.fixture
def code(empty_desk: WatchedDesk) -> str:
    """The first-run code of ``empty_desk``."""
    return first_run_code(empty_desk)


@pytest.fixture
def desk(request: pytest.FixtureRequest) -> Iterator[WatchedDesk]:
    """A school with accounts and nothing else; for a test that asks for another one below, that one."""
    for kept in {"kept_desk", "kept_full_desk"} & {*request.fixturenames}:
        yield request.getfixturevalue(kept)
        return
    with school("full" if "full_desk" in request.fixturenames else "staffed") as desk:
        yield desk


@pytest.fixture
def full_desk(desk: WatchedDesk) -> WatchedDesk:
    """A school with devices, activity, exceptions and a change that waits."""
    return desk


@pytest.fixture(scope="session")
def kept_desk() -> Iterator[WatchedDesk]:
    """A school as of ``desk``, for tests that only read: all of them look at the same one."""
    with school("staffed") as desk:
        yield desk


@pytest.fixture(scope="session")
def kept_full_desk() -> Iterator[WatchedDesk]:
    """The same of ``full_desk``."""
    with school("full") as desk:
        yield desk


@pytest.fixture
def buttons() -> MemoryButtons:
    return MemoryButtons()


@cache
def pages() -> Flask:
    """Return the pages in front of nobody, made once a run: compiling their routes takes longer than most tests."""
    services = Services(None, None, FixedClock())
    return create_app(services, SETTINGS, secret_key="k" * 64)


def make_app(desk: WatchedDesk, buttons: MemoryButtons) -> Flask:
    """Return the pages in front of ``desk``; what they keep between requests is their own."""
    app = copy(pages())
    kept = Kept(
        Services(desk, buttons, FixedClock()),
        Sessions(SETTINGS.idle_s, SETTINGS.session_s),
        Throttle(),
        QuickPasswords(),
    )
    app.extensions = {**app.extensions, "schoolgate": kept}
    return app


@pytest.fixture
def app(desk: WatchedDesk, buttons: MemoryButtons) -> Flask:
    return make_app(desk, buttons)


class Browser:
    """A client that keeps cookies, as over HTTPS, and sends each form with its token."""

    def __init__(self, app: Flask, address: str = "192.0.2.20") -> None:
        self._app = app
        self.client: FlaskClient = app.test_client()
        self._over = {
            "base_url": "https://192.0.2.2:8443",
            "environ_base": {"REMOTE_ADDR": address},
        }

    def get(self, path: str, **kwargs: object):
        return self.client.get(path, buffered=True, **self._over, **kwargs)

    def post_bare(self, path: str, data: dict[str, str] | None = None, **kwargs: object):
        headers = {"Referer": "https://192.0.2.2:8443/", **kwargs.pop("headers", {})}
        return self.client.post(path, data=data or {}, headers=headers, **self._over, **kwargs)

    def token(self, page: str) -> str:
        text = self.get(page).text
        return text.split('name="csrf_token" type="hidden" value="')[1].split('"')[0]

    def post(
        self,
        path: str,
        data: dict[str, str] | None = None,
        page: str | None = None,
        **kwargs: object,
    ):
        data = {"csrf_token": self.token(page or path), **(data or {})}
        return self.post_bare(path, data, **kwargs)

    def enter(self, username: str = USERNAME) -> None:
        """Be signed in, without the work of checking a password."""
        with self.client.session_transaction(**self._over) as session:
            session["sid"] = self._app.extensions["schoolgate"].sessions.begin(username, 1)

    def look(self, reason: str = "Weekly check") -> None:
        """Say why one looks at activity."""
        self.post("/activity/reason", {"reason": reason}, page="/activity")

    def sign_in(self, password: str = PASSWORD, username: str = USERNAME, **more: str):
        return self.post("/sign-in", {"username": username, "password": password, **more})


@pytest.fixture
def browse(app: Flask) -> Callable[..., Browser]:
    def make(address: str = "192.0.2.20") -> Browser:
        return Browser(app, address)

    return make


@pytest.fixture
def stranger(browse: Callable[..., Browser]) -> Browser:
    return browse()


@pytest.fixture
def fresh(empty_desk: WatchedDesk, buttons: MemoryButtons) -> Browser:
    """A browser in front of an appliance before its first run."""
    return Browser(make_app(empty_desk, buttons))


def _entered(browse: Callable[..., Browser], username: str) -> Browser:
    browser = browse()
    browser.enter(username)
    return browser


@pytest.fixture
def coordinator(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, USERNAME)


@pytest.fixture
def head(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, "h.example")


@pytest.fixture
def safeguarding(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, "s.example")


@pytest.fixture
def technician(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, "i.example")


@pytest.fixture
def governor(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, "g.example")


@pytest.fixture
def teacher(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, "t.example")


@pytest.fixture
def auditor(browse: Callable[..., Browser]) -> Browser:
    return _entered(browse, "a.example")


@pytest.fixture
def settle(desk: WatchedDesk) -> Callable[[], None]:
    """Have others approve the newest proposal, as far as it waits for somebody."""

    def approve() -> None:
        newest = desk.proposals(actor=USERNAME, limit=1)[0]
        for approver in ("h.example", "s.example"):
            if newest.state == "waiting":
                newest = desk.answer(id=newest.id, approve=True, actor=approver)

    return approve


@pytest.fixture
def lesson_on(full_desk: WatchedDesk, settle: Callable[[], None]) -> None:
    """A lesson period, from 10:10 to 11:00 each day: at ``NOW`` it is on."""
    value = {"title": "Period 2", "days": "Mon-Fri", "since": "10:10", "until": "11:00"}
    change(
        full_desk, Edit.of(("timetable", "periods", "periods-1"), None, value), reason="The bell"
    )
    settle()


@dataclass(frozen=True)
class RunningServer:
    """The real server, in a process of its own, with a school's demonstration data."""

    process: subprocess.Popen[bytes]
    port: int
    block_page_port: int
    folder: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def code(self) -> str:
        """The first-run code; there until it has been used."""
        return (self.folder.parent / "state" / "first-run-code").read_text("ascii").strip()


@contextmanager
def running_server(
    folder: Path, free_port: Callable[[], int], *, fresh: bool = False
) -> Iterator[RunningServer]:
    """Run the server on loopback; ``fresh``: before the first run."""
    port, block_page_port = free_port(), free_port()
    web = folder / "web"
    web.mkdir(parents=True)
    shutil.copytree(template("empty" if fresh else "full"), folder / "state")
    arguments = [str(folder), str(port), str(block_page_port)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, __file__, *arguments], stderr=said)
        try:
            for each in (port, block_page_port):
                wait_for_port(each)
            yield RunningServer(process, port, block_page_port, web)
        finally:
            process.terminate()
            process.wait(timeout=20)
            said.seek(0)
            complaints = said.read().decode()
        # Nothing that clients do may be a fault of the server's.
        assert complaints == ""


def wait_for_port(port: int) -> None:
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise AssertionError(f"nothing listens on port {port}")


@pytest.fixture
def server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[RunningServer]:
    with running_server(tmp_path, free_port) as running:
        yield running


@pytest.fixture(scope="session")
def shared_server(
    tmp_path_factory: pytest.TempPathFactory, free_port: Callable[[], int]
) -> Iterator[RunningServer]:
    """One server for the tests that only talk to it."""
    with running_server(tmp_path_factory.mktemp("server"), free_port) as running:
        yield running


@pytest.fixture
def fresh_server(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[RunningServer]:
    with running_server(tmp_path, free_port, fresh=True) as running:
        yield running


def main(arguments: list[str]) -> None:
    """Serve the school in FOLDER/state on loopback, with keys in FOLDER/web: FOLDER PORT BLOCK_PAGE_PORT."""
    folder, port, block_page_port = arguments
    config = WebConfig(
        listen=("127.0.0.1", "::1"), port=int(port), block_page_port=int(block_page_port)
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    addresses = (ip_address("127.0.0.1"), ip_address("::1"))
    with opened(Path(folder) / "state") as desk:
        pretend(desk)
        serve(
            WebSettings.of(config, Path(folder) / "web", addresses),
            Services(desk, MemoryButtons(), FixedClock()),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
