"""``make demo``: the laboratory with a running appliance, until Ctrl-C; ``demo.py exec HOST -- COMMAND`` runs something in it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from appliance import CONFIG_FILE, Appliance
from laboratory import HERE, INSIDE, Laboratory, LaboratoryError, running
from plan import BOX, CLIENTS
from relay import relay

NAME = os.environ.get("SCHOOLGATE_DEMO", "demo")
"""Demos of other names live side by side."""
WEB_PORT = 8443
TRAFFIC_S = 12 * 3600
"""The clients go quiet after this, so that a demo left alone over night does not fill the disk."""

PICTURE = """
  laptop 10.77.0.10  pupil ─┐
  tablet 10.77.0.11  pupil ─┤             ┌────────────┐
                            ├─ switch ────┤ Schoolgate ├──── router ──── "the internet"
  staff  10.77.0.20  staff ─┤             │ 10.77.0.2  │    10.77.0.1    (every name exists)
  guest  10.77.0.30  guest ─┘             └────────────┘
"""

TEXT = """\
{picture}
  Pages       {url}      (own certificate: the browser asks once)
  Begin here  {url}/first-run?code={code}

  Try in a second terminal, in this folder:
    make pupil CMD='curl -sI http://www.bbc.co.uk'      passes
    make pupil CMD='curl -s http://www.bet365.com'      is stopped: this is what the pupil reads instead
    make staff CMD='curl -sI https://www.youtube.com'   passes for staff
    make box   CMD='gate status'                        the appliance itself

  Ctrl-C ends it; nothing stays behind."""

HABITS = {
    "laptop": (
        "https://www.bbc.co.uk/newsround",
        "https://scratch.mit.edu/",
        "https://www.topmarks.co.uk/",
        "http://www.bet365.com/",
        "https://en.wikipedia.org/wiki/Bridge",
        "https://www.roblox.com/",
    ),
    "tablet": (
        "https://www.phonicsplay.co.uk/",
        "https://www.duolingo.com/",
        "https://www.tiktok.com/",
        "http://www.naturedetectives.org.uk/",
    ),
    "staff": (
        "https://www.gov.uk/",
        "https://www.youtube.com/",
        "https://www.tes.com/",
        "https://www.metoffice.gov.uk/",
    ),
    "guest": (
        "https://www.rightmove.co.uk/",
        "https://www.nationalrail.co.uk/",
        "https://www.pokerstars.com/",
    ),
}
"""What each client visits, over and over."""


TOOLS = INSIDE / "bin"
GATE = f"""\
#!{sys.executable}
import sys
from gate_appliance import cli, console
console.DEFAULT_CONFIG = "{CONFIG_FILE}"
sys.exit(cli.main())
"""
"""``gate`` as on an appliance, where nobody names the configuration."""


def show() -> int:
    """Run the demo until a signal ends it."""
    with Laboratory(NAME) as lab:
        appliance = Appliance(lab)
        try:
            print("starting a school's network and the appliance ...", flush=True)
            with appliance:
                appliance.place_devices()
                gate = lab.path(TOOLS / "gate")
                gate.parent.mkdir()
                gate.write_text(GATE)
                gate.chmod(0o755)
                port = relay(lab, "box", WEB_PORT, outer_port=WEB_PORT)
                for client in CLIENTS:
                    argv = [sys.executable, str(HERE / "traffic.py"), "0.25", str(TRAFFIC_S)]
                    lab.popen(
                        client.name, [*argv, *HABITS[client.name]], log=f"traffic-{client.name}"
                    )
                url = f"https://127.0.0.1:{port}"
                print(
                    TEXT.format(picture=PICTURE, url=url, code=appliance.first_run_code), flush=True
                )
                appliance.wait()
        finally:
            print("\ntaking it down ...", flush=True)
    return 0


def execute(host: str, command: Sequence[str]) -> int:
    """Run a command on a host of the running demo."""
    keeper = running(NAME)
    if keeper is None:
        print(
            "no demo of yours is running: start it with `make demo` in another terminal",
            file=sys.stderr,
        )
        return 1
    # One word may be a whole shell line, as in CMD="'curl a | head'".
    argv = ["sh", "-c", *command] if len(command) == 1 else command
    if host == BOX.name:
        argv = ["sh", "-c", f'PATH={TOOLS}:$PATH exec "$@"', "sh", *argv]
    return Laboratory.join(keeper).interact(host, argv)


def main() -> int:
    hosts = [*(client.name for client in CLIENTS), BOX.name]
    match sys.argv[1:]:
        case []:

            def stop(_number: int, _frame: FrameType | None) -> None:
                raise KeyboardInterrupt

            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, stop)
            try:
                return show()
            except KeyboardInterrupt:
                return 0
            except LaboratoryError as e:
                print(f"the demo can't run: {e}", file=sys.stderr)
                return 1
        case ["exec", host, "--", *command] if host in hosts and command:
            return execute(host, command)
        case _:
            print(f"usage: demo.py [exec {'|'.join(hosts)} -- COMMAND...]", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
