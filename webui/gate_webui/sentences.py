"""What the core and the steward say, in another language: they speak English, to the record and the command line too.

A sentence is recognised by the pattern that it was made from, in the catalogue ``sentences``: as ``{0} is no account`` has it. So
what was written down years ago is understood as well; what is in no catalogue is shown as it was said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from babel.messages.pofile import read_po

from gate_webui.texts import current

_FOLDER: Final = Path(__file__).parent / "translations"
_VALUE: Final = re.compile(r"\{(\d)\}")
_KEPT: Final = 4096


def said(text: str) -> str:
    """Return a ``text`` of the core in the language of the request."""
    return said_in(current(), text)


@lru_cache(_KEPT)
def said_in(language: str, text: str) -> str:
    """Return a ``text`` of the core in ``language``; as it is where nobody has translated it."""
    whole, patterns = _catalogue(language)
    if text in whole:
        return whole[text]
    for pattern, translation in patterns:
        if found := pattern.fullmatch(text):
            # What is within may be a text of the core itself.
            values = [said_in(language, value) for value in found.groups()]
            return translation.format(*values)
    return text


def _messages(language: str, domain: str) -> Iterator[tuple[str, str]]:
    with (_FOLDER / language / f"LC_MESSAGES/{domain}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    for message in catalogue:
        if message.id and isinstance(message.id, str):
            yield message.id, str(message.string)


@cache
def _catalogue(language: str) -> tuple[dict[str, str], tuple[tuple[re.Pattern[str], str], ...]]:
    """Return the texts that are always the same, and the patterns of the others, the longest first."""
    whole: dict[str, str] = {}
    patterns: list[tuple[int, re.Pattern[str], str]] = []
    # What the pages call things is within sentences too: the title of a row, say.
    found = [*_messages(language, "messages"), *_messages(language, "sentences")]
    for text, translation in found:
        if _VALUE.search(text):
            # Every other part is a value's number.
            parts = ["(.+?)" if n % 2 else re.escape(p) for n, p in enumerate(_VALUE.split(text))]
            pattern = re.compile("".join(parts), re.DOTALL)
            patterns.append((len(text), pattern, translation))
        else:
            whole[text] = translation
    patterns.sort(key=lambda found: -found[0])
    return whole, tuple((pattern, translation) for _, pattern, translation in patterns)
