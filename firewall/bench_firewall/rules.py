"""The firewall's bridge and rules, with whoever wants to behind the queue.

``python -m bench_firewall.rules``, in the network of a box, lays them as ``gate_firewall.service.run`` does.
"""

from __future__ import annotations

from typing import Final

from bench_firewall.network import BOX, BRIDGE, ROUTER, ROUTER_PORT, SWITCH_PORT
from gate_core.config import BridgeConfig
from gate_firewall import apply, bridge, marks
from gate_firewall.marks import Answer
from gate_firewall.ruleset import Epoch, Handoff, RulesetConfig

QUEUE: Final = RulesetConfig(Handoff.IPTABLES).closed_queues[0]
"""Where what is asked about waits."""
PACKET_RATE: Final = 1_000_000
"""One device stands for a whole school here: the limit is there, and above what it can send."""
_EPOCH: Final = Epoch(1, "bench")
_GROUP: Final = 1

KEPT: Final = marks.OTHERS | marks.FROM_ROUTER
"""Bits of a request's mark that any answer keeps."""
ACCEPTED: Final = marks.render_answer(0, Answer.ACCEPT, _EPOCH.number, _GROUP)
"""Bits of the answer that lets a flow pass."""
BARE: Final = 80
"""Octets of the longest packet without payload that begins a flow: it is let through, and its flow is left undecided as by
the firewall, so that hellos are queued too."""


def main() -> None:
    """Lay bridge and rules."""
    settings = BridgeConfig(BRIDGE, ROUTER_PORT, SWITCH_PORT, (BOX,), (ROUTER,))
    bridge.raise_bridge(settings)
    handoff = apply.choose_handoff("auto")
    apply.load(RulesetConfig(handoff, gateways=(ROUTER,), packet_rate=PACKET_RATE), _EPOCH)
    apply.enforce_sysctls(BRIDGE)
    bridge.join_ports(settings)


if __name__ == "__main__":
    main()
