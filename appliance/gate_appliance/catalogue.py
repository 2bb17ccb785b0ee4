"""The desk's part for sources of lists: which there are, what came of them, and who decided it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gate_appliance.counter import COMMAND_LINE, Counter, Who, change, not_allowed, text_of
from gate_appliance.library import is_illegal
from gate_appliance.sources import suggestions
from gate_appliance.updates import REMOVED
from gate_core.desk import RefusedError, without_errno
from gate_core.roles import Act, Leave
from gate_core.sources import ListSource, SourceError, SourcesView, check_source


class CatalogueDesk(Counter):
    """The methods of ``gate_core.desk.Desk`` about sources of lists."""

    def sources(self) -> SourcesView:
        """Return the sources of lists, what came of them, and how far an update is."""
        updates = self._steward.updates
        return SourcesView(
            updates.views(), updates.progress, suggestions(), updates.common_faults()
        )

    def add_source(self, *, source: ListSource, secret: str = "", actor: str) -> None:
        """Add a source of lists; it is looked at at once."""
        who, _ = self._demand(actor, Act.MANAGE_LISTS)
        try:
            check_source(source, secret)
        except SourceError as e:
            raise RefusedError(str(e), e.field) from e
        if source.url.startswith("file:") and not who.name.startswith(COMMAND_LINE):
            # What is wrong with a file is told by its first lines, and nobody on a page is to read files of the box.
            raise RefusedError(
                "a file of the box is added at its command line: gate lists add-source", "url"
            )
        library = self._steward.library
        with self._steward.lock:
            if self._steward.sources.get(source.id):
                raise RefusedError("there is a source of that name; remove it first", "id")
            if library.file((source.category, source.id)).exists():
                # Adding only ever adds: what a list already opens or closes stays.
                raise RefusedError("there is a list of that name in this category", "id")
            note = change(
                who,
                "added a source of lists",
                f"{source.id} to {source.category}",
                after=f"{source.title}, {source.url}, {source.licence}, {source.trust}",
            )
            with _stored(), self._store.noting(note, self._clock.now()):
                self._steward.sources.add(source, secret)
        self._steward.updates.ask([source.id])

    def remove_source(self, *, id: str, reason: str, actor: str) -> None:  # noqa: A002  # as everywhere
        """Remove a source, and its list with it; the names of one of illegal content stay listed."""
        who = self._approver(actor)
        reason = text_of(reason, "reason", 500)
        with self._steward.lock:
            source = self._source(id)
            subject = f"{source.id} to {source.category}"
            note = change(
                who, "removed a source of lists", subject, before=source.url, reason=reason
            )
            illegal = is_illegal(source.category)
            with _stored(), self._store.noting(note, self._clock.now()):
                if illegal:
                    self._steward.sources.remove(id)
            if illegal:
                return
        # The source goes once its list has: else an appliance that is switched off meanwhile would keep the list for good.
        going = ((source.category, source.id), change(who, REMOVED, subject, reason=reason))
        self._steward.updates.ask(going=[going])

    def update_lists(self, *, ids: tuple[str, ...] = (), actor: str) -> None:
        """Look at sources now, none named: at all of them; ``sources`` tells how far it is."""
        self._demand(actor, Act.MANAGE_LISTS)
        wanted = ids or tuple(source.id for source in self._steward.sources.all())
        for id_ in wanted:
            self._source(id_)
        self._steward.updates.ask(wanted)

    def accept_list(self, *, id: str, reason: str, actor: str) -> None:  # noqa: A002
        """Let a list in that was refused for the names it lacks, or a zone whose serial went back; once."""
        who = self._approver(actor)
        reason = text_of(reason, "reason", 500)
        with self._steward.lock:
            source = self._source(id)
            outcome = self._steward.sources.outcome(id)
            if not (outcome.refused_lost or outcome.serial_went_back):
                raise RefusedError("nothing of this source waits to be accepted", "id")
            note = change(
                who,
                "accepted a list",
                f"{source.id} to {source.category}",
                before=f"{outcome.names:,} names",
                after=outcome.reason,
                reason=reason,
            )
            with self._store.noting(note, self._clock.now()):
                pass
        self._steward.updates.ask(accepted=[id])

    def _source(self, id_: str) -> ListSource:
        source = self._steward.sources.get(id_)
        if source is None:
            raise RefusedError(f"{id_[:60]!r} is no source of lists", "id")
        return source

    def _approver(self, actor: str) -> Who:
        """Return who ``actor`` is: somebody who may approve alone, since what is decided may open something."""
        who, allowed = self._demand(actor, Act.APPROVE)
        if allowed is not Leave.YES:
            raise not_allowed(who, Act.APPROVE)
        return who


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        why = without_errno(str(e))
        raise RefusedError(f"this can't be stored ({why}); nothing has changed") from e
