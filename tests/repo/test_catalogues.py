"""Whether everything that the pages say is in the catalogues, in each language, and nothing is outside them."""

import ast
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from jinja2 import Environment, nodes

from gate_core.desk import LANGUAGES
from gate_webui.app import HEADERS
from gate_webui.block import HEADERS as BLOCK_HEADERS

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "webui/gate_webui"
TRANSLATIONS = PAGES / "translations"
TEMPLATES = sorted((PAGES / "templates").rglob("*.html"))
MODULES = sorted(PAGES.glob("*.py"))


def test_catalogues_are_complete_and_those_of_make_catalogues(tmp_path):
    shutil.copytree(TRANSLATIONS, tmp_path / "translations")
    done = subprocess.run(
        [sys.executable, "tools/catalogues.py", tmp_path / "translations"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.partition(" texts, ")[2] for line in done.stdout.splitlines()] == [
        "0 without a translation"
    ] * len(LANGUAGES)
    for path in TRANSLATIONS.rglob("*.[mp]o"):
        made = tmp_path / "translations" / path.relative_to(TRANSLATIONS)
        assert made.read_bytes() == path.read_bytes(), f"{path.name}: run make catalogues"


VALUE, MARKUP = re.compile(r"%\(\w+\)s|%%|\{\d\}"), re.compile(r"</?[a-z]+[^>]*>")


@pytest.mark.parametrize("domain", ["messages", "sentences"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_translation_has_the_values_and_the_markup_of_its_text(language, domain):
    with (TRANSLATIONS / language / f"LC_MESSAGES/{domain}.po").open("rb") as file:
        catalogue = read_po(file, locale=language)
    for message in catalogue:
        if not message.id:
            continue
        texts = [message.id] if isinstance(message.id, str) else list(message.id)
        strings = [message.string] if isinstance(message.string, str) else list(message.string)
        for pattern in (VALUE, MARKUP):
            allowed = [set(pattern.findall(text)) for text in texts]
            for string in strings:
                assert set(pattern.findall(string)) in allowed, (texts, string)


CAPITAL = re.compile(r"[A-Z✓◐✕“].*[a-z]")
WORDS = re.compile(r"[a-z]{2,}[,.:;]? .*[a-z]")


def is_prose(text):
    """Tell what somebody is meant to read from names of fields, classes and the like."""
    text = text.strip()
    if "govuk-" in text or "sg-" in text or text.startswith("<"):
        return False
    return bool(CAPITAL.match(text) or WORDS.search(text))


class Text(HTMLParser):
    """Collects what a page shows: its text, and the attributes that are read out."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_data(self, data):
        if re.search(r"[A-Za-z]{2}", data):
            self.found.append(data.strip())

    def handle_starttag(self, tag, attrs):
        read_out = ("aria-label", "title", "placeholder", "alt", "data-label")
        self.found += [v for k, v in attrs if k in read_out and re.search("[A-Za-z]{2}", v or "")]


NAMES = {"Schoolgate", "\N{EN DASH} Schoolgate"}
"""The same in every language."""


def markup(env, source):
    """Return the HTML of a template: without its own language, and without what ``trans`` looks up."""
    found, inside = [], False
    tokens = list(env.lex(source))
    for place, (_, kind, value) in enumerate(tokens):
        if kind == "data" and not inside:
            found.append(value)
        elif kind == "block_begin":
            word = next(v for _, k, v in tokens[place + 1 :] if k == "name")
            inside = word == "trans" or (inside and word != "endtrans")
    return "".join(found)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_has_no_text_outside_the_catalogues(path):
    env = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)
    source = path.read_text()
    parser = Text()
    parser.feed(markup(env, source))
    assert [text for text in parser.found if text not in NAMES] == []
    outside = []

    def walk(node, inside=False):
        if isinstance(node, nodes.Call) and getattr(node.node, "name", "") in {
            "_",
            "gettext",
            "ngettext",
            "url_for",
            "asset",
        }:
            inside = True
        if isinstance(node, nodes.Const) and not inside and isinstance(node.value, str):
            outside.extend([node.value] if is_prose(node.value) else [])
        for child in node.iter_child_nodes():
            walk(child, inside)

    walk(env.parse(source))
    assert outside == []


QUIET = {
    *("compile", "Blueprint", "frozenset", "AssertionError", "ValueError", "TypeVar", "cast"),
    *("info", "warning", "debug", "exception", "error", "getLogger", "marked"),
    *("gettext", "ngettext", "lazy_gettext", "flash_category"),
    *("strptime", "removeprefix", "startswith", "partition", "written_day"),
}
"""Functions whose texts are in a catalogue, or shown to nobody."""


def texts_of(node):
    """Yield the texts in ``node`` that are looked up in no catalogue."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Compare() | ast.Subscript() | ast.MatchValue():
            return  # What documents something, or is looked at by programs alone.
        case ast.Call() if getattr(node.func, "attr", getattr(node.func, "id", "")) in QUIET:
            return
        case ast.Dict():
            children = node.values
        case ast.JoinedStr():
            yield "".join(v.value if isinstance(v, ast.Constant) else "X" for v in node.values)
            children = [v.value for v in node.values if isinstance(v, ast.FormattedValue)]
        case ast.Constant(value=str()):
            yield node.value
            return
        case ast.Assign() | ast.AnnAssign():
            children = [node.value] if node.value else []
        case _:
            children = ast.iter_child_nodes(node)
    for child in children:
        yield from texts_of(child)


UNSEEN = {
    "access.py": {"X?next=X"},
    "account.py": {"first run", "X from X"},
    "app.py": {
        *(text for text in HEADERS.values() if is_prose(text)),
        *("public, max-age=31536000, immutable", "Lax"),
    },
    "block.py": {
        *(text for text in BLOCK_HEADERS.values() if is_prose(text)),
        *("text/html; charset=utf-8", "Accept-Language"),
    },
    "certificate.py": {"Schoolgate"},
    "compression.py": {"Accept-Encoding"},
    # Programs alone send so much.
    "http.py": {"That was too long: at most X octets are taken. Send it in parts."},
    # What an app calls the box.
    "own_account.py": {"Schoolgate X"},
    "policy_text.py": {'attachment; filename="X"', "X; charset=utf-8"},
    # What the record has.
    "record.py": {"has read the record"},
    "sentences.py": {"LC_MESSAGES/X.po"},
    "server.py": {"Services", "WebSettings"},
}
"""Texts of a module that nobody reads in a page."""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_module_has_no_text_outside_the_catalogues(path):
    found = {text for text in texts_of(ast.parse(path.read_text())) if is_prose(text)}
    assert found == UNSEEN.get(path.name, set())
