"""Who decides on epochs, and how all processes of the firewall come to judge by the same.

The first one leads: it lays the rules and moves the kernel from one epoch to the next. The others follow. Before the kernel
asks again about flows of the old epoch, all that live have taken the policy of the new one.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from gate_core.clients import OnFault
from gate_core.policy import Policy
from gate_firewall import apply
from gate_firewall.marks import next_epoch
from gate_firewall.ruleset import Epoch

AGREE_S: Final = 0.05
"""How long the kernel waits at most for those who follow; whoever is later judges by the old policy until then, and the
kernel asks again about the flows that it lets pass."""
ALIVE_S: Final = 3.0
"""Whoever says nothing for so long is not waited for."""
_GREET_S: Final = 0.1
_GUESTS: Final = "guest"
"""Id of the group whose devices have a share of the line of their own."""

_MESSAGE: Final = struct.Struct("!BI")
"""Number of the epoch, and of the message, which the answer repeats. From who follows: 0 asks for one."""

Take = Callable[[Policy, int], None]
"""Takes a policy and the number of its epoch: packets are judged by them from then on."""


Newest = Callable[[], Policy]
"""Returns the newest policy that there is: no older than the one by which another process has decided on an epoch."""


class Epochs(Protocol):
    """How one process of the firewall learns in which epoch it is."""

    @property
    def number(self) -> int:
        """Of the epoch, 1 to 255."""

    def fileno(self) -> int:
        """Return the descriptor that turns readable when there is something to hear."""

    def hear(self, newest: Newest, take: Take) -> None:
        """Hear what has come; never waits."""

    def renew(self, policy: Policy, at: datetime | None, take: Take) -> None:
        """Look whether ``policy`` or the school's time ``at`` has changed; called about once a second, and when one has.

        Raises:
            OSError: The kernel refused a new epoch.
        """


class Leader:
    """The process that decides."""

    def __init__(
        self,
        policy: Policy,
        at: datetime | None,
        private: socket.socket,
        followers: Sequence[Path] = (),
    ) -> None:
        """Begin with the kernel's epoch, if it is still of ``policy`` at the time ``at``.

        Args:
            policy: In force.
            at: The school's time.
            private: A Unix datagram socket that never waits, at which those who follow are heard.
            followers: Their sockets; they may come and go.
        """
        self.epoch = _first_epoch(policy, at)
        self._socket = private
        self._followers = {str(path): -ALIVE_S for path in followers}
        """When each was heard last, in monotonic seconds."""
        self._message = 0

    @property
    def number(self) -> int:
        """Of the epoch, 1 to 255."""
        return self.epoch.number

    def fileno(self) -> int:
        """Return the descriptor that turns readable when there is something to hear."""
        return self._socket.fileno()

    def hear(self, newest: Newest, take: Take) -> None:
        """Hear who follows."""
        for sender, message in self._heard():
            if not message:
                self._send(sender)

    def renew(self, policy: Policy, at: datetime | None, take: Take) -> None:
        """Bring ``policy`` into force if it or the time ``at`` has changed; tell all who follow where we are."""
        changed = _label(policy, at) != self.epoch.label
        if changed:
            self.epoch = epoch_of(next_epoch(self.epoch.number), policy, at)
            # Before the kernel asks again about flows of the old epoch; the other order would judge some by the old policy.
            take(policy, self.epoch.number)
        self._message += 1
        reached = {path for path in self._followers if self._send(path)}
        if changed:
            self._await(reached)
            apply.load_epoch(self.epoch)

    def _await(self, reached: set[str]) -> None:
        now = time.monotonic()
        until = now + AGREE_S
        waiting = {path for path in reached if self._followers[path] > now - ALIVE_S}
        while waiting and now < until:
            select.select([self._socket], [], [], until - now)
            waiting -= {sender for sender, message in self._heard() if message == self._message}
            now = time.monotonic()

    def _heard(self) -> list[tuple[str, int]]:
        """Return what has come: from whom, and the message that it answers."""
        found = []
        with suppress(BlockingIOError):
            while True:
                datagram, sender = self._socket.recvfrom(_MESSAGE.size)
                if len(datagram) == _MESSAGE.size and sender in self._followers:
                    self._followers[sender] = time.monotonic()
                    found.append((sender, _MESSAGE.unpack(datagram)[1]))
        return found

    def _send(self, path: str) -> bool:
        # Who is not there asks when it comes.
        with suppress(OSError):
            self._socket.sendto(_MESSAGE.pack(self.epoch.number, self._message), path)
            return True
        return False


class Follower:
    """A process that judges in the epoch that another has decided on."""

    def __init__(self, private: socket.socket, leader: Path) -> None:
        """Wait until the leader says which epoch it is.

        Args:
            private: A Unix datagram socket that never waits, at which the leader is heard.
            leader: The leader's; it may come and go.
        """
        self.number = 0
        """Of the epoch, 1 to 255."""
        self._socket = private
        self._leader = str(leader)
        while not self.number:
            self._send(0)
            select.select([self._socket], [], [], _GREET_S)
            self._heard()

    def fileno(self) -> int:
        """Return the descriptor that turns readable when there is something to hear."""
        return self._socket.fileno()

    def hear(self, newest: Newest, take: Take) -> None:
        """Take the policy of the leader's epoch, and say so."""
        before = self.number
        message = self._heard()
        if message is None:
            return
        if self.number != before:
            take(newest(), self.number)
        self._send(message)

    def renew(self, policy: Policy, at: datetime | None, take: Take) -> None:
        """Do nothing: the leader does, and says so."""

    def _heard(self) -> int | None:
        """Return the newest message that has come."""
        message = None
        with suppress(BlockingIOError):
            while True:
                datagram = self._socket.recv(_MESSAGE.size)
                if len(datagram) == _MESSAGE.size and datagram[0]:
                    self.number, message = _MESSAGE.unpack(datagram)
        return message

    def _send(self, message: int) -> None:
        # A leader that is not there says all of it again when it comes.
        with suppress(OSError):
            self._socket.sendto(_MESSAGE.pack(self.number, message), self._leader)


