import shutil
from ipaddress import ip_address

import pytest

from gate_appliance.library import Library, check_list, vouched_lists, vouching
from gate_appliance.lists.formats import ListError
from gate_appliance.store import Change, Store
from gate_core.categories import BY_ID, mask_of


@pytest.fixture
def library(tmp_path):
    (tmp_path / "compiled").mkdir()
    return Library(tmp_path / "school", tmp_path / "compiled")


def list_of(tmp_path, text):
    path = tmp_path / "list"
    path.write_text(text)
    return path


def add(library, name, category, path):
    """Put a list into ``category``, as the steward does; return its SHA-256."""
    staged = library.stage(name, category, path)
    library.put(staged)
    return staged.sha256


def test_compile_knows_the_starter_lists(library):
    lists = library.compile()
    assert lists.index.mask("www.bet365.com") == mask_of(["gambling"])
    assert lists.names > 1000
    assert lists.faults == ()


def test_compile_counts_the_names_of_each_list_of_the_school(library, tmp_path):
    add(library, "mine", "games", list_of(tmp_path, "a.example\nb.example\n192.0.2.66\n"))
    (tmp_path / "school" / "games" / "broken").write_text("<html>")
    expected = {("games", "mine"): 3, ("games", "broken"): 0}
    # Compiled, and found again.
    assert library.compile().counts == library.compile().counts == expected


def test_compile_takes_what_lies_there_where_nothing_changed(library, tmp_path):
    first = library.compile()
    made = (tmp_path / "compiled" / f"{first.sha256}.lists").stat().st_mtime_ns
    assert library.compile().sha256 == first.sha256
    assert (tmp_path / "compiled" / f"{first.sha256}.lists").stat().st_mtime_ns == made


@pytest.mark.parametrize("damage", [b"", b"damaged"])
def test_compile_makes_a_damaged_file_anew(library, tmp_path, damage):
    first = library.compile()
    (tmp_path / "compiled" / f"{first.sha256}.lists").write_bytes(damage)
    assert library.compile().index.mask("www.bet365.com")


def test_add_puts_a_list_into_its_category_and_replaces_it(library, tmp_path):
    add(library, "mine", "school-blocked", list_of(tmp_path, "old.example\n"))
    add(library, "mine", "school-blocked", list_of(tmp_path, "new.example\n"))
    index = library.compile().index
    assert index.mask("www.new.example") == mask_of(["school-blocked"])
    assert index.mask("old.example") == 0


def test_add_takes_addresses_too(library, tmp_path):
    text = "bad.example\n198.51.100.0/24\n2001:db8::66\n"
    add(library, "mine", "school-blocked", list_of(tmp_path, text))
    lists = library.compile()
    assert lists.faults == ()
    for address in ("198.51.100.7", "2001:db8::66"):
        octets = ip_address(address).packed
        assert lists.index.address_mask(octets) == mask_of(["school-blocked"])
    assert lists.index.address_mask(ip_address("198.51.101.7").packed) == 0


def test_list_that_is_taken_back_leaves_no_address(library, tmp_path):
    add(library, "mine", "games", list_of(tmp_path, "198.51.100.7\n"))
    lines = ["a.example"] + ["no name"] * 9
    (tmp_path / "school" / "games" / "bad").write_text("198.51.100.8\n" + "\n".join(lines))
    lists = library.compile()
    assert len(lists.faults) == 1
    assert lists.index.address_mask(bytes((198, 51, 100, 7)))
    assert not lists.index.address_mask(bytes((198, 51, 100, 8)))


def test_add_into_the_illegal_tier_is_possible_and_a_starter_list_is_not(library, tmp_path):
    add(library, "licensed", "child-abuse", list_of(tmp_path, "abuse.example\n"))
    assert library.compile().index.mask("abuse.example") == BY_ID["child-abuse"].mask


