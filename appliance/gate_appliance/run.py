"""``gate run``: one part of the appliance, in a process that holds only what this part needs.

The commands for people need far more, so this one is taken before them (``gate_appliance.__main__``).
"""

from __future__ import annotations

import argparse
import re
import signal
from collections.abc import Sequence
from typing import Final

from gate_appliance.console import Actions, add_command, load, perform

_PART: Final = re.compile(r"steward|webui|panel|unbound|zone|(firewall|dns)(-[1-9][0-9]?)?")


def main(argv: Sequence[str]) -> int:
    """Run ``gate`` with a line that begins with ``run``; return its exit code, see ``gate_appliance.cli.main``."""
    parser = argparse.ArgumentParser(prog="gate")
    add_run_command(parser.add_subparsers(required=True, metavar="COMMAND"))
    arguments = parser.parse_args(argv)
    return perform(arguments.command, arguments)


def add_run_command(commands: Actions[argparse.ArgumentParser]) -> None:
    """Add the command ``run``."""
    run = add_command(commands, "run", _run, "run one part in the foreground")
    run.add_argument(
        "part",
        type=_part,
        help="steward, firewall or dns (dns-2, dns-3...), unbound, zone, webui or panel",
    )


def _part(text: str) -> str:
    if not _PART.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of steward, firewall, dns, unbound, zone, webui, panel"
        )
    return text


def _run(arguments: argparse.Namespace) -> int:
    from gate_appliance.parts import run_part

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    run_part(arguments.part, load(arguments))
    return 0
