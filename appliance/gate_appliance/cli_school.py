"""The commands of ``gate`` for the school's policy: what it says, changes of it, and what is in force for a while."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

from argon2 import PasswordHasher

from gate_appliance.console import (
    Add,
    Family,
    actor_of,
    complain,
    desk_of,
    load,
    may_be_somebody,
    password_of,
    places_of,
    say,
)
from gate_appliance.counter import mac_of
from gate_core.acceptable_use import Cell
from gate_core.desk import MIN_PASSWORD_CHARACTERS, Preview, ProposalView, RefusedError
from gate_core.direct import SHIPPED, TRANSPORTS
from gate_core.edits import Edit, new_id
from gate_core.roles import ACCOUNT_ROLES
from gate_core.written import DirectText, PolicyError, plain


def add_school_commands(family: Family, add: Add) -> None:
    """Add the families that ask the desk about the policy and change it."""
    _policy(family, add)
    _places(family, add)
    _direct(family, add)
    _changes(family, add)
    _accounts(family, add)
    _acts(family, add)


def _policy(family: Family, add: Add) -> None:
    policy = family("policy", "what the policy says")
    explain = add(policy, "explain", _explain, "say what a client gets for a name, and why")
    explain.add_argument("client", help="address, MAC address, device name, person or group")
    explain.add_argument("name", help="domain name; '' for a flow without one")
    explain.add_argument("--protocol", default="", help="that the packets show, such as wireguard")
    explain.add_argument("--at", default="", metavar="TIME", help="such as 2027-01-22T10:30")
    export = add(policy, "export", _export, "print the whole policy as commented, signed TOML")
    may_be_somebody(export)
    check = add(policy, "check", _check, "print every fault of a policy in TOML")
    check.add_argument("file", type=Path)
    take = add(policy, "import", _import, "say what a policy in TOML would change, and propose it")
    take.add_argument("file", type=Path)
    take.add_argument(
        "--reason", default="", help="propose it for this reason; without it only say"
    )
    may_be_somebody(take)
    table = add(
        policy,
        "table",
        _table,
        "say what a table pasted from a policy document says, and propose it",
    )
    table.add_argument("file", type=Path, help="text or HTML; - for standard input")
    table.add_argument(
        "--group", action="append", default=[], help="for this group; may be repeated"
    )
    table.add_argument(
        "--take",
        type=int,
        action="append",
        default=[],
        metavar="LINE",
        help="count this line, although it was not surely understood; may be repeated",
    )
    table.add_argument(
        "--reason", default="", help="propose it for this reason; without it only say"
    )
    may_be_somebody(table)
    what_if = add(
        policy,
        "what-if",
        _what_if,
        "replay the recorded decisions against a policy in TOML or a proposal",
    )
    what_if.add_argument("draft", help="file in TOML, or number of a proposal")
    what_if.add_argument("--days", type=int, default=7, help="1 to 31 (default: 7)")
    may_be_somebody(what_if)


def _places(family: Family, add: Add) -> None:
    cell = family("cell", "the acceptable-use table")
    cell_set = add(cell, "set", _cell_set, "propose a change of one cell")
    cell_set.add_argument("group")
    cell_set.add_argument("row")
    cell_set.add_argument("cell", choices=[c.value for c in Cell])
    cell_set.add_argument("--reason", required=True)
    may_be_somebody(cell_set)

    device = family("device", "devices and their groups")
    device_set = add(device, "set", _device_set, "name a device and put it into a group")
    device_set.add_argument("mac")
    device_set.add_argument("--name", required=True)
    device_set.add_argument("--group", required=True)
    device_set.add_argument("--room", default="")
    device_set.add_argument("--person", default="")
    device_set.add_argument("--reason", default="a device of the school")
    may_be_somebody(device_set)
    forget = add(device, "forget", _device_forget, "make a device unknown again")
    forget.add_argument("mac")
    forget.add_argument("--reason", default="no device of the school any more")
    may_be_somebody(forget)
    add(device, "list", _device_list, "list the devices")

    network = family("network", "where devices belong that are not named one by one")
    network_set = add(
        network, "set", _network_set, "put the devices of a subnet or VLAN into a group"
    )
    network_set.add_argument("network", help="such as 192.0.2.0/24, or the number of a VLAN")
    network_set.add_argument("--group", required=True)
    network_set.add_argument("--room", default="")
    network_set.add_argument("--reason", default="a network of the school")
    may_be_somebody(network_set)


def _direct(family: Family, add: Add) -> None:
    direct = family("direct", "services whose addresses devices reach without asking for a name")
    add(direct, "list", _direct_list, "list those of the school, and those that come with the box")
    new = add(direct, "add", _direct_add, "propose a direct connection")
    new.add_argument("title", help="what people call the service")
    new.add_argument(
        "--network",
        action="append",
        required=True,
        type=_network,
        help="such as 203.0.113.0/24, or one address; may be repeated",
    )
    new.add_argument("--protocol", required=True, choices=[*TRANSPORTS])
    new.add_argument("--ports", required=True, help="such as 443 or 8801-8810")
    new.add_argument("--group", default="", help="only for this group (default: every group)")
    remove = add(direct, "remove", _direct_remove, "propose that a direct connection ends")
    remove.add_argument("id", help="as gate direct list prints it")
    for parser in (new, remove):
        parser.add_argument("--reason", required=True)
        may_be_somebody(parser)


def _changes(family: Family, add: Add) -> None:
    change = family("change", "proposed changes of the policy")
    listed = add(change, "list", _change_list, "list proposals")
    listed.add_argument("--waiting", action="store_true", help="only those that wait")
    may_be_somebody(listed)
    approve = add(change, "approve", _change_answer, "approve a proposal")
    refuse = add(change, "refuse", _change_answer, "refuse a proposal")
    withdraw = add(change, "withdraw", _change_withdraw, "take back one's own proposal")
    for parser in (approve, refuse, withdraw):
        parser.add_argument("id", type=int)
        may_be_somebody(parser)
    approve.add_argument("--note", default="")
    approve.set_defaults(approve=True)
    refuse.add_argument("--note", required=True, help="why")
    refuse.set_defaults(approve=False)


def _accounts(family: Family, add: Add) -> None:
    account = family("account", "who may sign in")
    may_be_somebody(add(account, "list", _account_list, "list the accounts"))
    invite = add(account, "invite", _account_invite, "open an account; prints its one-time code")
    invite.add_argument("username")
    invite.add_argument("--full-name", required=True)
    invite.add_argument("--role", required=True, choices=[r.value for r in ACCOUNT_ROLES])
    invite.add_argument("--room", action="append", default=[], help="a teacher's own room or group")
    invite.add_argument("--until", default="", metavar="DATE")
    invite.add_argument("--reason", required=True)
    may_be_somebody(invite)
    accept = add(account, "accept", _account_accept, "set the first password of an account")
    accept.add_argument("username")
    accept.add_argument("code")
    renew = add(account, "renew", _account_renew, "give a new one-time code for a lost password")
    renew.add_argument("username")
    renew.add_argument("--reason", required=True)
    remove = add(account, "remove", _account_remove, "end an account")
    remove.add_argument("username")
    remove.add_argument("--reason", required=True)
    may_be_somebody(remove)
    sign_out = add(account, "sign-out", _account_sign_out, "end every session of an account")
    sign_out.add_argument("username")


def _acts(family: Family, add: Add) -> None:
    pause = family("pause", "the internet pause")
    start = add(pause, "start", _pause_start, "pause the internet for pupils")
    start.add_argument("--minutes", type=int, default=30, help="1 to 480 (default: 30)")
    start.add_argument(
        "--group", action="append", default=[], help="only this group; may be repeated"
    )
    start.add_argument(
        "--room", action="append", default=[], help="only this room; may be repeated"
    )
    start.add_argument("--why", default="")
    may_be_somebody(start)
    may_be_somebody(add(pause, "end", _pause_end, "end the internet pause"))

    hold = family("hold", "devices and people that are cut off")
    isolate = add(hold, "isolate", _isolate, "cut a device off, below IP")
    release = add(hold, "release", _release, "let an isolated device back")
    for parser in (isolate, release):
        parser.add_argument("mac")
        parser.add_argument("--why", required=True)
        may_be_somebody(parser)
    add(hold, "list", _hold_list, "list what is in force for a while")


def _explain(arguments: argparse.Namespace) -> int:
    e = desk_of(arguments).explain(
        client=arguments.client,
        name=arguments.name,
        at=arguments.at,
        protocol=arguments.protocol,
    )
    what = " over ".join(filter(None, (e.name, arguments.protocol)))
    say(f"{what} for {e.device} ({e.group_title}): {e.action.upper()}  [{e.rule_id}]")
    say(f"  {e.sentence}")
    if e.safe_sentence:
        say(f"  {e.safe_sentence}  [{e.safe_rule_id}]")
    if e.categories:
        say(f"  on the lists of: {', '.join(e.categories)}")
    for number, step in enumerate(e.steps, start=1):
        mark = ">" if step.decides else " "
        say(f" {mark}{number}. {step.place:<32} {step.action or '-':<6} {step.rule_id}")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    sys.stdout.write(desk_of(arguments).export_policy(actor=actor_of(arguments)))
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from gate_appliance.bundle import read_bundle

    try:
        bundle = read_bundle(_text(arguments.file), _zone(arguments), _fingerprint(arguments))
    except PolicyError as e:
        complain(f"{arguments.file}:", *e.faults)
        return 1
    say(f"{arguments.file}: good. {bundle.signature}")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    desk = desk_of(arguments)
    view = desk.read_policy(text=_text(arguments.file))
    say(view.signature)
    if not view.edits and not view.preview.faults:
        say("It says what the policy in force says.")
        return 0
    return _offer(arguments, view.edits, view.preview)


def _table(arguments: argparse.Namespace) -> int:
    view = desk_of(arguments).read_table(
        text=_text(arguments.file), groups=tuple(arguments.group), take=tuple(arguments.take)
    )
    for row in view.rows:
        sure = "" if row.sure else "  (not sure)"
        say(f"{row.line:4} {row.cell or '-':<13} {row.row or 'new row':<20} {row.text[:60]}{sure}")
        if row.note:
            say(f"     {row.note}")
    for note in view.notes:
        say(f"note: {note}")
    if not arguments.group:
        say("Name the groups it is for: --group ks2 --group staff ...")
        return 0
    if not view.edits and not view.preview.faults:
        say("It says what the policy in force says.")
        return 0
    return _offer(arguments, view.edits, view.preview)


def _offer(arguments: argparse.Namespace, edits: tuple[Edit, ...], preview: Preview) -> int:
    if preview.faults:
        complain(*preview.faults)
        return 1
    for sentence in preview.sentences:
        say(f"- {sentence}")
    say(f"Others who have to approve it: {preview.approvals}.")
    if not arguments.reason:
        say("Nothing has changed. To propose it, say why: --reason '...'")
        return 0
    return _propose(arguments, edits)


def _propose(arguments: argparse.Namespace, edits: tuple[Edit, ...]) -> int:
    proposal = desk_of(arguments).propose(
        edits=edits, reason=arguments.reason, actor=actor_of(arguments)
    )
    say(_in_a_line(proposal))
    return 0


def _in_a_line(p: ProposalView) -> str:
    return f"change {p.id}: {p.state}. {p.waits_for}".rstrip()


def _what_if(arguments: argparse.Namespace) -> int:
    desk = desk_of(arguments)
    actor = actor_of(arguments)
    if arguments.draft.isdigit():
        found = [p for p in desk.proposals(actor=actor, limit=500) if p.id == int(arguments.draft)]
        if not found:
            raise RefusedError(f"there is no proposal {arguments.draft}")
        edits = found[0].edits
    else:
        view = desk.read_policy(text=_text(Path(arguments.draft)))
        if view.preview.faults:
            complain(*view.preview.faults)
            return 1
        edits = view.edits
    id_ = desk.start_what_if(edits=edits, days=arguments.days, actor=actor)
    while (result := desk.what_if(id=id_)).state == "running":
        complain(f"{result.done} of {result.total} decisions")
        time.sleep(1)
    if result.state == "failed":
        raise RefusedError(result.fault)
    say(
        f"{result.changed} of {result.total} recorded decisions would come out otherwise ({result.seconds:.1f} s)"
    )
    for c in result.changes:
        say(
            f"{c.count:8} x {c.group_title:<24} {c.name:<40} {c.before} -> {c.after}  ({c.devices} devices)"
        )
    return 0


def _cell_set(arguments: argparse.Namespace) -> int:
    groups = desk_of(arguments).written().groups
    if arguments.group not in groups:
        raise RefusedError(
            f"{arguments.group!r} is no group; there are {', '.join(groups)}", "group"
        )
    now = groups[arguments.group].cells.get(arguments.row)
    edit = Edit.of(("groups", arguments.group, "cells", arguments.row), now, arguments.cell)
    return _propose(arguments, (edit,))


def _device_set(arguments: argparse.Namespace) -> int:
    mac = mac_of(arguments.mac)
    before = plain(desk_of(arguments).written())["devices"].get(mac)
    after = {
        "name": arguments.name,
        "group": arguments.group,
        "room": arguments.room,
        "person": arguments.person,
        "until": before["until"] if before else "",
    }
    if before == after:
        return 0
    return _propose(arguments, (Edit.of(("devices", mac), before, after),))


def _device_forget(arguments: argparse.Namespace) -> int:
    mac = mac_of(arguments.mac)
    before = plain(desk_of(arguments).written())["devices"].get(mac)
    if before is None:
        raise RefusedError(f"{mac} is in no group", "mac")
    return _propose(arguments, (Edit.of(("devices", mac), before, None),))


def _device_list(arguments: argparse.Namespace) -> int:
    for device in desk_of(arguments).devices():
        addresses = " ".join(device.addresses)
        say(f"{device.mac}  {device.group:<14} {device.name or '(no name)':<24} {addresses}")
    return 0


def _network_set(arguments: argparse.Namespace) -> int:
    kind = "vlans" if arguments.network.isdigit() else "networks"
    document = plain(desk_of(arguments).written())
    before = document[kind].get(arguments.network)
    after = {"group": arguments.group, "room": arguments.room}
    if before == after:
        return 0
    return _propose(arguments, (Edit.of((kind, arguments.network), before, after),))


def _network(text: str) -> str:
    """Return a network in its one form; one address is a network too.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        return str(ip_network(text))
    except ValueError as e:
        raise argparse.ArgumentTypeError(
            f"{text[:60]!r} is no network such as 203.0.113.0/24: {e}"
        ) from None


