"""Snapshots on disk: published whole by the steward, taken whole by the data plane.

A snapshot is written beside the one in force, fsynced, renamed over it and announced by a datagram to every
process that listens; whoever reads sees the old one or the new one, never a part.
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import Final

from gate_appliance.durable import write_durably
from gate_appliance.lists.index import open_index, path_of
from gate_core.categories import CategoryIndex
from gate_core.policy import Policy
from gate_core.snapshot import NO_LISTS, MalformedSnapshotError, parse_snapshot

_log = logging.getLogger(__name__)

_SNAPSHOT: Final = "policy"
_PREVIOUS: Final = "policy.previous"


class Publisher:
    """Publishes snapshots; the steward's side."""

    def __init__(self, directory: Path, announce: Path) -> None:
        self._directory = directory
        self._announce = announce
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        for folder in (directory, announce):
            folder.mkdir(parents=True, exist_ok=True)

    def publish(self, snapshot: bytes, version: int) -> None:
        """Put a rendered ``snapshot`` of the policy ``version`` in force."""
        current = self._directory / _SNAPSHOT
        if current.exists():
            previous = self._directory / _PREVIOUS
            previous.unlink(missing_ok=True)
            previous.hardlink_to(current)
        write_durably(current, snapshot)
        self.announce(version)

    def announce(self, version: int) -> None:
        """Tell every process that listens to look at the snapshot."""
        for listener in self._announce.iterdir():
            try:
                self._socket.sendto(b"%d" % version, str(listener))
            # Nobody listens there now, or it has older announcements unread and will take the newest snapshot with
            # them. The name stays: a process that starts again binds it anew, and that may be at this moment.
            except (ConnectionRefusedError, BlockingIOError):
                continue
            except OSError as e:
                _log.warning("action=announce listener=%s fault=%s", listener.name, e)

    def published_version(self) -> int:
        """Return the version of the snapshot that lies there; 0 where there is none that can be read."""
        try:
            return parse_snapshot((self._directory / _SNAPSHOT).read_bytes()).policy.version
        except (OSError, ValueError):
            return 0

    def close(self) -> None:
        """Free the socket."""
        self._socket.close()


class SnapshotSource:
    """The snapshot in force, as a data-plane process sees it (``gate_core.ports.PolicySource``)."""

    def __init__(self, directory: Path, announce: Path, name: str) -> None:
        """Read the snapshot and listen for others.

        Args:
            directory: Where snapshots and compiled lists lie.
            announce: Directory of the listeners' sockets.
            name: This process, unlike all others.

        Raises:
            FileNotFoundError: None has been published yet.
            MalformedSnapshotError: Neither the newest nor the one before it can be read.
        """
        self._directory = directory
        self._index: tuple[str, CategoryIndex] = ("", NO_LISTS)
        announce.mkdir(parents=True, exist_ok=True)
        self._path = announce / name
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        # Bound before the first read, so that no snapshot is published unseen between the two.
        self._socket.bind(str(self._path))
        try:
            self._policy = self._first()
        except BaseException:
            self.close()
            raise

    def current(self) -> Policy:
        """Return the newest policy that could be read."""
        return self._policy

    def fileno(self) -> int:
        """Return the descriptor that turns readable when a snapshot is announced."""
        return self._socket.fileno()

    def refresh(self) -> bool:
        """Take the announced snapshot; tell whether the policy changed. A faulty one leaves the old in force."""
        try:
            while self._socket.recv(64):
                pass
        except BlockingIOError:
            pass
        try:
            policy = self._read(_SNAPSHOT)
        except (OSError, ValueError) as e:
            _log.error(
                "action=refresh version=%d fault=%s", self._policy.version, e
            )  # the message says it all
            return False
        changed = policy.version != self._policy.version
        self._policy = policy
        return changed

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _first(self) -> Policy:
        try:
            return self._read(_SNAPSHOT)
        except (OSError, ValueError) as e:
            if not (self._directory / _PREVIOUS).exists():
                raise
            _log.error(
                "action=start fault=%s; taking the snapshot before it", e
            )  # the message says it all
            return self._read(_PREVIOUS)

    def _read(self, name: str) -> Policy:
        return parse_snapshot((self._directory / name).read_bytes(), self._open).policy

    def _open(self, lists: str) -> CategoryIndex:
        if not lists:
            return NO_LISTS
        if self._index[0] != lists:
            if not lists.isalnum():
                raise MalformedSnapshotError(f"{lists[:80]!r} names no lists")
            self._index = (lists, open_index(path_of(self._directory, lists), lists))
        return self._index[1]
