"""What the commands of ``gate`` share: the configuration, the desk, who types, and what is printed.

A part that runs holds this too, so what only people's commands need is imported where they do.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol
from zoneinfo import ZoneInfo

from gate_appliance.lists.formats import ListError
from gate_appliance.places import Places
from gate_core.config import Config, ConfigError, parse

if TYPE_CHECKING:
    from gate_core.desk import Desk

DEFAULT_CONFIG: Final = "/etc/schoolgate/schoolgate.toml"

WORKER_OCTETS: Final = 256 << 20
"""Memory for each process of the firewall, beside which there are others."""
MAX_WORKERS: Final = 16

Command = Callable[[argparse.Namespace], int]
Actions = argparse._SubParsersAction  # argparse has no public name for it
Family = Callable[[str, str], "Actions[argparse.ArgumentParser]"]


class Add(Protocol):
    """Adds one command."""

    def __call__(
        self, where: Actions[argparse.ArgumentParser], name: str, command: Command, text: str
    ) -> argparse.ArgumentParser:
        """Return the parser of the command ``name``, which runs ``command``."""


def add_command(
    where: Actions[argparse.ArgumentParser], name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    """Add one command, which reads the configuration (``Add``)."""
    sub = where.add_parser(name, help=text, description=text)
    sub.add_argument(
        "--config",
        default=DEFAULT_CONFIG,
        help=f"configuration file (default: {DEFAULT_CONFIG})",
    )
    sub.set_defaults(command=command)
    return sub


def perform(command: Command, arguments: argparse.Namespace) -> int:
    """Run ``command`` and return its exit code; 1 where it could not be done, once the reason is printed."""
    logging.basicConfig(level=logging.INFO, format="%(levelname).1s %(name)s %(message)s")
    try:
        return command(arguments)
    except ConfigError as e:
        complain(f"{arguments.config}:", *e.faults)
    except (ListError, OSError) as e:
        complain(str(e))
    return 1


def load(arguments: argparse.Namespace) -> Config:
    """Return the configuration that ``--config`` names.

    Raises:
        ConfigError: With every fault.
    """
    path = Path(arguments.config)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise ConfigError((f"not UTF-8 text, at octet {e.start}",)) from None
    except OSError as e:
        raise ConfigError((f"can't be read: {e.strerror}; --config names another file",)) from None
    config = parse(text, _zone_fault)
    if config.firewall.workers:
        return config
    return replace(config, firewall=replace(config.firewall, workers=_fitting_workers()))


def _fitting_workers() -> int:
    """Return how many processes of the firewall this machine has room for; all that ask come to the same number."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(os.cpu_count() or 1, memory // WORKER_OCTETS, MAX_WORKERS))


def _zone_fault(name: str) -> str | None:
    try:
        ZoneInfo(name)
    # What ZoneInfo raises for names that are none, and for those that are paths.
    except (KeyError, ValueError, OSError):
        return "is no zone such as 'Europe/London'"
    return None


def places_of(arguments: argparse.Namespace) -> Places:
    """Return where everything lies."""
    return Places.of(load(arguments).appliance)


def desk_of(arguments: argparse.Namespace, timeout_s: float | None = None) -> Desk:
    """Return the steward's desk."""
    from gate_appliance.control import control_client
    from gate_core.desk import Desk

    path = places_of(arguments).desk
    if timeout_s is None:
        return control_client(Desk, path)  # type: ignore[type-abstract]  # a protocol is wanted
    return control_client(Desk, path, timeout_s)  # type: ignore[type-abstract]


def may_be_somebody(parser: argparse.ArgumentParser) -> None:
    """Let the command be given in somebody's name."""
    parser.add_argument(
        "--as",
        dest="account",
        default="",
        metavar="USERNAME",
        help="act as this account, whose password is asked for (or read from standard input);"
        " without it as IT, who stands before the box",
    )


def actor_of(arguments: argparse.Namespace) -> str:
    """Return who types: whoever may open the steward's socket is an administrator of the box.

    Raises:
        RefusedError: The password is not that of the account.
    """
    from argon2 import PasswordHasher
    from argon2.exceptions import Argon2Error, InvalidHashError

    from gate_core.desk import RefusedError

    username = getattr(arguments, "account", "")
    if not username:
        return (
            f"command line ({os.environ.get('SUDO_USER') or os.environ.get('USER') or os.getuid()})"
        )
    desk = desk_of(arguments)
    account = desk.account(username=username)
    password = password_of(f"Password of {username}: ")
    try:
        if account is not None:
            PasswordHasher().verify(account.password_hash, password)
            if account.second_factor and not desk.check_second_factor(
                username=username, code=password_of("Code that the app shows: ")
            ):
                raise RefusedError("this is not the code that the app shows now", "as")
            return account.username
    except (Argon2Error, InvalidHashError):
        pass
    raise RefusedError("user name or password is wrong", "as")


def password_of(prompt: str) -> str:
    """Return a line that is typed unseen, or the first line of standard input."""
    return getpass.getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")


def limit(text: str) -> int:
    """Return how many lines are wanted at most.

    Raises:
        argparse.ArgumentTypeError: It is no number from 1 to 500.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= 500):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a number from 1 to 500")
    return int(text)


def say(text: str) -> None:
    """Print what was asked for."""
    sys.stdout.write(text + "\n")


def complain(*lines: str) -> None:
    """Print why something was not done."""
    sys.stderr.write("\n".join(lines) + "\n")