def _direct_list(arguments: argparse.Namespace) -> int:
    own = desk_of(arguments).written().direct
    for id_, its in own.items():
        say(
            f"{id_:<20} {its.title}: {' '.join(its.networks)}  {its.protocol} {its.ports}"
            f"  for {its.group or 'every group'}: {its.why}"
        )
    if not own:
        say("the school has none of its own")
    for title, shipped in SHIPPED.items():
        networks = " ".join(map(str, shipped.networks))
        say(f"{'(with the box)':<20} {title}: {networks}  {shipped.transport}  for every group")
    return 0


def _direct_add(arguments: argparse.Namespace) -> int:
    its = DirectText(
        title=arguments.title,
        networks=tuple(dict.fromkeys(arguments.network)),
        protocol=arguments.protocol,
        ports=arguments.ports,
        why=arguments.reason,
        group=arguments.group,
    )
    id_ = new_id(its.title, desk_of(arguments).written().direct)
    return _propose(arguments, (Edit.of(("direct", id_), None, asdict(its)),))


def _direct_remove(arguments: argparse.Namespace) -> int:
    table = plain(desk_of(arguments).written())["direct"]
    if arguments.id not in table:
        there_are = f"there are {', '.join(table)}" if table else "the school has none of its own"
        raise RefusedError(f"{arguments.id[:60]!r} is no direct connection; {there_are}", "id")
    return _propose(arguments, (Edit.of(("direct", arguments.id), table[arguments.id], None),))


