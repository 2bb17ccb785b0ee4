"""The panel's process: what the desk says becomes lamps, and a press becomes a request to the desk.

Three threads. One turns: it alone holds the state, shows it, and never waits for the desk. One listens to the desk's
status, one speaks to it. They meet in two queues only.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from gate_core.config import PanelConfig
from gate_core.desk import (
    Desk,
    Lamp,
    PanelButtons,
    PanelReport,
    RefusedError,
    Status,
    UnavailableError,
)
from gate_hardware import panel
from gate_hardware.gpio import open_pins
from gate_hardware.panel import Command, PanelState, Pattern, Request, Rhythm

_log = logging.getLogger(__name__)

_ACTOR = "button"
_LISTEN_S = 1.0
_RETRY_S = 0.25
_REPORT_EVERY_S = 2.0
# Conditions that begin or end with time alone (a stuck button, the end of starting) are seen this late at most.
_LONGEST_TURN_S = 0.5


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """What the panel is made of, and what its button does."""

    pins: str = "virtual"
    """``virtual`` or ``gpio``."""
    pause_minutes: int = 30
    keep_press_s: float = 30.0
    """How long a press is tried again while the steward does not answer."""

    @classmethod
    def of(cls, config: PanelConfig) -> PanelSettings:
        """Return the settings in the configuration file."""
        return cls(config.pins, config.pause_minutes)


@dataclass(frozen=True, slots=True)
class PanelPorts:
    """What the panel is handed."""

    desk: Desk
    """Asked from two threads at a time."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds of a clock that never goes back."""


Change = Callable[[PanelState], PanelState]


class PanelService:
    """The panel, from opening its pins to closing them."""

    def __init__(self, settings: PanelSettings, ports: PanelPorts) -> None:
        """Open the pins; presses are kept from now on.

        Raises:
            OSError: There are no such pins.
        """
        self._settings = settings
        self._desk = ports.desk
        self._monotonic = ports.monotonic
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        # None: nothing to ask for, but something new to report.
        self._to_say: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._state = PanelState(started_s=ports.monotonic())
        self._lamps: tuple[Lamp, ...] = ()
        self._rhythms = dict.fromkeys(panel.LAMPS, Rhythm())
        self._pins = open_pins(settings.pins, self._on_button)

    @property
    def buttons(self) -> PanelButtons:
        """The buttons, to be pressed from elsewhere where the pins are simulated."""
        return self._pins

    def run(self) -> None:
        """Show and listen until an exception ends it, such as the SystemExit of a signal; then let go of the pins."""
        with ThreadPoolExecutor(2, thread_name_prefix="panel") as threads:
            try:
                workers = [threads.submit(self._listen), threads.submit(self._speak)]
                while True:
                    self._turn()
                    for worker in workers:
                        if worker.done():
                            # A mistake of ours in a thread ends the process, and is not lost with the thread.
                            worker.result()
            finally:
                self._ending.set()
                self._to_say.put(None)
                self._pins.close()

    def _on_button(self, name: str, down: bool) -> None:
        # There is one button. What is done here is done in a thread of the pins.
        _log.info("action=button name=%s down=%s", name, down)
        self._changes.put(partial(panel.moved, at_s=self._monotonic(), down=down))

    def _turn(self) -> None:
        """Take one change, or wait until a lamp is due, and show the state."""
        before = self._state
        now_s = self._monotonic()
        wait_s = min(_LONGEST_TURN_S, *(rhythm.rest_s(now_s) for rhythm in self._rhythms.values()))
        with suppress(queue.Empty):
            self._state = self._changes.get(timeout=wait_s)(before)
        self._show()
        request = self._state.request
        if request is not None and request is not before.request:
            self._to_say.put(request)

    def _show(self) -> None:
        now_s = self._monotonic()
        lamps = panel.lamps(self._state, now_s)
        self._rhythms = {
            lamp.name: self._rhythms[lamp.name].turned(Pattern(lamp.pattern), now_s)
            for lamp in lamps
        }
        # The pins first: a report may wait, a finger on the button does not.
        self._pins.show({name: rhythm.lit(now_s) for name, rhythm in self._rhythms.items()})
        if lamps != self._lamps:
            self._lamps = lamps
            self._to_say.put(None)

    def _listen(self) -> None:
        """Follow the desk's status."""
        revision = 0
        while not self._ending.is_set():
            try:
                status = self._desk.status(since=revision, wait_s=_LISTEN_S)
            except (UnavailableError, RefusedError) as e:
                _log.debug("action=listen fault=%s", e)
                self._changes.put(panel.not_heard)
                self._ending.wait(_RETRY_S)
            else:
                revision = status.revision
                self._changes.put(partial(panel.heard, status=status))

    def _speak(self) -> None:
        """Carry presses out, and report the lamps: on each change, and every two seconds as a sign of life."""
        wait_s = _REPORT_EVERY_S
        while not self._ending.is_set():
            try:
                request = self._to_say.get(timeout=wait_s)
            except queue.Empty:
                request = None
            if request is not None:
                self._carry_out(request)
            try:
                self._desk.report_panel(report=PanelReport(self._pins.virtual, self._lamps))
                wait_s = _REPORT_EVERY_S
            except (UnavailableError, RefusedError) as e:
                # The lamp for this comes from the other thread.
                _log.debug("action=report fault=%s", e)
                wait_s = _RETRY_S

    def _carry_out(self, request: Request) -> None:
        deadline_s = request.since_s + self._settings.keep_press_s
        while not self._ending.is_set():
            try:
                self._ask(request.command)
            except UnavailableError as e:
                if self._monotonic() < deadline_s:
                    self._ending.wait(_RETRY_S)
                    continue
                fault: Exception = e
            except RefusedError as e:
                fault = e
            else:
                _log.info("action=%s_pause", request.command.value)
                self._changes.put(partial(panel.carried_out, status=self._status()))
                return
            _log.error("action=%s_pause fault=%s", request.command.value, fault)
            self._changes.put(partial(panel.given_up, at_s=self._monotonic()))
            return

    def _ask(self, command: Command) -> None:
        match command:
            case Command.START_PAUSE:
                minutes = self._settings.pause_minutes
                self._desk.start_pause(groups=(), minutes=minutes, actor=_ACTOR)
            case Command.END_PAUSE:
                self._desk.end_pause(actor=_ACTOR)

    def _status(self) -> Status | None:
        """Return the status after a press, so that the lamp shows no moment in which it seems undone."""
        try:
            return self._desk.status()
        except (UnavailableError, RefusedError):
            # The other thread finds the same, and shows it.
            return None
