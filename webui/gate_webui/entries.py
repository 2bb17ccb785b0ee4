"""Entries of the written policy that pages add, change and remove: a person, a room, a term, each with a reason."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from flask import abort
from flask.typing import ResponseReturnValue

from gate_core.desk import RefusedError
from gate_core.edits import differences, new_id
from gate_core.written import Plain
from gate_webui.forms import ChangeForm, reason_field
from gate_webui.proposing import as_json, document, edit_of, form_page, propose, value_at
from gate_webui.texts import gettext, lazy_gettext


class RemoveForm(ChangeForm):
    """Why an entry goes."""

    reason = reason_field(lazy_gettext("Why"))


@dataclass(frozen=True, slots=True)
class Kind:
    """What the entries of one table are, and their form.

    A form whose person chooses the id has a field ``key``; it can't be changed afterwards.
    """

    add: str
    """What adding one is called, such as “Add a person”."""
    form: type[ChangeForm]
    fill: Callable[[Any], dict[str, Any]]
    """An entry to the values of the form's fields."""
    read: Callable[[Any], Any]
    """A sent form to the entry, as plain values."""
    title: Callable[[str, Any], str]
    """Id, "" for a new one, and entry to what people call it."""
    prepare: Callable[[Any], None] = lambda _: None
    """Offers the choices of a form's fields."""
    hint: tuple[str, ...] = ()
    """Paragraphs above the form."""


def add(kind: Kind, path: tuple[str, ...], back: str, caption: str) -> ResponseReturnValue:
    """Show the form for a new entry of the table at ``path``, or propose it."""
    form = kind.form()
    kind.prepare(form)

    def change() -> None:
        table, entry = value_at(document(), path), kind.read(form)
        id_ = str(form.key.data) if "key" in form else new_id(kind.title("", entry), table)
        if id_ in table:
            raise RefusedError(gettext("there is an entry %(id)s already", id=id_), "key")
        propose(form, form.reason.data, edit_of(form, (*path, id_), entry))

    return form_page(
        form,
        change,
        heading=kind.add,
        caption=caption,
        lead=kind.hint,
        send=gettext("Add"),
        back=back,
    )


def change(
    kind: Kind, path: tuple[str, ...], id_: str, back: str, caption: str
) -> ResponseReturnValue:
    """Show the form of the entry ``id_``, or propose it changed."""
    now = value_at(document(), (*path, id_))
    if now is None:
        abort(404)
    form = kind.form(data={**kind.fill(now), "was": as_json(now)})
    if "key" in form:
        del form.key
    kind.prepare(form)

    def carry() -> None:
        propose(form, form.reason.data, edit_of(form, (*path, id_), kind.read(form)))

    return form_page(
        form, carry, heading=kind.title(id_, now), caption=caption, lead=kind.hint, back=back
    )


def remove(
    kind: Kind,
    path: tuple[str, ...],
    id_: str,
    back: str,
    *,
    lead: tuple[str, ...] = (),
    tidy: Callable[[Plain, str], None] = lambda _, __: None,
) -> ResponseReturnValue:
    """Ask why the entry ``id_`` goes, or propose it; ``tidy`` takes out of the document what refers to it."""
    now = value_at(document(), (*path, id_))
    if now is None:
        abort(404)
    form = RemoveForm()

    def carry() -> None:
        old = document()
        new = deepcopy(old)
        value_at(new, path).pop(id_, None)
        tidy(new, id_)
        propose(form, form.reason.data, *differences(old, new))

    return form_page(
        form,
        carry,
        heading=gettext("Remove %(title)s", title=kind.title(id_, now)),
        lead=lead,
        send=gettext("Remove"),
        back=back,
        warning=True,
    )