def _change_list(arguments: argparse.Namespace) -> int:
    for p in desk_of(arguments).proposals(actor=actor_of(arguments), waiting=arguments.waiting):
        say(f"{_in_a_line(p)}  by {p.username}: {p.reason}")
        for sentence in p.sentences:
            say(f"  - {sentence}")
    return 0


def _change_answer(arguments: argparse.Namespace) -> int:
    proposal = desk_of(arguments).answer(
        id=arguments.id, approve=arguments.approve, note=arguments.note, actor=actor_of(arguments)
    )
    say(_in_a_line(proposal))
    return 0


def _change_withdraw(arguments: argparse.Namespace) -> int:
    say(_in_a_line(desk_of(arguments).withdraw(id=arguments.id, actor=actor_of(arguments))))
    return 0


def _account_list(arguments: argparse.Namespace) -> int:
    for a in desk_of(arguments).accounts(actor=actor_of(arguments)):
        say(
            f"{a.username:<20} {a.role:<13} {a.state:<8} {a.full_name} {' '.join(a.rooms)} {a.until}".rstrip()
        )
    return 0


def _account_invite(arguments: argparse.Namespace) -> int:
    invitation = desk_of(arguments).invite(
        username=arguments.username,
        full_name=arguments.full_name,
        role=arguments.role,
        rooms=tuple(arguments.room),
        until=arguments.until,
        reason=arguments.reason,
        actor=actor_of(arguments),
    )
    say(invitation.code)
    if invitation.waits_for:
        complain(invitation.waits_for)
    return 0


