"""What ``make bench-firewall`` makes of what it has measured."""

import pytest

from bench_firewall.measure import Figure, Results
from bench_firewall.report import Goal, goals, last_line, parse_again_ms, table
from bench_firewall.suricata import render_hand_off, render_rules
from bench_firewall.ways import ACCEPT, EMPTY, OURS, PLAIN, SURICATA, WAYS, count


def results(**samples):
    """Return results with ``samples`` by figure, each of ways and their values."""
    made = Results()
    for figure, ways in samples.items():
        for way, values in ways.items():
            for value in values:
                made.add(way, {Figure[figure]: value})
    return made


def test_count_adds_up_what_all_queues_have_seen_and_lost():
    text = (
        "   10   5001     3 2  4016     2     1     5696  1\n"
        "   11 3938123922     0 2  4016     0     4        7  1\n"
    )
    assert count(text) == (5703, 7)


def test_count_of_none_is_nothing():
    assert count("") == (0, 0)


def test_results_are_medians():
    measured = results(BULK={OURS: [9.0, 1.0, 8.0], PLAIN: [10.0, 12.0, 2.0]})
    assert measured.get(Figure.BULK, OURS) == 8.0
    assert measured.ratio(Figure.BULK, OURS, PLAIN) == 0.8


def test_ratio_to_who_was_not_measured_is_none():
    measured = results(BULK={OURS: [9.0]})
    assert measured.ratio(Figure.BULK, OURS, PLAIN) is None
    assert measured.ratio(Figure.BULK, PLAIN, OURS) is None


@pytest.mark.parametrize(
    ("goal", "told"),
    [
        pytest.param(Goal("x", 2.5, most=2.5), "reached", id="as much as allowed"),
        pytest.param(Goal("x", 2.51, most=2.5), "NOT REACHED", id="more than allowed"),
        pytest.param(Goal("x", 0.9, least=0.9), "reached", id="as much as wanted"),
        pytest.param(Goal("x", 0.89, least=0.9), "NOT REACHED", id="less than wanted"),
        pytest.param(Goal("x", None, least=0.9), "not measured", id="unknown"),
    ],
)
def test_goal_says_how_we_stand(goal, told):
    assert str(goal).split("  x:")[0].strip() == told
    assert goal.missed is (told == "NOT REACHED")


def test_goals_compare_each_figure_with_whom_it_is_to_be_compared():
    measured = results(
        BULK={OURS: [18.0], EMPTY: [20.0], PLAIN: [40.0]},
        CPU_BUSY={OURS: [30.0], ACCEPT: [15.0]},
        CPU={OURS: [90.0], ACCEPT: [30.0]},
        CONNECTIONS={OURS: [1200.0], SURICATA: [1000.0]},
        QUEUED_TLS={OURS: [3.0]},
        QUEUED_QUIC={OURS: [2.0]},
        P50={OURS: [2.0], EMPTY: [1.75]},
    )
    values = [goal.value for goal in goals(measured, 70.0)]
    assert values == [0.9, 2.0, 3.0, 1.2, 3.0, 2.0, 0.25, 70.0]
    assert last_line(measured) == (
        "firewall: bulk 0.45 of plain bridge, hello cost 2.00 of accept loop, 1.20 of suricata"
    )


def test_last_line_says_who_was_not_measured():
    assert last_line(Results()) == (
        "firewall: bulk none of plain bridge, hello cost none of accept loop, none of suricata"
    )


def test_table_has_a_row_for_each_way():
    measured = results(P50={OURS: [2.0], EMPTY: [1.75]})
    rows = {
        line[:36].strip(): line[36:].split() for line in table(measured, list(WAYS)).split("\n")
    }
    assert rows[WAYS[OURS]][-4:] == ["2.00", "-", "0.25", "-"]
    assert rows[WAYS[PLAIN]] == ["-"] * 11


def test_parse_again_ms_finds_the_median_among_other_lines():
    told = (
        "until nft has ended                            median   21.0 ms, worst   30.2 ms\n"
        "ask again about 5000 flows                     median   70.4 ms, worst   81.0 ms\n"
    )
    assert parse_again_ms(told) == 70.4
    assert parse_again_ms("") is None


def test_render_rules_drops_names_and_lets_the_others_pass_by():
    rules = render_rules(["one.example", "two.example"]).splitlines()
    assert [rule.split(";")[1].strip() for rule in rules[:2]] == ["dotprefix"] * 2
    assert 'content:".two.example"; endswith;' in rules[1]
    assert 'content:!"one.example"; content:!"two.example"; bypass;' in rules[2]
    assert len({rule.rpartition("sid:")[2] for rule in rules}) == len(rules) == 5


def test_render_hand_off_queues_what_is_not_marked():
    lines = render_hand_off(3).splitlines()
    accepted = lines.index("-A FORWARD -m mark --mark 1/1 -j ACCEPT")
    assert lines[accepted + 1] == "-A FORWARD -j NFQUEUE --queue-balance 0:2"
