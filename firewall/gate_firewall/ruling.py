"""What the policy says of a client's flow: the decision on a name, and what holds where there is none."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from ipaddress import ip_address
from typing import Final, NamedTuple

from gate_core.clients import Client, Group, OnFault
from gate_core.policy import Action, Policy, Reason, decide

_CACHE_LIMIT: Final = 8192

_CUT_OFF: Final = (Reason.ISOLATED, Reason.SUSPENDED)


class Fault(Enum):
    """Why a flow of a closed group is blocked without asking for a decision."""

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


class Rulings:
    """All that one policy says, between two edges of the timetable; decided once for each view and name."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._clients: dict[tuple[bytes, str | None], Client] = {}
        self._by_name: dict[tuple[str, str], Ruling] = {}

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
            d = decide(self.policy, client, name, at)
            ruling = Ruling(d.action, d.reason.value, d.rule_id, d.categories)
            self._by_name[key] = ruling
        return ruling

    def fault(self, client: Client, fault: Fault, at: datetime | None) -> Ruling:
        """Return what a flow gets that can't be judged: blocked where the group is closed, else by the name ""."""
        group = self.group(client)
        if group.on_fault is OnFault.CLOSED:
            return Ruling(Action.BLOCK, fault.value, f"{fault.value}:{group.id}")
        return self.by_name(client, "", at)

    def quic(self, client: Client, at: datetime | None) -> Ruling:
        """Return what QUIC gets: its names are hidden from us, and browsers go back to TCP."""
        group = self.group(client)
        if not group.quic:
            return Ruling(Action.BLOCK, "quic", f"quic:{group.id}")
        return self.by_name(client, "", at)

    def time(self, client: Client, at: datetime | None) -> Ruling:
        """Return what a question for the time gets: a wrong clock breaks TLS, so only cut-off devices go without."""
        ruling = self.by_name(client, "", at)
        if ruling.reason in (reason.value for reason in _CUT_OFF):
            return ruling
        return Ruling(Action.ALLOW, "time", "time:ntp")


def _bound(cache: dict[tuple[bytes, str | None], Client] | dict[tuple[str, str], Ruling]) -> None:
    if len(cache) >= _CACHE_LIMIT:
        cache.clear()