def _account_renew(arguments: argparse.Namespace) -> int:
    invitation = desk_of(arguments).renew_invitation(
        username=arguments.username, reason=arguments.reason, actor=actor_of(arguments)
    )
    say(invitation.code)
    return 0


def _account_accept(arguments: argparse.Namespace) -> int:
    password = password_of("New password: ")
    if len(password) < MIN_PASSWORD_CHARACTERS:
        raise RefusedError(f"at least {MIN_PASSWORD_CHARACTERS} characters", "password")
    desk_of(arguments).accept_invitation(
        username=arguments.username,
        code=arguments.code,
        password_hash=PasswordHasher().hash(password),
    )
    return 0


def _account_remove(arguments: argparse.Namespace) -> int:
    waits = desk_of(arguments).remove_account(
        username=arguments.username, reason=arguments.reason, actor=actor_of(arguments)
    )
    if waits:
        complain(waits)
    return 0


def _account_sign_out(arguments: argparse.Namespace) -> int:
    desk_of(arguments).end_sessions(username=arguments.username, actor=actor_of(arguments))
    return 0


def _pause_start(arguments: argparse.Namespace) -> int:
    desk_of(arguments).start_pause(
        groups=tuple(arguments.group),
        rooms=tuple(arguments.room),
        minutes=arguments.minutes,
        why=arguments.why,
        actor=actor_of(arguments),
    )
    return 0


