"""The floor of Python: accepts every packet that the binding hands out, and reads none."""

from __future__ import annotations

from netfilterqueue import NetfilterQueue, Packet

from bench_firewall.rules import ACCEPTED, BARE, KEPT, QUEUE


def _take(packet: Packet) -> None:
    mark = packet.get_mark() & KEPT
    if packet.get_payload_len() > BARE:
        mark |= ACCEPTED
    packet.set_mark(mark)
    packet.accept()


def main() -> None:
    """Accept until a signal ends it."""
    queue = NetfilterQueue()
    queue.bind(QUEUE, _take, max_len=4096)
    queue.run()


if __name__ == "__main__":
    main()
