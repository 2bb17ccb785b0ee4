"""The command ``gate``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher

from gate_appliance.cli_files import add_file_commands
from gate_appliance.cli_flow import add_flow_commands
from gate_appliance.cli_lists import add_list_commands
from gate_appliance.cli_school import add_school_commands
from gate_appliance.console import (
    Actions,
    Command,
    actor_of,
    add_command,
    complain,
    desk_of,
    limit,
    load,
    perform,
    places_of,
    say,
)
from gate_appliance.run import add_run_command
from gate_core.config import reference
from gate_core.desk import (
    MIN_PASSWORD_CHARACTERS,
    ActivityFilter,
    Desk,
    RefusedError,
    Status,
    UnavailableError,
    UsageSpan,
)

_LOG_COLUMNS: Final = (
    *("time", "decision", "device", "group", "name", "type", "rule"),
    *("number", "policy version", "resolver or address", "response took", "carried"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gate``; return its exit code: 0 done, 1 refused or not so, 2 wrong usage, 3 the steward is away."""
    return perform(_ask, _parser().parse_args(argv))


def _ask(arguments: argparse.Namespace) -> int:
    """Run a command that may ask the steward."""
    command: Command = arguments.command
    try:
        return command(arguments)
    except RefusedError as e:
        complain(f"{e.field}: {e}" if e.field else str(e))
        return 1
    except UnavailableError as e:
        complain(
            f"the steward does not answer ({e}); is the appliance up? gate up --config {arguments.config}"
        )
        return 3


def _parser() -> argparse.ArgumentParser:  # one statement an argument
    parser = argparse.ArgumentParser(
        prog="gate", description="Schoolgate: the e-safety appliance of a small school."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def family(name: str, text: str) -> Actions[argparse.ArgumentParser]:
        sub = commands.add_parser(name, help=text, description=text)
        return sub.add_subparsers(required=True, metavar="ACTION")

    add_command(commands, "up", _up, "start every part and restart what dies, until Ctrl-C")
    add_run_command(commands)
    status = add_command(
        commands, "status", _status, "say how the appliance does; exit 0 while it filters"
    )
    status.add_argument("--json", action="store_true", help="print the whole status as JSON")
    status.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait so long for it to filter"
    )
    log = add_command(
        commands, "log", _log_command, "print the newest decisions, the oldest of them first"
    )
    log.add_argument(
        "text", nargs="?", default="", help="part of a name, of a device's name or of an address"
    )
    log.add_argument("--blocked", action="store_true", help="blocked ones only")
    log.add_argument("--limit", type=limit, default=50, help="1 to 500 (default: 50)")
    usage = add_command(commands, "usage", _usage, "print who used the internet most today")
    usage.add_argument("--week", action="store_true", help="since Monday")
    setup = add_command(commands, "setup", _setup, "complete the first run without a browser")
    setup.add_argument("--school", required=True)
    setup.add_argument("--username", required=True)
    setup.add_argument("--full-name", required=True)
    setup.add_argument(
        "--password-stdin",
        action="store_true",
        required=True,
        help="read the password from standard input",
    )

    config = family("config", "the configuration file")
    check = config.add_parser("check", help="print every fault of a file")
    check.add_argument("config", metavar="FILE")
    check.set_defaults(command=_config_check)
    shown = config.add_parser("reference", help="print every key with its default")
    shown.set_defaults(command=_config_reference, config="")

    add_school_commands(family, add_command)
    add_file_commands(family, add_command)
    add_list_commands(family, add_command)
    add_flow_commands(family, add_command)

    return parser


def _up(arguments: argparse.Namespace) -> int:
    from gate_appliance.supervisor import AlreadyUpError, up

    config = load(arguments)
    try:
        up(config, Path(arguments.config).resolve())
    except AlreadyUpError as e:
        complain(str(e))
        return 1
    return 0


def _status(arguments: argparse.Namespace) -> int:
    status = _await_filtering(desk_of(arguments), time.monotonic() + arguments.wait)
    say(json.dumps(asdict(status), indent=2) if arguments.json else _status_text(status))
    return 0 if status.filtering else 1


