"""The forms for sources of lists."""

from __future__ import annotations

from govuk_frontend_wtf.wtforms_widgets import GovPasswordInput
from wtforms import Field, PasswordField
from wtforms.validators import Length, ValidationError

from gate_core.sources import ALGORITHMS, MAX_TEXT_CHARACTERS, MAX_URL_CHARACTERS, SOURCE_ID
from gate_webui.fields import select, strip, text
from gate_webui.forms import PostForm, offer, reason_field

_FORMS = (
    ("", "In any of these ways"),
    ("names", "One site or address a line"),
    ("hosts", "As a hosts file: 0.0.0.0 and a site a line"),
    ("adblock", "As adblock rules: ||site^"),
    ("rpz", "As a response policy zone (RPZ)"),
)

_ID = "Small letters a to z, digits and hyphens, beginning with a letter or digit."


class PressAllForm(PostForm):
    """A button."""


class ChooseForm(PostForm):
    """A button on a page of its own."""


class DecideForm(PostForm):
    """A decision that may open something, and why."""

    reason = reason_field("Why")


class SourceForm(PostForm):
    """Where a list comes from."""

    title = text(
        "What it is called",
        "Write what it is called.",
        MAX_TEXT_CHARACTERS,
        "As people will see it, such as “List of our trust”.",
    )
    id = text("Short name", "Write a short name.", 40, f"What the record calls it. {_ID}", width=20)
    url = text(
        "Address",
        "Write where it comes from.",
        MAX_URL_CHARACTERS,
        "Such as https://lists.example/names.txt. A trust that hands its list out as a response policy zone (RPZ) has an"
        " address such as rpz://192.0.2.53/rpz.trust.example",
    )
    category = select(
        "What its sites are",
        "Choose a category.",
        "What the acceptable-use table says of this goes for them.",
    )
    trust = select(
        "Who answers for it",
        "Choose who answers for it.",
        "Nobody can open what is on a list of illegal content: only an authority or provider may give one.",
    )
    licence = text(
        "Licence",
        "Write under which licence the school may use it.",
        MAX_TEXT_CHARACTERS,
        "Such as “CC BY-SA 4.0”, or “Members only”.",
    )
    interval_h = select("How often to look for a newer one")
    format = select(
        "How it is written",
        "",
        "Leave this as it is, unless a list written otherwise is to be refused.",
    )
    key_name = text(
        "Name of the key",
        "",
        100,
        "Only for an address that begins with rpz://, and only if the trust gave you a key (TSIG): its name, algorithm"
        " and key. Leave it empty otherwise.",
    )
    key_algorithm = select("Algorithm of the key")
    secret = PasswordField(
        "Key",
        filters=[strip],
        default="",
        validators=[Length(max=700, message="Use at most 700 characters.")],
        description="As you were given it (base64). It is kept on the box, and never shown again.",
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

    def validate_id(self, field: Field) -> None:
        """Refuse what is no id, in the words of the hint."""
        if not SOURCE_ID.fullmatch(field.data):
            raise ValidationError(f"“{field.data[:60]}” can't be a short name. Allowed: {_ID}")

    def validate_url(self, field: Field) -> None:
        """Refuse an address without its beginning; the rest says the desk."""
        if not field.data.startswith(("https://", "http://", "rpz://", "file:")):
            raise ValidationError(
                f"“{field.data[:60]}” is no whole address. Begin it with https://, http:// or rpz://."
            )

    def validate_key_name(self, field: Field) -> None:
        """Refuse a key without a name."""
        if self.secret.data and not field.data:
            raise ValidationError("Write the name of the key, or leave the key empty.")

    def validate_secret(self, field: Field) -> None:
        """Refuse the name of a key without the key."""
        if self.url.data.startswith("rpz:") and self.key_name.data and not field.data:
            raise ValidationError("Enter the key, or leave its name empty.")
