"""The commands of ``gate`` for flows: what the classifier makes of a capture."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gate_appliance.console import Add, Family, complain, load, say
from gate_core.clients import MalformedMacError, parse_mac
from gate_core.desk import RefusedError

if TYPE_CHECKING:
    from gate_core.config import Config
    from gate_core.events import Event
    from gate_core.policy import Policy
    from gate_firewall.dissect import Frame
    from gate_firewall.rehearsal import Client, FlowSummary, Rehearsal, Step


_GROUP_HINT: Final = (
    "no device or network of the policy tells whose traffic some of this is: it is decided as for the group {}."
    " --group ID decides as for another; there are {}"
)

_MOST_RUNS: Final = 8192
"""Directions of flows whose last line is kept in mind."""


def add_flow_commands(family: Family, add: Add) -> None:
    """Add the family ``flow``."""
    flow = family("flow", "flows, as the firewall sees them")
    explain = add(
        flow, "explain", _explain, "say packet by packet what the firewall makes of a capture"
    )
    explain.add_argument("capture", type=Path, metavar="CAPTURE", help="file in pcap or pcapng")
    explain.add_argument(
        "--client",
        default="",
        metavar="ADDRESS|MAC",
        help="look only at this client's packets: its side is the school's;"
        " without it private addresses are, or whoever opens a flow",
    )
    explain.add_argument(
        "--group", default="", metavar="ID", help="decide as if every client were in this group"
    )
    explain.add_argument(
        "--at", default="", metavar="TIME", help="such as 2027-01-22T10:30 (default: now)"
    )
    explain.add_argument(
        "--snapshot",
        type=Path,
        metavar="FILE",
        help="decide by this snapshot, whose lists lie beside it (default: the one in force)",
    )
    explain.add_argument(
        "--all",
        action="store_true",
        help="print each packet, also where it came to the same as the one before it of its flow",
    )
    explain.add_argument(
        "--json", action="store_true", help="print a JSON object a line: packets, then flows"
    )


def _explain(arguments: argparse.Namespace) -> int:
    from gate_appliance.clock import SystemClock
    from gate_appliance.places import Places
    from gate_firewall.dissect import CaptureError
    from gate_firewall.rehearsal import Rehearsal

    try:
        frames = _opened(arguments.capture)
    except CaptureError as e:
        complain(_printable(str(e)))
        return 2
    config = load(arguments)
    places = Places.of(config.appliance)
    # The name under which the steward publishes (gate_appliance.publication).
    policy = _policy(arguments.snapshot or places.snapshots / "policy")
    if arguments.group:
        policy = _all_in(policy, arguments.group)
    at = _at(arguments.at, config)
    if at is None:
        at = SystemClock(config.appliance.timezone, places.state).now()
    rehearsal = Rehearsal(policy, at, _client(arguments.client))
    tell = _Json() if arguments.json else _Text(policy, at, fold=not arguments.all)
    fault = ""
    strangers = False
    try:
        for frame in frames:
            step = rehearsal.take(frame)
            if step:
                tell.step(step)
                strangers |= _is_stranger(step, policy)
    except CaptureError as e:
        fault = str(e)
    tell.flows(rehearsal.flows())
    if fault:
        complain(_printable(fault))
    if strangers and not arguments.group:
        complain(_wrapped(_GROUP_HINT.format(policy.unknown_group, ", ".join(policy.groups))))
    for sentence in _left_out(rehearsal, arguments.client):
        complain(_wrapped(sentence))
    return 1 if fault else 0


def _opened(path: Path) -> Iterator[Frame]:
    """Return the frames of a capture, the first of which could be read.

    Raises:
        CaptureError: It can't be opened, is no capture, or is damaged before the first frame.
    """
    from gate_firewall.dissect import CaptureError, read_capture

    frames = read_capture(path)
    try:
        first = [*islice(frames, 1)]
    except OSError as e:
        raise CaptureError(f"{path}: can't be read: {e.strerror or e}") from e
    return chain(first, frames)


def _is_stranger(step: Step, policy: Policy) -> bool:
    """Tell whether ``step`` was decided for a device of which the policy knows nothing."""
    event = step.event
    return (
        event is not None
        and event.group == policy.unknown_group
        and event.mac not in policy.devices
    )


def _left_out(rehearsal: Rehearsal, client: str) -> Iterator[str]:
    if rehearsal.guessed:
        yield (
            f"the addresses of {rehearsal.guessed} packets do not tell which side is the school's: whoever opened their flow was"
            " taken for the client; --client ADDRESS or --client MAC says it for certain"
        )
    if rehearsal.others:
        yield f"{rehearsal.others} frames were left out, as they are not from or to {client}"
    if rehearsal.forgotten:
        yield f"{rehearsal.forgotten} flows are not in the list of flows: it has the latest alone"


def _policy(path: Path) -> Policy:
    """Return the policy of a snapshot, with its lists.

    Raises:
        RefusedError: There is none, or it is damaged.
        ListError: Its lists are gone or damaged.
    """
    from gate_appliance.lists.index import open_index, path_of
    from gate_core.categories import CategoryIndex
    from gate_core.snapshot import NO_LISTS, MalformedSnapshotError, parse_snapshot

    def index_of(lists: str) -> CategoryIndex:
        if not lists:
            return NO_LISTS
        if not lists.isalnum():
            raise MalformedSnapshotError(f"{lists[:80]!r} names no lists")
        return open_index(path_of(path.parent, lists), lists)

    try:
        return parse_snapshot(path.read_bytes(), index_of).policy
    except FileNotFoundError:
        raise RefusedError(
            f"no snapshot at {path}: the steward publishes one when the appliance is up"
        ) from None
    except MalformedSnapshotError as e:
        raise RefusedError(f"{path}: {e}") from e


def _all_in(policy: Policy, group: str) -> Policy:
    """Return ``policy`` as it is for clients of whom it knows nothing but that they are in ``group``."""
    if group not in policy.groups:
        allowed = ", ".join(policy.groups)
        raise RefusedError(f"{group[:40]!r} is no group; allowed are {allowed}", "group")
    return replace(policy, devices={}, members={}, networks={}, unknown_group=group)


def _at(text: str, config: Config) -> datetime | None:
    from zoneinfo import ZoneInfo

    from gate_core.written import aware

    if not text:
        return None
    zone = ZoneInfo(config.appliance.timezone)
    try:
        return aware(text, zone).astimezone(zone)
    except (ValueError, OverflowError):
        raise RefusedError(
            f"{text[:40]!r} is no date and time such as 2027-01-22T10:30", "at"
        ) from None


def _client(text: str) -> Client:
    from gate_firewall.rehearsal import Client

    if not text:
        return Client()
    try:
        return Client(address=ip_address(text).packed)
    except ValueError:
        pass
    try:
        return Client(mac=parse_mac(text))
    except MalformedMacError:
        raise RefusedError(
            f"{text[:40]!r} is neither an address such as 192.168.1.20 or 2001:db8::20"
            " nor a MAC address such as 00:00:5e:00:53:01",
            "client",
        ) from None


def _printable(text: str) -> str:
    """Return ``text`` with nothing in it that a terminal obeys."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _wrapped(text: str, first: str = "", others: str = "") -> str:
    """Return ``text`` in lines that fit the terminal, as far as its words do; ``first`` and ``others`` stand before them."""
    return textwrap.fill(
        _printable(text),
        shutil.get_terminal_size().columns,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


@dataclass(slots=True)
class _Run:
    """Packets of one direction of a flow, one after another, that came to the same."""

    reason: str
    number: int
    """Of the first."""
    more: int = 0
    """How many came after it."""
    last: int = 0
    """Number of the last of them."""


class _Text:
    """Tells people."""

    def __init__(self, policy: Policy, at: datetime | None, *, fold: bool) -> None:
        from gate_firewall.rehearsal import NOT_IMITATED

        self._policy = policy
        self._fold = fold
        self._runs: OrderedDict[object, _Run] = OrderedDict()
        """Of each direction of a flow the newest."""
        when = f"{at:%Y-%m-%d %H:%M}" if at else "an unknown time: the strict side of every span"
        say(f"By policy {policy.version}, as at {when}.")
        say(_wrapped(NOT_IMITATED))
        say("number  time  direction seen from the school  ends  protocol  octets")
        say("        who decided: what was read; what became of it")

    def step(self, step: Step) -> None:
        """Print a packet, or count it where it came to the same as the one before it from the same end of its flow."""
        reason = "  ".join(
            (
                f"{step.by.value}: " + "; ".join(filter(None, (step.read, step.why))),
                *([self._sentence(step.event)] if step.event else []),
            )
        )
        # By direction: what is refused and what would have answered it take turns.
        side = step.source, step.destination, step.protocol, step.vlan
        run = self._runs.get(side)
        if self._fold and run and run.reason == reason:
            run.more, run.last = run.more + 1, step.number
            return
        if run:
            self._tell_more(run)
        self._runs[side] = _Run(reason, step.number)
        self._runs.move_to_end(side)
        if len(self._runs) > _MOST_RUNS:
            self._tell_more(self._runs.popitem(last=False)[1])
        fields = (
            f"{step.number:>6}",
            f"{step.since_s:9.3f} s",
            f"{step.direction.value:<3}",
            f"{step.source} > {step.destination}",
            " ".join((step.protocol, *step.flags)),
            str(step.length_octets),
            *([f"VLAN {step.vlan}"] if step.vlan is not None else []),
        )
        say(_wrapped("  ".join(fields), others=" " * 8))
        say(_wrapped(reason, " " * 8, " " * 8))

    def _tell_more(self, run: _Run) -> None:
        if run.more:
            say(f"{'':8}{run.more:,} more like packet {run.number}, the last of them {run.last}")

    def flows(self, flows: Iterator[FlowSummary]) -> None:
        """Print what came of each flow."""
        for run in self._runs.values():
            self._tell_more(run)
        say("Flows, by their last packet:")
        for f in flows:
            counts = f"{f.packets} packets, {f.octets} octets, asked about {f.asked}"
            say(_wrapped(f"{f.initiator} > {f.responder}  {f.protocol}: {counts}", "  ", "    "))
            came = f.why
            if f.event:
                who = f"{f.event.device} ({f.event.group})"
                name = f"{f.event.kind} {f.event.name or 'without a name'}"
                came = f"{who}, {name}: {self._sentence(f.event)}"
            say(_wrapped(came, "    ", "    "))

    def _sentence(self, event: Event) -> str:
        from gate_appliance.words import sentence

        told = sentence(event.action, event.reason, event.rule_id, self._policy)
        return f"{told} [{event.rule_id}]"


class _Json:
    """Tells programs."""

    def step(self, step: Step) -> None:
        """Print a packet as an object."""
        _say_json(
            packet=step.number,
            since_s=round(step.since_s, 6),
            vlan=step.vlan,
            direction=step.direction.value,
            source=step.source,
            destination=step.destination,
            protocol=step.protocol,
            flags=step.flags,
            length_octets=step.length_octets,
            by=step.by.value,
            read=step.read,
            outcome=step.outcome.value,
            why=step.why,
            event=_event(step.event),
        )

    def flows(self, flows: Iterator[FlowSummary]) -> None:
        """Print each flow as an object."""
        for f in flows:
            _say_json(
                flow=f"{f.initiator} > {f.responder}",
                protocol=f.protocol,
                packets=f.packets,
                octets=f.octets,
                asked=f.asked,
                why=f.why,
                event=_event(f.event),
            )


def _say_json(**fields: object) -> None:
    say(json.dumps(fields))


def _event(event: Event | None) -> dict[str, str] | None:
    if event is None:
        return None
    return {
        "device": event.device,
        "group": event.group,
        "kind": event.kind,
        "name": event.name,
        "action": event.action,
        "reason": event.reason,
        "rule_id": event.rule_id,
    }
