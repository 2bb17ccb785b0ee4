"""What the edges are handed by the wiring: small protocols, so that no edge knows where a thing comes from."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gate_core.clients import Address
from gate_core.events import Event, Message
from gate_core.given import News, Request
from gate_core.policy import Policy


class Clock(Protocol):
    """The wall clock."""

    def now(self) -> datetime | None:
        """Return the time in the school's zone; None while it is not known."""


class PolicySource(Protocol):
    """The snapshot in force."""

    def current(self) -> Policy:
        """Return the newest policy that could be read; costs nothing where nothing changed."""

    def fileno(self) -> int:
        """Return a descriptor that turns readable when a snapshot is announced."""

    def refresh(self) -> bool:
        """Take what was announced; tell whether ``current`` has changed. Keeps the old one on any fault."""


class NeighbourTable(Protocol):
    """The link-layer addresses of the local network."""

    def mac(self, address: Address) -> str | None:
        """Return the canonical MAC address of ``address``; None where the kernel knows none. Never waits."""

    def solicit(self, address: Address) -> bool:
        """Make the kernel ask for ``address``, of which it knows none; tell whether it may know soon. Never waits.

        False means that it is on no network of ours, as behind a router, or that nobody can be there.
        """


class PinSink(Protocol):
    """Where the sinkhole says which addresses the safe versions of search engines have."""

    def put(self, target: str, addresses: Sequence[bytes], lasts_s: float) -> None:
        """Take the ``addresses`` (4 or 16 octets) of a safe ``target``; never waits and never raises."""

    def renew(self) -> None:
        """Say again what still holds, about once a second; never waits and never raises."""


class GivenLink(Protocol):
    """A worker's way to the classifier, which wants to know who was given what."""

    def fileno(self) -> int:
        """Return a descriptor that turns readable when there is a request."""

    def requests(self) -> Sequence[Request]:
        """Return the requests that have come; never waits."""

    def send(self, news: News) -> bool:
        """Send ``news``; tell whether they were taken. Never waits and never raises."""


class EventSink(Protocol):
    """Where the data plane puts what it decided."""

    def put(self, message: Message | Event) -> None:
        """Take ``message``; never waits and never raises: what has no room is dropped and counted."""

    def flush(self) -> None:
        """Send what is held; never waits and never raises."""
