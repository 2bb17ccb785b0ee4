import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from gate_core.config import PanelConfig
from gate_core.desk import PanelReport, PauseView, RefusedError, Status, UnavailableError
from gate_hardware import service as service_module
from gate_hardware.service import PanelPorts, PanelService, PanelSettings

PATIENCE_S = 10.0
"""How long a test waits for what must come; on a busy machine that may take long."""

STATUS = Status(
    revision=1,
    at="2026-09-07T10:00:00+01:00",
    school="",
    mode="inline",
    version=1,
    filtering=True,
    components=(),
    pause=None,
    waiting=0,
    allowed_today=0,
    blocked_today=0,
    devices_today=0,
    listed_names=0,
    panel=None,
    uncovered=(),
)


class FakeDesk:
    """A desk in memory: does what it is asked, and can fall silent or refuse."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.now = STATUS
        self.silent = False
        self.refusing = False
        self.held = False
        self.commands: list[tuple[object, ...]] = []
        self.reports: list[PanelReport] = []

    def set(self, **changes: object) -> None:
        with self.changed:
            for name, value in changes.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def become(self, **fields: object) -> None:
        with self.changed:
            self.now = replace(self.now, revision=self.now.revision + 1, **fields)
            self.changed.notify_all()

    def until(self, holds: Callable[[], object]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, PATIENCE_S), self.reports[-1:]

    def shows(self, name: str, pattern: str) -> bool:
        return any(
            lamp.name == name and lamp.pattern == pattern
            for report in self.reports[-1:]
            for lamp in report.lamps
        )

    def _enter(self) -> None:
        if self.silent:
            raise UnavailableError("desk.sock: connection refused")
        if self.refusing:
            raise RefusedError("not now")

    def status(self, *, since: int = 0, wait_s: float = 0.0) -> Status:
        with self.changed:
            self._enter()
            # Less than it may wait, so that a panel that ends has not long to wait for it.
            self.changed.wait_for(lambda: self.now.revision != since, min(wait_s, 0.1))
            self._enter()
            return self.now

    def start_pause(self, *, groups: tuple[str, ...], minutes: int, actor: str) -> None:
        with self.changed:
            self._enter()
            self.changed.wait_for(lambda: not self.held, PATIENCE_S)
            self.commands.append(("start", groups, minutes, actor))
            self.become(pause=PauseView("1", ("ks1",), (), "", "", actor, "", on_the_wire=False))

    def end_pause(self, *, actor: str) -> None:
        with self.changed:
            self._enter()
            self.commands.append(("end", actor))
            self.become(pause=None)

    def report_panel(self, *, report: PanelReport) -> None:
        with self.changed:
            self._enter()
            self.reports.append(report)
            self.changed.notify_all()


class _EndedError(Exception):
    """Stands for the SystemExit of a signal, which only the main thread gets."""


@contextmanager
def running(
    desk: FakeDesk,
    settings: PanelSettings = PanelSettings(),  # noqa: B008  # frozen
    *,
    pressed: bool = False,
) -> Iterator[PanelService]:
    ended = threading.Event()

    def monotonic() -> float:
        # The only thing that the panel's first thread asks for again and again.
        if ended.is_set() and threading.current_thread() is thread:
            raise _EndedError
        return time.monotonic()

    def run() -> None:
        with pytest.raises(_EndedError):
            service.run()

    thread = threading.Thread(target=run)
    service = PanelService(settings, PanelPorts(desk, monotonic))
    if pressed:
        service.buttons.press(button="pause", seconds=0)
    thread.start()
    try:
        yield service
    finally:
        ended.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the panel does every so often it does more often here."""
    for name, seconds in (("_LONGEST_TURN_S", 0.02), ("_RETRY_S", 0.02), ("_REPORT_EVERY_S", 0.1)):
        monkeypatch.setattr(service_module, name, seconds)


@pytest.fixture
def desk() -> FakeDesk:
    return FakeDesk()


def test_run_shows_and_reports_what_the_desk_says(desk: FakeDesk) -> None:
    with running(desk) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        assert desk.reports[-1].virtual
        pins = service.buttons
        assert pins.factory.pin("GPIO22").state


def test_run_reports_again_though_nothing_changed(desk: FakeDesk) -> None:
    with running(desk):
        desk.until(lambda: desk.shows("filtering", "on"))
        count = len(desk.reports)
        desk.until(lambda: len(desk.reports) > count)
        assert desk.reports[-1] == desk.reports[-2]


