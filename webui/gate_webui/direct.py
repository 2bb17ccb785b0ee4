"""Direct connections: services whose addresses devices reach without having asked for a name, such as calls and cameras."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from flask import Blueprint, render_template, url_for
from flask.typing import ResponseReturnValue

from gate_core.desk import RefusedError
from gate_core.direct import SHIPPED
from gate_core.roles import Act
from gate_core.written import DirectText
from gate_webui import access, entries
from gate_webui.forms import offer
from gate_webui.policy_forms import DirectForm
from gate_webui.proposing import entry, fully, need
from gate_webui.texts import gettext, lazy_gettext

bp = Blueprint("direct", __name__, url_prefix="/direct")


def _offer(form: Any) -> None:
    groups = access.kept().services.desk.groups()
    offer(form.group, [("", gettext("Every group")), *((g.id, g.title) for g in groups)])


def _read(form: Any) -> Any:
    return entry(
        DirectText(
            title=form.title.data,
            networks=tuple(dict.fromkeys(map(_network, form.networks.data.split()))),
            protocol=form.protocol.data,
            ports=form.ports.data.replace(" ", ""),
            why=form.reason.data,
            group=form.group.data,
        )
    )


def _network(word: str) -> str:
    """Return a network in its one form; one address is a network too."""
    bare = word.strip(",;")
    try:
        return str(ip_network(bare))
    except ValueError as e:
        raise RefusedError(
            gettext(
                "%(text)s is no network such as 203.0.113.0/24: %(fault)s",
                text=repr(bare[:60]),
                fault=e,
            ),
            "networks",
        ) from None


_KIND = entries.Kind(
    lazy_gettext("Add a direct connection"),
    DirectForm,
    fill=lambda now: {**now, "networks": "\n".join(now["networks"]), "reason": now["why"]},
    read=_read,
    title=lambda _, now: now["title"],
    prepare=_offer,
    hint=(
        lazy_gettext(
            "Take networks and ports from what the maker of the service publishes for firewalls, and no more than it needs."
        ),
    ),
)


@bp.get("")
@access.needs(Act.SEE_POLICY)
def index() -> ResponseReturnValue:
    """List them: the school's own, and those that come with the box."""
    desk = access.kept().services.desk
    groups = desk.groups()
    return render_template(
        "direct.html",
        own=desk.written().direct,
        shipped={title: (its.networks, its.transport.upper()) for title, its in SHIPPED.items()},
        groups={g.id: g.title for g in groups},
        bound=[g.title for g in groups if g.named_only],
        may_change=fully(Act.PROPOSE),
    )


@bp.route("/add", methods=["GET", "POST"])
def add() -> ResponseReturnValue:
    """Add one."""
    return _on_entry(
        lambda back: entries.add(_KIND, ("direct",), back, gettext("Direct connections"))
    )


@bp.route("/<id_>/change", methods=["GET", "POST"])
def change(id_: str) -> ResponseReturnValue:
    """Change one."""
    return _on_entry(
        lambda back: entries.change(_KIND, ("direct",), id_, back, gettext("Direct connections"))
    )


@bp.route("/<id_>/remove", methods=["GET", "POST"])
def remove(id_: str) -> ResponseReturnValue:
    """Remove one."""
    return _on_entry(lambda back: entries.remove(_KIND, ("direct",), id_, back))


def _on_entry(do: Callable[[str], ResponseReturnValue]) -> ResponseReturnValue:
    need(Act.PROPOSE)
    return do(url_for("direct.index"))
