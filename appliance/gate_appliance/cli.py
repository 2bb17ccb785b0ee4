"""The command ``gate``."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher

from gate_appliance.control import control_client
from gate_appliance.lists.formats import ListError
from gate_appliance.places import Places
from gate_core.acceptable_use import Cell
from gate_core.config import Config, ConfigError, parse, reference
from gate_core.desk import (
    MIN_PASSWORD_CHARACTERS,
    Desk,
    RefusedError,
    Status,
    UnavailableError,
)

DEFAULT_CONFIG: Final = "/etc/schoolgate/schoolgate.toml"

_PART: Final = re.compile(r"(steward|firewall|webui|panel|dns(?:-[0-9]+)?)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``gate``; return its exit code: 0 done, 1 refused or not so, 2 wrong usage, 3 the steward is away."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(name)s %(message)s")
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except ConfigError as e:
        _say(f"{arguments.config}:", *e.faults)
    except RefusedError as e:
        _say(f"{e.field}: {e}" if e.field else str(e))
    except UnavailableError as e:
        _say(
            f"the steward does not answer ({e}); is the appliance up? gate up --config {arguments.config}"
        )
        return 3
    except (ListError, OSError) as e:
        _say(str(e))
    return 1


def _parser() -> argparse.ArgumentParser:  # noqa: PLR0915  # one statement an argument
    parser = argparse.ArgumentParser(
        prog="gate", description="Schoolgate: the e-safety appliance of a small school."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        where: argparse._SubParsersAction[argparse.ArgumentParser],
        name: str,
        command: Callable[[argparse.Namespace], int],
        text: str,
    ) -> argparse.ArgumentParser:
        sub = where.add_parser(name, help=text, description=text)
        sub.add_argument(
            "--config",
            default=DEFAULT_CONFIG,
            help=f"configuration file (default: {DEFAULT_CONFIG})",
        )
        sub.set_defaults(command=command)
        return sub

    def family(name: str, text: str) -> argparse._SubParsersAction[argparse.ArgumentParser]:
        sub = commands.add_parser(name, help=text, description=text)
        return sub.add_subparsers(required=True, metavar="ACTION")

    add(commands, "up", _up, "start every part and restart what dies, until Ctrl-C")
    run = add(commands, "run", _run, "run one part in the foreground")
    run.add_argument(
        "part", type=_part, help="steward, firewall, dns (dns-2, dns-3...), webui or panel"
    )
    status = add(commands, "status", _status, "say how the appliance does; exit 0 while it filters")
    status.add_argument("--json", action="store_true", help="print the whole status as JSON")
    status.add_argument(
        "--wait", type=float, default=0.0, metavar="SECONDS", help="wait so long for it to filter"
    )
    setup = add(commands, "setup", _setup, "complete the first run without a browser")
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

    policy = family("policy", "what the policy says")
    explain = add(policy, "explain", _explain, "say what a client gets for a name, and why")
    explain.add_argument("client", help="address, MAC address, device name or group")
    explain.add_argument("name", help="domain name")

    cell = family("cell", "the acceptable-use table")
    cell_set = add(cell, "set", _cell_set, "change one cell")
    cell_set.add_argument("group")
    cell_set.add_argument("row")
    cell_set.add_argument("cell", choices=[c.value for c in Cell])
    cell_set.add_argument("--reason", required=True)

    device = family("device", "devices and their groups")
    device_set = add(device, "set", _device_set, "name a device and put it into a group")
    device_set.add_argument("mac")
    device_set.add_argument("--name", required=True)
    device_set.add_argument("--group", required=True)
    add(device, "list", _device_list, "list the devices")

    pause = family("pause", "the internet pause")
    start = add(pause, "start", _pause_start, "pause the internet for pupils")
    start.add_argument("--minutes", type=int, default=30, help="1 to 480 (default: 30)")
    start.add_argument(
        "--group", action="append", default=[], help="only this group; may be repeated"
    )
    add(pause, "end", _pause_end, "end the internet pause")

    account = family("account", "who may sign in")
    sign_out = add(account, "sign-out", _account_sign_out, "end every session of an account")
    sign_out.add_argument("username")

    lists = family("lists", "category lists")
    lists_check = lists.add_parser("check", help="say what of a list is understood")
    lists_check.add_argument("file", type=Path)
    lists_check.set_defaults(command=_lists_check, config="")
    lists_add = add(lists, "add", _lists_add, "add a list to a category, or replace it")
    lists_add.add_argument("name", help="what to call the list: letters, digits and '-'")
    lists_add.add_argument("category")
    lists_add.add_argument("file", type=Path)
    return parser


def _part(text: str) -> str:
    if not _PART.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is none of steward, firewall, dns, webui, panel"
        )
    return text


def _load(arguments: argparse.Namespace) -> Config:
    path = Path(arguments.config)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ConfigError((f"not UTF-8 text, at octet {e.start}",)) from None
    except OSError as e:
        raise ConfigError((f"can't be read: {e.strerror}; --config names another file",)) from None
    return parse(text, _zone_fault)


def _zone_fault(name: str) -> str | None:
    try:
        ZoneInfo(name)
    # What ZoneInfo raises for names that are none, and for those that are paths.
    except (KeyError, ValueError, OSError):
        return "is no zone such as 'Europe/London'"
    return None


def _desk(arguments: argparse.Namespace) -> Desk:
    return control_client(Desk, Places.of(_load(arguments).appliance).desk)  # type: ignore[type-abstract]  # a protocol is wanted


def _actor() -> str:
    """Return who types: whoever may open the steward's socket is an administrator of the box."""
    return f"command line ({os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()})"


