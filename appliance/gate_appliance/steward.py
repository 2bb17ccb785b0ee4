"""The steward: the one control process, and the only writer of policy.

It owns the store, publishes snapshots, follows the timetable and records. When it dies the data plane keeps the last
snapshot; when it comes back it publishes what the store says.
"""

from __future__ import annotations

import _thread
import logging
import secrets
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from sqlite_utils import Database

from gate_appliance.activity import ActivityLog
from gate_appliance.clock import SystemClock
from gate_appliance.devices import Sightings
from gate_appliance.durable import write_durably
from gate_appliance.health import Facts, Health
from gate_appliance.library import Library
from gate_appliance.neighbours import KernelNeighbours
from gate_appliance.places import Places
from gate_appliance.publication import Publisher
from gate_appliance.recorder import Recorder
from gate_appliance.store import UNKNOWN_GROUP, Change, Store
from gate_core.acceptable_use import ROWS, SHIPPED_TIMETABLE
from gate_core.clients import Address
from gate_core.config import Config
from gate_core.desk import PanelReport, RefusedError, Status
from gate_core.policy import Policy
from gate_core.snapshot import render_snapshot

_log = logging.getLogger(__name__)

TICK_S: Final = 0.2
"""How often the status is looked at, and how late an edge of the timetable may be."""

_DISCOVER_EVERY_S: Final = 3.0
_SAVE_EVERY_TICKS: Final = 1500  # five minutes: the card is spared
_REMIND_EVERY_TICKS: Final = 5


