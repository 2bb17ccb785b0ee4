"""nftables itself judges the rules."""

import sys

import pytest

from gate_firewall.ruleset import Epoch, Handoff, RulesetConfig, build, build_epoch, build_removal

pytestmark = pytest.mark.netns

EPOCH = Epoch(7, "policy 3 until changed", frozenset({"00:00:5e:00:53:20"}))
LOAD = """
from gate_firewall import apply
from gate_firewall.ruleset import Epoch, Handoff, RulesetConfig
config = RulesetConfig(Handoff.IPTABLES)
print(apply.read_epoch())
for number in (7, 8):
    apply.load(config, Epoch(number, "policy 3 until changed", frozenset({"00:00:5e:00:53:20"})))
print(apply.read_epoch())
apply.load_epoch(Epoch(9, "policy 4 until changed"))
print(apply.read_epoch())
apply.unload(Handoff.IPTABLES)
print(apply.read_epoch())
"""


def nft(host, text, *options):
    return host.run("nft", *options, "-f", "-", input=text, check=False)


def test_build_is_accepted_by_nftables(empty_host):
    done = nft(empty_host, build(RulesetConfig(Handoff.IPTABLES), EPOCH), "-c")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("workers", [1, 4])
def test_build_with_queue_is_accepted_by_nftables(empty_host, workers):
    done = nft(empty_host, build(RulesetConfig(Handoff.NFT, workers=workers), EPOCH), "-c")

    # A kernel without CONFIG_NFT_QUEUE knows no such expression; all else it must accept.
    faults = [line.split("Error: ")[1] for line in done.stderr.splitlines() if "Error: " in line]
    lines = [line.strip() for line in done.stderr.splitlines() if "queue" in line]
    assert len(faults) == len(lines)
    assert set(faults) <= {"Could not process rule: No such file or directory"}


def test_build_epoch_is_accepted_on_top(empty_host):
    rules = build(RulesetConfig(Handoff.IPTABLES), EPOCH)
    done = nft(
        empty_host, rules + build_epoch(Epoch(8, "policy 4 until changed")) + build_removal(), "-c"
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_load_replaces_what_is_there_and_unload_leaves_nothing(empty_host):
    done = empty_host.run(sys.executable, "-c", LOAD)
    rules = empty_host.run("nft", "list", "ruleset").stdout

    assert done.stdout.splitlines() == [
        "None",
        "KernelEpoch(number=8, label='policy 3 until changed')",
        "KernelEpoch(number=9, label='policy 4 until changed')",
        "None",
    ]
    assert "schoolgate" not in rules
    assert "queue" not in rules


def test_load_raises_what_the_tool_says(empty_host):
    text = "from gate_firewall import apply\napply._pipe(apply._NFT, 'nonsense')"
    done = empty_host.run(sys.executable, "-c", text, check=False)

    assert "OSError: nft -f -: " in done.stderr
