import json
import sys

import pytest

from gate_firewall.queues import (
    MalformedQueuesError,
    QueueState,
    QueueWatch,
    UnjudgedWatch,
    parse_queues,
)

# As Linux 6.18 prints it; all but the counts of drops.
LISTING = """\
    7  31245     3 2  4096     5     2      812  1
   12 -41234     0 2  4096     0     0        0  1
"""


@pytest.fixture
def listing(tmp_path):
    path = tmp_path / "nfnetlink_queue"
    path.write_text(LISTING)
    return path


def test_parse_queues_names_the_columns():
    assert parse_queues(LISTING) == (QueueState(7, 3, 5, 2, 812), QueueState(12, 0, 0, 0, 0))
    assert parse_queues("") == ()


@pytest.mark.parametrize("line", ["7 1 2", "1 2 3 4 5 6 7 8 9 10", "a b c d e f g h i", "\n"])
def test_parse_queues_says_what_it_could_not_read(line):
    with pytest.raises(MalformedQueuesError, match="9 numbers are allowed"):
        parse_queues(f"{line}\n")


def test_unjudged_watch_counts_what_is_known_and_logs_what_is_new(caplog):
    readings = iter([7, OSError("no rules"), 9, 9])

    def read():
        reading = next(readings)
        if isinstance(reading, OSError):
            raise reading
        return reading

    watch = UnjudgedWatch(read)
    assert watch.counts() == {}
    for packets in (7, 7, 9, 9):
        watch.look()
        assert watch.counts() == {"passed_unjudged": {"packets": packets}}
    assert [record.getMessage() for record in caplog.records] == [
        "action=count-unjudged fault=no rules",
        "packets passed unjudged count=2",
    ]


def test_watch_counts_our_queues_alone(listing):
    assert QueueWatch([7, 8], listing).counts(0.0) == {
        "queue_waiting": {"7": 3},
        "queue_packets": {"7": 812},
        "queue_dropped_full": {"7": 5},
        "queue_dropped_unread": {"7": 2},
    }


def test_watch_logs_what_was_dropped_since_once_a_minute(listing, caplog):
    watch = QueueWatch([7], listing)
    for now_s, full in ((0.0, 5), (1.0, 6), (2.0, 16), (61.0, 16), (200.0, 16)):
        listing.write_text(f"7 1 0 2 4096 {full} 2 900 1\n")
        watch.counts(now_s)
    assert [r.getMessage() for r in caplog.records] == [
        "packets dropped unjudged full=5 unread=2",
        "packets dropped unjudged full=11 unread=0",
    ]


def test_watch_counts_on_where_the_kernel_begins_anew(listing, caplog):
    watch = QueueWatch([7], listing)
    listing.write_text(f"7 1 0 2 4096 {2**32 - 1} 0 900 1\n")
    watch.counts(0.0)
    listing.write_text("7 1 0 2 4096 3 0 900 1\n")
    watch.counts(100.0)
    assert caplog.records[-1].getMessage() == "packets dropped unjudged full=4 unread=0"


# Nobody takes the packets of a queue that has room for two.
OVERFLOW = """
import json, socket
from netfilterqueue import NetfilterQueue
from gate_firewall.queues import QueueWatch
queue = NetfilterQueue()
queue.bind(7, lambda packet: None, max_len=2)
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
    for _ in range(5):
        try:
            datagrams.sendto(b"x", ("127.0.0.1", 9))
        except PermissionError:
            pass
print(json.dumps(QueueWatch([7]).counts(0.0)))
"""


@pytest.mark.netns
def test_the_kernel_lists_what_a_full_queue_dropped(empty_host):
    empty_host.ip("link set lo up")
    rule = "-A OUTPUT -p udp --dport 9 -j NFQUEUE --queue-num 7"
    empty_host.run("iptables-nft", *rule.split())
    assert json.loads(empty_host.run(sys.executable, "-c", OVERFLOW).stdout) == {
        "queue_waiting": {"7": 2},
        "queue_packets": {"7": 2},
        "queue_dropped_full": {"7": 3},
        "queue_dropped_unread": {"7": 0},
    }
