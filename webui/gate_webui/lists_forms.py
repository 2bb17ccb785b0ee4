"""The forms for sources of lists."""

from __future__ import annotations

from govuk_frontend_wtf.wtforms_widgets import GovPasswordInput
from wtforms import PasswordField
from wtforms.validators import Length

from gate_core.sources import ALGORITHMS, MAX_TEXT_CHARACTERS, MAX_URL_CHARACTERS
from gate_webui.fields import select, strip, text
from gate_webui.forms import PostForm, offer, reason_field

_FORMS = (
    ("", "Whatever it has"),
    ("names", "One name a line"),
    ("hosts", "Hosts file"),
    ("adblock", "Adblock host rules"),
    ("rpz", "Response policy zone (RPZ)"),
)


class PressAllForm(PostForm):
    """A button."""


class ChooseForm(PostForm):
    """A button on a page of its own."""


class DecideForm(PostForm):
    """A decision that may open something, and why."""

    reason = reason_field("Why")


class SourceForm(PostForm):
    """Where a list comes from."""

    title = text("What it is called", "Write what it is called.", MAX_TEXT_CHARACTERS)
    id = text(
        "Short name", "Write a short name.", 40, "Letters a to z, digits and hyphens.", width=20
    )
    url = text(
        "Address",
        "Write where it comes from.",
        MAX_URL_CHARACTERS,
        "Such as https://lists.example/names.txt, or rpz://192.0.2.53/rpz.trust.example for a zone transfer.",
    )
    category = select("What its sites are", "Choose a category.")
    trust = select("Who answers for it", "Choose who answers for it.")
    licence = text(
        "Licence", "Write under which licence the school may use it.", MAX_TEXT_CHARACTERS
    )
    interval_h = select("How often to look for a newer one")
    format = select("Form")
    key_name = text("Name of the key", "", 100, "Of a zone transfer that is signed with TSIG.")
    key_algorithm = select("Algorithm of the key")
    secret = PasswordField(
        "Key",
        filters=[strip],
        default="",
        validators=[Length(max=700, message="Use at most 700 characters.")],
        description="As base64. It is kept on the box, and never shown again.",
        widget=GovPasswordInput(),
    )

    def __init__(self) -> None:
        super().__init__()
        offer(
            self.interval_h,
            [
                ("24", "Once a day"),
                ("1", "Every hour"),
                ("6", "Four times a day"),
                ("168", "Once a week"),
            ],
        )
        offer(self.format, _FORMS)
        offer(self.key_algorithm, ((name, name) for name in ALGORITHMS))
