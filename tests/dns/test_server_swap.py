"""New policies while a worker is asked without a pause: no answer is lost, and none is by another policy than it may be."""

from __future__ import annotations

import socket
import threading
from datetime import timedelta

import dns.message

from gate_core.policy import Pause
from gate_core.timetable import Span

SWAPS = 40
AT_ONCE = 48
NAMES = ["allowed.example", "games.example", "missing.example"]
PAGE = "192.0.2.2"


def test_no_answer_is_lost_or_wrong_while_policies_change(worker, school, until):
    span = Span(worker.clock.at - timedelta(hours=1), worker.clock.at + timedelta(hours=1))
    pause = Pause("17", frozenset(["ks2"]), span, "button")
    done = threading.Event()

    def in_force() -> int:
        return worker.events.in_force[-1].version

    def paused(version: int) -> bool:
        return (version - school.version) % 2 == 1

    def change() -> None:
        for version in range(school.version + 1, school.version + SWAPS + 1):
            worker.policies.publish(pauses=(pause,) if paused(version) else ())
            until(lambda version=version: in_force() == version)
        done.set()

    answered, wrong, seen = 0, [], set()
    changing = threading.Thread(target=change)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", worker.port))
        changing.start()
        while not done.is_set():
            before = in_force()
            for number in range(AT_ONCE):
                client.send(dns.message.make_query(NAMES[number % 3], "A", id=number).to_wire())
            for _ in range(AT_ONCE):
                got = dns.message.from_wire(client.recv(4096))  # Raises where an answer is lost.
                name = NAMES[got.id % 3]
                blocked = [str(a) for records in got.answer for a in records] == [PAGE]
                # A policy is said to be in force before anything is answered by it.
                may_be = {paused(version) for version in range(before, in_force() + 1)}
                if blocked not in ({True} if name == "games.example" else may_be):
                    wrong.append((name, blocked, before, in_force()))
                answered += 1
                seen.add((name, blocked))
        changing.join()
    assert not wrong
    assert answered >= AT_ONCE
    assert {(name, blocked) for name in NAMES[::2] for blocked in (True, False)} <= seen
