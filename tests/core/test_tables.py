import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_core.tables import key, raises, read, text, whole


@dataclass(frozen=True, slots=True)
class Leaf:
    number: int = key(check=whole(1, 9, "number of a leaf"))
    word: Literal["a", "b"] = key("a")


@dataclass(frozen=True, slots=True)
class Tree:
    title: str = key("", text(5, 0))
    tall: bool = key(False)
    names: tuple[str, ...] = key((), raises(int))
    leaf: Leaf = key(Leaf(1))
    leaves: Mapping[str, Leaf] = key({}, text(3))
    notes: Mapping[str, str] = key({})
    lists: Mapping[str, tuple[str, ...]] = key({})


def read_tree(table, where=""):
    faults = []
    return read(Tree, table, where, faults), faults


def test_read_takes_defaults_for_what_is_not_there():
    assert read_tree({}) == (Tree(), [])
    assert read_tree({"leaves": {"x": {"number": 2}}})[0].leaves == {"x": Leaf(2, "a")}


def test_read_of_every_kind_of_value():
    found, faults = read_tree(
        {
            "title": "oak",
            "tall": True,
            "names": ["1", "2"],
            "leaf": {"number": 3, "word": "b"},
            "notes": {"x": "y"},
            "lists": {"x": ["y"]},
        }
    )
    assert faults == []
    assert found == Tree("oak", True, ("1", "2"), Leaf(3, "b"), {}, {"x": "y"}, {"x": ("y",)})


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"titel": 1}, "titel: unknown key; allowed are title, tall, names, leaf, leaves, notes, lists"),
        ({"title": 1}, "title: 1 is not a text"),
        ({"title": "sequoia"}, "title: 'sequoia' is not 0 to 5 printable characters"),
        ({"title": "a\n"}, r"title: 'a\n' is not 0 to 5 printable characters"),
        ({"tall": 1}, "tall: 1 is not true or false"),
        ({"names": "1"}, "names: '1' is not a list of texts"),
        ({"names": [1]}, "names: [1] is not a list of texts"),
        ({"names": ["1", "x"]}, "names: ['1', 'x'] is refused: invalid literal for int() with base 10: 'x'"),
        ({"leaf": 1}, "leaf: 1 is not a table"),
        ({"leaf": {}}, "leaf.number: is missing"),
        ({"leaf": {"number": 10}}, "leaf.number: 10 is not a number of a leaf from 1 to 9"),
        ({"leaf": {"number": True}}, "leaf.number: True is not a whole number"),
        ({"leaf": {"number": 1, "word": "c"}}, "leaf.word: 'c' is none of a, b"),
        ({"leaf": {"number": 1, "word": ["a"]}}, "leaf.word: ['a'] is none of a, b"),
        ({"leaves": []}, "leaves: [] is not a table"),
        ({"leaves": {"four": {"number": 1}}}, "leaves.four: 'four' is not 1 to 3 printable characters"),
        ({"leaves": {"": {"number": 1}}}, "leaves.\"\": '' is not 1 to 3 printable characters"),
        ({"leaves": {"a b": {}}}, 'leaves."a b".number: is missing'),
        ({"notes": {"x": 1}}, "notes.x: 1 is not a text"),
        ({"lists": {"x": "y"}}, "lists.x: 'y' is not a list of texts"),
    ],
)  # fmt: skip
def test_read_names_place_value_and_what_is_allowed(table, fault):
    assert read_tree(table)[1] == [fault]
    assert read_tree(table, "here")[1] == [f"here.{fault}"]


def test_read_reports_all_faults_and_keeps_what_has_none():
    found, faults = read_tree(
        {"title": 1, "tall": True, "leaves": {"a": {"number": 0}, "b": {"number": 1}}, "x": 1}
    )
    assert [fault.partition(":")[0] for fault in faults] == ["title", "leaves.a.number", "x"]
    assert found == Tree(tall=True, leaves={"b": Leaf(1)})


def test_read_cuts_and_escapes_what_it_shows():
    _, (long, broken) = read_tree({"title": "x" * 5000, "leaves": {"a\nb\ud800": {"number": 1}}})
    assert len(long) < 200
    assert broken.startswith(r'leaves."a\nb\ud800": ')


def test_read_of_tables_in_tables_without_end_is_a_fault():
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert read_tree({"title": deep})[1] == [
        "title: a value of too many tables in tables is not a text"
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["number", "word", "x"]) | st.text(max_size=4), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*Tree.__dataclass_fields__, "x"]), JSON))
@settings(deadline=None)
def test_read_of_any_tables_is_a_value_or_faults(table):
    found, faults = read_tree(table)
    assert all(fault.isprintable() and ": " in fault for fault in faults)
    if not faults:
        assert read_tree(json.loads(json.dumps(table)))[0] == found
