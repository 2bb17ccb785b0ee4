import pytest

from gate_core.categories import BY_ID, CATEGORIES, ILLEGAL_MASK, effective, in_mask, mask_of


def test_categories_fit_the_mask_and_have_places_of_their_own():
    assert [c.bit for c in CATEGORIES] == list(range(len(CATEGORIES)))
    assert len(CATEGORIES) <= 64
    assert len(BY_ID) == len(CATEGORIES)


def test_illegal_mask_is_the_four_illegal_categories():
    assert [c.id for c in in_mask(ILLEGAL_MASK)] == [
        "child-abuse",
        "grooming",
        "extreme-pornography",
        "terrorism",
    ]


def test_mask_of_names_the_allowed_categories():
    with pytest.raises(ValueError, match=r"'gmaes' is no category; allowed are .*games"):
        mask_of(["gmaes"])


def test_effective_takes_games_from_an_educational_game():
    both = mask_of(["games", "games-educational"])
    assert effective(both) == mask_of(["games-educational"])
    assert effective(mask_of(["games"])) == mask_of(["games"])


def test_effective_never_takes_the_illegal_tier():
    assert effective(ILLEGAL_MASK | mask_of(["games-educational"])) & ILLEGAL_MASK == ILLEGAL_MASK
