import pytest

from gate_appliance.library import Library, check_list
from gate_appliance.lists.formats import ListError
from gate_core.categories import BY_ID, mask_of


@pytest.fixture
def library(tmp_path):
    (tmp_path / "compiled").mkdir()
    return Library(tmp_path / "school", tmp_path / "compiled")


def list_of(tmp_path, text):
    path = tmp_path / "list"
    path.write_text(text)
    return path


def test_compile_knows_the_starter_lists(library):
    lists = library.compile()
    assert lists.index.mask("www.bet365.com") == mask_of(["gambling"])
    assert lists.names > 1000
    assert lists.faults == ()


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
    library.add("mine", "school-blocked", list_of(tmp_path, "old.example\n"))
    library.add("mine", "school-blocked", list_of(tmp_path, "new.example\n"))
    index = library.compile().index
    assert index.mask("www.new.example") == mask_of(["school-blocked"])
    assert index.mask("old.example") == 0


def test_add_into_the_illegal_tier_is_possible_and_a_starter_list_is_not(library, tmp_path):
    library.add("licensed", "child-abuse", list_of(tmp_path, "abuse.example\n"))
    assert library.compile().index.mask("abuse.example") == BY_ID["child-abuse"].mask


@pytest.mark.parametrize(
    ("name", "category", "part"),
    [("../x", "games", "a list is called by"), ("x", "gmaes", "is no category")],
)
def test_add_refuses_what_would_lie_elsewhere(library, tmp_path, name, category, part):
    with pytest.raises(ListError, match=part):
        library.add(name, category, list_of(tmp_path, "a.example\n"))
    assert not (tmp_path / "school").exists()


def test_compile_says_which_list_of_the_school_can_t_be_read_and_uses_the_rest(library, tmp_path):
    library.add("good", "games", list_of(tmp_path, "good.example\n"))
    (tmp_path / "school" / "games" / "bad").write_text("<html></html>")
    lists = library.compile()
    assert lists.index.mask("good.example")
    (fault,) = lists.faults
    assert "“bad”" in fault
    assert "HTML" in fault


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
    library.add("police", "terrorism", source)
    source.write_text("a.example\nb.example\nc.example\n")
    library.add("police", "terrorism", source)
    source.write_text("a.example\nc.example\n")
    with pytest.raises(ListError, match=r"can only grow: 1 names .* such as 'b\.example'"):
        library.add("police", "terrorism", source)
    # What is not illegal, the school may take back.
    library.add("mine", "games", source)
    source.write_text("c.example\n")
    library.add("mine", "games", source)
