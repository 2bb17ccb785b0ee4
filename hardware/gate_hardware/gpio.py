"""The pins: the only module that touches them. Real ones, or gpiozero's simulation of them, behave alike.

Nothing here knows what a lamp means. Patterns and debouncing are the caller's, so that both kinds of pins get the same.
"""

from __future__ import annotations

import threading
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from gpiozero import LED, Button
from gpiozero.pins.mock import MockFactory

from gate_core.desk import RefusedError

MAX_PRESS_S: Final = 60.0
"""Longest press of a simulated button."""

# Revision code of a Raspberry Pi 4B with 2 GB, given so that no variable of the environment decides.
_SIMULATED_PI: Final = "b03115"

OnButton = Callable[[str, bool], None]
"""Called with a button's name and whether it is down, in a thread of the pins; must return at once."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which pin each lamp and button is on."""

    lamps: Mapping[str, str]
    """Name to pin, such as ``GPIO17``."""
    buttons: Mapping[str, str]


def load_layout() -> Layout:
    """Return the layout in ``pins.toml``."""
    text = (files("gate_hardware") / "pins.toml").read_text("utf-8")
    return parse_layout(text)


def parse_layout(text: str) -> Layout:
    """Return the layout in a TOML ``text``.

    Raises:
        ValueError: Not TOML, a table other than ``lamps`` and ``buttons``, or a pin twice.
    """
    tables = tomllib.loads(text)
    if set(tables) != {"lamps", "buttons"}:
        raise ValueError(
            f"pins: the tables are {', '.join(sorted(tables))}; lamps and buttons are wanted"
        )
    layout = Layout(tables["lamps"], tables["buttons"])
    pins = [*layout.lamps.values(), *layout.buttons.values()]
    twice = sorted({pin for pin in pins if pins.count(pin) > 1})
    if twice:
        raise ValueError(f"pins: {', '.join(twice)} is used twice; each pin has one use")
    return layout


class Pins:
    """The lamps and buttons on the pins of one factory, from making to ``close``."""

    virtual = False
    """Whether the pins are simulated."""

    def __init__(self, layout: Layout, factory: Any, on_button: OnButton) -> None:
        self.factory = factory
        """gpiozero's factory, which the pins come from."""
        self._lamps = {name: LED(pin, pin_factory=factory) for name, pin in layout.lamps.items()}
        self._buttons = {
            name: Button(pin, pull_up=True, pin_factory=factory)
            for name, pin in layout.buttons.items()
        }
        for name, button in self._buttons.items():
            button.when_pressed = _report(on_button, name, down=True)
            button.when_released = _report(on_button, name, down=False)

    def show(self, lit: Mapping[str, bool]) -> None:
        """Light the lamps that are True in ``lit``, by name, and darken the others."""
        for name, on in lit.items():
            if on:
                self._lamps[name].on()
            else:
                self._lamps[name].off()

    def press(self, *, button: str, seconds: float = 0.1) -> None:
        """Refuse: a real button is pressed by hand.

        Raises:
            RefusedError: Always.
        """
        raise RefusedError("the panel's pins are real: its button is pressed by hand", "button")

    def close(self) -> None:
        """Darken the lamps and let go of the pins."""
        for device in (*self._buttons.values(), *self._lamps.values()):
            device.close()
        self.factory.close()


class VirtualPins(Pins):
    """Simulated pins; their buttons can be pressed. It implements ``gate_core.desk.PanelButtons``."""

    virtual = True

    def __init__(self, layout: Layout, on_button: OnButton) -> None:
        # A factory of its own, never gpiozero's default: two panels in one process share nothing.
        super().__init__(layout, MockFactory(revision=_SIMULATED_PI), on_button)
        self._finger = threading.Lock()
        self._ending = threading.Event()

    def press(self, *, button: str, seconds: float = 0.1) -> None:
        """Hold ``button`` down for ``seconds``; waits for another press to end, and returns after this one.

        Raises:
            RefusedError: No such button, or not 0 to 60 seconds.
        """
        if button not in self._buttons:
            raise RefusedError(
                f"{button[:40]!r} is no button; there are {', '.join(self._buttons)}", "button"
            )
        if not 0 <= seconds <= MAX_PRESS_S:
            raise RefusedError(
                f"{seconds} is not a number of seconds from 0 to {MAX_PRESS_S:g}", "seconds"
            )
        with self._finger:
            if self._ending.is_set():
                raise RefusedError("the panel is ending", "button")
            pin = self._buttons[button].pin
            # A button joins its pin, pulled up inside the Pi, to ground.
            pin.drive_low()
            self._ending.wait(seconds)
            pin.drive_high()

    def close(self) -> None:
        """Take the finger off the button, darken the lamps, let go of the pins."""
        self._ending.set()
        with self._finger:
            super().close()


def open_pins(kind: str, on_button: OnButton) -> Pins:
    """Return the pins of ``pins.toml``: ``virtual``, or ``gpio`` for those of a Raspberry Pi.

    Raises:
        OSError: There are no such pins, or this process may not use them.
    """
    layout = load_layout()
    if kind == "virtual":
        return VirtualPins(layout, on_button)
    # lgpio comes with the system of a Raspberry Pi, and is on no other machine. Named, since gpiozero would go on
    # to try three other ways and warn of each.
    try:
        from gpiozero.pins.lgpio import LGPIOFactory  # noqa: PLC0415

        factory = LGPIOFactory()
    except Exception as e:
        # lgpio raises an error of its own, derived from Exception only.
        raise OSError(f"the pins of this machine can't be used: {e}") from e
    return Pins(layout, factory, on_button)


def _report(on_button: OnButton, name: str, *, down: bool) -> Callable[[], None]:
    # gpiozero looks how many arguments a handler takes; this one takes none.
    def report() -> None:
        on_button(name, down)

    return report
