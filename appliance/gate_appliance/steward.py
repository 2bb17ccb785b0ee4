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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlite_utils import Database

from gate_appliance.activity import ActivityLog, Totals
from gate_appliance.clock import SystemClock
from gate_appliance.devices import Sightings
from gate_appliance.durable import write_durably
from gate_appliance.health import Facts, Health
from gate_appliance.keeping import keep
from gate_appliance.library import (
    ADDING,
    Library,
    ListKey,
    Made,
    Staged,
    is_illegal,
    needed_names,
    vouched_lists,
    vouching,
)
from gate_appliance.lists.formats import ListError
from gate_appliance.neighbours import KernelNeighbours
from gate_appliance.places import Places
from gate_appliance.probes import Probes
from gate_appliance.publication import Publisher
from gate_appliance.recorder import Recorder
from gate_appliance.resolvers import Resolvers
from gate_appliance.sources import Sources
from gate_appliance.store import RESTORED, Change, Edition, Store, end_proposal, proposal_name
from gate_appliance.updates import Updater
from gate_core.clients import Address
from gate_core.compile import Surroundings, compile_policy
from gate_core.config import Config
from gate_core.desk import PanelReport, RefusedError, Status
from gate_core.edits import digest
from gate_core.policy import Policy
from gate_core.snapshot import render_snapshot
from gate_core.sources import ONLY_OFFICIAL, SourceError
from gate_core.upstreams import parse_upstream
from gate_core.written import Plain, PolicyError, WrittenPolicy, aware, parse, plain, shipped

_log = logging.getLogger(__name__)

TICK_S: Final = 0.2
"""How often the status is looked at, and how late an edge of the timetable may be."""

EXCEPTION_ENDED: Final = "ended by itself: exception"
_SELF: Final = "the appliance"

_DISCOVER_EVERY_S: Final = 3.0
_KEEP_FIRST_S: Final = 60.0
_KEEP_EVERY_S: Final = 3600.0
_SAVE_EVERY_TICKS: Final = 1500  # five minutes: the card is spared
_REMIND_EVERY_TICKS: Final = 5
_VLANS_EVERY_TICKS: Final = 10  # two seconds