def test_run_follows_a_pause_until_it_is_on_the_wire(desk: FakeDesk) -> None:
    with running(desk):
        desk.become(pause=PauseView("1", ("ks1",), (), "", "", "head", "", on_the_wire=False))
        desk.until(lambda: desk.shows("pause", "blink"))
        desk.become(pause=PauseView("1", ("ks1",), (), "", "", "head", "", on_the_wire=True))
        desk.until(lambda: desk.shows("pause", "on"))


def test_run_carries_a_press_to_the_desk(desk: FakeDesk) -> None:
    with running(desk, PanelSettings(pause_minutes=45)) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        service.buttons.press(button="pause", seconds=0.06)
        desk.until(lambda: desk.shows("pause", "blink"))
    assert desk.commands == [("start", (), 45, "button")]


def test_run_carries_a_press_while_paused_as_the_end(desk: FakeDesk) -> None:
    desk.become(pause=PauseView("1", ("ks1",), (), "", "", "head", "", on_the_wire=True))
    with running(desk) as service:
        desk.until(lambda: desk.shows("pause", "on"))
        service.buttons.press(button="pause", seconds=0.06)
        desk.until(lambda: desk.shows("pause", "off"))
    assert desk.commands == [("end", "button")]


def test_run_acknowledges_a_press_before_the_desk_answers(desk: FakeDesk) -> None:
    """The lamp at the button changes while the desk still works on the press."""
    with running(desk) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        desk.set(held=True)
        lit = threading.Event()
        lamp = service.buttons.factory.pin("GPIO24")
        show = lamp._change_state

        def watch(value: bool) -> bool:
            if value:
                lit.set()
            return show(value)

        lamp._change_state = watch
        service.buttons.press(button="pause", seconds=0.06)
        assert lit.wait(PATIENCE_S)
        assert desk.commands == []
        desk.set(held=False)
        desk.until(lambda: desk.commands)


def test_run_keeps_a_press_until_the_steward_is_back(desk: FakeDesk) -> None:
    with running(desk) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        desk.set(silent=True)
        service.buttons.press(button="pause", seconds=0.06)
        desk.set(silent=False)
        desk.until(lambda: desk.commands)
        desk.until(lambda: desk.shows("pause", "blink"))
    assert desk.commands == [("start", (), 30, "button")]


def test_run_gives_a_press_up_and_shows_it(desk: FakeDesk) -> None:
    with running(desk, PanelSettings(keep_press_s=0)) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        desk.set(silent=True)
        service.buttons.press(button="pause", seconds=0.06)
        # Until it was given up, which a silent desk is not told: the pin tells.
        wait_until(lambda: service.buttons.factory.pin("GPIO17").state)
        desk.set(silent=False)
        desk.until(lambda: desk.shows("fault", "on"))
    assert desk.commands == []


def test_run_shows_a_press_that_the_desk_refuses(desk: FakeDesk) -> None:
    with running(desk) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        desk.set(refusing=True)
        service.buttons.press(button="pause", seconds=0.06)
        wait_until(lambda: service.buttons.factory.pin("GPIO17").state)
        desk.set(refusing=False)
        desk.until(lambda: desk.shows("fault", "on"))


def test_run_shows_that_the_steward_is_silent(desk: FakeDesk) -> None:
    with running(desk) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        desk.set(silent=True)
        wait_until(lambda: service.buttons.factory.pin("GPIO27").state)
        desk.set(silent=False)
        desk.until(lambda: desk.shows("attention", "off") and desk.shows("filtering", "on"))


def test_run_takes_a_press_made_before_it_began(desk: FakeDesk) -> None:
    with running(desk, pressed=True):
        desk.until(lambda: desk.commands)


def test_run_ends_with_a_mistake_of_a_thread(desk: FakeDesk) -> None:
    def broken(**_: object) -> Status:
        raise TypeError("a mistake")

    desk.status = broken
    service = PanelService(PanelSettings(), PanelPorts(desk))
    with pytest.raises(TypeError, match="a mistake"):
        service.run()


def test_run_lets_go_of_the_pins(desk: FakeDesk) -> None:
    with running(desk) as service:
        desk.until(lambda: desk.shows("filtering", "on"))
        pin = service.buttons.factory.pin("GPIO22")
    assert pin.function == "input"


def test_settings_of_the_configuration() -> None:
    config = PanelConfig(pins="gpio", pause_minutes=7)
    assert PanelSettings.of(config) == PanelSettings("gpio", 7, 30.0)


def wait_until(holds: Callable[[], object]) -> None:
    """Look again and again: a pin tells nobody that it has changed."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)
