"""Domain names in one form, and rules that match them on label borders.

Inside Schoolgate a name is always canonical: A-labels, lower case, without its final dot. The root is "".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_NAME_OCTETS = 253
"""Longest name in presentation form, without the final dot (RFC 1035, section 2.3.4: 255 on the wire)."""

MAX_LABEL_OCTETS = 63

# The dots that IDNA takes for a label separator (RFC 3490, section 3.1).
_IDNA_DOTS = re.compile("[\u3002\uff0e\uff61]")
# What a person may write in a rule: host names, and the underscore of service names (RFC 8552).
_RULE_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")


class MalformedNameError(ValueError):
    """A text that is no domain name; the message tells what is allowed."""


def canonical(name: str) -> str:
    """Return ``name`` in lower case and without its final dot; ASCII names only, never raises."""
    return name.lower().removesuffix(".")


def parse_name(text: str) -> str:
    """Return the canonical form of a domain name that a person or a list wrote.

    Args:
        text: A name in any letter case, with or without final dot, in ASCII or Unicode.

    Raises:
        MalformedNameError: ``text`` is empty, an address, too long, or has a label that no host name has.
    """
    name = _IDNA_DOTS.sub(".", text.strip()).removesuffix(".")
    try:
        name = name.lower() if name.isascii() else name.encode("idna").decode("ascii").lower()
    except UnicodeError as e:
        raise MalformedNameError(f"{text[:80]!r}: not a name in international form ({e})") from None
    if not name:
        raise MalformedNameError(
            f"{text[:80]!r}: a name has at least one label, such as example.org"
        )
    if len(name) > MAX_NAME_OCTETS:
        raise MalformedNameError(
            f"{name[:40]!r}...: {len(name)} octets; at most {MAX_NAME_OCTETS} are allowed"
        )
    labels = name.split(".")
    for label in labels:
        if not _RULE_LABEL.fullmatch(label):
            raise MalformedNameError(
                f"{text[:80]!r}: label {label[:40]!r} is not 1 to {MAX_LABEL_OCTETS} letters, digits, '-' or '_',"
                " beginning and ending with none of '-'"
            )
    # RFC 3696, section 2: no top-level name is all digits, so such a text is an address.
    if labels[-1].isdigit():
        raise MalformedNameError(f"{text[:80]!r}: an address, not a name")
    return name


def suffixes(name: str) -> Iterator[str]:
    """Yield a canonical ``name`` and each name above it, narrowest first; not the root.

    >>> list(suffixes("www.example.org"))
    ['www.example.org', 'example.org', 'org']
    """
    while name:
        yield name
        _, _, name = name.partition(".")


def is_under(name: str, suffix: str) -> bool:
    """Tell whether a canonical ``name`` is ``suffix`` or a subdomain of it (RFC 9499, section 2).

    >>> is_under("www.example.com", "example.com"), is_under("notexample.com", "example.com")
    (True, False)
    """
    return name == suffix or name.endswith("." + suffix)


@dataclass(frozen=True, slots=True)
class NameSet:
    """A set of name rules: ``example.org`` means the name and all below it, ``=example.org`` it alone."""

    rules: frozenset[str] = frozenset()

    @classmethod
    def of(cls, rules: Iterable[str]) -> NameSet:
        """Return the set of ``rules`` as people write them.

        Raises:
            MalformedNameError: A rule is neither a name nor ``=`` and a name.
        """
        return cls(frozenset(parse_rule(rule) for rule in rules))

    def match(self, name: str) -> str | None:
        """Return the narrowest rule that covers a canonical ``name``; None where none does."""
        rules = self.rules
        if not rules:
            return None
        if (exact := "=" + name) in rules:
            return exact
        # ``suffixes``, written out: every query comes by here.
        while name and name not in rules:
            _, _, name = name.partition(".")
        return name or None


def parse_rule(text: str) -> str:
    """Return the canonical form of one name rule, ``example.org`` or ``=example.org``.

    Raises:
        MalformedNameError: See ``parse_name``.
    """
    text = text.strip()
    if "*" in text:
        raise MalformedNameError(
            f"{text[:80]!r}: '*' is not allowed; example.org means itself and every name below it, =example.org"
            " itself alone"
        )
    return "=" + parse_name(text[1:]) if text.startswith("=") else parse_name(text)
