"""The forms for accounts: inviting somebody, and taking up an invitation."""

from __future__ import annotations

from govuk_frontend_wtf.wtforms_widgets import GovPasswordInput
from wtforms import Field, PasswordField
from wtforms.validators import EqualTo, InputRequired, StopValidation, ValidationError

from gate_core.desk import USERNAME
from gate_core.roles import ACCOUNT_ROLES, TITLES
from gate_webui.fields import day, radios, text, ticks
from gate_webui.forms import PostForm, reason_field
from gate_webui.passwords import fault_of

_USERNAME_WORDS = (
    "Use letters a to z, digits, full stops, hyphens and underscores only, beginning with a letter."
)


class InviteForm(PostForm):
    """Who gets an account, and for what."""

    full_name = text("Full name", "Enter a full name.", 100, width=20)
    username = text("User name", "Enter a user name.", 40, "What they will sign in with.", width=20)
    role = radios(
        "Role", "Choose a role.", tuple((role.value, TITLES[role]) for role in ACCOUNT_ROLES)
    )
    rooms = ticks("Classes and rooms", "For a teacher: what is their own.", small=True)
    until = day("Last day of the account", "", "For an auditor, or somebody who leaves.")
    reason = reason_field("Why")

    def validate_username(self, field: Field) -> None:
        """Refuse a user name that is hard to type again."""
        field.data = field.data.lower()
        if not USERNAME.fullmatch(field.data):
            raise ValidationError(_USERNAME_WORDS)


class WelcomeForm(PostForm):
    """The invitation's code, and the first password."""

    username = text("User name", "Enter your user name.", 40, width=20)
    code = text("Code", "Enter the code of your invitation.", 64, width=20)
    password = PasswordField(
        "New password",
        validators=[InputRequired("Enter a password.")],
        description="At least 12 characters. Three random words are good.",
        widget=GovPasswordInput(),
    )
    again = PasswordField(
        "New password again",
        validators=[
            InputRequired("Enter the password again."),
            EqualTo("password", "The two passwords are not the same."),
        ],
        widget=GovPasswordInput(),
    )

    def validate_username(self, field: Field) -> None:
        """Take capital letters as small ones."""
        field.data = field.data.lower()

    def validate_password(self, field: Field) -> None:
        """Refuse a password that is short or obvious."""
        if fault := fault_of(field.data, str(self.username.data or ""), str(self.code.data or "")):
            raise StopValidation(fault)
