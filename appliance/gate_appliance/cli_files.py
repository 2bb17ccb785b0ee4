"""The commands of ``gate`` for files that outlive the appliance: the record as evidence, and backups."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

from gate_appliance.console import (
    Add,
    Family,
    actor_of,
    complain,
    desk_of,
    limit,
    load,
    may_be_somebody,
    password_of,
    places_of,
    say,
)
from gate_core.desk import RefusedError
from gate_core.record import Verdict


def add_file_commands(family: Family, add: Add) -> None:
    """Add the families ``evidence`` and ``backup``."""
    evidence = family("evidence", "the record of who changed what, and its proof")
    export = add(evidence, "export", _export, "print the whole record, to be checked anywhere")
    may_be_somebody(export)
    verify = add(evidence, "verify", _verify, "prove or break the record; exit 0 where it holds")
    verify.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="an exported record or a policy.db; without it, this appliance's",
    )
    verify.add_argument(
        "--entry", type=int, default=0, help="number of an entry whose hash was kept"
    )
    verify.add_argument("--hash", default="", help="that hash, as signed or printed")
    show = add(evidence, "show", _show, "print the newest entries")
    show.add_argument("--limit", type=limit, default=20, help="1 to 500 (default: 20)")
    may_be_somebody(show)

    backup = family("backup", "everything in one encrypted file")
    make = add(backup, "make", _make, "write a backup; works while the appliance runs")
    make.add_argument("file", type=Path)
    check = add(backup, "check", _check, "say what a backup holds, once all of it was found whole")
    check.add_argument("file", type=Path)
    restore = add(
        backup, "restore", _restore, "put a backup in place; the appliance must not be up"
    )
    restore.add_argument("file", type=Path)
    restore.add_argument("--reason", required=True, help="why; the restored record keeps it")
    restore.add_argument(
        "--replace", action="store_true", help="set aside the policy that is there"
    )
    restore.add_argument(
        "--broken-record",
        action="store_true",
        help="also where the record in the backup does not hold; it goes on not to hold",
    )


def _export(arguments: argparse.Namespace) -> int:
    sys.stdout.write(desk_of(arguments).evidence(actor=actor_of(arguments)))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from gate_appliance.evidence import EvidenceError, check_evidence, check_store

    if bool(arguments.entry) != bool(arguments.hash):
        raise RefusedError("--entry and --hash belong together")
    path = arguments.file or places_of(arguments).policy
    try:
        if _is_sqlite(path):
            verdict, sentence = check_store(path, arguments.entry, arguments.hash), ""
        else:
            check = check_evidence(path, arguments.entry, arguments.hash)
            verdict, sentence = check.verdict, check.signature
            if not check.signed:
                complain(sentence)
                return 1
    except EvidenceError as e:
        raise RefusedError(str(e)) from e
    say(_in_words(verdict))
    if sentence:
        say(sentence)
    return 1 if verdict.fault else 0


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _in_words(verdict: Verdict) -> str:
    if verdict.fault:
        return f"BROKEN at entry {verdict.broken}: {verdict.fault}"
    return f"The record holds: {verdict.entries} entries, the last with the hash {verdict.head}"


def _show(arguments: argparse.Namespace) -> int:
    for e in desk_of(arguments).record(limit=arguments.limit, actor=actor_of(arguments)):
        say(f"{e.number:6} {e.at} {e.actor} ({e.role}): {e.action} {e.subject}")
        for label, text in (("reason", e.reason), ("approved by", e.approvers)):
            if text:
                say(f"       {label}: {text}")
    return 0


def _make(arguments: argparse.Namespace) -> int:
    from gate_appliance.backup import BackupError, make_backup
    from gate_appliance.clock import SystemClock

    config = load(arguments)
    places = places_of(arguments)
    clock = SystemClock(config.appliance.timezone, places.state)
    try:
        report = make_backup(
            places, Path(arguments.config), arguments.file, _passphrase(), clock.now()
        )
    except BackupError as e:
        raise RefusedError(str(e)) from e
    say(f"{report.target}: {report.size_octets} octets, policy {report.manifest.version}")
    if report.fault:
        complain(f"the record in it does not hold: {report.fault}")
    for day in report.manifest.left_out:
        complain(f"left out, as it can't be read: the log of {day}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from gate_appliance.backup import BackupError, open_backup

    try:
        manifest = open_backup(arguments.file, _passphrase())
    except BackupError as e:
        raise RefusedError(str(e)) from e
    say(
        f"whole: {manifest.school or 'no school yet'}, made {manifest.made} by version {manifest.program},"
        f" policy {manifest.version}, {manifest.entries} entries, {len(manifest.files)} files"
    )
    return 0


def _restore(arguments: argparse.Namespace) -> int:
    from gate_appliance.backup import BackupError, restore_backup
    from gate_appliance.clock import SystemClock
    from gate_appliance.supervisor import AlreadyUpError

    zone = load(arguments).appliance.timezone
    places = places_of(arguments)
    try:
        report = restore_backup(
            arguments.file,
            _passphrase(),
            places,
            ZoneInfo(zone),
            # The command line alone: no account can be asked for while the steward is down.
            actor=actor_of(arguments),
            reason=arguments.reason,
            at=SystemClock(zone, places.state).now(),
            replace=arguments.replace,
            broken_record=arguments.broken_record,
        )
    except (BackupError, AlreadyUpError) as e:
        raise RefusedError(str(e)) from e
    say(
        f"policy {report.manifest.version} of {report.manifest.school} is in place; start the appliance"
    )
    if report.set_aside:
        say(f"what was there lies in {report.set_aside}")
    say(
        f"the configuration of the backup lies in {report.configuration}; the one in force was not touched"
    )
    return 0


def _passphrase() -> str:
    return password_of("Passphrase of the backup: ")
