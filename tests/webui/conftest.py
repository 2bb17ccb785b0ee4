"""A desk in memory with a school's demonstration data, and the pages in front of it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2.bccache import Bucket, BytecodeCache

from gate_core.acceptable_use import ROWS, SHIPPED_CELLS, Cell
from gate_core.categories import BY_ID, in_mask
from gate_core.clients import is_randomised
from gate_core.config import WebConfig
from gate_core.desk import (
    Account,
    ActivityFilter,
    ActivityRecord,
    AuditEntry,
    Component,
    DeviceView,
    Explanation,
    GroupView,
    Lamp,
    PanelReport,
    PauseView,
    RefusedError,
    RowView,
    Status,
    TraceStep,
    UnavailableError,
)
from gate_core.names import MalformedNameError, is_under, parse_name
from gate_core.policy import PLACES
from gate_webui.app import create_app
from gate_webui.passwords import Passwords
from gate_webui.server import Services, WebSettings, serve

NOW = datetime(2027, 1, 12, 10, 41, 7, tzinfo=ZoneInfo("Europe/London"))
CODE = "KESTREL-7421"
PASSWORD = "copper otter umbrella"  # noqa: S105  # of a school that does not exist
USERNAME = "r.example"
FULL_NAME = "Robin Example"
SCHOOL = "Example Primary School"

PAUSE_LAMP_OFF = Lamp("pause", "blue", "off", "No pause: press to pause pupils' internet.")

_TITLES = {
    "ks1": ("EYFS and Key Stage 1", True),
    "ks2": ("Key Stage 2", True),
    "staff": ("Staff", False),
    "guest": ("Guests", True),
    "infrastructure": ("Printers, cameras and other equipment", False),
    "quarantine": ("New and unknown devices", True),
}
_LISTED = {
    "games.example": "games",
    "sums.example": "games-educational",
    "chat.example": "messaging",
    "films.example": "video",
    "shop.example": "shopping",
    "tracker.example": "advertising",
    "bad.example": "child-abuse",
}


@dataclass(frozen=True)
class FixedClock:
    at: datetime | None = NOW

    def now(self) -> datetime | None:
        return self.at


@dataclass
class MemoryButtons:
    pressed: list[str] = field(default_factory=list)
    away: bool = False

    def press(self, *, button: str, seconds: float = 0.1) -> None:
        if self.away:
            raise UnavailableError("panel.sock: nobody there")
        self.pressed.append(button)


class MemoryDesk:
    """Keeps in memory what the steward keeps in its store (gate_core.desk.Desk)."""

    def __init__(self) -> None:
        self.away = False
        self.asked = 0
        self.school = ""
        self.accounts: dict[str, Account] = {}
        self.sign_ins: list[tuple[str, str, bool]] = []
        self.cells = {
            g: {r: c.value for r, c in cells.items()} for g, cells in SHIPPED_CELLS.items()
        }
        self.known: dict[str, DeviceView] = {}
        self.records: list[ActivityRecord] = []
        self.entries: list[AuditEntry] = []
        self.pause: PauseView | None = None
        self.panel: PanelReport | None = None
        self.components: tuple[Component, ...] = ()
        self.filtering = True
        self.mode = "inline"
        self.uncovered: tuple[str, ...] = ()
        self.counts = (0, 0, 0, 0)

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise UnavailableError("desk.sock: nobody there")

    def _note(self, actor: str, action: str, subject: str, **more: str) -> None:
        id_ = len(self.entries) + 1
        values = {"before": "", "after": "", "reason": "", **more}
        at = NOW.isoformat(timespec="seconds")
        self.entries.insert(0, AuditEntry(id_, at, actor, action, subject, **values, version=id_))

    def is_set_up(self) -> bool:
        self._answer()
        return bool(self.accounts)

    def set_up(
        self, *, code: str, school: str, username: str, full_name: str, password_hash: str
    ) -> None:
        self._answer()
        if re.sub(r"[^0-9A-Za-z]", "", code).upper() != CODE.replace("-", ""):
            raise RefusedError("this is not the first-run code of this appliance", "code")
        self.school = school
        self.accounts[username] = Account(username, full_name, "coordinator", password_hash, 1)
        self._note(username, "first run", school)

    def account(self, *, username: str) -> Account | None:
        self._answer()
        return self.accounts.get(username)

    def record_sign_in(self, *, username: str, address: str, succeeded: bool) -> None:
        self._answer()
        self.sign_ins.append((username, address, succeeded))

    def end_sessions(self, *, username: str, actor: str) -> None:
        self._answer()
        its = self.accounts[username]
        self.accounts[username] = replace(its, session_epoch=its.session_epoch + 1)

    def status(self, *, since: int = 0, wait_s: float = 0.0) -> Status:
        self._answer()
        allowed, blocked, devices, listed = self.counts
        return Status(
            len(self.entries) + 1,
            NOW.isoformat(timespec="seconds"),
            self.school,
            self.mode,  # type: ignore[arg-type]
            len(self.entries) + 1,
            self.filtering,
            self.components,
            self.pause,
            allowed,
            blocked,
            devices,
            listed,
            self.panel,
            self.uncovered,
        )

    def rows(self) -> tuple[RowView, ...]:
        self._answer()
        return tuple(
            RowView(
                r.id, r.number, r.title, r.locked, tuple(c.title for c in in_mask(r.categories))
            )
            for r in ROWS
        )

    def groups(self) -> tuple[GroupView, ...]:
        self._answer()
        return tuple(
            GroupView(
                id_,
                title,
                self.cells[id_],
                "allow",
                pausable,
                id_ == "staff",
                sum(d.known and d.group == id_ for d in self.known.values()),
            )
            for id_, (title, pausable) in _TITLES.items()
        )

    def set_cell(self, *, group: str, row: str, cell: str, reason: str, actor: str) -> None:
        self._answer()
        if next(r for r in ROWS if r.id == row).locked:
            raise RefusedError("this row is illegal content: nobody can change it", "cell")
        self._note(
            actor,
            "changed a cell",
            f"{row} for {group}",
            before=self.cells[group][row],
            after=cell,
            reason=reason,
        )
        self.cells[group][row] = cell

    def start_pause(self, *, groups: tuple[str, ...], minutes: int, actor: str) -> None:
        self._answer()
        chosen = groups or tuple(id_ for id_, (_, pausable) in _TITLES.items() if pausable)
        until = NOW + timedelta(minutes=minutes)
        self.pause = PauseView(chosen, NOW.isoformat(), until.isoformat(), actor, True)
        self._light(Lamp("pause", "blue", "on", "Internet pause: press to end it."))
        self._note(actor, "started the internet pause", ", ".join(chosen))

    def end_pause(self, *, actor: str) -> None:
        self._answer()
        if self.pause is None:
            raise RefusedError("no internet pause is on")
        self.pause = None
        self._light(PAUSE_LAMP_OFF)
        self._note(actor, "ended the internet pause", "")

    def _light(self, lamp: Lamp) -> None:
        if self.panel:
            lamps = tuple(lamp if old.name == lamp.name else old for old in self.panel.lamps)
            self.panel = replace(self.panel, lamps=lamps)

    def devices(self) -> tuple[DeviceView, ...]:
        self._answer()
        return tuple(self.known.values())

    def set_device(self, *, mac: str, name: str, group: str, actor: str) -> None:
        self._answer()
        if any(d.name == name and d.mac != mac for d in self.known.values()):
            raise RefusedError(f"there is a device called {name} already", "name")
        self.known[mac] = replace(self.known[mac], name=name, group=group, known=True)
        self._note(actor, "changed a device", mac, after=f"{name}: {group}")

    def forget_device(self, *, mac: str, actor: str) -> None:
        self._answer()
        self.known[mac] = replace(self.known[mac], group="quarantine", known=False)
        self._note(actor, "removed a device", mac)

    def activity(self, *, filter: ActivityFilter) -> tuple[ActivityRecord, ...]:  # noqa: A002
        self._answer()
        found = [
            r
            for r in self.records
            if filter.text.lower() in f"{r.name} {r.device}".lower()
            and filter.group in {"", r.group}
            and filter.device in {"", r.mac}
            and filter.action in {"", r.action}
            and filter.source in {"", r.source}
            and (not filter.before or r.id < filter.before)
        ]
        return tuple(found[: filter.limit])

    def explain(self, *, client: str, name: str) -> Explanation:
        self._answer()
        try:
            name = parse_name(name)
        except MalformedNameError as e:
            raise RefusedError(str(e), "name") from e
        device = next(
            (d for d in self.known.values() if client in {d.mac, d.name, *d.addresses}), None
        )
        group = device.group if device else client if client in _TITLES else "quarantine"
        title = _TITLES[group][0]
        category = next((BY_ID[c] for n, c in _LISTED.items() if is_under(name, n)), None)
        says = {
            7: (
                "allow",
                f"default:{group}",
                f"Allowed: sites on no list are open for {title}.",
            )
        }
        if category and self.cells[group][category.row] != Cell.ACCEPTABLE.value:
            row = next(r for r in ROWS if r.id == category.row)
            why = f"Blocked by the acceptable-use table: “{row.title}” for {title}."
            says[6] = ("block", f"matrix:{row.id}:{group}", why)
            if row.locked:
                why = "Blocked for everyone: it is on a list of illegal content. Nobody can lift this."
                says[0] = ("block", f"illegal:{category.id}", why)
        if self.pause and group in self.pause.groups:
            says[2] = ("block", "pause:1", "Blocked because the internet pause is on.")
        first = min(says)
        action, rule, why = says[first]
        steps = [
            TraceStep(place, *says.get(i, ("", "", "Has nothing to say.")), decides=i == first)
            for i, (place, _) in enumerate(PLACES)
        ]
        reason = {0: "illegal", 2: "paused", 6: "matrix", 7: "default"}[first]
        categories = (category.title,) if category else ()
        return Explanation(
            device.name if device else client,
            group,
            title,
            name,
            action,
            reason,
            rule,
            why,
            categories,
            tuple(steps),
        )

    def audit(self, *, before: int = 0, limit: int = 50) -> tuple[AuditEntry, ...]:
        self._answer()
        return tuple(e for e in self.entries if not before or e.id < before)[:limit]

    def report_panel(self, *, report: PanelReport) -> None:
        self._answer()
        self.panel = report


@cache
def password_hash() -> str:
    return Passwords().hash(PASSWORD)


def set_up_school(desk: MemoryDesk) -> None:
    """Complete the first run."""
    desk.set_up(
        code=CODE,
        school=SCHOOL,
        username=USERNAME,
        full_name=FULL_NAME,
        password_hash=password_hash(),
    )


def fill(desk: MemoryDesk) -> None:
    """Give ``desk`` a morning at school."""
    desk.components = (
        Component("dns", "ok", "Site names are filtered."),
        Component("firewall", "ok", "Connections are filtered."),
        Component("lists", "ok", "1,062,937 names are on the lists."),
        Component("clock", "ok", "The time is known."),
        Component("panel", "ok", "The panel is simulated."),
        Component("recorder", "ok", "Every decision is recorded."),
    )
    desk.counts = (41_208, 1_377, 46, 1_062_937)
    desk.panel = PanelReport(
        virtual=True,
        lamps=(
            # In the words of gate_hardware.panel.LAMPS, which pages may not import.
            Lamp("fault", "red", "off", "No fault."),
            Lamp("attention", "amber", "blink", "The time is not known; strict rules hold."),
            Lamp("filtering", "green", "on", "Pupils' internet is filtered."),
            PAUSE_LAMP_OFF,
        ),
    )
    devices = (
        ("3e:1f:a0:00:53:41", "", "quarantine", False, ("192.0.2.41", "2001:db8::41")),
        ("00:00:5e:00:53:42", "", "quarantine", False, ("192.0.2.42",)),
        ("00:00:5e:00:53:10", "Laptop 7", "ks2", True, ("192.0.2.10", "2001:db8::10")),
        ("00:00:5e:00:53:11", "Year 1 tablet 12", "ks1", True, ("192.0.2.11",)),
        ("00:00:5e:00:53:20", "Office PC", "staff", True, ("192.0.2.20",)),
        ("00:00:5e:00:53:60", "Hall printer", "infrastructure", True, ()),
    )
    for mac, name, group, known, addresses in devices:
        desk.known[mac] = DeviceView(
            mac,
            name,
            group,
            known,
            is_randomised(mac),
            addresses,
            (NOW - timedelta(days=40 if known else 0, minutes=3)).isoformat(),
            (NOW - timedelta(seconds=8)).isoformat(),
        )
    asked = (
        ("00:00:5e:00:53:10", "www.games.example", "A", "dns"),
        ("00:00:5e:00:53:10", "sums.example", "tls", "firewall"),
        ("00:00:5e:00:53:11", "films.example", "AAAA", "dns"),
        ("00:00:5e:00:53:20", "news.example", "HTTPS", "dns"),
        ("3e:1f:a0:00:53:41", "chat.example", "A", "dns"),
        ("00:00:5e:00:53:20", "tracker.example", "A", "dns"),
        ("00:00:5e:00:53:11", "stories.example", "tls", "firewall"),
    )
    for id_ in range(120, 0, -1):
        mac, name, kind, source = asked[id_ % len(asked)]
        told = desk.explain(client=mac, name=name)
        desk.records.append(
            ActivityRecord(
                id_,
                (NOW - timedelta(seconds=9 * (120 - id_))).isoformat(timespec="milliseconds"),
                source,
                desk.known[mac].name,
                mac,
                desk.known[mac].addresses[0],
                told.group,
                name,
                kind,
                told.action,
                told.reason,
                told.rule_id,
                told.categories,
                told.sentence,
                1 + id_ % 3,
                1,
            )
        )
    desk.set_cell(
        group="ks2",
        row="games",
        cell="unacceptable",
        reason="Too many asked for games in lessons.",
        actor=USERNAME,
    )
    desk.start_pause(groups=(), minutes=10, actor="button")
    desk.end_pause(actor=USERNAME)
    desk.set_device(mac="00:00:5e:00:53:11", name="Year 1 tablet 12", group="ks1", actor=USERNAME)


@pytest.fixture
def known() -> SimpleNamespace:
    """What the demonstration school knows."""
    return SimpleNamespace(code=CODE, password=PASSWORD, username=USERNAME, now=NOW)


@pytest.fixture
def empty_desk() -> MemoryDesk:
    return MemoryDesk()


@pytest.fixture
def desk(empty_desk: MemoryDesk) -> MemoryDesk:
    set_up_school(empty_desk)
    return empty_desk


@pytest.fixture
def full_desk(desk: MemoryDesk) -> MemoryDesk:
    fill(desk)
    return desk


@pytest.fixture
def buttons() -> MemoryButtons:
    return MemoryButtons()


def make_app(desk: MemoryDesk, buttons: MemoryButtons, **settings: object) -> Flask:
    services = Services(desk, buttons, FixedClock())
    app = create_app(services, WebSettings(Path("/nonexistent"), **settings), secret_key="k" * 64)
    app.jinja_env.bytecode_cache = CompiledTemplates()
    return app


class CompiledTemplates(BytecodeCache):
    """Keeps compiled templates for all tests: compiling them takes longer than most tests."""

    kept: ClassVar[dict[str, bytes]] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture
def app(desk: MemoryDesk, buttons: MemoryButtons) -> Flask:
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

    def enter(self) -> None:
        """Be signed in, without the work of checking a password."""
        with self.client.session_transaction(**self._over) as session:
            session["sid"] = self._app.extensions["schoolgate"].sessions.begin(USERNAME, 1)

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
def fresh(empty_desk: MemoryDesk, buttons: MemoryButtons) -> Browser:
    """A browser in front of an appliance before its first run."""
    return Browser(make_app(empty_desk, buttons))


@pytest.fixture
def coordinator(browse: Callable[..., Browser]) -> Browser:
    browser = browse()
    browser.enter()
    return browser


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


@contextmanager
def running_server(folder: Path, *, fresh: bool = False) -> Iterator[RunningServer]:
    """Run the server on loopback; ``fresh``: before the first run."""
    port, block_page_port = free_port(), free_port()
    arguments = [str(folder), str(port), str(block_page_port), *(["--fresh"] if fresh else [])]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, __file__, *arguments], stderr=said)
        try:
            for each in (port, block_page_port):
                wait_for_port(each)
            yield RunningServer(process, port, block_page_port, folder)
        finally:
            process.terminate()
            process.wait(timeout=20)
            said.seek(0)
            complaints = said.read().decode()
        # Nothing that clients do may be a fault of the server's.
        assert complaints == ""


def wait_for_port(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for the tests that only talk to it."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(tmp_path, fresh=True) as running:
        yield running


def main(arguments: list[str]) -> None:
    """Serve a demonstration on loopback: FOLDER PORT BLOCK_PAGE_PORT [--fresh]."""
    folder, port, block_page_port, *fresh = arguments
    desk = MemoryDesk()
    if not fresh:
        set_up_school(desk)
        fill(desk)
    config = WebConfig(
        listen=("127.0.0.1", "::1"), port=int(port), block_page_port=int(block_page_port)
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    addresses = (ip_address("127.0.0.1"), ip_address("::1"))
    serve(
        WebSettings.of(config, Path(folder), addresses),
        Services(desk, MemoryButtons(), FixedClock()),
    )


if __name__ == "__main__":
    main(sys.argv[1:])
