"""What the policy says of a client's flow: the decision on what it is and where it goes, and what holds where that is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from ipaddress import ip_address
from typing import Any, Final, NamedTuple

from gate_core.clients import Client, Group, OnFault
from gate_core.policy import (
    Action,
    Decision,
    Policy,
    Reason,
    decide,
    decide_address,
    decide_protocol,
)
from gate_firewall.flows import FlowKey
from gate_firewall.given import GivenTable, is_exempt, is_inside
from gate_firewall.host import is_address
from gate_firewall.opening import Reading
from gate_firewall.pins import Pins

_CACHE_LIMIT: Final = 8192

_CUT_OFF: Final = (Reason.ISOLATED, Reason.SUSPENDED)
_NOT_BY_NAME: Final = (Reason.MATRIX.value, Reason.DEFAULT.value)
"""Reasons which allow a name that nobody allowed by name."""

LISTED_ADDRESS: Final = "listed-address"
"""Reason: the table closes the address that a flow goes to, whatever its name."""


class Fault(Enum):
    """Why a flow can't be judged: blocked in a closed group, recorded as such in an open one."""

    UNKNOWN_FLOW = "unknown-flow"
    """Its beginning was not seen: it is older than the classifier. To judge it by the name "" would be a guess, and
    the wrong one for the download that a pause should cut. Reset, the client opens it anew and is judged by its name."""
    UNREADABLE = "unreadable"
    """Malformed, contradicting itself, or longer than is ever read."""
    NOT_WEB = "not-web"
    """Neither HTTP nor TLS on a port that is for them."""
    PROTOCOL = "protocol"
    """Neither TCP nor UDP."""


class Ruling(NamedTuple):
    """An outcome and why, as it stands in an event."""

    action: Action
    reason: str
    rule_id: str
    categories: int = 0


_OPEN: Final = Ruling(Action.ALLOW, "", "")


class Moment(NamedTuple):
    """The time, on both clocks."""

    at: datetime | None
    """Aware, in the school's zone; None while unknown."""
    monotonic_s: float


@dataclass(frozen=True, slots=True)
class Learnt:
    """What the sinkhole tells the classifier."""

    given: GivenTable
    pins: Pins
    is_learning: Callable[[float], bool]
    """Tells whether ``given`` is not complete yet, at a monotonic time."""


