"""Decisions in plain words, for the pages, the log and the block page."""

from __future__ import annotations

from gate_core.categories import in_mask
from gate_core.policy import Action, Policy, Reason
from gate_core.safesearch import ENGINE_TITLES, SafeName

# What the data plane says where no name could be decided upon.
_FLOWS = {
    "flood": "Left unanswered: the device asked for more names at once than a device has need of.",
    "unknown-flow": "Cut once: the connection is older than the filter's last start. The device opens it again.",
    "unreadable": "Blocked because the connection hides or contradicts the name it is for.",
    "not-web": "Blocked because it uses a port for web pages for something else.",
    "protocol": "Blocked because it is a tunnel or another protocol whose content can't be told.",
    "quic": "Blocked so that the browser uses the older form of connection, whose names can be read.",
    "unasked": "Blocked because the device brought the address along, and did not ask the filter for it by its name.",
    "nameless": "Blocked because it shows no name to decide on. A service that needs this can be opened as a direct connection.",
    "unsafe-address": "Blocked because it goes round the safe version of a search engine.",
    "time": "Allowed: a device asks for the time.",
}
# The same of a group whose connections pass where nothing can be judged.
_UNJUDGED = {
    "unknown-flow": "Allowed unread: the connection is older than the filter's last start, and this group's pass then.",
    "unreadable": "Allowed unread: the connection hides or contradicts the name it is for, and this group's pass then.",
    "protocol": "Allowed unread: it is a tunnel or another protocol whose content can't be told, and this group's pass then.",
}


def titles(mask: int) -> tuple[str, ...]:
    """Return the titles of the categories in ``mask``."""
    return tuple(category.title for category in in_mask(mask))


def sentence(action: str, reason: str, rule_id: str, policy: Policy) -> str:  # noqa: C901, PLR0911, PLR0912  # one line a reason
    """Return why something was allowed or blocked, as one sentence for a person without training."""
    if action == Action.ALLOW.value and reason in _UNJUDGED:
        return _UNJUDGED[reason]
    if reason in _FLOWS:
        return _FLOWS[reason]
    kind, _, detail = rule_id.partition(":")
    if reason == "listed-address":
        row, _, group = detail.partition(":")
        return (
            f"Blocked because the address it goes to is on a list: “{_row(row, policy)}” for"
            f" {_title(group, policy)}."
        )
    if kind == "safesearch":
        # It stands in the place of the rule that allowed the name, and says more.
        return f"Allowed, and answered by {_safe_version(detail)}."
    verb = "allowed" if action == Action.ALLOW.value else "blocked"
    match Reason(reason):
        case Reason.ILLEGAL:
            return "Blocked for everyone: it is on a list of illegal content. Nobody can lift this."
        case Reason.ISOLATED:
            return "Blocked because this device has been isolated."
        case Reason.SUSPENDED:
            return "Blocked because this device's internet access is suspended for a time."
        case Reason.PAUSED:
            return "Blocked because the internet pause is on."
        case Reason.ESSENTIAL:
            return "Allowed during the internet pause: it is on the essential list."
        case Reason.CANARY:
            return "Blocked so that devices do not go round the filter with private or encrypted look-ups."
        case Reason.PROTECTED:
            return "Always allowed: devices, updates or people in need rely on it."
        case Reason.EXCEPTION:
            return f"{verb.capitalize()} by an exception the school has made."
        case Reason.LESSON:
            return f"{verb.capitalize()} by the list for this lesson."
        case Reason.MATRIX:
            row, _, group = detail.partition(":")
            return (
                f"{verb.capitalize()} by the acceptable-use table: “{_row(row, policy)}” for"
                f" {_title(group, policy)}."
            )
        case Reason.TUNNEL:
            return (
                f"Blocked because this device's look-ups below {detail} look like other traffic hidden in site names (a"
                " DNS tunnel)."
            )
        case Reason.REBINDING:
            return (
                "Blocked because its answer led into a private network, where no public site is. A site of the school's own"
                " needs its zone in the box's configuration."
            )
        case Reason.DEFAULT:
            state = "open" if action == Action.ALLOW.value else "closed"
            return (
                f"{verb.capitalize()}: sites on no list are {state} for {_title(detail, policy)}."
            )


def safe_sentence(safe: SafeName, group: str, policy: Policy) -> str:
    """Return what answers in place of a search engine or of YouTube, as one sentence."""
    version = _safe_version(safe.rule_id.partition(":")[2])
    return (
        f"Answered by {version}, {safe.target}, as the policy has it for {_title(group, policy)}."
    )


def _safe_version(detail: str) -> str:
    """Return what the rule ``safesearch:DETAIL`` answers by, in words; an engine that is gone keeps its id."""
    engine, _, level = detail.partition(":")
    if engine == "youtube":
        return f"YouTube's restricted mode ({level})"
    return f"the safe version of {ENGINE_TITLES.get(engine, engine)}"


def _title(group: str, policy: Policy) -> str:
    return policy.groups[group].title if group in policy.groups else group


def _row(id_: str, policy: Policy) -> str:
    return next((row.title for row in policy.rows if row.id == id_), id_)
