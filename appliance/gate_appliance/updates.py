"""Updates of lists: looks at each source in its time, and puts what is new and good in force.

Sources are looked at one after the other, in processes of their own (``lists.work``); what was got lies beside the list in
force until it was read and compared with it. All that is new is compiled together, beside what is in force, and put in its place
in one change. Whatever goes wrong on the way, the last good list stays, and it is said why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from gate_appliance.clock import SystemClock
from gate_appliance.library import ADDED, Library, ListKey, Made, Staged
from gate_appliance.lists.download import Limits, fetch
from gate_appliance.lists.formats import ListError
from gate_appliance.lists.transfer import transfer
from gate_appliance.lists.work import Worker
from gate_appliance.sources import Sources
from gate_appliance.store import Change
from gate_core.desk import without_errno
from gate_core.sources import (
    KEPT_LEAST,
    ListSource,
    Outcome,
    Progress,
    SourceView,
    State,
)

_log = logging.getLogger(__name__)

REMOVED: Final = "took out a list"

_LOOK_EVERY_S: Final = 30.0
_RETRY_H: Final = 1
"""How soon a source that could not be reached is tried again."""

_STALE_H: Final = 72
"""How old a list may be before it is told, where it is not looked for more seldom than once a day."""

_UNITS: Final = {"reading": "lists", "compiling": "lists"}

Put = Callable[
    [Made, Sequence[tuple[Staged, Change]], Sequence[tuple[ListKey, Change]]],
    None,
]
"""Puts lists in force: the steward."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What somebody asked for since the last round."""

    ids: frozenset[str] = frozenset()
    accepted: frozenset[str] = frozenset()
    """Those whose refused list was accepted."""
    going: tuple[tuple[ListKey, Change], ...] = ()


