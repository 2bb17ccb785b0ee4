"""Those who follow, with a leader played by the test; the real one is in ``tests/lab/test_workers.py``."""

import socket
import struct
import threading
from contextlib import closing

import pytest

from gate_appliance.private_socket import open_private
from gate_core.acceptable_use import ROWS, SHIPPED_CELLS
from gate_core.clients import Group
from gate_core.policy import Policy
from gate_core.snapshot import NO_LISTS
from gate_firewall.epochs import Follower

MESSAGE = struct.Struct("!BI")


def build_policy(version):
    groups = {"ks2": Group("ks2", "Pupils", 2, SHIPPED_CELLS["ks2"])}
    return Policy(version=version, groups=groups, rows=ROWS, unknown_group="ks2", index=NO_LISTS)


@pytest.fixture
def leader(short_path):
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as leader:
        leader.bind(str(short_path / "epochs-1.sock"))
        leader.settimeout(5)
        yield leader


@pytest.fixture
def tell(short_path, leader):
    def tell(octets):
        leader.sendto(octets, str(short_path / "epochs-2.sock"))

    return tell


@pytest.fixture
def follower(short_path, leader, tell):
    made = []
    with closing(open_private(short_path / "epochs-2.sock")) as private:
        wait = threading.Thread(
            target=lambda: made.append(Follower(private, short_path / "epochs-1.sock"))
        )
        wait.start()
        assert leader.recv(64) == MESSAGE.pack(0, 0)  # asks for the epoch, and goes nowhere without
        assert made == []
        tell(MESSAGE.pack(7, 3))
        wait.join(5)
        yield made[0]


class Taken(list):
    def __call__(self, policy, number):
        self.append((policy.version, number))


def test_follower_begins_in_the_epoch_of_its_leader(follower):
    assert follower.number == 7


def test_hear_takes_the_newest_policy_before_it_answers(follower, leader, tell):
    taken = Taken()
    tell(MESSAGE.pack(8, 4))
    follower.hear(lambda: build_policy(5), taken)

    assert taken == [(5, 8)]
    assert leader.recv(64) in {MESSAGE.pack(0, 0), MESSAGE.pack(8, 4)}


def test_hear_of_the_same_epoch_answers_alone(follower, leader, tell):
    taken = Taken()
    tell(MESSAGE.pack(7, 9))
    follower.hear(lambda: pytest.fail("no policy is needed"), taken)

    assert taken == []
    answers = [leader.recv(64)]
    while answers[-1] == MESSAGE.pack(0, 0):
        answers.append(leader.recv(64))
    assert answers[-1] == MESSAGE.pack(7, 9)


@pytest.mark.parametrize("octets", [b"", b"\x09", MESSAGE.pack(0, 5), MESSAGE.pack(9, 5)[:4]])
def test_hear_passes_over_what_is_no_message(follower, tell, octets):
    taken = Taken()
    tell(octets)
    follower.hear(lambda: build_policy(5), taken)

    assert (taken, follower.number) == ([], 7)


def test_hear_of_two_epochs_takes_the_newer(follower, tell):
    taken = Taken()
    tell(MESSAGE.pack(8, 4))
    tell(MESSAGE.pack(9, 5))
    follower.hear(lambda: build_policy(6), taken)

    assert taken == [(6, 9)]
