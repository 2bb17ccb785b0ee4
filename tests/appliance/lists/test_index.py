import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_appliance.lists.compile import Compiled, Source, compile_lists
from gate_appliance.lists.formats import ListError
from gate_appliance.lists.index import HEADER_OCTETS, key_of, open_index, parse_header
from gate_core.categories import BY_ID

GAMES = BY_ID["games"].mask


@pytest.fixture
def compiled(tmp_path: Path) -> Compiled:
    return compile_lists([Source("games", ("example.com", "one.two.example.org"))], tmp_path)


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        pytest.param("example.com", True, id="the name"),
        pytest.param("www.example.com", True, id="below it"),
        pytest.param("a.b.c.d.example.com", True, id="far below it"),
        pytest.param("notexample.com", False, id="same ending, other label"),
        pytest.param("examplesite.com", False, id="same beginning, other label"),
        pytest.param("example.com.test", False, id="as labels of another name"),
        pytest.param("example.co", False, id="cut short"),
        pytest.param("com", False, id="above it"),
        pytest.param("two.example.org", False, id="above a longer one"),
        pytest.param("", False, id="the root"),
        pytest.param("evil\\046example.com", False, id="a dot within a label"),
        pytest.param("x" * 300, False, id="longer than a name"),
    ],
)
def test_mask_matches_on_label_borders(compiled: Compiled, name: str, *, listed: bool) -> None:
    assert open_index(compiled.path, compiled.sha256).mask(name) == (GAMES if listed else 0)


def test_mask_is_the_union_over_the_names_above(tmp_path: Path) -> None:
    compiled = compile_lists(
        [Source("video", ("example.com",)), Source("games", ("play.example.com",))], tmp_path
    )
    index = open_index(compiled.path, compiled.sha256)
    assert index.mask("www.play.example.com") == GAMES | BY_ID["video"].mask
    assert index.mask("www.example.com") == BY_ID["video"].mask


def test_key_of_turns_labels_round() -> None:
    assert key_of("www.example.org") == "org.example.www."


def test_open_index_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="no compiled lists at"):
        open_index(tmp_path / "none.lists", None)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        pytest.param(0, "is empty", id="empty"),
        pytest.param(10, "not compiled lists", id="within the first line"),
        pytest.param(HEADER_OCTETS, "cut short", id="after the first line"),
        pytest.param(-1, "cut short", id="last octet"),
    ],
)
def test_open_index_refuses_a_file_cut_short(compiled: Compiled, cut: int, message: str) -> None:
    compiled.path.write_bytes(compiled.path.read_bytes()[:cut])
    with pytest.raises(ListError, match=message):
        open_index(compiled.path, compiled.sha256)


def test_open_index_refuses_a_file_too_long(compiled: Compiled) -> None:
    with compiled.path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ListError, match="cut short or too long"):
        open_index(compiled.path, compiled.sha256)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b"schoolgate-lists 2", b"schoolgate-lists 1", "another format", id="format"),
        pytest.param(b"schoolgate", b"schoolgoat", "not compiled lists", id="magic"),
        pytest.param(b" 2 1 ", b" 2 3 ", "another width", id="width"),
        pytest.param(b" 2 1 ", b" -2 1 ", "not compiled lists|five numbers", id="negative"),
        pytest.param(b" 2 1 ", b" 3 1 ", "SHA-256", id="number of keys"),
    ],
)
def test_open_index_refuses_another_first_line(
    compiled: Compiled, old: bytes, new: bytes, message: str
) -> None:
    octets = compiled.path.read_bytes()
    assert old in octets[:HEADER_OCTETS]
    compiled.path.write_bytes(octets.replace(old, new, 1))
    with pytest.raises(ListError, match=message):
        open_index(compiled.path, compiled.sha256)


def test_open_index_refuses_a_changed_octet_anywhere(compiled: Compiled) -> None:
    octets = compiled.path.read_bytes()
    for place in range(0, len(octets), 97):
        compiled.path.write_bytes(
            octets[:place] + bytes((octets[place] ^ 1,)) + octets[place + 1 :]
        )
        with pytest.raises(ListError):
            open_index(compiled.path, compiled.sha256)


def test_open_index_refuses_what_is_no_trie(compiled: Compiled) -> None:
    octets = compiled.path.read_bytes()
    trie_at = parse_header(octets).trie_at
    octets = octets[:trie_at] + bytes(len(octets) - trie_at)
    compiled.path.write_bytes(octets)
    with pytest.raises(ListError, match="damaged"):
        open_index(compiled.path, hashlib.sha256(octets).hexdigest())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda b: b"schoolgate-lists 2 " + b))
def test_parse_header_gives_a_header_or_a_list_error_for_any_octets(octets: bytes) -> None:
    try:
        header = parse_header(octets)
    except ListError:
        return
    assert header.size_octets >= HEADER_OCTETS