def _up(arguments: argparse.Namespace) -> int:
    from gate_appliance.supervisor import AlreadyUpError, up

    config = _load(arguments)
    try:
        up(config, Path(arguments.config).resolve())
    except AlreadyUpError as e:
        _say(str(e))
        return 1
    return 0


def _run(arguments: argparse.Namespace) -> int:
    from gate_appliance.parts import run_part

    def stop(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    run_part(arguments.part, _load(arguments))
    return 0


def _status(arguments: argparse.Namespace) -> int:
    status = _await_filtering(_desk(arguments), time.monotonic() + arguments.wait)
    _print(json.dumps(asdict(status), indent=2) if arguments.json else _status_text(status))
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
        *(f"  {c.name:<9} {c.state:<9} {c.detail}" for c in status.components),
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


def _setup(arguments: argparse.Namespace) -> int:
    password = sys.stdin.readline().rstrip("\n")
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise RefusedError(f"at least {MIN_PASSWORD_CHARACTERS} characters", "password")
    code = Places.of(_load(arguments).appliance).first_run_code
    if not code.exists():
        raise RefusedError("the first run has been completed")
    _desk(arguments).set_up(
        code=code.read_text().strip(),
        school=arguments.school,
        username=arguments.username,
        full_name=arguments.full_name,
        password_hash=PasswordHasher().hash(password),
    )
    return 0


def _config_check(arguments: argparse.Namespace) -> int:
    _load(arguments)
    _print(f"{arguments.config}: good")
    return 0


def _config_reference(_: argparse.Namespace) -> int:
    _print(reference())
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    e = _desk(arguments).explain(client=arguments.client, name=arguments.name)
    _print(f"{e.name} for {e.device} ({e.group_title}): {e.action.upper()}  [{e.rule_id}]")
    _print(f"  {e.sentence}")
    if e.categories:
        _print(f"  on the lists of: {', '.join(e.categories)}")
    for number, step in enumerate(e.steps, start=1):
        mark = ">" if step.decides else " "
        _print(f" {mark}{number}. {step.place:<32} {step.action or '-':<6} {step.rule_id}")
    return 0


def _cell_set(arguments: argparse.Namespace) -> int:
    _desk(arguments).set_cell(
        group=arguments.group,
        row=arguments.row,
        cell=arguments.cell,
        reason=arguments.reason,
        actor=_actor(),
    )
    return 0


def _device_set(arguments: argparse.Namespace) -> int:
    _desk(arguments).set_device(
        mac=arguments.mac, name=arguments.name, group=arguments.group, actor=_actor()
    )
    return 0


def _device_list(arguments: argparse.Namespace) -> int:
    for device in _desk(arguments).devices():
        addresses = " ".join(device.addresses)
        _print(f"{device.mac}  {device.group:<14} {device.name or '(no name)':<24} {addresses}")
    return 0


def _pause_start(arguments: argparse.Namespace) -> int:
    _desk(arguments).start_pause(
        groups=tuple(arguments.group), minutes=arguments.minutes, actor=_actor()
    )
    return 0


def _pause_end(arguments: argparse.Namespace) -> int:
    _desk(arguments).end_pause(actor=_actor())
    return 0


def _account_sign_out(arguments: argparse.Namespace) -> int:
    _desk(arguments).end_sessions(username=arguments.username, actor=_actor())
    return 0


def _lists_check(arguments: argparse.Namespace) -> int:
    from gate_appliance.library import check_list

    for line in check_list(arguments.file):
        _print(line)
    return 0


def _lists_add(arguments: argparse.Namespace) -> int:
    names = _desk(arguments).add_list(
        name=arguments.name,
        category=arguments.category,
        path=str(arguments.file.resolve()),
        actor=_actor(),
    )
    _print(f"{names} names are on the lists")
    return 0


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say(*lines: str) -> None:
    sys.stderr.write("\n".join(lines) + "\n")