@pytest.mark.parametrize(
    ("name", "category", "part"),
    [("../x", "games", "a list is called by"), ("x", "gmaes", "is no category")],
)
def test_add_refuses_what_would_lie_elsewhere(library, tmp_path, name, category, part):
    with pytest.raises(ListError, match=part):
        add(library, name, category, list_of(tmp_path, "a.example\n"))
    assert not (tmp_path / "school").exists()


def test_compile_says_which_list_of_the_school_can_t_be_read_and_uses_the_rest(library, tmp_path):
    add(library, "good", "games", list_of(tmp_path, "good.example\n"))
    (tmp_path / "school" / "games" / "bad").write_text("<html></html>")
    lists = library.compile()
    assert lists.index.mask("good.example")
    (fault,) = lists.faults
    assert "“bad”" in fault
    assert "HTML" in fault


def test_check_list_tells_how_many_addresses_count(tmp_path):
    (line,) = check_list(list_of(tmp_path, "a.example\n192.0.2.0/24\n2001:db8::1\n"))
    assert "1 names, 2 addresses and networks, 0 exclusions, 0 addresses left out" in line


def test_check_list_tells_what_was_not_understood(tmp_path):
    lines = list(check_list(list_of(tmp_path, "a.example\nb c d\nc.example\n")))
    assert "2 names" in lines[0]
    assert "line 2" in lines[1]


def test_name_sets_are_there_and_do_not_contradict(library):
    assert library.canaries.match("use-application-dns.net")
    for rule in library.protected.rules | library.essential.rules:
        assert not library.canaries.match(rule.removeprefix("=")), rule


def test_list_of_illegal_content_can_grow_and_not_shrink(tmp_path):
    library = Library(tmp_path / "lists", tmp_path / "compiled")
    source = tmp_path / "source"
    source.write_text("a.example\nb.example\n")
    add(library, "police", "terrorism", source)
    source.write_text("a.example\nb.example\nc.example\n")
    add(library, "police", "terrorism", source)
    source.write_text("a.example\nc.example\n")
    with pytest.raises(ListError, match=r"can only grow: 1 names .* such as 'b\.example'"):
        add(library, "police", "terrorism", source)
    # Addresses likewise.
    source.write_text("a.example\nb.example\nc.example\n192.0.2.66\n")
    add(library, "police", "terrorism", source)
    source.write_text("a.example\nb.example\nc.example\n")
    with pytest.raises(ListError, match=r"such as '192\.0\.2\.66/32'"):
        add(library, "police", "terrorism", source)
    # What is not illegal, the school may take back.
    add(library, "mine", "games", source)
    source.write_text("c.example\n")
    add(library, "mine", "games", source)


# Lists of illegal content, and who edits their files


@pytest.fixture
def again(tmp_path):
    """Add a list of illegal content; return what a library says at its next start."""
    library = Library(tmp_path / "lists", tmp_path / "compiled")
    (tmp_path / "compiled").mkdir()
    sha256 = add(library, "police", "terrorism", list_of(tmp_path, "a.example\nb.example\n"))
    assert library.compile().faults == ()

    def start():
        vouched = {("terrorism", "police"): sha256}
        return Library(tmp_path / "lists", tmp_path / "compiled", vouched).compile()

    return start


def blocked(lists, *names):
    return all(lists.index.mask(name) == BY_ID["terrorism"].mask for name in names)