def _pause_end(arguments: argparse.Namespace) -> int:
    desk_of(arguments).end_pause(actor=actor_of(arguments))
    return 0


def _isolate(arguments: argparse.Namespace) -> int:
    desk_of(arguments).isolate(mac=arguments.mac, why=arguments.why, actor=actor_of(arguments))
    return 0


def _release(arguments: argparse.Namespace) -> int:
    desk_of(arguments).end_isolation(
        mac=arguments.mac, why=arguments.why, actor=actor_of(arguments)
    )
    return 0


def _hold_list(arguments: argparse.Namespace) -> int:
    acts = desk_of(arguments).acts()
    for p in acts.pauses:
        say(f"pause {p.id}: {', '.join((*p.groups, *p.rooms))} until {p.until} by {p.by}")
    for x in acts.lessons:
        say(
            f"lesson {x.id}: {x.group or x.room} {x.mode} {', '.join((*x.services, *x.names))} until {x.until} by {x.by}"
        )
    for i in acts.isolations:
        say(f"isolated: {i.name} ({i.mac}) since {i.since} by {i.by}: {i.why}")
    for s in acts.suspensions:
        due = ", review due" if s.review_due else ""
        say(f"suspended {s.id}: {s.name} until {s.until} by {s.by}: {s.why}{due}")
    for loan in acts.loans:
        if not loan.returned:
            say(
                f"lent {loan.id}: {loan.device} to {loan.person_name} until {loan.until} by {loan.by}"
            )
    return 0


def _text(path: Path) -> str:
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise RefusedError(f"{path}: not UTF-8 text, at octet {e.start}", "file") from None


def _fingerprint(arguments: argparse.Namespace) -> str:
    """Return that of this box; "" where there is none, or who types may not read its key."""
    from gate_appliance.signing import Signer

    path = places_of(arguments).signing_key
    try:
        return Signer(path).fingerprint if path.exists() else ""
    except (OSError, ValueError):
        return ""


def _zone(arguments: argparse.Namespace) -> ZoneInfo:
    return ZoneInfo(load(arguments).appliance.timezone)