def _first_epoch(policy: Policy, at: datetime | None) -> Epoch:
    label = _label(policy, at)
    before = apply.read_epoch()
    if before is None:
        number = next_epoch(0)
    elif before.label == label:
        # Nothing has changed since the process before this one: the flows it let pass go on.
        number = before.number
    else:
        number = next_epoch(before.number)
    return epoch_of(number, policy, at)


def epoch_of(number: int, policy: Policy, at: datetime | None) -> Epoch:
    """Return the epoch ``number``, of ``policy`` around the school's time ``at``."""
    isolated = frozenset(device.mac for device in policy.devices.values() if device.isolated)
    guests = frozenset(g.number for g in policy.groups.values() if g.id == _GUESTS)
    macs = frozenset(policy.devices)
    return Epoch(number, _label(policy, at), _open_macs(policy, at), isolated, guests, macs)


def _label(policy: Policy, at: datetime | None) -> str:
    """Return what one epoch stands for: a policy until the next edge of its timetable."""
    edge = policy.next_edge(at)
    return f"policy {policy.version} until {edge.isoformat() if edge else 'changed'}"


def _open_macs(policy: Policy, at: datetime | None) -> frozenset[str]:
    """Return the devices that pass while nothing can be judged; never those which are cut off or paused."""
    pauses = [pause for pause in policy.pauses if at is None or pause.span.covers(at)]
    groups = {g.id for g in policy.groups.values() if g.on_fault is OnFault.OPEN}
    return frozenset(
        device.mac
        for device in policy.devices.values()
        if device.group in groups
        and not device.isolated
        and device.suspended is None
        and not any(device.group in p.groups or device.room in p.rooms for p in pauses)
    )
