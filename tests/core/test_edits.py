import json
from copy import deepcopy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate_core.edits import (
    ConflictError,
    Edit,
    MalformedEditError,
    apply,
    differences,
    digest,
    new_id,
)

LEAVES = st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=3)  # fmt: skip
KEYS = st.text("abc", max_size=2)
DOCUMENTS = st.dictionaries(
    KEYS,
    st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=10),
    max_size=4,
)
DOCUMENT = {"groups": {"ks2": {"cells": {"games": "times"}, "quic": False}}, "list": ["a"]}


@given(DOCUMENTS, DOCUMENTS)
@settings(deadline=None)
def test_apply_of_the_differences_gives_the_new_document(old, new):
    kept = deepcopy(old)
    made = apply(old, differences(old, new))
    # As JSON: true is not 1.
    assert json.dumps(made, sort_keys=True) == json.dumps(new, sort_keys=True)
    assert old == kept


@given(DOCUMENTS, DOCUMENTS)
@settings(deadline=None)
def test_apply_of_the_differences_twice_is_a_conflict(old, new):
    edits = differences(old, new)
    made = apply(old, edits)
    for edit in edits:
        with pytest.raises(ConflictError):
            apply(made, [edit])


@given(DOCUMENTS)
def test_differences_of_a_document_from_itself_are_none(document):
    assert differences(document, deepcopy(document)) == ()


def test_differences_name_the_narrowest_place():
    new = deepcopy(DOCUMENT)
    new["groups"]["ks2"]["cells"]["games"] = "unacceptable"
    new["groups"]["staff"] = {"quic": True}
    del new["list"]
    assert differences(DOCUMENT, new) == (
        Edit(("groups", "ks2", "cells", "games"), '"times"', '"unacceptable"'),
        Edit(("groups", "staff"), "", '{"quic":true}'),
        Edit(("list",), '["a"]', ""),
    )


def test_differences_see_a_truth_that_becomes_a_number():
    assert differences({"a": True}, {"a": 1}) == (Edit(("a",), "true", "1"),)


@pytest.mark.parametrize(
    ("edit", "kind", "message"),
    [
        pytest.param(Edit((), "", "1"), MalformedEditError, "an edit names a place", id="no path"),
        pytest.param(
            Edit(("list", "0"), '"a"', '"b"'),
            MalformedEditError,
            "list.0: leads through a value that is no table",
            id="into a list",
        ),
        pytest.param(
            Edit(("list", "0", "x"), "", "1"),
            MalformedEditError,
            "list.0.x: leads through a value that is no table",
            id="through a list",
        ),
        pytest.param(
            Edit(("groups", "ks2", "quic", "x", "y"), "", "1"),
            MalformedEditError,
            "groups.ks2.quic.x.y: leads through a value that is no table",
            id="through a truth",
        ),
        pytest.param(
            Edit(("groups", "ks3", "quic"), "false", "true"),
            ConflictError,
            "groups.ks3.quic: there is no 'ks3' (any more)",
            id="entry that has gone",
        ),
        pytest.param(
            Edit(("groups", "ks2", "quic"), "true", "false"),
            ConflictError,
            "groups.ks2.quic: is now false, where the draft was made for true",
            id="changed since",
        ),
        pytest.param(
            Edit(("groups", "ks2"), "", '{"quic":true}'),
            ConflictError,
            'groups.ks2: is now {"cells":{"games":"times"},"quic":false}, where the draft was made'
            " for nothing",
            id="added since",
        ),
        pytest.param(
            Edit(("school",), '"St Example"', '"x"'),
            ConflictError,
            'school: is now nothing, where the draft was made for "St Example"',
            id="removed since",
        ),
        pytest.param(
            Edit(("list",), '["a"]', "[1"),
            MalformedEditError,
            "list: a value is no JSON",
            id="no JSON",
        ),
        pytest.param(
            Edit(("list",), '["a"]', "[" * 100_000),
            MalformedEditError,
            "list: a value is no JSON",
            id="too deep",
        ),
    ],
)
def test_apply_refuses_and_changes_nothing(edit, kind, message):
    kept = deepcopy(DOCUMENT)
    with pytest.raises(kind) as caught:
        apply(DOCUMENT, [Edit(("new",), "", "1"), edit])
    assert message in str(caught.value)
    assert kept == DOCUMENT


def test_apply_carries_out_one_edit_after_the_other():
    edits = [Edit(("a",), "", "{}"), Edit(("a", "b"), "", "1"), Edit(("a", "b"), "1", "2")]
    assert apply({}, edits) == {"a": {"b": 2}}


def test_edit_of_values_gives_them_back_and_none_for_no_value():
    edit = Edit.of(("a", "b"), None, {"z": [True], "a": "ü"})
    assert (edit.place, edit.before, edit.after) == ("a.b", "", '{"a":"\\u00fc","z":[true]}')
    assert edit.values() == (None, {"z": [True], "a": "ü"})


def test_new_id_comes_of_the_title_and_is_free():
    assert new_id("Summer fair, 2027!", {}) == "summer-fair-2027"
    assert new_id("Fair", {"fair": 0, "fair-3": 0}) == "fair-2"
    assert new_id("—", {}) == "entry"
    assert len(new_id("x" * 300, {})) <= 40


@given(DOCUMENTS)
def test_digest_is_blind_to_the_order_of_keys_only(document):
    backwards = dict(reversed(document.items()))
    assert digest(document) == digest(backwards)
    assert digest(document) != digest({**document, "more": 1})
