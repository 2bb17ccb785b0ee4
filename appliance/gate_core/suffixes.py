"""Names below which anybody may register a name of their own, as under a top-level domain.

The well-known ones under country codes, from general knowledge; the Public Suffix List has all. Platforms that give
names away below one of theirs, ``github.io`` for one, are left out: a school may well want one of those closed.
"""

from __future__ import annotations

from typing import Final

_BY_COUNTRY: Final = {
    "ae": "ac co gov net org sch",
    "ar": "com edu gob gov net org",
    "at": "ac co gv or",
    "au": "asn com edu gov id net org",
    "bd": "ac com edu gov net org",
    "br": "com edu gov net org",
    "cn": "ac com edu gov net org",
    "co": "com edu gov net org",
    "cy": "ac com gov net org",
    "eg": "com edu gov net org",
    "es": "com edu gob nom org",
    "fr": "asso com gouv",
    "gg": "co net org",
    "gh": "com edu gov org",
    "gr": "com edu gov net org",
    "hk": "com edu gov idv net org",
    "hu": "co org",
    "id": "ac co go net or sch web",
    "il": "ac co gov k12 muni net org",
    "im": "ac co com net org",
    "in": "ac co edu firm gen gov ind net nic org res",
    "it": "edu gov",
    "je": "co net org",
    "jp": "ac ad co ed go gr lg ne or",
    "ke": "ac co go ne or sc",
    "kr": "ac co go ne or pe re",
    "lk": "ac com edu gov org sch",
    "mt": "com edu net org",
    "mx": "com edu gob net org",
    "my": "com edu gov name net org",
    "ng": "com edu gov net org sch",
    "np": "com edu gov net org",
    "nz": "ac co geek gen govt iwi kiwi maori net org school",
    "pe": "com edu gob net org",
    "ph": "com edu gov net org",
    "pk": "com edu gov net org",
    "pl": "com edu gov net org",
    "pt": "com edu gov org",
    "ro": "com org",
    "ru": "com net org",
    "sa": "com edu gov net org sch",
    "sg": "com edu gov net org",
    "th": "ac co go in net or",
    "tr": "av bel com edu gen gov k12 net org pol web",
    "tw": "com edu gov idv net org",
    "ua": "com edu gov net org",
    "uk": "ac co gov ltd me mod net nhs nic org plc police sch",
    "ve": "co com edu gob net org",
    "vn": "ac com edu gov net org",
    "za": "ac co edu gov law net nom org school web",
}

PUBLIC_SUFFIXES: Final = frozenset(
    f"{label}.{country}" for country, labels in _BY_COUNTRY.items() for label in labels.split()
)
"""Canonical names of two labels. One such line of a list would close, or open, a country's companies or schools."""


def too_wide(rule: str) -> str:
    """Return why a canonical ``rule`` covers what nobody means by one site, and what is allowed; "" where it does not.

    >>> too_wide("=co.uk"), too_wide("bbc.co.uk")
    ('', '')
    """
    if "." not in rule and not rule.startswith("="):
        return "a single label would cover a whole top-level domain; two or more are allowed"
    if rule in PUBLIC_SUFFIXES:
        return f"anybody may have a name below {rule}, and it would cover all of them; names below it are allowed"
    return ""


def registered(name: str) -> str:
    """Return the name that somebody has registered above a canonical ``name``, as far as its form tells, or ``name``.

    >>> registered("www.school.sch.uk"), registered("a.b.example.org"), registered("co.uk")
    ('school.sch.uk', 'example.org', 'co.uk')
    """
    before, _, last = name.rpartition(".")
    before, _, second = before.rpartition(".")
    above = f"{second}.{last}"
    if not second or above not in PUBLIC_SUFFIXES:
        return above if second else name
    third = before.rpartition(".")[2]
    return f"{third}.{above}" if third else name