class Rulings:
    """All that one policy says, between two edges of the timetable; decided once for each view and name."""

    def __init__(self, policy: Policy, learnt: Learnt | None = None) -> None:
        self.policy = policy
        self._learnt = learnt
        self._direct = {
            id_: tuple(d for d in policy.direct if d.group in ("", id_)) for id_ in policy.groups
        }
        self._clients: dict[tuple[bytes, str | None], Client] = {}
        self._by_name: dict[tuple[str, str], Ruling] = {}
        self._by_protocol: dict[tuple[str, str, str], Ruling] = {}
        self._listed: dict[bytes, bool] = {}
        self._by_address: dict[tuple[str, bytes], Ruling] = {}

    def client(self, address: bytes, mac: str | None) -> Client:
        """Return the client at ``address``, of 4 or 16 octets."""
        key = (address, mac)
        client = self._clients.get(key)
        if client is None:
            _bound(self._clients)
            client = self._clients[key] = self.policy.client(ip_address(address), mac)
        return client

    def group(self, client: Client) -> Group:
        """Return the client's group; one that the policy has lost counts as the strictest."""
        groups = self.policy.groups
        return groups.get(client.group, groups[self.policy.unknown_group])

    def by_name(self, client: Client, name: str, at: datetime | None) -> Ruling:
        """Return the policy's decision on ``name``; "" where none was seen."""
        key = (self.policy.view(client), name)
        ruling = self._by_name.get(key)
        if ruling is None:
            _bound(self._by_name)
            ruling = self._by_name[key] = _ruling(decide(self.policy, client, name, at))
        return ruling

    def by_protocol(self, client: Client, protocol: str, name: str, at: datetime | None) -> Ruling:
        """Return the policy's decision on a flow that shows a ``protocol``; "" for those that decide nothing."""
        if not protocol:
            return self.by_name(client, name, at)
        key = (self.policy.view(client), protocol, name)
        ruling = self._by_protocol.get(key)
        if ruling is None:
            _bound(self._by_protocol)
            decision = decide_protocol(self.policy, client, protocol, name, at)
            ruling = self._by_protocol[key] = _ruling(decision)
        return ruling

    def listed(
        self, client: Client, key: FlowKey, at: datetime | None, *, outside: bool
    ) -> Ruling | None:
        """Return what closes a flow by the address of its other end alone; None where no list does.

        Args:
            client: The end in the school.
            key: The flow.
            at: The time.
            outside: Whether it was opened from the router's side.
        """
        address = key.initiator if outside else key.responder
        if not self._is_listed(address):
            return None
        view = (self.policy.view(client), address)
        ruling = self._by_address.get(view)
        if ruling is None:
            _bound(self._by_address)
            ruling = _ruling(decide_address(self.policy, client, address, at))
            if ruling.reason == Reason.MATRIX.value:
                # Of the name, beside which it will stand, the row says nothing.
                ruling = ruling._replace(reason=LISTED_ADDRESS)
            self._by_address[view] = ruling
        return ruling if ruling.action is Action.BLOCK else None

    def _is_listed(self, address: bytes) -> bool:
        index = self.policy.index
        if not index.lists_addresses:
            return False
        listed = self._listed.get(address)
        if listed is None:
            _bound(self._listed)
            listed = self._listed[address] = index.address_mask(address) != 0
        return listed

    def flow(  # noqa: C901, PLR0911  # one a rule
        self,
        client: Client,
        key: FlowKey,
        reading: Reading,
        now: Moment,
        *,
        outside: bool,
        final: bool,
    ) -> Ruling | None:
        """Return what a flow gets by what it is and where it goes; None where the sinkhole is to be heard first.

        Args:
            client: The end in the school.
            key: The flow.
            reading: What it is.
            now: The time.
            outside: Whether it was opened from the router's side.
            final: Whether all has been heard that the sinkhole had given before ``now``.
        """
        there = key.responder
        ruling = self.by_protocol(client, reading.protocol, reading.name, now.at)
        if ruling.action is Action.BLOCK:
            return ruling
        if reading.kind == "quic" and (closed := self.quic(client, now.at)):
            return closed
        listed = self.listed(client, key, now.at, outside=outside)
        learnt = self._learnt
        if listed:
            # As for an answer of the sinkhole: whoever allowed a name by name has allowed the addresses that it has. What
            # a flow calls itself is no name that was allowed, unless the sinkhole gave this address for it.
            by_name = reading.name and ruling.reason not in _NOT_BY_NAME
            if not by_name or listed.reason == Reason.ILLEGAL.value or learnt is None or outside:
                return listed
            asked = self._is_asked(client, key, reading.name, now)
            if not (asked or learnt.is_learning(now.monotonic_s)):
                return listed if final else None
        group = self.group(client)
        if outside and group.named_only and not is_inside(key.initiator):
            return _unasked(group)
        if learnt is None or outside:
            return ruling
        safe = self.policy.safe_name(client, reading.name)
        if safe and not learnt.pins.has(safe.target, there, now.monotonic_s):
            return Ruling(Action.BLOCK, "unsafe-address", safe.rule_id)
        if not group.named_only:
            return ruling
        asked = self._is_asked(client, key, reading.name, now)
        # Nobody ever asks for an address as if it were a name, whenever the record begins.
        askable = reading.name and not is_address(reading.name)
        if not asked and not (final and askable and learnt.is_learning(now.monotonic_s)):
            return _unasked(group) if final else None
        if not reading.name and not reading.protocol:
            # An address alone says little: whoever has a server gives it a name that is allowed, and asks for that first.
            direct = is_exempt(there, key.protocol, key.responder_port, self._direct[group.id])
            return ruling if direct else Ruling(Action.BLOCK, "nameless", f"nameless:{group.id}")
        return ruling

    def before(
        self, client: Client, key: FlowKey, now: Moment, *, outside: bool, final: bool
    ) -> Ruling | None:
        """Return what a flow gets as long as nobody knows what it is; arguments and None as for ``flow``."""
        learnt, group = self._learnt, self.group(client)
        if outside:
            closed = group.named_only and not is_inside(key.initiator)
            return _unasked(group) if closed else _OPEN
        if (
            learnt is None
            or not group.named_only
            or self._is_asked(client, key, "", now)
            or learnt.is_learning(now.monotonic_s)
        ):
            return _OPEN
        return _unasked(group) if final else None

    def _is_asked(self, client: Client, key: FlowKey, name: str, now: Moment) -> bool:
        """Tell whether the sinkhole gave a client the address that a flow goes to, or it needs none."""
        there, learnt = key.responder, self._learnt
        return (
            learnt is not None
            and learnt.given.knows(key.initiator, client.mac, name, there, now.monotonic_s)
        ) or is_exempt(there, key.protocol, key.responder_port, self._direct[self.group(client).id])

    def fault(self, client: Client, fault: Fault, at: datetime | None) -> Ruling:
        """Return what a flow gets that can't be judged: blocked where the group is closed, else by the name ""."""
        group = self.group(client)
        action = Action.BLOCK
        if group.on_fault is OnFault.OPEN:
            ruling = self.by_name(client, "", at)
            if ruling.action is Action.BLOCK:
                return ruling
            action = Action.ALLOW
        # Allowed or not, the record says that nobody knows what it was.
        return Ruling(action, fault.value, f"{fault.value}:{group.id}")

    def quic(self, client: Client, at: datetime | None) -> Ruling | None:
        """Return why QUIC is closed to a client, whose browser then goes back to TCP; None where it is open.

        A pause closes it: it takes up to 64 datagrams to know what such a flow is.
        """
        group = self.group(client)
        if not group.quic:
            return Ruling(Action.BLOCK, "quic", f"quic:{group.id}")
        ruling = self.by_name(client, "", at)
        return ruling if ruling.reason == Reason.PAUSED.value else None

    def time(self, client: Client, at: datetime | None) -> Ruling:
        """Return what a question for the time gets: a wrong clock breaks TLS, so only cut-off devices go without."""
        ruling = self.by_name(client, "", at)
        if ruling.reason in (reason.value for reason in _CUT_OFF):
            return ruling
        return Ruling(Action.ALLOW, "time", "time:ntp")


def _unasked(group: Group) -> Ruling:
    return Ruling(Action.BLOCK, "unasked", f"unasked:{group.id}")


def _ruling(d: Decision) -> Ruling:
    return Ruling(d.action, d.reason.value, d.rule_id, d.categories)


def _bound(cache: dict[Any, Any]) -> None:
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
