import threading
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from gate_core.desk import RefusedError
from gate_hardware.gpio import Layout, Pins, VirtualPins, load_layout, open_pins, parse_layout
from gate_hardware.panel import LAMPS

LAYOUT = Layout({"fault": "GPIO17", "pause": "GPIO24"}, {"pause": "GPIO23"})


class Presses(list[tuple[str, bool]]):
    def __call__(self, name: str, down: bool) -> None:
        self.append((name, down))


@pytest.fixture
def presses() -> Presses:
    return Presses()


@pytest.fixture
def pins(presses: Presses) -> Iterator[VirtualPins]:
    pins = VirtualPins(LAYOUT, presses)
    yield pins
    pins.close()


def high(pins: Pins) -> dict[str, bool]:
    return {name: bool(pins.factory.pin(pin).state) for name, pin in LAYOUT.lamps.items()}


def test_pins_are_dark_at_first(pins: VirtualPins) -> None:
    assert high(pins) == {"fault": False, "pause": False}


def test_show_lights_and_darkens_the_pins(pins: VirtualPins) -> None:
    pins.show({"fault": True, "pause": True})
    assert high(pins) == {"fault": True, "pause": True}
    pins.show({"fault": False, "pause": True})
    assert high(pins) == {"fault": False, "pause": True}


def test_press_goes_through_the_pin(pins: VirtualPins, presses: Presses) -> None:
    pin = pins.factory.pin("GPIO23")
    pin.clear_states()
    pins.press(button="pause", seconds=0)
    assert [state.state for state in pin.states] == [True, False, True]
    assert presses == [("pause", True), ("pause", False)]


def test_an_edge_of_the_pin_reports_the_button(pins: VirtualPins, presses: Presses) -> None:
    pin = pins.factory.pin("GPIO23")
    pin.drive_low()
    assert presses == [("pause", True)]
    # gpiozero lets go of a button that is held down after a second only.
    pin.drive_high()


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(-1, id="negative"),
        pytest.param(61, id="too long"),
        pytest.param(float("nan"), id="no number"),
    ],
)
def test_press_refuses_a_time_out_of_bounds(
    pins: VirtualPins, presses: Presses, seconds: float
) -> None:
    with pytest.raises(RefusedError, match="from 0 to 60") as refusal:
        pins.press(button="pause", seconds=seconds)
    assert refusal.value.field == "seconds"
    assert presses == []


def test_press_refuses_another_button(pins: VirtualPins) -> None:
    with pytest.raises(RefusedError, match="'doorbell' is no button; there are pause") as refusal:
        pins.press(button="doorbell")
    assert refusal.value.field == "button"


def test_press_is_refused_on_real_pins(pins: VirtualPins, presses: Presses) -> None:
    """The same code with another factory; a second one stands for that of a Raspberry Pi."""
    factory = type(pins.factory)(revision="b03115")
    real = Pins(LAYOUT, factory, presses)
    with pytest.raises(RefusedError, match="by hand"):
        real.press(button="pause")
    assert not real.virtual
    factory.pin("GPIO23").drive_low()
    assert presses == [("pause", True)]
    real.close()


def test_two_panels_share_nothing(pins: VirtualPins) -> None:
    other = VirtualPins(LAYOUT, Presses())
    other.show({"fault": True, "pause": True})
    assert high(pins) == {"fault": False, "pause": False}
    other.close()


def test_close_darkens_the_lamps(pins: VirtualPins) -> None:
    pins.show({"fault": True, "pause": True})
    pin = pins.factory.pin("GPIO17")
    pins.close()
    assert pin.function == "input"


def test_close_ends_a_long_press() -> None:
    down = threading.Event()
    pins = VirtualPins(LAYOUT, lambda _name, _down: down.set())
    finger = threading.Thread(target=pins.press, kwargs={"button": "pause", "seconds": 60})
    finger.start()
    assert down.wait(5)
    pins.close()
    finger.join(5)
    assert not finger.is_alive()
    with pytest.raises(RefusedError, match="ending"):
        pins.press(button="pause")


def test_layout_gives_a_pin_to_every_lamp() -> None:
    layout = load_layout()
    assert list(layout.lamps) == list(LAMPS)
    assert list(layout.buttons) == ["pause"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[lamps]\n", "lamps and buttons are wanted", id="table missing"),
        pytest.param("[lamps]\n[buttons]\n[bells]\n", "lamps and buttons", id="unknown table"),
        pytest.param(
            '[lamps]\na = "GPIO17"\n[buttons]\nb = "GPIO17"\n', "GPIO17 is used twice", id="twice"
        ),
        pytest.param("[lamps", "Expected", id="not TOML"),
    ],
)
def test_parse_layout_refuses(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_layout(text)


def test_open_pins_opens_simulated_ones(presses: Presses) -> None:
    pins = open_pins("virtual", presses)
    assert pins.virtual
    pins.press(button="pause", seconds=0)
    assert presses == [("pause", True), ("pause", False)]
    pins.close()


@pytest.mark.skipif(find_spec("lgpio") is not None, reason="this machine may have pins")
def test_open_pins_says_that_a_machine_has_none() -> None:
    with pytest.raises(OSError, match="the pins of this machine can't be used"):
        open_pins("gpio", Presses())


@pytest.mark.pi
def test_lamps_light_on_real_pins() -> None:
    try:
        pins = open_pins("gpio", Presses())
    except OSError as e:
        pytest.skip(str(e))
    pins.show(dict.fromkeys(LAMPS, True))
    assert all(pins.factory.pin(pin).state for pin in load_layout().lamps.values())
    pins.close()
