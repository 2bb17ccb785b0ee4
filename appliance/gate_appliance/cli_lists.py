"""The commands of ``gate`` for lists: files of one's own, sources, and their updates."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from gate_appliance.console import (
    Add,
    Family,
    actor_of,
    complain,
    desk_of,
    may_be_somebody,
    password_of,
    say,
)
from gate_core.desk import RefusedError
from gate_core.sources import (
    ALGORITHMS,
    FORMATS,
    ListSource,
    Progress,
    SourcesView,
    SourceView,
    Trust,
)

_LONG_S: Final = 600.0
"""How long a list of one's own may take to come into force."""

_STATES: Final = {"new": "not there yet", "ok": "up to date", "stale": "old", "refused": "REFUSED"}


def add_list_commands(family: Family, add: Add) -> None:
    """Add the family ``lists``."""
    lists = family(
        "lists",
        "lists of sites: those of the school, published ones, and how they are kept up to date",
    )
    check = lists.add_parser("check", help="say what of a list is understood")
    check.add_argument("file", type=Path)
    check.set_defaults(command=_check, config="")
    own = add(lists, "add", _add, "add a list of your own to a category, or replace it")
    own.add_argument("name", help="what to call the list: letters, digits and '-'")
    own.add_argument("category")
    own.add_argument("file", type=Path)
    may_be_somebody(own)
    remove = add(lists, "remove", _remove, "take out a list of your own; needs --as")
    remove.add_argument("name", help="as gate lists show prints it")
    remove.add_argument("category", nargs="?", help="where lists of that name are in several")
    remove.add_argument("--reason", required=True)
    may_be_somebody(remove)
    add(lists, "show", _show, "print all lists of the school, and what came of the last look")
    add(lists, "catalogue", _catalogue, "print published lists that can be chosen")
    choose = add(lists, "choose", _choose, "add a published list of the catalogue")
    choose.add_argument("id", help="as gate lists catalogue prints it")
    source = add(
        lists, "add-source", _add_source, "add a list that the box keeps up to date by itself"
    )
    source.add_argument("id", help="a short name: letters, digits and '-'")
    source.add_argument("category")
    source.add_argument(
        "url", help="https://..., http://..., file:/PATH or rpz://ADDRESS[:PORT]/ZONE"
    )
    source.add_argument("--title", required=True, help="what pages call it")
    source.add_argument("--licence", required=True, help="under which the school may use it")
    source.add_argument(
        "--trust",
        default=Trust.CURATED.value,
        choices=[trust.value for trust in Trust],
        help="who answers for it: an authority or provider, maintainers (default), or anybody",
    )
    source.add_argument(
        "--format", default="", choices=FORMATS, help="refuse it in any other form; default: any"
    )
    source.add_argument(
        "--every", type=int, default=24, metavar="HOURS", help="how often to look (default: 24)"
    )
    source.add_argument("--key-name", default="", help="TSIG key; its secret is asked for")
    source.add_argument("--key-algorithm", default=ALGORITHMS[0], choices=ALGORITHMS)
    for name, command, text in (
        (
            "remove-source",
            _remove_source,
            "remove a list that is kept up to date; needs --as where it ever came",
        ),
        ("accept", _accept, "let a list in that was refused for what it lacks; needs --as"),
    ):
        decide = add(lists, name, command, text)
        decide.add_argument("id")
        decide.add_argument("--reason", required=True)
        may_be_somebody(decide)
    update = add(lists, "update", _update, "look for newer lists now, and show how far it is")
    update.add_argument("id", nargs="*", help="sources; none: all of them")


def _check(arguments: argparse.Namespace) -> int:
    from gate_appliance.library import check_list

    for line in check_list(arguments.file):
        say(line)
    return 0


def _add(arguments: argparse.Namespace) -> int:
    names = desk_of(arguments, _LONG_S).add_list(
        name=arguments.name,
        category=arguments.category,
        path=str(arguments.file.resolve()),
        actor=actor_of(arguments),
    )
    say(f"added {arguments.name}: {names:,} names in {arguments.category}")
    return 0


