"""The forms for sources of lists."""

from __future__ import annotations

from govuk_frontend_wtf.wtforms_widgets import GovPasswordInput
from wtforms import Field, PasswordField
from wtforms.validators import Length, ValidationError

from gate_core.sources import ALGORITHMS, MAX_TEXT_CHARACTERS, MAX_URL_CHARACTERS, SOURCE_ID
from gate_webui.fields import select, strip, text
from gate_webui.forms import PostForm, offer, reason_field
from gate_webui.texts import gettext, lazy_gettext

_FORMS = (
    ("", lazy_gettext("In any of these ways")),
    ("names", lazy_gettext("One site or address a line")),
    ("hosts", lazy_gettext("As a hosts file: 0.0.0.0 and a site a line")),
    ("adblock", lazy_gettext("As adblock rules: ||site^")),
    ("rpz", lazy_gettext("As a response policy zone (RPZ)")),
)

_ID = lazy_gettext("Small letters a to z, digits and hyphens, beginning with a letter or digit.")


class PressAllForm(PostForm):
    """A button."""


class ChooseForm(PostForm):
    """A button on a page of its own."""


class DecideForm(PostForm):
    """A decision that may open something, and why."""

    reason = reason_field(lazy_gettext("Why"))


class SourceForm(PostForm):
    """Where a list comes from."""

    title = text(
        lazy_gettext("What it is called"),
        lazy_gettext("Write what it is called."),
        MAX_TEXT_CHARACTERS,
        lazy_gettext("As people will see it, such as “List of our trust”."),
    )
    id = text(
        lazy_gettext("Short name"),
        lazy_gettext("Write a short name."),
        40,
        lazy_gettext("What the record calls it. %(allowed)s", allowed=_ID),
        width=20,
    )
    url = text(
        lazy_gettext("Address"),
        lazy_gettext("Write where it comes from."),
        MAX_URL_CHARACTERS,
        lazy_gettext(
            "Such as https://lists.example/names.txt. A trust that hands its list out as a response policy zone (RPZ) has an"
            " address such as rpz://192.0.2.53/rpz.trust.example"
        ),
    )
    category = select(
        lazy_gettext("What its sites are"),
        lazy_gettext("Choose a category."),
        lazy_gettext("What the acceptable-use table says of this goes for them."),
    )
    trust = select(
        lazy_gettext("Who answers for it"),
        lazy_gettext("Choose who answers for it."),
        lazy_gettext(
            "Nobody can open what is on a list of illegal content: only an authority or provider may give one."
        ),
    )
    licence = text(
        lazy_gettext("Licence"),
        lazy_gettext("Write under which licence the school may use it."),
        MAX_TEXT_CHARACTERS,
        lazy_gettext("Such as “CC BY-SA 4.0”, or “Members only”."),
    )
    interval_h = select(lazy_gettext("How often to look for a newer one"))
    format = select(
        lazy_gettext("How it is written"),
        "",
        lazy_gettext("Leave this as it is, unless a list written otherwise is to be refused."),
    )
    key_name = text(
        lazy_gettext("Name of the key"),
        "",
        100,
        lazy_gettext(
            "Only for an address that begins with rpz://, and only if the trust gave you a key (TSIG): its name, algorithm"
            " and key. Leave it empty otherwise."
        ),
    )
    key_algorithm = select(lazy_gettext("Algorithm of the key"))
    secret = PasswordField(
        lazy_gettext("Key"),
        filters=[strip],
        default="",
        validators=[Length(max=700, message=lazy_gettext("Use at most 700 characters."))],
        description=lazy_gettext(
            "As you were given it (base64). It is kept on the box, and never shown again."
        ),
        widget=GovPasswordInput(),
    )

    def __init__(self) -> None:
        super().__init__()
        offer(
            self.interval_h,
            [
                ("24", gettext("Once a day")),
                ("1", gettext("Every hour")),
                ("6", gettext("Four times a day")),
                ("168", gettext("Once a week")),
            ],
        )
        offer(self.format, _FORMS)
        offer(self.key_algorithm, ((name, name) for name in ALGORITHMS))

    def validate_id(self, field: Field) -> None:
        """Refuse what is no id, in the words of the hint."""
        if not SOURCE_ID.fullmatch(field.data):
            raise ValidationError(
                gettext(
                    "“%(text)s” can't be a short name. Allowed: %(allowed)s",
                    text=field.data[:60],
                    allowed=_ID,
                )
            )

    def validate_url(self, field: Field) -> None:
        """Refuse an address without its beginning; the rest says the desk."""
        if not field.data.startswith(("https://", "http://", "rpz://", "file:")):
            raise ValidationError(
                gettext(
                    "“%(text)s” is no whole address. Begin it with https://, http:// or rpz://.",
                    text=field.data[:60],
                )
            )

    def validate_key_name(self, field: Field) -> None:
        """Refuse a key without a name."""
        if self.secret.data and not field.data:
            raise ValidationError(gettext("Write the name of the key, or leave the key empty."))

    def validate_secret(self, field: Field) -> None:
        """Refuse the name of a key without the key."""
        if self.url.data.startswith("rpz:") and self.key_name.data and not field.data:
            raise ValidationError(gettext("Enter the key, or leave its name empty."))