EDITS = pytest.mark.parametrize(
    "edit",
    [
        lambda path: path.unlink(),
        lambda path: path.write_text("a.example\n"),
        lambda path: path.write_text("<html></html>"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["deleted", "shortened", "no list", "emptied"],
)


@EDITS
def test_list_of_illegal_content_that_somebody_changed_is_put_back(again, tmp_path, edit):
    listed = tmp_path / "lists" / "terrorism" / "police"
    edit(listed)
    lists = again()
    assert blocked(lists, "a.example", "b.example")
    assert lists.faults == (
        "The list “police” of illegal content was changed or removed in the box's files; it has been put back.",
    )
    assert listed.read_text() == "a.example\nb.example\n"
    assert again().faults == ()


@EDITS
def test_copy_of_a_list_of_illegal_content_is_made_anew(again, tmp_path, edit):
    copy = tmp_path / "lists" / ".kept" / "terrorism" / "police"
    edit(copy)
    lists = again()
    assert blocked(lists, "a.example", "b.example")
    assert lists.faults == ()
    assert copy.read_text() == "a.example\nb.example\n"


def test_folder_of_the_lists_put_back_from_the_copies(again, tmp_path):
    shutil.rmtree(tmp_path / "lists" / "terrorism")
    assert blocked(again(), "a.example", "b.example")


def test_where_file_and_copy_are_both_changed_both_count_and_it_is_told(again, tmp_path):
    for folder, name in (("terrorism", "a"), (".kept/terrorism", "b")):
        (tmp_path / "lists" / folder / "police").write_text(f"{name}.example\n")
    for _ in range(2):
        lists = again()
        assert blocked(lists, "a.example", "b.example")
        (fault,) = lists.faults
        assert "“police” of illegal content (terrorism) is not the one that the record" in fault


def test_where_file_and_copy_are_both_gone_it_is_told(again, tmp_path):
    shutil.rmtree(tmp_path / "lists")
    (fault,) = again().faults
    assert "it has to be added again" in fault


def test_copy_counts_where_the_record_is_lost(again, tmp_path):
    (tmp_path / "lists" / "terrorism" / "police").write_text("a.example\n")
    lists = Library(tmp_path / "lists", tmp_path / "compiled").compile()
    assert blocked(lists, "a.example", "b.example")


def test_list_that_replaces_one_of_illegal_content_has_all_of_its_copy(again, tmp_path):
    (tmp_path / "lists" / "terrorism" / "police").unlink()
    library = Library(tmp_path / "lists", tmp_path / "compiled")
    with pytest.raises(ListError, match="can only grow"):
        add(library, "police", "terrorism", list_of(tmp_path, "a.example\n"))


def test_what_was_put_back_is_told_until_the_next_start(tmp_path):
    (tmp_path / "compiled").mkdir()
    library = Library(tmp_path / "lists", tmp_path / "compiled")
    add(library, "police", "terrorism", list_of(tmp_path, "a.example\n"))
    (tmp_path / "lists" / "terrorism" / "police").unlink()
    add(library, "mine", "games", list_of(tmp_path, "b.example\n"))
    assert len(library.compile().faults) == 1
    assert len(library.compile().faults) == 1


def test_list_that_is_not_of_illegal_content_has_no_copy(library, tmp_path):
    add(library, "mine", "games", list_of(tmp_path, "a.example\n"))
    assert not (tmp_path / "school" / ".kept").exists()


def test_vouched_lists_are_the_newest_of_illegal_content_in_the_record(tmp_path):
    store = Store(tmp_path / "policy.db")
    for action, subject, after in (
        ("added a list", "one to terrorism", vouching("f", "0" * 64)),
        ("added a list", "one to terrorism", vouching("f, SHA-256 x", "1" * 64)),
        ("is adding a list", "one to terrorism", vouching("f", "2" * 64)),
        ("added a list", "two to child-abuse", vouching("f", "3" * 64)),
        ("added a list", "three to games", vouching("f", "4" * 64)),
        ("added a list", "../x to terrorism", vouching("f", "5" * 64)),
        ("added a list", "four to terrorism", "f"),
    ):
        with store.noting(Change("it", "it", action, subject, after=after), None):
            pass
    # While the store is open, as the steward reads it.
    assert vouched_lists(tmp_path / "policy.db") == {
        ("terrorism", "one"): "1" * 64,
        ("child-abuse", "two"): "3" * 64,
    }
    store.close()