class Updater:
    """Looks at the sources in a thread of its own; its methods may be called from any."""

    def __init__(
        self,
        sources: Sources,
        library: Library,
        clock: SystemClock,
        put: Put,
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        """Know whom to ask; nothing is looked at before ``start``."""
        self._sources = sources
        self._library = library
        self._clock = clock
        self._put = put
        self._limits = dict(limits or {})
        self._condition = threading.Condition()
        self._asked = _Asked()
        self._busy = False
        self._closing = False
        self._worker: Worker | None = None
        self._progress: Progress | None = None
        self._fault = ""
        self._thread = threading.Thread(target=self._work, daemon=True, name="updates")

    def start(self) -> None:
        """Begin to look at sources in their time."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what was not finished is begun anew after the next start."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
            worker = self._worker
        if worker:
            worker.end()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def ask(
        self,
        ids: Iterable[str] = (),
        accepted: Iterable[str] = (),
        going: Sequence[tuple[ListKey, Change]] = (),
    ) -> None:
        """Look at sources now, with what a person has decided about them.

        Args:
            ids: Those to look at.
            accepted: Those whose refused list may come into force, as far as it lacks no more than was told.
            going: Lists to take out, each with what the record is to say.
        """
        with self._condition:
            self._asked = _Asked(
                self._asked.ids.union(ids, accepted),
                self._asked.accepted.union(accepted),
                (*self._asked.going, *going),
            )
            self._condition.notify_all()

    @property
    def progress(self) -> Progress | None:
        """How far the update is; None while none runs."""
        with self._condition:
            if self._progress is None and (self._busy or self._asked != _Asked()):
                return Progress("", "connecting", 0, 0, "lists")
            return self._progress

    def views(self) -> tuple[SourceView, ...]:
        """Return all sources with what came of them."""
        now = self._clock.now()
        return tuple(_view(s, self._sources.outcome(s.id), now) for s in self._sources.all())

    def common_faults(self) -> tuple[str, ...]:
        """Return what is wrong whichever source it is about, a sentence each."""
        return tuple(fault for fault in (self._sources.fault, self._fault) if fault)

    def faults(self) -> tuple[str, ...]:
        """Return all that is wrong, a sentence each."""
        found = list(self.common_faults())
        for view in self.views():
            title = f"The list “{view.source.title}”"
            if view.state == "refused":
                stays = "The last good one stays" if view.good_at else "Nothing of it is in force"
                found.append(f"{title} was refused: {view.reason}. {stays}.")
            elif view.state == "stale":
                found.append(
                    f"{title} is from {view.good_at[:10]}: {view.reason or 'no newer one came'}."
                )
            elif view.state == "new" and view.reason:
                found.append(f"{title} has not come yet: {view.reason}.")
        return tuple(found)

    def _work(self) -> None:
        while True:
            with self._condition:
                if not self._closing and self._asked == _Asked():
                    self._condition.wait(_LOOK_EVERY_S)
                if self._closing:
                    return
                asked, self._asked = self._asked, _Asked()
                self._busy = True
            try:
                self._round(asked)
                self._fault = ""
            except InterruptedError:
                return
            except Exception as e:  # noqa: BLE001  # the wiring: one list's fault must not end the updates of all
                self._fault = f"New lists can't be put in force: {without_errno(str(e))}."
                _log.exception("action=update_lists fault=%s", type(e).__name__)
            finally:
                with self._condition:
                    self._busy = False
                    self._progress = None

    def _round(self, asked: _Asked) -> None:
        going = {key[1] for key, _ in asked.going}
        due = [
            source
            for source in self._sources.all()
            if source.id not in going and (source.id in asked.ids or self._is_due(source))
        ]
        got = []
        for source in due:
            found = self._get(source, whole=source.id in asked.accepted)
            if found:
                got.append((source, found))
        if not got and not asked.going:
            return
        with self._library.lock:
            coming = []
            for source, found in got:
                staged = self._stage(source, accepted=source.id in asked.accepted)
                if staged:
                    coming.append((source, found, staged))
            if not coming and not asked.going:
                return
            made = self._library.make(
                [staged for _, _, staged in coming],
                [key for key, _ in asked.going],
                lambda phase, done, of: self._tell("", phase, done, of),
            )
            self._demand_open()
            changes = [(staged, _change(staged, source)) for source, _, staged in coming]
            self._put(made, changes, asked.going)
        for id_ in going:
            self._sources.remove(id_)
        for source, found, staged in coming:
            self._note(
                source,
                state="ok",
                reason="",
                good_at=self._now(),
                names=staged.names,
                octets=found["octets"],
                refused_lost=0,
                serial_went_back=False,
                note=_note(staged),
                validators=found["validators"],
                most=staged.kept
                if source.id in asked.accepted
                else max(staged.kept, self._sources.most(source.id)),
            )

    def _demand_open(self) -> None:
        with self._condition:
            if self._closing:
                raise InterruptedError("the steward stops")

    def _is_due(self, source: ListSource) -> bool:
        now = self._clock.now()
        outcome = self._sources.outcome(source.id)
        if now is None:
            # Without a clock no certificate can be checked.
            return False
        if not outcome.looked_at:
            return True
        # What was refused comes no better in an hour; a server that was away may be back.
        soon = outcome.reason and outcome.state != "refused"
        hours = min(source.interval_h, _RETRY_H) if soon else source.interval_h
        since = datetime.fromisoformat(outcome.looked_at)
        # Also where the clock went back.
        return not since <= now < since + timedelta(hours=hours)

    def _get(self, source: ListSource, *, whole: bool) -> dict[str, Any] | None:
        """Get the list of ``source`` to its place of staging; None where there is nothing new, or nothing came."""
        outcome = self._sources.outcome(source.id)
        last = self._library.file((source.category, source.id))
        # What was refused, or is gone, has to come again.
        known = outcome.validators if last.exists() and not whole and outcome.state == "ok" else {}
        try:
            into = str(self._library.staging(source.category, source.id))
            arguments: dict[str, Any] = {"url": source.url, "into": into, "limits": self._limits}
            if source.is_zone:
                # A list of illegal content keeps what the zone drops, so that changes to the zone do not fit it.
                known = {} if source.is_illegal else known
                arguments |= {"last": str(last), "key": self._sources.key(source)}
            else:
                self._library.imports.mkdir(parents=True, exist_ok=True)
                arguments |= {
                    "expected_octets": outcome.octets,
                    "imports": str(self._library.imports),
                }
            arguments["validators"] = dict(known)
            found = self._run(source, transfer if source.is_zone else fetch, arguments)
        except InterruptedError:
            raise
        except ListError as e:
            self._refuse(source, str(e), serial_went_back=source.is_zone and "serial" in str(e))
            return None
        except OSError as e:
            _log.warning("action=get_list source=%s fault=%s", source.id, e)
            self._note(source, reason=without_errno(str(e)))
            return None
        if found["changed"]:
            return found
        self._note(source, state="ok", reason="", good_at=self._now())
        return None

    def _run(
        self, source: ListSource, job: Callable[..., dict[str, Any]], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        self._demand_open()
        with self._condition:
            self._worker = Worker()
        # Its own limit comes first; this one is for what no limit of its own reaches.
        total_s = 1.2 * Limits(**self._limits).total_s
        return self._worker.run(
            job,
            arguments,
            lambda phase, done, of: self._tell(source.id, phase, done, of, zone=source.is_zone),
            total_s,
        )

    def _stage(self, source: ListSource, *, accepted: bool) -> Staged | None:
        """Read what was got for ``source``; None where it is refused."""
        if self._sources.get(source.id) != source:
            return None  # Removed meanwhile.
        outcome = self._sources.outcome(source.id)

        def tell(phase: str, done: int, of: int) -> None:
            self._tell(source.id, phase, done, of)

        try:
            if source.is_illegal:
                self._library.unite(source.id, source.category, tell)
            staged = self._library.stage(source.id, source.category, progress=tell)
        except (ListError, TimeoutError) as e:
            self._refuse(source, str(e))
            return None
        except OSError as e:
            # One that kills whoever reads it must not keep the others from coming.
            _log.warning("action=read_list source=%s fault=%s", source.id, e)
            self._note(source, reason=without_errno(str(e)))
            return None
        if source.format and not source.is_illegal and staged.format.value != source.format:
            staged.path.unlink()
            reason = f"it has the form {staged.format.value}, and the source is for {source.format}"
            self._refuse(source, reason)
            return None
        shrunk = self._shrunk(source, staged, outcome.refused_lost if accepted else 0)
        if shrunk:
            staged.path.unlink()
            lost, reason = shrunk
            self._refuse(source, reason, lost=lost)
            return None
        return staged

    def _shrunk(self, source: ListSource, staged: Staged, accepted: int) -> tuple[int, str] | None:
        """Return how many names a list lacks that lacks too many, and a reason; None where it may come into force.

        It must not lack much of the last good one, nor be much shorter than one of before: else one that loses a little
        each day would lose all.
        """
        names, most = self._sources.outcome(source.id).names, self._sources.most(source.id)
        shorter = max(most - staged.kept, 0)
        found = []
        if names and staged.lost > max(accepted, int((1 - KEPT_LEAST) * names)):
            text = f"it lacks {staged.lost:,} of the {names:,} names of the last good one, such as {staged.example!r}"
            found.append((staged.lost, text))
        if shorter > max(accepted, int((1 - KEPT_LEAST) * most)):
            found.append(
                (
                    shorter,
                    f"it has {staged.kept:,} names, less exclusions, and one of before had {most:,}",
                )
            )
        return (max(lost for lost, _ in found), "; ".join(t for _, t in found)) if found else None

    def _refuse(
        self, source: ListSource, reason: str, *, lost: int = 0, serial_went_back: bool = False
    ) -> None:
        _log.warning("action=refuse_list source=%s reason=%s", source.id, reason)
        self._note(
            source,
            state="refused",
            reason=reason,
            refused_lost=lost,
            serial_went_back=serial_went_back,
        )

    def _note(self, source: ListSource, most: int | None = None, **news: Any) -> None:
        outcome = self._sources.outcome(source.id)
        self._sources.note(source.id, replace(outcome, looked_at=self._now(), **news), most)

    def _now(self) -> str:
        now = self._clock.now()
        return now.isoformat(timespec="seconds") if now else ""

    def _tell(self, id_: str, phase: str, done: int, of: int, *, zone: bool = False) -> None:
        unit = _UNITS.get(phase, "records" if zone else "octets")
        with self._condition:
            self._progress = Progress(id_, phase, done, of, unit)


def _change(staged: Staged, source: ListSource) -> Change:
    before = f"{staged.lost:,} names of the one before are not on it" if staged.lost else ""
    return Change(
        "the appliance",
        "",
        ADDED,
        f"{staged.name} to {staged.category}",
        before=before,
        after=f"{staged.names:,} names from {source.url}",
    )


def _note(staged: Staged) -> str:
    """Return what of a list is not enforced."""
    parts = [f"{count:,} rules {kind}" for kind, count in sorted(staged.others.items())]
    if staged.not_understood:
        parts.append(f"{staged.not_understood:,} lines that were not understood")
    return f"Not enforced: {', '.join(parts)}" if parts else ""


def _view(source: ListSource, outcome: Outcome, now: datetime | None) -> SourceView:
    state: State = outcome.state
    if state == "ok" and now and outcome.good_at:
        hours = max(_STALE_H, 3 * source.interval_h)
        if now > datetime.fromisoformat(outcome.good_at) + timedelta(hours=hours):
            state = "stale"
    return SourceView(
        source,
        state,
        outcome.reason,
        outcome.looked_at,
        outcome.good_at,
        outcome.names,
        outcome.octets,
        bool(outcome.refused_lost or outcome.serial_went_back),
        outcome.note,
    )