class Steward:
    """The steward without its desk; its methods may be called from any thread."""

    def __init__(self, config: Config) -> None:
        """Open the store, compile the lists and publish; threads begin with ``start``."""
        self._config = config
        self.places = Places.of(config.appliance)
        self.places.make()
        self.clock = SystemClock(config.appliance.timezone, self.places.state)
        self.store = _open_store(self.places.policy)
        self.activity = ActivityLog(self.places.activity, self.clock.zone)
        self.sightings = Sightings(self.places.sightings)
        self.lock = threading.RLock()
        """Held while policy changes: one change after the other, from reading to publishing."""
        self._publisher = Publisher(self.places.snapshots, self.places.announce)
        self.library = Library(
            self.places.lists, self.places.snapshots, vouched_lists(self.places.policy)
        )
        self._lists = self.library.compile()
        self._recorder = Recorder(self.places.events, self.activity, self.look, self._tagged)
        resolvers = Resolvers(config.dns, self._recorder, self.clock)
        self._probes = Probes(config, self.activity, resolvers.asked, self.look)
        self._health = Health(
            config, self.clock, self._recorder, self.activity, self._probes, resolvers
        )
        self._gateways = frozenset(
            (
                *config.bridge.gateways,
                *(str(parse_upstream(u).address) for u in config.dns.upstreams),
            )
        )
        self._neighbours = KernelNeighbours()
        self._neighbours_lock = threading.Lock()
        self._panel: PanelReport | None = None
        self._moves = self._moves_followed = 0
        """How many devices came into another VLAN since the start, and how many of those the policy knows of."""
        self.policy_fault = ""
        """What is wrong with the policy in the store, and what is in force instead; "" where nothing is."""
        self._check_version()
        self.document, self.written = self._read_written()
        self._check_state()
        self.store.policy = digest(self.document)
        self.policy: Policy
        """The policy in force."""
        now = self.clock.now()
        if now is not None:
            self._clear(now)
        self._publish()
        self.sources = Sources(self.places.sources, self.places.outcomes, self.places.source_keys)
        self.updates = Updater(self.sources, self.library, self.clock, self.put_lists)
        self._changed = threading.Condition()
        self._status = self._health.status(self._facts())
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(
                target=_or_end, args=(work,), daemon=True, name=f"steward{work.__name__}"
            )
            for work in (self._watch, self._discover, self._keep)
        ]
        if not self.store.accounts():
            _offer_first_run(self.places.first_run_code)

    def start(self) -> None:
        """Begin to record, to follow the timetable and to look for devices."""
        self._recorder.start()
        self._probes.start()
        self.updates.start()
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop, with everything written."""
        self._closing.set()
        self.updates.close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5)
        self._probes.close()
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
            self.look()

    @contextmanager
    def changing(
        self, change: Change, policy: tuple[Plain, WrittenPolicy] | None = None
    ) -> Iterator[Database]:
        """Change what is decided: by another written policy, or by what is done with the store in this context.

        The document of the policy is in full, as ``written.revise`` gives it.

        It holds only if it can be compiled, and is then published.

        Raises:
            RefusedError: The policy that would come of it can't be, or can't be stored; nothing has changed.
        """
        with self.lock:
            before = self.document, self.written
            now = self.clock.now()
            try:
                if policy is not None:
                    self.document, self.written = policy
                with self.store.changing(change, now) as db:
                    if policy is not None:
                        self.store.adopt(self.document, now)
                    yield db
                    compiled = self.policy_at(now)
                    snapshot = render_snapshot(compiled, self._lists.sha256)
            except BaseException as e:
                self.document, self.written = before
                if isinstance(e, sqlite3.OperationalError):
                    raise RefusedError(f"this can't be stored ({e}); nothing has changed") from e
                if isinstance(e, ValueError) and not isinstance(e, RefusedError):
                    raise RefusedError(str(e)) from e
                raise
            if policy is not None:
                self.policy_fault = ""
            self._put(compiled, snapshot, now)
        self.look()

    @property
    def recorder(self) -> Recorder:
        """Where decisions and counters arrive."""
        return self._recorder

    @property
    def around(self) -> Surroundings:
        """What the appliance knows besides the policy."""
        vlans = {s.mac: s.vlan for s in self.sightings.all().values() if s.vlan}
        return Surroundings(
            self._lists.index,
            self.clock.zone,
            self.library.essential,
            self.library.canaries,
            self.library.protected,
            vlans,
        )

    @property
    def lists(self) -> str:
        """SHA-256 of the compiled lists in force."""
        return self._lists.sha256

    def add_list(
        self, name: str, category: str, path: Path, change: Change, *, may_shorten: bool
    ) -> int:
        """Take a list that somebody has added by hand into a category; return how many names it holds.

        Raises:
            SourceError: The category is of illegal content.
            ListError: It is no list, lists what the box keeps open, or ``may_shorten`` does not allow what it would open;
                nothing has changed.
        """
        if is_illegal(category):
            raise SourceError("category", f"{category!r}: {ONLY_OFFICIAL}")
        needed = needed_names((self.policy.essential, self.policy.protected))
        with self.library.lock:
            staged = self.library.stage(name, category, path, needed=needed)
            if staged.lost and not may_shorten:
                staged.path.unlink()
                raise ListError(
                    f"{staged.lost} names of the list before it are missing, such as {staged.example!r}; who may approve"
                    " a change has to add it (at the command line: --as USERNAME)"
                )
            self.put_lists(self.library.make([staged]), [(staged, change)])
            return staged.names

    @property
    def list_counts(self) -> Mapping[ListKey, int]:
        """How many names each list of the school holds."""
        return self._lists.counts

    def remove_list(self, key: ListKey, change: Change) -> None:
        """Take out a list that no source keeps up to date.

        Raises:
            ListError: It is of illegal content; nothing has changed.
            OSError: The disk refuses.
        """
        if is_illegal(key[0]):
            raise ListError("a list of illegal content stays: nobody can open what is on it")
        with self.library.lock:
            self.put_lists(self.library.make(going=[key]), [], [(key, change)])

    def put_lists(
        self,
        made: Made,
        coming: Sequence[tuple[Staged, Change]],
        going: Sequence[tuple[ListKey, Change]] = (),
    ) -> None:
        """Put lists in force that have been compiled; nobody waits for longer than a change of policy takes.

        The library's lock is held since the first of them was staged.
        """
        with self.lock:
            # Before a list is there: a power cut must not leave one in force that no entry speaks of.
            for _, change in coming:
                with self.store.noting(replace(change, action=ADDING), self.clock.now()):
                    pass
            for staged, _ in coming:
                self.library.put(staged)
            for key, _ in going:
                self.library.remove(key)
            self._lists = self.library.take(made)
            changes = [
                *(replace(c, after=vouching(c.after, staged.sha256)) for staged, c in coming),
                *(change for _, change in going),
            ]
            for change in changes[:-1]:
                with self.store.noting(change, self.clock.now()):
                    pass
            with self.changing(changes[-1]):
                pass

    def policy_at(self, at: datetime | None) -> Policy:
        """Return the policy as it is, was or will be in force at a time."""
        return compile_policy(
            self.written, self.store.acts(), self.around, version=self.store.version, at=at
        )

    def _publish(self) -> None:
        now = self.clock.now()
        policy = self.policy_at(now)
        self._put(policy, render_snapshot(policy, self._lists.sha256), now)

    def _put(self, policy: Policy, snapshot: bytes, at: datetime | None) -> None:
        self._publisher.publish(snapshot, policy.version)
        self.policy = policy
        # From the time it was compiled for, so that no edge is lost between that and now.
        self._edge = policy.next_edge(at)

    def _check_version(self) -> None:
        """Go on above every version that there was; tell of a store that was set aside, or is an older one."""
        published = self._publisher.published_version()
        stored = self.store.version
        highest = max(published, self.store.newest)
        if highest > stored:
            # The store was lost or an older one put in its place: nobody may take its policy for an old one.
            _log.warning("action=start highest=%d store=%d", highest, stored)
        if published or highest > stored:
            # Also where it is the same store: time has gone by, and what is published now may say something else.
            self.store.raise_version(above=highest)
        damaged = self.places.policy.with_name(f"{self.places.policy.name}.damaged")
        last = self.store.entries(limit=1)
        if damaged.exists() and not self.store.accounts():
            self._add_fault(
                "the store of the policy was damaged and has been set aside; restore a backup"
            )
        elif published > stored and not (last and last[0].action == RESTORED):
            self._add_fault(
                f"policy {published} was in force, and the store knows of policy {stored} only: an older store, or none,"
                " has been put in its place; compare the record with what governors signed"
            )

    def _read_written(self) -> tuple[Plain, WrittenPolicy]:
        """Return the newest written policy that the record vouches for and that can be compiled."""
        faults = []
        for edition in self.store.editions():
            try:
                written = self._trusted(edition)
            except PolicyError as e:
                faults.append(f"policy {edition.version} is refused: {'; '.join(e.faults[:3])}")
                continue
            if not faults and (fault := self._gone(edition)):
                faults.append(fault)
            if faults:
                self._add_fault(f"{faults[0]}; policy {edition.version} is in force instead")
            return edition.document, written
        faults.append("no edition is left")
        self._add_fault(f"{faults[0]}; the strict policy of a new appliance is in force")
        return plain(shipped()), shipped()

    def _gone(self, edition: Edition) -> str:
        """Tell where the record speaks of a newer policy than ``edition``; "" where it does not."""
        number, version, policy = self.store.last_adopted()
        if number and policy != edition.digest:
            return f"the policy that entry {number} of the record speaks of is gone"
        # What is made is kept beside its entry; what only came back when a newer one was taken out is not.
        made = self.store.edition(version)
        if number > 1 and (made is None or made.digest != policy):
            return f"the policy from before entry {number} of the record is gone"
        return ""

    def _trusted(self, edition: Edition) -> WrittenPolicy:
        written = parse(edition.document, self.clock.zone)
        if not edition.whole:
            raise PolicyError(("somebody has changed its text in the store",))
        vouched = self.store.vouched(edition.version)
        # The first one is the policy that the appliance came with.
        if vouched is None and (edition.version != 1 or written != shipped()):
            raise PolicyError(("the record has no entry for it",))
        if vouched not in (None, edition.digest):
            raise PolicyError(("the record speaks of another text",))
        return written

    def _add_fault(self, fault: str) -> None:
        """Tell of one thing more that is wrong with the policy in the store."""
        before = f"{self.policy_fault}. " if self.policy_fault else ""
        self.policy_fault = f"{before}{fault[:1].upper()}{fault[1:]}"
        _log.error("action=read_policy fault=%s", fault)  # the message says it all

    def _check_state(self) -> None:
        """Tell of accounts, holds or proposals that the record does not speak of; they stay as they are."""
        if fault := self.store.state_fault():
            self._add_fault(fault)
            # The next entry would vouch for what was found: so it is the one that says so.
            change = Change(_SELF, "", "found a change without an entry", "", after=fault)
            with self.store.noting(change, self.clock.now()):
                pass

    def _tagged(self, mac: str, vlan: int) -> None:
        # Taken into the policy by ``_watch``, and no oftener than it looks: anybody may send frames with any tag.
        if self.sightings.tagged(mac, vlan):
            self._moves += 1

    def _follow_vlans(self) -> None:
        moves = self._moves
        if moves == self._moves_followed:
            return
        with self.lock:
            if self.written.vlans and (
                self.policy_at(self.clock.now()).members != self.policy.members
            ):
                self.store.raise_version()
                self._publish()
        # At the end: where the disk refuses, they are looked at again.
        self._moves_followed = moves

    def _facts(self) -> Facts:
        return Facts(
            self.policy,
            replace(self._lists, faults=(*self._lists.faults, *self.updates.faults())),
            self.written.school,
            self._panel,
            self.policy_fault,
            self.store.waiting(),
            self.store.recovered(),
        )

    def look(self) -> None:
        """Make the status anew, and wake those who wait for a change."""
        with self._changed:
            before = self._status
            status = self._health.status(self._facts())
            same = _uncounted(status) == _uncounted(before)
            self._status = replace(status, revision=before.revision + (not same))
            if not same:
                self._changed.notify_all()

    def _watch(self) -> None:
        ticks = 0
        while not self._closing.wait(TICK_S):
            ticks += 1
            try:
                self._follow_timetable()
                if ticks % _VLANS_EVERY_TICKS == 0:
                    self._follow_vlans()
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
            self.look()

    def _follow_timetable(self) -> None:
        now = self.clock.now()
        with self.lock:
            if now is not None and (self._edge is None or now >= self._edge):
                # An edge has passed, or the clock has come: the same policy means something else from here on.
                self._clear(now)
                self.store.raise_version()
            if self.store.version != self.policy.version:
                # Also where a change was stored and the disk then refused its snapshot.
                self._publish()

    def _clear(self, now: datetime) -> None:
        """Take out what is over, with an entry each: nothing ends unrecorded."""
        acts = self.store.acts()
        for table, title, its in (
            ("pause", "internet pause", acts.pauses),
            ("lesson", "lesson", acts.lessons),
            ("suspension", "suspension", acts.suspensions),
        ):
            for act in its:
                if act.span.until <= now:
                    change = Change(_SELF, "", f"ended by itself: {title}", act.id)
                    with self.store.noting(change, now) as db:
                        db.table(table).delete(int(act.id))
        for loan in acts.loans:
            if loan.span.until <= now:
                change = Change(_SELF, "", "ended by itself: loan", loan.id, before=loan.person)
                with self.store.noting(change, now) as db:
                    db.table("loan").update(int(loan.id), {"returned": "by itself"})
        known = self.store.noted(EXCEPTION_ENDED)
        for id_, e in self.written.exceptions.items():
            until = aware(e.until, self.clock.zone)
            # With its time: an id may come back, and an end may be put off.
            subject = f"{id_}, until {e.until}"
            if until <= now and subject not in known:
                change = Change(
                    _SELF,
                    "",
                    EXCEPTION_ENDED,
                    subject,
                    before=f"{e.action} {', '.join((*e.services, *e.names))}",
                )
                with self.store.noting(change, now):
                    pass

        for row in self.store.proposals(0, -1, waiting=True, username=""):
            if aware(row["lapses"], self.clock.zone) <= now:
                self.lapse(row)

    def lapse(self, proposal: Mapping[str, Any]) -> None:
        """End a proposal that nobody has decided in time."""
        note = Change(_SELF, "", "ended by itself: proposal", proposal_name(proposal))
        with self.store.noting(note, self.clock.now()) as db:
            end_proposal(db, proposal, "lapsed")

    def totals(self) -> Totals:
        """Return what was decided today, counted some seconds ago at most."""
        return self._health.totals()

    def mac_of(self, address: Address) -> str | None:
        """Return the link-layer address of ``address`` as the data plane sees it."""
        with self._neighbours_lock:
            return self._neighbours.mac(address)

    def _keep(self) -> None:
        wait_s = _KEEP_FIRST_S
        while not self._closing.wait(wait_s):
            wait_s = _KEEP_EVERY_S
            now = self.clock.now()
            if now is None:
                continue
            try:
                keep(self.activity, now.date(), self._config.activity, self._note_deleted)
                self._health.log_fault = ""
            except (OSError, sqlite3.Error) as e:
                _log.error("action=keep fault=%s", e)  # the message says it all
                self._health.log_fault = str(e)

    def _note_deleted(self, action: str, day: str) -> None:
        with self.lock, self.store.noting(Change(_SELF, "", action, day), self.clock.now()):
            pass

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


def _open_store(path: Path) -> Store:
    """Open the store; a damaged one is set aside, so that the appliance can say so and be given its backup."""
    try:
        return Store(path)
    except sqlite3.OperationalError:
        raise  # the disk refuses: another start may do
    except sqlite3.DatabaseError as e:
        _log.error("action=open_store fault=%s; set aside", e)  # the message says it all
        for file in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if file.exists():
                file.replace(file.with_name(f"{file.name}.damaged"))
        return Store(path)


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


def _uncounted(status: Status) -> Status:
    """Return what of ``status`` makes a new revision."""
    return replace(
        status, revision=0, at="", allowed_today=0, blocked_today=0, devices_today=0, queues=()
    )