def _remove(arguments: argparse.Namespace) -> int:
    desk = desk_of(arguments, _LONG_S)
    found = [its for its in desk.own_lists() if its.name == arguments.name]
    categories = [its.category for its in found]
    if not found:
        raise RefusedError(
            f"{arguments.name[:60]!r} is no list of your own; gate lists show prints them", "name"
        )
    if len(found) > 1 and arguments.category is None:
        raise RefusedError(
            f"lists of that name are in {' and '.join(categories)}; name one of them", "category"
        )
    category = arguments.category or categories[0]
    desk.remove_list(
        name=arguments.name,
        category=category,
        reason=arguments.reason,
        actor=actor_of(arguments),
    )
    say(f"removed {arguments.name} from {category}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    desk = desk_of(arguments)
    for own in desk.own_lists():
        since = (
            f"since {_when(own.added_at)}, by {own.added_by}"
            if own.added_by
            else "since when is not recorded"
        )
        say(f"{own.name:<20} {'by hand':<13} {own.names:>9,} names, {since}, {own.category}")
    its = desk.sources()
    for view in its.sources:
        say(_line(view))
    if not its.sources:
        say("no list is kept up to date; gate lists catalogue prints some to choose from")
    if its.progress:
        say(f"now: {_words(its.progress)}")
    for fault in its.faults:
        say(fault)
    return 1 if its.faults or any(map(_is_bad, its.sources)) else 0


def _is_bad(view: SourceView) -> bool:
    # A list that is there may stay away for a while; then it is stale.
    return view.state in ("stale", "refused") or (view.state == "new" and bool(view.reason))


def _line(view: SourceView) -> str:
    source = view.source
    since = f"up to date on {_when(view.good_at)}" if view.good_at else "never there"
    text = f"{source.id:<20} {_STATES[view.state]:<13} {view.names:>9,} names, {since}, {source.category}"
    for more in (view.reason, view.note):
        if more:
            text += f"\n{'':20} {more}"
    if view.acceptable:
        text += f"\n{'':20} gate lists accept {source.id} --as USERNAME --reason TEXT lets it in"
    return text


def _when(at: str) -> str:
    """Return a time of ISO 8601 to the minute; what is none, as it is."""
    return at[:16].replace("T", " ") if at[:1].isdigit() else at


def _catalogue(arguments: argparse.Namespace) -> int:
    for its in desk_of(arguments).sources().suggestions:
        say(f"{its.id:<26} {its.names:>9,} names, {its.licence:<13} {its.category:<16} {its.title}")
    return 0


def _choose(arguments: argparse.Namespace) -> int:
    desk = desk_of(arguments)
    found = [s for s in desk.sources().suggestions if s.id == arguments.id]
    for its in found:
        source = ListSource(its.id, its.title, its.url, its.licence, its.category, its.trust)
        desk.add_source(source=source, actor=actor_of(arguments))
        return _told(arguments, source.id, "added")
    say(f"{arguments.id!r} is not in the catalogue; gate lists catalogue prints what is")
    return 1


def _add_source(arguments: argparse.Namespace) -> int:
    named = bool(arguments.key_name)
    desk_of(arguments).add_source(
        source=ListSource(
            arguments.id,
            arguments.title,
            arguments.url,
            arguments.licence,
            arguments.category,
            arguments.trust,
            arguments.format,
            arguments.every,
            arguments.key_name,
            arguments.key_algorithm if named else "",
        ),
        secret=password_of("Key in base64: ") if named else "",
        actor=actor_of(arguments),
    )
    return _told(arguments, arguments.id, "added")


def _remove_source(arguments: argparse.Namespace) -> int:
    desk = desk_of(arguments)
    desk.remove_source(id=arguments.id, reason=arguments.reason, actor=actor_of(arguments))
    its = _follow(arguments)
    if any(view.source.id == arguments.id for view in its.sources):
        complain(f"{arguments.id} is not removed", *its.faults)
        return 1
    say(f"removed {arguments.id}")
    return 0


def _accept(arguments: argparse.Namespace) -> int:
    desk_of(arguments).accept_list(
        id=arguments.id, reason=arguments.reason, actor=actor_of(arguments)
    )
    return _told(arguments, arguments.id, "accepted")


def _update(arguments: argparse.Namespace) -> int:
    desk_of(arguments).update_lists(ids=tuple(arguments.id), actor=actor_of(arguments))
    its = _follow(arguments)
    views = [v for v in its.sources if v.source.id in arguments.id or not arguments.id]
    for view in views:
        say(_line(view) if view.reason else _done("looked at", view))
    for fault in its.faults:
        say(fault)
    return 1 if its.faults or any(map(_is_bad, views)) else 0


def _told(arguments: argparse.Namespace, id_: str, done: str) -> int:
    """Wait for an update, and say what came of one source, whatever became of the others."""
    its = _follow(arguments)
    for view in its.sources:
        if view.source.id == id_ and view.state == "ok" and not view.reason:
            say(_done(done, view))
            return 0
        if view.source.id == id_:
            say(_line(view))
    for fault in its.faults:
        say(fault)
    return 1


def _done(done: str, view: SourceView) -> str:
    return f"{done} {view.source.id}: {view.names:,} names in {view.source.category}"


def _follow(arguments: argparse.Namespace) -> SourcesView:
    """Print how far an update is until it is done; return what came of it."""
    desk = desk_of(arguments)
    on_terminal = sys.stdout.isatty()
    told = ""
    while progress := desk.sources().progress:
        # A terminal shows one line that changes; a file gets a line for each phase.
        key = _words(progress) if on_terminal else f"{progress.id} {progress.phase}".strip()
        if key != told:
            sys.stdout.write(f"\r{key:<70}" if on_terminal else f"{key}\n")
            sys.stdout.flush()
            told = key
        time.sleep(0.2)
    if on_terminal and told:
        sys.stdout.write("\r" + " " * 70 + "\r")
    return desk.sources()


def _words(progress: Progress) -> str:
    of = f" of {progress.of:,}" if progress.of else ""
    amount = f" {progress.done:,}{of} {progress.unit}" if progress.done else ""
    return f"{progress.id or 'all lists'}: {progress.phase}{amount}"
