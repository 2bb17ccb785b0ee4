"""Published lists, as they are: read ../shared, skipped where it is absent."""

import os
from pathlib import Path

import pytest

from gate_appliance.lists.compile import Source, compile_lists
from gate_appliance.lists.formats import Format, ParsedList, parse_list
from gate_appliance.lists.index import MappedIndex, open_index
from gate_core.categories import BY_ID

SHARED = Path(os.environ.get("SCHOOLGATE_SHARED", Path(__file__).parents[4] / "shared"))
LISTS = SHARED / "data" / "lists"

pytestmark = pytest.mark.skipif(
    not LISTS.is_dir(),
    reason=f"../shared is absent: no lists at {LISTS}; SCHOOLGATE_SHARED may say where they are",
)

# One list of each origin and form, and a category to put it into.
PUBLISHED = (
    ("ut1/games/domains", "games", Format.NAMES),
    ("ut1/gambling/domains", "gambling", Format.NAMES),
    ("ut1/bank/domains", "shopping", Format.NAMES),
    ("ut1/cleaning/domains", "large-downloads", Format.NAMES),
    ("ut1/dynamic-dns/domains", "proxy", Format.NAMES),
    ("ut1/vpn/domains", "vpn", Format.NAMES),
    ("sinfonietta/snuff-hosts", "violence", Format.HOSTS),
    ("sinfonietta/pornography-hosts", "pornography", Format.HOSTS),
    ("blocklistproject/piracy-nl.txt", "piracy", Format.NAMES),
    ("hagezi/light.txt", "advertising", Format.ADBLOCK),
    ("hagezi/doh-vpn-proxy-bypass.txt", "encrypted-dns", Format.ADBLOCK),
)


@pytest.fixture(scope="module")
def parsed() -> dict[str, ParsedList]:
    read = {}
    for path, category, _ in PUBLISHED:
        with (LISTS / path).open("rb") as lines:
            read[category] = parse_list(lines)
    return read


@pytest.fixture(scope="module")
def index(parsed: dict[str, ParsedList], tmp_path_factory: pytest.TempPathFactory) -> MappedIndex:
    sources = [Source(category, p.names, p.exclusions) for category, p in parsed.items()]
    compiled = compile_lists(sources, tmp_path_factory.mktemp("lists"))
    return open_index(compiled.path, compiled.sha256)


@pytest.mark.parametrize(("path", "category", "format_"), PUBLISHED)
def test_published_list_is_read_in_its_form(
    path: str, category: str, format_: Format, parsed: dict[str, ParsedList]
) -> None:
    assert parsed[category].format is format_
    assert parsed[category].report.not_understood <= 5


@pytest.mark.parametrize(("path", "category", "format_"), PUBLISHED)
def test_published_list_loses_no_line(
    path: str, category: str, format_: Format, parsed: dict[str, ParsedList]
) -> None:
    """Lines counted another way: what is no comment is a name, an address, or reported."""
    lines = [line.strip() for line in (LISTS / path).read_bytes().splitlines()]
    content = [line for line in lines if line and line[:1] not in (b"#", b"!")]
    report = parsed[category].report
    counted = report.names + report.exclusions + report.networks + report.addresses
    counted += report.not_understood
    # One hosts line of these has a second word that is no name: its name and its fault both count.
    assert counted - len(content) in (0, 1)


@pytest.mark.parametrize(("path", "category", "format_"), PUBLISHED)
def test_published_names_are_all_found(
    path: str,
    category: str,
    format_: Format,
    parsed: dict[str, ParsedList],
    index: MappedIndex,
) -> None:
    mask = BY_ID[category].mask
    assert [n for n in parsed[category].names if not index.mask(n) & mask] == []


def test_published_lists_do_not_catch_names_with_the_same_ending(
    parsed: dict[str, ParsedList], index: MappedIndex
) -> None:
    """A letter put in front of a listed name makes another name."""
    listed = {name for p in parsed.values() for name in p.names}
    others = ["zz" + name for name in parsed["gambling"].names if name.count(".") == 1]
    assert [n for n in others if n not in listed and index.mask(n)] == []
