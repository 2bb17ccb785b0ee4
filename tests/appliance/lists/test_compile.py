from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gate_appliance.lists.compile import Compilation, Source, compile_lists, remove_others
from gate_appliance.lists.index import MappedIndex, open_index, path_of
from gate_core.categories import BY_ID, CATEGORIES
from gate_core.names import suffixes

GAMES, GAMBLING = BY_ID["games"].mask, BY_ID["gambling"].mask


def index_of(directory: Path, *sources: Source) -> MappedIndex:
    compiled = compile_lists(sources, directory)
    return open_index(compiled.path, compiled.sha256)


def test_compile_lists_gives_a_name_the_categories_of_all_its_lists(tmp_path: Path) -> None:
    index = index_of(
        tmp_path,
        Source("games", ("poker.example", "chess.example")),
        Source("gambling", ("poker.example",)),
    )
    assert index.mask("poker.example") == GAMES | GAMBLING
    assert index.mask("chess.example") == GAMES


def test_compile_lists_names_the_file_by_its_content(tmp_path: Path) -> None:
    one = compile_lists([Source("games", ("a.example",))], tmp_path)
    same = compile_lists([Source("games", ("a.example", "a.example"))], tmp_path)
    other = compile_lists([Source("video", ("a.example",))], tmp_path)
    assert one.path == same.path == path_of(tmp_path, one.sha256)
    assert other.path != one.path
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted((one.path.name, other.path.name))


def test_compile_lists_counts(tmp_path: Path) -> None:
    compiled = compile_lists(
        [
            Source("games", ("a.example", "b.example"), ("b.example",)),
            Source("games", ("a.example",)),
            Source("video", ("c.example",)),
        ],
        tmp_path,
    )
    assert compiled.names == 2
    assert compiled.by_category == {"games": 3, "video": 1}
    assert compiled.size_octets == compiled.path.stat().st_size


def test_compile_lists_takes_no_lists_at_all(tmp_path: Path) -> None:
    index = index_of(tmp_path)
    assert index.mask("www.example.org") == 0
    assert index.keys == 0


def test_compile_lists_refuses_an_unknown_category(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'gaming' is no category; allowed are .*games"):
        compile_lists([Source("gaming", ("a.example",))], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_compile_lists_takes_more_combinations_than_an_octet_counts(tmp_path: Path) -> None:
    """Place in the palette: two octets from the 257th combination of categories on."""
    ids = [category.id for category in CATEGORIES][:9]
    sources = [
        Source(id_, [f"n{n}.example" for n in range(1, 400) if n >> bit & 1])
        for bit, id_ in enumerate(ids)
    ]
    index = index_of(tmp_path, *sources)
    for n in range(1, 400):
        expected = sum(BY_ID[id_].mask for bit, id_ in enumerate(ids) if n >> bit & 1)
        assert index.mask(f"n{n}.example") == expected


def test_compile_lists_lets_an_exclusion_win_within_its_list(tmp_path: Path) -> None:
    index = index_of(
        tmp_path,
        Source("games", ("play.example", "old.maths.play.example"), ("maths.play.example",)),
        Source("gambling", ("play.example",)),
    )
    assert index.mask("www.play.example") == GAMES | GAMBLING
    assert index.mask("maths.play.example") == GAMBLING
    assert index.mask("www.maths.play.example") == GAMBLING
    assert index.mask("old.maths.play.example") == GAMBLING


def test_compile_lists_binds_an_exclusion_to_its_own_list(tmp_path: Path) -> None:
    index = index_of(
        tmp_path,
        Source("games", ("play.example",), ("maths.play.example", "fun.example")),
        Source("games", ("bad.maths.play.example", "fun.example")),
    )
    assert index.mask("maths.play.example") == 0
    assert index.mask("www.bad.maths.play.example") == GAMES
    assert index.mask("fun.example") == GAMES


def test_compile_lists_leaves_the_old_file_where_the_disk_fails(tmp_path: Path) -> None:
    old = compile_lists([Source("games", ("a.example",))], tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    new = [Source("games", ("b.example",))]
    name = compile_lists(new, elsewhere).path.name
    # A folder in the place of the unfinished file stands for a disk that takes no file.
    (tmp_path / f"{name}.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        compile_lists(new, tmp_path)
    assert open_index(old.path, old.sha256).mask("a.example") == GAMES


def test_remove_others_keeps_what_is_named_and_what_is_no_list(tmp_path: Path) -> None:
    old = compile_lists([Source("games", ("a.example",))], tmp_path)
    new = compile_lists([Source("games", ("b.example",))], tmp_path)
    mapped = open_index(old.path, old.sha256)
    (tmp_path / "policy.db").touch()
    remove_others(tmp_path, {new.sha256})
    assert {p.name for p in tmp_path.iterdir()} == {new.path.name, "policy.db"}
    assert mapped.mask("a.example") == GAMES


def test_compilation_lets_the_nearest_decide_where_it_is_told_so(tmp_path: Path) -> None:
    """As response policy zones do; said of one name, listing wins over excluding."""
    with Compilation(tmp_path) as compilation:
        compilation.begin("games")
        for name in ("play.example", "old.maths.play.example", "both.example"):
            compilation.take(name)
        for name in ("maths.play.example", "both.example"):
            compilation.exclude(name)
        compilation.decide_by_nearest()
        compilation.begin("gambling")
        compilation.take("play.example")
        compilation.exclude("maths.play.example")
        compiled = compilation.finish()
    index = open_index(compiled.path, compiled.sha256)
    assert index.mask("www.play.example") == GAMES | GAMBLING
    assert index.mask("maths.play.example") == 0
    assert index.mask("www.old.maths.play.example") == GAMES
    assert index.mask("both.example") == GAMES


def test_compilation_forgets_a_list_that_is_dropped(tmp_path: Path) -> None:
    with Compilation(tmp_path) as compilation:
        compilation.begin("games")
        compilation.take("kept.example")
        compilation.begin("gambling")
        compilation.take("dropped.example")
        compilation.exclude("kept.example")
        compilation.drop()
        compilation.begin("gambling")
        compilation.take("poker.example")
        compiled = compilation.finish()
    index = open_index(compiled.path, compiled.sha256)
    assert (index.mask("kept.example"), index.mask("dropped.example")) == (GAMES, 0)
    assert index.mask("poker.example") == GAMBLING
    assert compiled.by_category == {"games": 1, "gambling": 1}
    assert [p.name for p in tmp_path.iterdir()] == [compiled.path.name]


labels = st.sampled_from(["a", "b", "ab"])
names = st.lists(labels, min_size=1, max_size=4).map(".".join)
lists = st.builds(
    Source,
    st.sampled_from(["games", "gambling"]),
    st.frozensets(names, max_size=5),
    st.frozensets(names, max_size=3),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(lists, max_size=4), st.lists(names, min_size=1, max_size=10))
def test_compile_lists_agrees_with_the_sets(
    tmp_path: Path, sources: list[Source], asked: list[str]
) -> None:
    """The definition, said with sets: a list covers a name if it holds it or a name above, and excludes none of them."""
    index = index_of(tmp_path, *sources)
    for name in asked:
        above = set(suffixes(name))
        expected = 0
        for source in sources:
            if above & set(source.names) and not above & set(source.exclusions):
                expected |= BY_ID[source.category].mask
        assert index.mask(name) == expected, name