def _await_filtering(desk: Desk, deadline: float) -> Status:
    while True:
        late = time.monotonic() >= deadline
        try:
            status = desk.status()
            if status.filtering or late:
                return status
        except UnavailableError:
            if late:
                raise
        time.sleep(0.1)


def _status_text(status: Status) -> str:
    lines = [
        f"{status.school or 'Schoolgate'}: {'filtering' if status.filtering else 'NOT FILTERING'}"
        f" ({status.mode}, policy {status.version})",
        *(f"  {c.name:<15} {c.state:<9} {c.detail}" for c in status.components),
        *(
            f"  queue {q.number:<9} {q.waiting:,} packets wait, {q.dropped:,} dropped, of groups that fail {q.groups}"
            for q in status.queues
        ),
    ]
    if status.pause:
        wire = "on the wire" if status.pause.on_the_wire else "not yet everywhere"
        lines.append(f"  internet pause until {status.pause.until} by {status.pause.by}, {wire}")
    lines += [f"  not covered: {sentence}" for sentence in status.uncovered]
    lines.append(
        f"  today: {status.allowed_today} allowed, {status.blocked_today} blocked,"
        f" {status.devices_today} devices"
    )
    return "\n".join(lines)


def _log_command(arguments: argparse.Namespace) -> int:
    wanted = ActivityFilter(
        text=arguments.text, action="block" if arguments.blocked else "", limit=arguments.limit
    )
    found = desk_of(arguments).activity(filter=wanted, actor=actor_of(arguments))
    if not found.records:
        asked = wanted.text or wanted.action
        say("nothing that is recorded fits" if asked else "nothing is recorded yet")
    elif sys.stdout.isatty():
        # For people alone: what reads a pipe takes each line for an entry.
        say("  ".join(_LOG_COLUMNS))
    for r in reversed(found.records):
        answered = f"{r.took_us / 1000:.1f} ms" if r.took_us else "-"
        fields = (r.at, r.action, r.device, r.group, r.name or "-", r.kind or "-", r.rule_id)
        carried = f"{_amount(r.down)} down, {_amount(r.up or 0)} up" if r.down is not None else "-"
        more = (
            f"x{r.count}",
            f"policy {r.version}",
            r.upstream or r.remote or "-",
            answered,
            carried,
        )
        say("  ".join((*fields, *more)))
    return 0


def _usage(arguments: argparse.Namespace) -> int:
    span: UsageSpan = "week" if arguments.week else "day"
    used = desk_of(arguments).usage(span=span, actor=actor_of(arguments))
    say(f"since {used.since or '-'}: {_amount(used.down)} down, {_amount(used.up)} up")
    say("What a connection carried counts once it has ended.")
    for c in used.consumers:
        carried = f"{_amount(c.down)} down", f"{_amount(c.up)} up", f"{c.flows} flows"
        sites = ", ".join(f"{s.name or '-'} {_amount(s.octets)}" for s in c.sites)
        say("  ".join((c.device or "-", c.group, *carried, sites)))
    return 0


def _amount(octets: int) -> str:
    return f"{octets / 1e6:,.1f} MB" if octets >= 100_000 else f"{octets / 1e3:.1f} kB"


def _setup(arguments: argparse.Namespace) -> int:
    password = sys.stdin.readline().rstrip("\n")
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise RefusedError(f"at least {MIN_PASSWORD_CHARACTERS} characters", "password")
    code = places_of(arguments).first_run_code
    if not code.exists():
        raise RefusedError("the first run has been completed")
    desk_of(arguments).set_up(
        code=code.read_text().strip(),
        school=arguments.school,
        username=arguments.username,
        full_name=arguments.full_name,
        password_hash=PasswordHasher().hash(password),
    )
    return 0


def _config_check(arguments: argparse.Namespace) -> int:
    load(arguments)
    say(f"{arguments.config}: good")
    return 0


def _config_reference(_: argparse.Namespace) -> int:
    say(reference())
    return 0
