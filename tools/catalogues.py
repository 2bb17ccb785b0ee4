"""Brings the catalogues of the pages' texts up to date: webui/gate_webui/translations/LANGUAGE/LC_MESSAGES.

Texts come from the sources of the pages and, for what the core calls things, from the core itself. New ones are left
empty for a translator, who edits messages.po; those that are used no more go. Prints how many are empty.
"""

from __future__ import annotations

import ast
import io
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
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


def brought_up_to_date(path: Path, language: str, texts: Catalog) -> Catalog:
    """Return the catalogue of ``language`` at ``path`` with exactly these ``texts``, which become part of it."""
    if path.exists():
        with path.open("rb") as file:
            catalogue = read_po(file, locale=language)
    else:
        catalogue = Catalog(locale=language, project="Schoolgate", charset="utf-8", fuzzy=False)
    catalogue.update(texts, no_fuzzy_matching=True)
    catalogue.obsolete.clear()
    if language == _SOURCE:
        for message in catalogue:
            if message.id:
                message.string = message.id
    return catalogue


SPEAKERS: Final = (
    *("gate_appliance/words.py", "gate_appliance/health.py", "gate_appliance/illegal_filter.py"),
    *("gate_appliance/counter.py", "gate_appliance/acts.py", "gate_appliance/accounts.py"),
    *("gate_appliance/changes.py", "gate_appliance/desk.py", "gate_appliance/library.py"),
    *("gate_appliance/updates.py", "gate_appliance/steward.py", "gate_appliance/keeping.py"),
    *("gate_appliance/packets.py", "gate_appliance/resolvers.py", "gate_appliance/probes.py"),
    *("gate_appliance/lists/download.py", "gate_appliance/lists/transfer.py"),
)
"""Modules whose texts people read in pages, below ``appliance``."""
_PANEL: Final = "hardware/gate_hardware/panel.py"
_SILENT: Final = frozenset(
    (
        "compile",
        "info",
        "warning",
        "debug",
        "exception",
        "error",
        "execute",
        "read_sums",
        "AssertionError",
    )
)
"""Functions whose texts nobody reads in a page."""
_LEAST_WORDS: Final = 3
"""Of a pattern, besides its values: fewer would be found in what they are no part of."""


def sentences() -> Catalog:
    """Return what the core says, without a translation: texts of several words, and the patterns of f-strings."""
    texts = Catalog(project="Schoolgate", charset="utf-8", fuzzy=False)
    root = PAGES.parent.parent
    for path in (*(root / "appliance" / name for name in SPEAKERS), root / _PANEL):
        for text in _said_in(ast.parse(path.read_text())):
            texts.add(text, locations=[(path.name, 0)])
    return texts


def _said_in(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Compare() | ast.Subscript():
            return  # What documents something, or is looked at by programs alone.
        case ast.Call() if getattr(node.func, "attr", getattr(node.func, "id", "")) in _SILENT:
            return
        case ast.JoinedStr():
            number = count()
            text = "".join(
                str(v.value) if isinstance(v, ast.Constant) else f"{{{next(number)}}}"
                for v in node.values
            )
            if len(re.findall(r"[a-zA-Z']{2,}", re.sub(r"\{\d+\}", "", text))) >= _LEAST_WORDS:
                yield text
            return
        case ast.Constant(value=str() as text):
            if re.search(r"[a-zA-Z]{2,}[,:;]? .*[a-z]", text):
                yield text
            return
    children = node.values if isinstance(node, ast.Dict) else ast.iter_child_nodes(node)
    for child in children:
        yield from _said_in(child)


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
        folder = translations / language / "LC_MESSAGES"
        folder.mkdir(parents=True, exist_ok=True)
        spoken = brought_up_to_date(folder / "sentences.po", language, sentences())
        (folder / "sentences.po").write_bytes(rendered_po(spoken))
        path = folder / "messages.po"
        catalogue = brought_up_to_date(path, language, template())
        path.write_bytes(rendered_po(catalogue))
        with path.open("rb") as file:
            path.with_suffix(".mo").write_bytes(rendered_mo(read_po(file, locale=language)))
        texts, empty = len(catalogue) + len(spoken), missing(catalogue) + missing(spoken)
        sys.stdout.write(f"{name}: {texts} texts, {len(empty)} without a translation\n")


if __name__ == "__main__":
    main()
