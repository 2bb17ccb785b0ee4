"""Brings the catalogues of the pages' texts up to date: webui/gate_webui/translations/LANGUAGE/LC_MESSAGES.

Texts come from the sources of the pages and, for what the core calls things, from the core itself. New ones are left
empty for a translator, who edits messages.po; those that are used no more go. Prints how many are empty.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from gate_core.acceptable_use import ROWS
from gate_core.categories import CATEGORIES
from gate_core.desk import LANGUAGES
from gate_core.protocols import PROTOCOLS
from gate_core.roles import TITLES, Act
from gate_core.sources import TRUST_TITLES

PAGES: Final = Path(__file__).resolve().parent.parent / "webui/gate_webui"
_METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2")]
_OPTIONS: Final = {"templates/**.html": {"trimmed": "true", "silent": "false"}}
_KEYWORDS: Final = {**DEFAULT_KEYWORDS, "lazy_gettext": None, "marked": None}
_WIDTH: Final = 120
_SOURCE: Final = "en"
_NO_DATE: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Otherwise each run would make another file."""


def of_the_core() -> Iterator[str]:
    """Yield what the core calls things, which the pages show by ``gate_webui.texts.known``."""
    yield from TITLES.values()
    yield from (act.value for act in Act)
    yield from TRUST_TITLES.values()
    yield from (row.title for row in ROWS)
    yield from (category.title for category in CATEGORIES)
    yield from (protocol.title for protocol in PROTOCOLS)
    yield from ("names", "records")


def template() -> Catalog:
    """Return all texts, without a translation."""
    texts = Catalog(project="Schoolgate", charset="utf-8", fuzzy=False)
    found = extract_from_dir(PAGES, _METHODS, _OPTIONS, keywords=_KEYWORDS, comment_tags=("Note:",))
    for path, _, text, comments, context in found:
        texts.add(text, locations=[(path, 0)], auto_comments=comments, context=context)
    for text in of_the_core():
        texts.add(text, locations=[("core", 0)])
    return texts


def brought_up_to_date(path: Path, language: str) -> Catalog:
    """Return the catalogue of ``language`` at ``path`` with exactly the texts that there are."""
    if path.exists():
        with path.open("rb") as file:
            catalogue = read_po(file, locale=language)
    else:
        catalogue = Catalog(locale=language, project="Schoolgate", charset="utf-8", fuzzy=False)
    catalogue.update(template(), no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    if language == _SOURCE:
        for message in catalogue:
            if message.id:
                message.string = message.id
    return catalogue


def missing(catalogue: Catalog) -> list[str]:
    """Return the texts that a ``catalogue`` has no translation of, or not in each plural form."""

    def is_whole(string: str | Sequence[str] | None) -> bool:
        return bool(string) and (isinstance(string, str) or all(string or ()))

    found = (message for message in catalogue if message.id)
    return [str(message.id) for message in found if not is_whole(message.string) or message.fuzzy]


def rendered_po(catalogue: Catalog) -> bytes:
    """Return a ``catalogue`` as people edit it."""
    octets = io.BytesIO()
    # Without its header's dates, which would change with each run.
    write_po(
        octets, catalogue, width=_WIDTH, omit_header=True, sort_output=True, include_lineno=False
    )
    return (
        _HEADER.format(language=catalogue.locale, forms=catalogue.plural_forms).encode()
        + octets.getvalue()
    )


def rendered_mo(catalogue: Catalog) -> bytes:
    """Return a ``catalogue`` as programs read it."""
    octets = io.BytesIO()
    catalogue.creation_date = catalogue.revision_date = _NO_DATE
    write_mo(octets, catalogue)
    return octets.getvalue()


_HEADER: Final = """\
msgid ""
msgstr ""
"Project-Id-Version: Schoolgate\\n"
"Language: {language}\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {forms}\\n"

"""


def main() -> None:
    """Write all catalogues, those of the pages or of the folder named."""
    translations = Path(sys.argv[1]) if sys.argv[1:] else PAGES / "translations"
    for language, name in LANGUAGES.items():
        path = translations / language / "LC_MESSAGES/messages.po"
        path.parent.mkdir(parents=True, exist_ok=True)
        catalogue = brought_up_to_date(path, language)
        path.write_bytes(rendered_po(catalogue))
        with path.open("rb") as file:
            path.with_suffix(".mo").write_bytes(rendered_mo(read_po(file, locale=language)))
        sys.stdout.write(
            f"{name}: {len(catalogue)} texts, {len(missing(catalogue))} without a translation\n"
        )


if __name__ == "__main__":
    main()
