import pytest

from gate_appliance.words import safe_sentence, sentence, titles
from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.categories import mask_of
from gate_core.clients import Group
from gate_core.policy import Policy, Reason
from gate_core.safesearch import SafeName
from gate_core.snapshot import NO_LISTS
from gate_firewall.ruling import Fault

POLICY = Policy(
    version=1,
    groups={"ks2": Group("ks2", "Key Stage 2", 2, SHIPPED_CELLS["ks2"])},
    rows=ROWS,
    unknown_group="ks2",
    index=NO_LISTS,
)


@pytest.mark.parametrize("reason", [*Reason, *Fault], ids=lambda r: r.value)
@pytest.mark.parametrize("action", ["allow", "block"])
def test_sentence_is_there_for_every_reason_and_names_no_rule_id(reason, action):
    row = "games:" if reason is Reason.MATRIX else ""
    text = sentence(action, reason.value, f"{reason.value}:{row}ks2", POLICY)
    assert text.endswith(".")
    assert f"{reason.value}:" not in text


def test_sentence_of_the_table_names_row_and_group():
    assert sentence("block", "matrix", "matrix:gambling:ks2", POLICY) == (
        "Blocked by the acceptable-use table: “Online gambling” for Key Stage 2."
    )


def test_sentence_of_a_group_that_is_gone_names_its_id():
    assert "for gone" in sentence("block", "matrix", "matrix:gambling:gone", POLICY)


def test_titles_are_those_of_the_mask():
    assert titles(mask_of(["games", "gambling"])) == ("Games", "Gambling")


def test_sentence_of_a_row_that_is_gone_names_its_id():
    assert "“gone”" in sentence("allow", "matrix", "matrix:gone:ks2", POLICY)


def test_sentence_of_a_tunnel_names_what_the_look_ups_are_below():
    assert "below t.example look" in sentence("block", "tunnel", "tunnel:t.example", POLICY)


def test_safe_sentence_names_engine_target_and_group():
    safe = SafeName("strict.bing.com", "safesearch:bing", "Bing")
    assert safe_sentence(safe, "ks2", POLICY) == (
        "Answered by the safe version of Bing, strict.bing.com, as the policy has it for Key Stage 2."
    )
