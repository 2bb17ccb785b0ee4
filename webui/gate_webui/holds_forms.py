"""The forms for what is in force for a while: pauses, suspensions, lessons; and for asking for a site."""

from __future__ import annotations

from wtforms import Field
from wtforms.validators import ValidationError

from gate_core.names import MalformedNameError, parse_rule
from gate_webui.fields import day, lines, select, text, tick, ticks
from gate_webui.forms import ChangeForm, PostForm, no_site, reason_field, text_of_page
from gate_webui.texts import gettext, lazy_gettext


class ScopedPauseForm(PostForm):
    """For whom, how long and why."""

    groups = ticks(lazy_gettext("Groups"))
    rooms = ticks(
        lazy_gettext("Rooms"),
        lazy_gettext("Tick none at all to pause everybody whom the button reaches."),
    )
    minutes = select(lazy_gettext("For how long"))
    why = text(
        lazy_gettext("Why"),
        lazy_gettext("Write why."),
        200,
        lazy_gettext("Such as “Assembly”. It is kept with your name."),
        width=20,
    )


class MinutesForm(PostForm):
    """How long, and nothing else."""

    minutes = select(lazy_gettext("For how long"))


class SuspendForm(PostForm):
    """Who, until when and why."""

    subject = select(lazy_gettext("Who or what"), lazy_gettext("Choose a person or a device."))
    until = day(
        lazy_gettext("Last day without internet"),
        lazy_gettext("Choose the last day."),
        lazy_gettext("At most a year away."),
    )
    review = day(
        lazy_gettext("To be looked at again on"),
        "",
        lazy_gettext("So that it is not forgotten. This page says when it is due."),
    )
    essentials_stay = tick(lazy_gettext("Leave what the school calls essential open"))
    why = reason_field(lazy_gettext("Why"))


class _SitesForm(ChangeForm):
    """Sites and services; at least one of them."""

    names = lines(
        lazy_gettext("Sites"),
        "",
        lazy_gettext("One a line, such as www.bbc.co.uk. You may paste whole web addresses."),
    )
    services = ticks(lazy_gettext("Services"), small=True)

    def validate_names(self, field: Field) -> None:
        """Want names that there can be, and something in all."""
        for number, line in enumerate((field.data or "").splitlines(), 1):
            try:
                _rule(line)
            except MalformedNameError:
                raise ValidationError(
                    gettext("Line %(number)s: %(no_site)s", number=number, no_site=no_site(line))
                ) from None
        if not (self.rules or self.services.data):
            raise ValidationError(gettext("Write at least one site, or choose a service."))

    @property
    def rules(self) -> tuple[str, ...]:
        """The sites as name rules, each once."""
        found = [_rule(line) for line in (self.names.data or "").splitlines() if line.strip()]
        return tuple(dict.fromkeys(found))


def _rule(line: str) -> str:
    line = line.strip()
    exact = "=" if line.startswith("=") else ""
    return exact + parse_rule(text_of_page(line.removeprefix("="))) if line else ""


class LessonForm(_SitesForm):
    """The list of a lesson, and how long it holds."""

    minutes = select(lazy_gettext("For how long"))


class AskForm(_SitesForm):
    """Which site, for whom, until when and why."""

    subject = select(lazy_gettext("For whom"), lazy_gettext("Choose for whom."))
    until = day(
        lazy_gettext("Last day"),
        lazy_gettext("Choose the last day."),
        lazy_gettext("At most a year away."),
    )
    reason = reason_field(lazy_gettext("Why"))
