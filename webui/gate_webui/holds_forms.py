"""The forms for what is in force for a while: pauses, suspensions, lessons; and for asking for a site."""

from __future__ import annotations

from wtforms import Field
from wtforms.validators import ValidationError

from gate_core.names import MalformedNameError, parse_rule
from gate_webui.fields import day, lines, select, text, tick, ticks
from gate_webui.forms import ChangeForm, PostForm, no_site, reason_field, text_of_page


class ScopedPauseForm(PostForm):
    """For whom, how long and why."""

    groups = ticks("Groups")
    rooms = ticks("Rooms", "Tick none at all to pause everybody whom the button reaches.")
    minutes = select("For how long")
    why = text("Why", "Write why.", 200, "Such as “Assembly”. It is kept with your name.", width=20)


class MinutesForm(PostForm):
    """How long, and nothing else."""

    minutes = select("For how long")


class SuspendForm(PostForm):
    """Who, until when and why."""

    subject = select("Who or what", "Choose a person or a device.")
    until = day("Last day without internet", "Choose the last day.", "At most a year away.")
    review = day(
        "To be looked at again on",
        "",
        "So that it is not forgotten. This page says when it is due.",
    )
    essentials_stay = tick("Leave what the school calls essential open")
    why = reason_field("Why")


class _SitesForm(ChangeForm):
    """Sites and services; at least one of them."""

    names = lines(
        "Sites", "", "One a line, such as www.bbc.co.uk. You may paste whole web addresses."
    )
    services = ticks("Services", small=True)

    def validate_names(self, field: Field) -> None:
        """Want names that there can be, and something in all."""
        for number, line in enumerate((field.data or "").splitlines(), 1):
            try:
                _rule(line)
            except MalformedNameError:
                raise ValidationError(f"Line {number}: {no_site(line)}") from None
        if not (self.rules or self.services.data):
            raise ValidationError("Write at least one site, or choose a service.")

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

    minutes = select("For how long")


class AskForm(_SitesForm):
    """Which site, for whom, until when and why."""

    subject = select("For whom", "Choose for whom.")
    until = day("Last day", "Choose the last day.", "At most a year away.")
    reason = reason_field("Why")
