"""The desk's part for sources of lists: which there are, what came of them, and who decided it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gate_appliance.counter import COMMAND_LINE, Counter, Who, change, not_allowed, text_of
from gate_appliance.library import ADDED, ListKey, is_illegal
from gate_appliance.lists.download import imported
from gate_appliance.lists.formats import ListError
from gate_appliance.sources import suggestions
from gate_appliance.updates import REMOVED
from gate_core.desk import RefusedError, without_errno
from gate_core.record import Entry
from gate_core.roles import Act, Leave, leave
from gate_core.sources import ListSource, OwnList, SourceError, SourcesView, check_source


class CatalogueDesk(Counter):
    """The methods of ``gate_core.desk.Desk`` about sources of lists."""

    def sources(self) -> SourcesView:
        """Return the sources of lists, what came of them, and how far an update is."""
        updates = self._steward.updates
        return SourcesView(
            updates.views(), updates.progress, suggestions(), updates.common_faults()
        )

    def own_lists(self) -> tuple[OwnList, ...]:
        """Return the lists that no source keeps up to date, by category and name."""
        newest: dict[str, Entry] = {}
        for entry in self._store.of_action(ADDED):
            newest.setdefault(entry.subject, entry)
        found = []
        for (category, name), names in sorted(self._steward.list_counts.items()):
            if self._is_own((category, name)):
                said = newest.get(f"{name} to {category}")
                at, by = (said.at, said.actor) if said else ("", "")
                found.append(OwnList(name, category, names, at, by))
        return tuple(found)

    def remove_list(self, *, name: str, category: str, reason: str, actor: str) -> None:
        """Take out a list that no source keeps up to date; never one of illegal content."""
        who = self._approver(actor)
        reason = text_of(reason, "reason", 500)
        key = category, name
        if not self._is_own(key):
            raise RefusedError(
                f"{name[:60]!r} in {category[:60]!r} is no list that was added by hand; gate lists show prints them",
                "name",
            )
        names = self._steward.list_counts[key]
        note = change(
            who, REMOVED, f"{name} to {category}", before=f"{names:,} names", reason=reason
        )
        try:
            with _stored():
                self._steward.remove_list(key, note)
        except ListError as e:
            raise RefusedError(str(e), "category") from e

    def _is_own(self, key: ListKey) -> bool:
        source = self._steward.sources.get(key[1])
        return key in self._steward.list_counts and not (source and source.category == key[0])

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
        if source.url.startswith("file:"):
            try:
                imported(source.url, library.imports)
            except (OSError, ValueError) as e:
                raise RefusedError(f"{source.url[:80]!r}: {e}", "url") from e
        with self._steward.lock:
            if self._steward.sources.get(source.id):
                raise RefusedError("there is a source of that name; remove it first", "id")
            for other in self._steward.sources.all():
                if other.title.casefold() == source.title.casefold():
                    raise RefusedError(
                        f"{source.title!r} is what the source {other.id} is called; each has a title of its own",
                        "title",
                    )
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
        who = self._who(actor)
        if not (self._brought_nothing(id) and leave(who.role, Act.MANAGE_LISTS) is Leave.YES):
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

    def _brought_nothing(self, id_: str) -> bool:
        """Tell whether no list of a source was ever in force: its removal then opens nothing."""
        source = self._steward.sources.get(id_)
        return (
            source is not None
            and not self._steward.sources.outcome(id_).good_at
            and not self._steward.library.file((source.category, id_)).exists()
        )

    def _source(self, id_: str) -> ListSource:
        source = self._steward.sources.get(id_)
        if source is None:
            raise RefusedError(f"{id_[:60]!r} is no source of lists", "id")
        return source

    def _approver(self, actor: str) -> Who:
        """Return who ``actor`` is: somebody who may approve alone, since what is decided may open something."""
        who, allowed = self._demand(actor, Act.APPROVE)
        if allowed is not Leave.YES:
            e = not_allowed(who, Act.APPROVE)
            if who.name.startswith(COMMAND_LINE):
                e = RefusedError(f"{e}; --as USERNAME does it in the name of one of them", e.field)
            raise e
        return who


@contextmanager
def _stored() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        why = without_errno(str(e))
        raise RefusedError(f"this can't be stored ({why}); nothing has changed") from e