class Steward:
    """The steward without its desk; its methods may be called from any thread."""

    def __init__(self, config: Config) -> None:
        """Open the store, compile the lists and publish; threads begin with ``start``."""
        self.places = Places.of(config.appliance)
        self.places.make()
        self.clock = SystemClock(config.appliance.timezone, self.places.state)
        self.store = Store(self.places.policy)
        self.activity = ActivityLog(self.places.activity, self.clock.zone)
        self.sightings = Sightings(self.places.sightings)
        self.lock = threading.RLock()
        """Held while policy changes: one change after the other, from reading to publishing."""
        self._publisher = Publisher(self.places.snapshots, self.places.announce)
        self._library = Library(self.places.lists, self.places.snapshots)
        self._lists = self._library.compile()
        self._recorder = Recorder(self.places.events, self.activity, self._look)
        self._health = Health(config, self.clock, self._recorder, self.activity)
        self._gateways = frozenset((*config.bridge.gateways, *config.dns.upstreams))
        self._neighbours = KernelNeighbours()
        self._neighbours_lock = threading.Lock()
        self._panel: PanelReport | None = None
        published = self._publisher.published_version()
        if published > self.store.version:
            # The store was lost or an older one put in its place: nobody may take its policy for an old one.
            _log.warning("action=start published=%d store=%d", published, self.store.version)
            self.store.raise_version(above=published)
        self.policy = self._publish()
        """The policy in force."""
        self._changed = threading.Condition()
        self._status = self._health.status(self._facts())
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(
                target=_or_end, args=(work,), daemon=True, name=f"steward{work.__name__}"
            )
            for work in (self._watch, self._discover)
        ]
        if not self.store.is_set_up():
            _offer_first_run(self.places.first_run_code)

    def start(self) -> None:
        """Begin to record, to follow the timetable and to look for devices."""
        self._recorder.start()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop, with everything written."""
        self._closing.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)
        self._recorder.close()
        self._publisher.close()
        self._neighbours.close()
        self.store.close()
        self._save()

    def status(self, since: int, wait_s: float) -> Status:
        """Return the status; wait at most ``wait_s`` while its revision is ``since``."""
        with self._changed:
            self._changed.wait_for(lambda: self._status.revision != since, wait_s)
            return self._status

    def heard_panel(self, report: PanelReport) -> None:
        """Take what the panel shows, and that it is alive."""
        self._health.heard_panel()
        if report != self._panel:
            self._panel = report
            self._look()

    @contextmanager
    def changing(self, change: Change) -> Iterator[Database]:
        """Change the policy in the store; it holds only if it can be compiled, and is then published.

        Raises:
            RefusedError: The policy that would come of it can't be, or can't be stored; nothing has changed.
        """
        with self.lock:
            try:
                with self.store.changing(change, self.clock.now()) as db:
                    yield db
                    render_snapshot(self._compile(), self._lists.sha256)
            except sqlite3.OperationalError as e:
                raise RefusedError(f"this can't be stored ({e}); nothing has changed") from e
            except RefusedError:
                raise
            except ValueError as e:
                raise RefusedError(str(e)) from e
            self.policy = self._publish()
        self._look()

    def add_list(self, name: str, category: str, path: Path, change: Change) -> int:
        """Take a list into a category; return how many names are listed then.

        Raises:
            ListError: It is no list; nothing has changed.
        """
        with self.lock:
            self._library.add(name, category, path)
            self._lists = self._library.compile()
            with self.changing(change):
                pass
            return self._lists.names

    def _compile(self) -> Policy:
        now = self.clock.now()
        return Policy(
            version=self.store.version,
            groups=self.store.groups(),
            rows=ROWS,
            unknown_group=UNKNOWN_GROUP,
            index=self._lists.index,
            devices=self.store.devices(),
            timetable=SHIPPED_TIMETABLE,
            pauses=tuple(p for p in self.store.pauses() if now is None or now < p.span.until),
            essential=self._library.essential,
            canaries=self._library.canaries,
            protected=self._library.protected,
        )

    def _publish(self) -> Policy:
        policy = self._compile()
        self._publisher.publish(policy, self._lists.sha256)
        self._edge = policy.next_edge(self.clock.now())
        return policy

    def _facts(self) -> Facts:
        return Facts(self.policy, self._lists, self.store.school, self._panel)

    def _look(self) -> None:
        """Make the status anew, and wake those who wait for a change."""
        with self._changed:
            before = self._status
            status = self._health.status(self._facts())
            same = replace(status, revision=before.revision, at=before.at) == before
            self._status = replace(status, revision=before.revision + (not same))
            if not same:
                self._changed.notify_all()

    def _watch(self) -> None:
        ticks = 0
        while not self._closing.wait(TICK_S):
            ticks += 1
            try:
                self._follow_timetable()
                if ticks % _SAVE_EVERY_TICKS == 0:
                    self._save()
                self._health.fault = ""
            except (OSError, sqlite3.Error, ValueError) as e:
                if not self._health.fault:
                    _log.error("action=watch fault=%s", e)  # the message says it all
                self._health.fault = str(e)
            if ticks % _REMIND_EVERY_TICKS == 0 and not self._health.is_everywhere(
                self.policy.version
            ):
                # Whoever missed it, or could not read it, looks again.
                self._publisher.announce(self.policy.version)
            self._look()

    def _follow_timetable(self) -> None:
        now = self.clock.now()
        with self.lock:
            if now is not None and (self._edge is None or now >= self._edge):
                # An edge has passed, or the clock has come: the same policy means something else from here on.
                self.store.raise_version()
            if self.store.version != self.policy.version:
                # Also where a change was stored and the disk then refused its snapshot.
                self.policy = self._publish()

    def mac_of(self, address: Address) -> str | None:
        """Return the link-layer address of ``address`` as the data plane sees it."""
        with self._neighbours_lock:
            return self._neighbours.mac(address)

    def _discover(self) -> None:
        while not self._closing.wait(_DISCOVER_EVERY_S):
            with self._neighbours_lock:
                found = tuple(self._neighbours.entries())
            # The router is no device of somebody's, whatever addresses it has besides.
            routers = {n.mac for n in found if str(n.address) in self._gateways}
            self.sightings.take((n for n in found if n.mac not in routers), self.clock.now())

    def _save(self) -> None:
        self.clock.remember()
        self.sightings.save()


def _or_end(work: Callable[[], None]) -> None:
    """Run ``work``; a mistake of ours in it ends the process, so that no status stays green that nobody renews."""
    try:
        work()
    except BaseException:
        _log.exception("action=%s", work.__name__)
        _thread.interrupt_main(signal.SIGTERM)
        raise


def _offer_first_run(path: Path) -> None:
    if path.exists():
        return
    # 60 random bits in the letters of RFC 4648, section 6: none of its digits looks like one of its letters.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    letters = "".join(secrets.choice(alphabet) for _ in range(12))
    write_durably(path, f"{letters[:4]}-{letters[4:8]}-{letters[8:]}\n".encode(), mode=0o600)
