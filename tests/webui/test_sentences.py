"""What the core says, in Welsh."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gate_webui.sentences import said, said_in


@pytest.mark.parametrize(
    ("text", "welsh"),
    [
        ("The time is known.", "Mae'r amser yn hysbys."),
        ("'jo' is no account", "nid yw 'jo' yn gyfrif"),
        # The longer of two patterns that fit.
        ("'jo' is no account that may be used", "nid yw 'jo' yn gyfrif y caniateir ei ddefnyddio"),
        # A value that is a text of the core itself.
        (
            "Blocked by the acceptable-use table: “Online gambling” for Year 5.",
            "Rhwystrwyd gan y tabl defnydd derbyniol: “Gamblo ar-lein” ar gyfer Year 5.",
        ),
        ("1,062,937 names are on the lists.", "Mae 1,062,937 o enwau ar y rhestrau."),
        # A value of several lines, and one with braces.
        ("{0}\n{x} is no account", "nid yw {0}\n{x} yn gyfrif"),
        ("changed the policy", "newidiodd y polisi"),
    ],
)
def test_said_in_welsh(text: str, welsh: str):
    assert said_in("cy", text) == welsh
    assert said_in("en", text) == text


@pytest.mark.parametrize("text", ["", "games.example", "Something nobody has ever said here."])
def test_what_nobody_has_translated_is_shown_as_it_was_said(text: str):
    assert said_in("cy", text) == text


def test_said_outside_of_a_request_is_english():
    assert said("The time is known.") == "The time is known."


@given(st.text())
def test_any_text_is_said(text: str):
    said_in("cy", text)


def test_pages_have_the_sentences_in_the_language_of_the_person(coordinator, full_desk):
    coordinator.post("/language", {"language": "cy"}, page="/")
    page = coordinator.get("/").text.replace("&#39;", "'")
    assert "Mae'r amser yn hysbys." in page
    assert "The time is known." not in page
    assert "Newidiodd y polisi" in coordinator.get("/record").text
    answer = coordinator.get("/why?name=www.games.example&client=ks2").text
    assert "gan y tabl defnydd derbyniol" in answer
