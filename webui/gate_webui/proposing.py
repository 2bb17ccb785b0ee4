"""Proposing changes of the written policy: how a form becomes an edit, and what people are told of it.

Every such change is one ``Edit`` of one entry. What it means, who has to approve it and who may ask for it, the desk says.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from flask import abort, flash, redirect, render_template
from flask.typing import ResponseReturnValue
from wtforms import Form

from gate_core.desk import RefusedError
from gate_core.edits import Edit
from gate_core.roles import Act, Leave, Role, leave
from gate_core.written import Plain, plain
from gate_webui import access
from gate_webui.forms import ChangeForm, carry_out, refuse
from gate_webui.proposals import tell
from gate_webui.texts import gettext, known
from gate_webui.words import sentence


def fully(act: Act) -> bool:
    """Tell whether whoever is signed in may ``act`` for the whole school; the desk asks the same table again."""
    return leave(Role(access.person().role), act) is Leave.YES


def need(act: Act) -> None:
    """Show the page only to those who may ``act`` for the whole school."""
    if fully(act):
        return
    if access.may(act):
        abort(
            403,
            gettext(
                "Your role may %(act)s for its own classes only, and this is more.",
                act=known(act.value),
            ),
        )
    abort(403, access.who_may(act))


def own_rooms() -> frozenset[str]:
    """Return the rooms and groups that are a teacher's own; what a form offers, the desk checks again."""
    account = access.kept().services.desk.account(username=access.person().username)
    return frozenset(account.rooms) if account else frozenset()


def name_of(username: str) -> str:
    """Return the full name of whoever did something; the user name where there is no such account any more."""
    return access.full_names([username]).get(username, username)


def document() -> Plain:
    """Return the written policy in force, as plain tables."""
    return plain(access.kept().services.desk.written())


def value_at(tables: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """Return the value at ``path``; None where there is none."""
    value: Any = tables
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def as_json(value: Any) -> str:
    """Return ``value`` as edits hold it; None is ""."""
    return Edit.of((), value, None).before


def entry(value: Any) -> Any:
    """Return a dataclass of ``gate_core.written`` as plain tables."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(value).items()}


def edit_of(form: ChangeForm, path: tuple[str, ...], after: Any) -> Edit:
    """Return the edit that puts ``after`` at ``path``.

    Raises:
        RefusedError: Somebody has changed the place since ``form`` was shown.
    """
    now = value_at(document(), path)
    if form.was.data and form.was.data != as_json(now):
        form.was.data = as_json(now)
        raise RefusedError(
            gettext(
                "somebody has changed this since you opened the page. Nothing was saved."
                " Look at it again, and send the form once more if you still want it"
            )
        )
    return Edit.of(path, now, after)


def propose(form: ChangeForm, reason: str, *edits: Edit) -> None:
    """Propose ``edits``, and say on the next page whether they are in force or wait.

    Raises:
        RefusedError: With the first fault; the others stand beside their fields by then.
    """
    if all(edit.before == edit.after for edit in edits):
        flash(gettext("Nothing was different, so nothing was changed."), "refused")
        return
    desk = access.kept().services.desk
    faults = [_beside(form, edits, fault) for fault in desk.preview(edits=edits).faults]
    for fault in faults[1:]:
        refuse(form, fault)
    if faults:
        raise faults[0]
    tell(desk.propose(edits=edits, reason=reason, actor=access.person().username))


def _beside(form: Form, edits: tuple[Edit, ...], fault: str) -> RefusedError:
    """Return a fault of the compiler, ``place: value, what is allowed``, for the field that it is about."""
    place, _, words = fault.partition(": ")
    keys = place.replace('"', "").rpartition(".")[2]
    if any(place.replace('"', "").endswith(f".{edit.path[-1]}") for edit in edits):
        keys = "key"
    if keys in form and any(place.startswith(f"{edit.path[0]}.") for edit in edits):
        return RefusedError(words, keys)
    # A sentence about the whole table needs no place in front of it.
    return RefusedError(
        re.sub(r"^(timetable|groups)\.[^:]+: (?=(span|term|period|one-off))", "", fault)
    )


def press(change: Callable[[], None], done: str) -> None:
    """Carry out what a button without a form is for, and have the next page say ``done``, if anything, or why not."""
    try:
        change()
    except RefusedError as refusal:
        flash(sentence(str(refusal)), "refused")
    else:
        if done:
            flash(done, "success")


def form_page(
    form: Any,
    change: Callable[[], None],
    *,
    heading: str,
    back: str,
    template: str = "one_form.html",
    **more: Any,
) -> ResponseReturnValue:
    """Show ``form`` on a page of its own, or carry it out and go ``back``.

    Args:
        form: Its fields are shown in their order.
        change: What the form is for.
        heading: Of the page.
        back: Path of the page that it was opened from.
        template: Of the page, where it shows more than the form.
        more: What the template takes besides: ``caption`` above the heading, ``lead`` paragraphs, ``send`` for what is
            on the button, ``warning`` where it takes something away.
    """
    if carry_out(form, change):
        return redirect(back)
    page = render_template(template, form=form, heading=heading, back=back, **more)
    return page, 422 if form.errors else 200
