"""The forms for accounts: inviting somebody, and taking up an invitation."""

from __future__ import annotations

from wtforms import Field, HiddenField
from wtforms.validators import StopValidation, ValidationError

from gate_core.desk import USERNAME
from gate_core.roles import ACCOUNT_ROLES, TITLES
from gate_webui.fields import day, new_password, old_password, password_again, radios, text, ticks
from gate_webui.forms import PostForm, reason_field
from gate_webui.passwords import fault_of
from gate_webui.texts import lazy_gettext

_USERNAME_WORDS = lazy_gettext(
    "Use letters a to z, digits, full stops, hyphens and underscores only, beginning with a letter."
)


class InviteForm(PostForm):
    """Who gets an account, and for what."""

    full_name = text(lazy_gettext("Full name"), lazy_gettext("Enter a full name."), 100, width=20)
    username = text(
        lazy_gettext("User name"),
        lazy_gettext("Enter a user name."),
        40,
        lazy_gettext("What they will sign in with."),
        width=20,
    )
    role = radios(
        lazy_gettext("Role"),
        lazy_gettext("Choose a role."),
        tuple((role.value, lazy_gettext(TITLES[role])) for role in ACCOUNT_ROLES),
    )
    rooms = ticks(
        lazy_gettext("Classes and rooms"),
        lazy_gettext("For a teacher: what is their own."),
        small=True,
    )
    until = day(
        lazy_gettext("Last day of the account"),
        "",
        lazy_gettext("For an auditor, or somebody who leaves."),
    )
    reason = reason_field(lazy_gettext("Why"))

    def validate_username(self, field: Field) -> None:
        """Refuse a user name that is hard to type again."""
        field.data = field.data.lower()
        if not USERNAME.fullmatch(field.data):
            raise ValidationError(_USERNAME_WORDS)


class CodeForm(PostForm):
    """What the app shows."""

    code = text(
        lazy_gettext("Code"),
        lazy_gettext("Enter the code that your app shows."),
        10,
        lazy_gettext("6 digits. It changes every half minute."),
        width=5,
    )
    next = HiddenField()


class PasswordForm(PostForm):
    """Another password."""

    current = old_password(lazy_gettext("Your password now"))
    password = new_password(lazy_gettext("New password"))
    again = password_again(lazy_gettext("New password again"))

    def validate_password(self, field: Field) -> None:
        """Refuse a password that is short or obvious."""
        if fault := fault_of(field.data):
            raise StopValidation(fault)


class SecondFactorForm(PostForm):
    """A code that shows that the app has the secret."""

    code = text(
        lazy_gettext("Code"),
        lazy_gettext("Enter the code that your app shows."),
        10,
        lazy_gettext("6 digits. It changes every half minute."),
        width=5,
    )
    secret = HiddenField()


class OwnerForm(PostForm):
    """The password once more."""

    current = old_password(lazy_gettext("Your password now"))


class RecoverForm(PostForm):
    """A recovery code, and another password."""

    username = text(lazy_gettext("User name"), lazy_gettext("Enter your user name."), 40, width=20)
    code = text(
        lazy_gettext("Recovery code"),
        lazy_gettext("Enter one of the codes on the sheet."),
        64,
        lazy_gettext("16 letters and digits. Each is good once."),
        width=20,
    )
    password = new_password(lazy_gettext("New password"))
    again = password_again(lazy_gettext("New password again"))

    def validate_username(self, field: Field) -> None:
        """Take capital letters as small ones."""
        field.data = field.data.lower()

    def validate_password(self, field: Field) -> None:
        """Refuse a password that is short or obvious."""
        if fault := fault_of(field.data, str(self.username.data or ""), str(self.code.data or "")):
            raise StopValidation(fault)


class WelcomeForm(PostForm):
    """The invitation's code, and the first password."""

    username = text(lazy_gettext("User name"), lazy_gettext("Enter your user name."), 40, width=20)
    code = text(
        lazy_gettext("Code"), lazy_gettext("Enter the code of your invitation."), 64, width=20
    )
    password = new_password(lazy_gettext("New password"))
    again = password_again(lazy_gettext("New password again"))

    def validate_username(self, field: Field) -> None:
        """Take capital letters as small ones."""
        field.data = field.data.lower()

    def validate_password(self, field: Field) -> None:
        """Refuse a password that is short or obvious."""
        if fault := fault_of(field.data, str(self.username.data or ""), str(self.code.data or "")):
            raise StopValidation(fault)
