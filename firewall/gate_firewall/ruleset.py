"""Builds the rules of the kernel as text; pure, and compared with golden files.

Three tables named ``schoolgate``. In family ``bridge`` frames learn by which port they came; dropped is what is neither
IP nor ARP, what speaks for the router on the switch side, and all that an isolated device sends or is sent. There the
kernel also learns which device speaks in which VLAN. In family ``inet``, where br_netfilter shows bridged packets,
``select`` decides who must be asked about and ``settle``, behind the queue, carries out the answer. Both hand a frame on
only by a rule that says so.

VLANs: frames with one 802.1Q tag are filtered like all others; QinQ (802.1ad, or two tags) and PPPoE are dropped, as
conntrack does not look into them. Known limit: a redirected query of a tagged client stays unanswered.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network
from typing import Final, assert_never

from gate_firewall import hello, marks
from gate_firewall.marks import Answer, field

TABLE: Final = "schoolgate"

TAGGED: Final = "tagged"
"""Set of MAC address and VLAN, of frames from the switch side."""
UNJUDGED: Final = "unjudged"
"""Counter of the packets that passed because nobody was there to judge them, or the queue was full."""
UNTAGGED: Final = "untagged"
"""Set of MAC addresses whose frames from the switch side have no tag."""
LEARNT_S: Final = 3600
"""How long each is kept after the last frame."""

# More than a school has; forged addresses can fill the sets, and then devices that are new have no VLAN for an hour.
_LEARNT: Final = 2048

# Devices whose queries, packets or traffic are counted; each is forgotten a while after its last.
_RATED: Final = 4096
_RATED_S: Final = 60

_SLOW_RATE: Final = 20
"""Packets a second that one device may send or get of what is neither judged nor recorded: enough for clocks, pings and the
errors of its flows, and a tunnel of 20 kbit/s at the most."""

_STRANGERS: Final = 4
"""As many devices all those may have together whose addresses nobody has written down: addresses can be made up."""

_BURST_MS: Final = 200
_BURST_OCTETS: Final = 262_144
"""What a device may have at once after a rest. Less would keep TCP from reaching the rate: it sends as much as is on its
way, and the kernel counts several merged segments as one packet."""

# A flow that is blocked with its first packet is never confirmed, so that conntrack forgets its mark. Those flows
# stay in a set for so long, or each of their packets would be asked about.
_REFUSED_S: Final = 30

_ASK: Final = field(Answer.ASK)
_ACCEPT: Final = field(Answer.ACCEPT)
_BLOCK: Final = field(Answer.BLOCK)
_PENDING: Final = field(Answer.PENDING)
_WATCH: Final = field(Answer.WATCH)
_UNANSWERED: Final = field(Answer.UNANSWERED)
_NEIGHBOURS: Final = "{ nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert }"
_ON_LINK: Final = "{ fe80::/10, fc00::/7, ff02::/16 }"
"""Addresses that are not reached over the internet."""
_SHORT_OCTETS: Final = 136
"""Of an ICMP message that is no echo: neighbour discovery takes less than half of it."""
_UNRECORDED: Final = "{ 67, 68, 123, 546, 547 }"
"""Ports of DHCP and NTP, whose datagrams pass one by one."""
_ECHO_OCTETS: Final = 128
"""Payload of a ping: twice what the usual programs send, and too little for a tunnel that is worth its while."""
_KNOWN: Final = "{ ip, ip6, arp }"
_FAMILY: Final = {4: "ip", 6: "ip6"}
# RFC 8446, sections 5.1 and 4.1.3: a record of the handshake, in it the server's hello, and not the first octets of the
# random value by which a server asks for another hello of the client. Then a session id of 32 octets, which browsers send
# and have echoed: what it holds can't look like all of this, for no octet behind it is of the client's choice.
_SERVER_HELLO: Final = (
    f"meta l4proto tcp @ih,0,8 22 @ih,40,8 2 @ih,88,64 != 0x{hello.RETRY[:8].hex()} @ih,344,8 32"
)
_UDP_FLOW: Final = {
    v: f"ether saddr . {ip} saddr . udp sport . {ip} daddr . udp dport" for v, ip in _FAMILY.items()
}
_SHAKE: Final = "tcp flags & (fin | syn | rst | ack)"
_PURE_SYN: Final = f"{_SHAKE} == syn"


class Handoff(Enum):
    """How packets reach the queue."""

    NFT = "nft"
    """By nftables' own ``queue``."""
    IPTABLES = "iptables"
    """By NFQUEUE of iptables-nft, for kernels without CONFIG_NFT_QUEUE."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one device may have of the line, one way; what is beyond it is dropped."""

    device_mbit: int = 0
    """Megabits a second; 0 for all there is."""
    guest_mbit: int = 0
    """The same for devices of guests; 0: as others."""


@dataclass(frozen=True, slots=True)
class RulesetConfig:
    """What the rules depend on besides policy."""

    handoff: Handoff
    bridge: str = "br0"
    router_port: str = "wan0"
    switch_port: str = "lan0"
    queue: int = 10
    """First of the closed queues; as many open queues follow."""
    workers: int = 1
    """Queues of each kind; packets of one pair of addresses stay with one."""
    dns_port: int = 53
    """Where queries are redirected to."""
    tcp_ports: tuple[int, ...] = (80, 8443)
    """The appliance's pages, open to the switch side."""
    pages_port: int = 8443
    """The one of ``tcp_ports`` that has the coordinator's pages."""
    pages_from: tuple[str, ...] = ()
    """Networks that alone reach it; empty: the whole switch side."""
    gateways: tuple[str, ...] = ()
    """Addresses of the router, which nobody on the switch side may speak for."""
    query_rate: int = 1200
    """DNS queries a second of one device that are handed to the sinkhole at most; 0 for all."""
    packet_rate: int = 2000
    """Packets a second of one device, each way, that are asked about at most; 0 for all."""
    device_flows: int = 2000
    """Flows of one device that conntrack remembers at most, of those that it began; 0 for all."""
    unlimited: tuple[str, ...] = ()
    """Addresses of those whose queries all are."""
    down: Rates = Rates()
    up: Rates = Rates()

    @property
    def closed_queues(self) -> range:
        """Queues whose packets are dropped where nobody listens."""
        return range(self.queue, self.queue + self.workers)

    @property
    def open_queues(self) -> range:
        """Queues whose packets pass where nobody listens, or where they are full."""
        return range(self.queue + self.workers, self.queue + 2 * self.workers)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What changes with the policy: which verdicts hold, and which devices fail open or are isolated."""

    number: int
    """1 to 255."""
    label: str
    """Policy and span of time it stands for; no quotes."""
    open_macs: frozenset[str] = frozenset()
    """Devices of groups that fail open, canonical."""
    isolated_macs: frozenset[str] = frozenset()
    """Devices that are cut off at layer 2, canonical."""
    guests: frozenset[int] = frozenset()
    """Numbers of the groups of guests, 1 to 63."""
    macs: frozenset[str] = frozenset()
    """Devices that the policy names, canonical: what they may have they don't share with made-up addresses."""


def build(config: RulesetConfig, epoch: Epoch, unjudged: int = 0) -> str:
    """Return the tables, to replace older ones in one transaction.

    Args:
        config: What they are made for.
        epoch: The one that begins with them.
        unjudged: Packets that the counter of this name begins with.
    """
    counter = f"counter {UNJUDGED} {{\n\tpackets {unjudged} bytes 0\n}}"
    return "\n".join(
        (
            *_replace("bridge", _frames(config, epoch)),
            *_replace("inet", [counter, *_sets(epoch), *_verdicts(epoch), *_filter(config)]),
            "",
        )
    )


def build_epoch(epoch: Epoch) -> str:
    """Return the change to a new epoch: verdicts of all others are asked about again from the next packet on."""
    table = f"inet {TABLE}"
    lines = [f"flush chain {table} epoch"]
    # What was refused may be allowed now.
    lines += [f"flush set {table} {name}" for name in ("refused4", "refused6")]
    for name, members in (
        (f"{table} known_devices", sorted(epoch.macs)),
        (f"{table} open_devices", sorted(epoch.open_macs)),
        (f"{table} guests", _guests(epoch)),
        (f"bridge {TABLE} isolated", sorted(epoch.isolated_macs)),
    ):
        lines.append(f"flush set {name}")
        if members:
            lines.append(f"add element {name} {{ {', '.join(members)} }}")
    lines += [f"add rule {table} epoch {rule}" for rule in _epoch_rules(epoch)]
    return "\n".join((*lines, ""))


def build_removal() -> str:
    """Return the change to no rules at all."""
    return "".join(
        f"table {family} {TABLE}\ndelete table {family} {TABLE}\n" for family in ("bridge", "inet")
    )


def build_iptables(config: RulesetConfig) -> str:
    """Return the mangle table for iptables-restore and ip6tables-restore: all of it, no other rule is left there."""
    mask = marks.VERDICT | marks.OPEN
    match = "-A FORWARD -m mark --mark"
    return _mangle(
        f"{match} {_ASK | marks.OPEN:#010x}/{mask:#010x} -j NFQUEUE {_balance(config.open_queues)} --queue-bypass",
        f"{match} {_ASK:#010x}/{mask:#010x} -j NFQUEUE {_balance(config.closed_queues)}",
    )


def build_iptables_removal() -> str:
    """Return the mangle table without a rule."""
    return _mangle()


def _mangle(*rules: str) -> str:
    chains = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
    return "\n".join(("*mangle", *(f":{c} ACCEPT [0:0]" for c in chains), *rules, "COMMIT", ""))


def _balance(queues: range) -> str:
    if len(queues) == 1:
        return f"--queue-num {queues[0]}"
    return f"--queue-balance {queues[0]}:{queues[-1]}"


def _replace(family: str, parts: list[str]) -> list[str]:
    # To name a table creates it where it is missing, and then it can be deleted.
    head = [
        f"table {family} {TABLE}",
        f"delete table {family} {TABLE}",
        f"table {family} {TABLE} {{",
    ]
    return [
        *head,
        *(f"\t{line}" if line else "" for part in parts for line in part.split("\n")),
        "}",
    ]


def _chain(name: str, *rules: str, base: str = "") -> str:
    lines = [f"\t{rule}" for rule in ((base,) if base else ()) + rules]
    return "\n".join((f"chain {name} {{", *lines, "}"))


def _frames(config: RulesetConfig, epoch: Epoch) -> list[str]:
    learnt = f"flags dynamic,timeout; timeout {LEARNT_S}s; size {_LEARNT};"
    cut = ("ether saddr @isolated counter drop", "ether daddr @isolated counter drop")
    return [
        _set("isolated", "ether_addr", sorted(epoch.isolated_macs)),
        f"set {TAGGED} {{ typeof ether saddr . vlan id; {learnt} }}",
        f"set {UNTAGGED} {{ type ether_addr; {learnt} }}",
        _chain(
            "ports",
            *cut,
            # Others' bits survive; ours begin clean, whatever a driver or an earlier rule left.
            f'iifname "{config.router_port}" meta mark set meta mark & {marks.OTHERS:#010x} | {marks.FROM_ROUTER:#010x} goto known',
            f'iifname != "{config.switch_port}" accept',
            f"meta mark set meta mark & {marks.OTHERS:#010x}",
            *(f"{forged} counter drop" for forged in _forged(config)),
            # What follows in a connection says nothing new of a device, and there is much of it.
            "ether type { ip, ip6 } tcp flags & syn == 0 accept",
            # Behind what is refused: it can't make anybody believe in a VLAN.
            # Where the set is full, the rule ends there and the last one accepts.
            f"ether type {_KNOWN} update @{UNTAGGED} {{ ether saddr }} accept",
            f"ether type 8021q vlan type {_KNOWN} update @{TAGGED} {{ ether saddr . vlan id }} accept",
            "goto known",
            base="type filter hook prerouting priority -300; policy drop;",
        ),
        _chain(
            "known",
            f"ether type {_KNOWN} accept",
            f"ether type 8021q vlan type {_KNOWN} accept",
            # Bridge protocol units: a cable laid around the appliance is a loop, which switches must see.
            "ether daddr 01:80:c2:00:00:00 accept",
            "counter drop",
        ),
        # What the box itself sends, and what waited in the queue when the device was isolated.
        _chain("leaving", *cut, base="type filter hook postrouting priority 0; policy accept;"),
    ]


def _forged(config: RulesetConfig) -> list[str]:
    """Return matches for what only the router says, and the router is on the other side, by definition of the cabling.

    By places, not by nft's names: those look at the EtherType in the frame, and miss one with the tag of VLAN 0.
    """
    rules = [
        "meta l4proto ipv6-icmp @th,0,8 134",  # router advertisement
        "udp sport 67 udp dport 68",
        "udp sport 547 udp dport 546",
    ]
    for address in map(ip_address, config.gateways):
        if address.version == 4:
            rules += [f"meta protocol arp @nh,112,32 {int(address):#010x}", f"ip saddr {address}"]
        else:
            # The target of a neighbour advertisement; nft 1.0.6 has no word for it.
            rules += [
                f"meta l4proto ipv6-icmp @th,0,8 136 @th,64,128 {int(address):#034x}",
                f"ip6 saddr {address}",
            ]
    return rules


def _sets(epoch: Epoch) -> list[str]:
    refused = f"flags dynamic,timeout; timeout {_REFUSED_S}s; size 65536;"
    return [
        _set("known_devices", "ether_addr", sorted(epoch.macs)),
        _set("open_devices", "ether_addr", sorted(epoch.open_macs)),
        _set("guests", "mark", _guests(epoch)),
        *(
            _rated(name)
            for limit in ("asking", "asked_about", "told_about", "slow", "failing")
            for name in (limit, f"{limit}_strangers")
        ),
        *(
            f"set {name} {{ type ether_addr; flags dynamic; size {_RATED}; }}"
            for name in ("flows", "flows_strangers")
        ),
        *(
            # By device: nobody has another's flows refused in advance.
            f"set refused{v} {{ type ether_addr . ipv{v}_addr . inet_service . ipv{v}_addr . inet_service; {refused} }}"
            for v in (4, 6)
        ),
    ]


def _set(name: str, kind: str, members: list[str]) -> str:
    elements = f" elements = {{ {', '.join(members)} }};" if members else ""
    return f"set {name} {{ type {kind};{elements} }}"


def _guests(epoch: Epoch) -> list[str]:
    return [f"{number << 12:#010x}" for number in sorted(epoch.guests)]


def _verdicts(epoch: Epoch) -> list[str]:
    answer = f"meta mark & {marks.FROM_ROUTER:#010x} != 0 ct direction reply"
    others = 0xFFFF_FFFF ^ marks.VERDICT
    # That of a way too narrow for a hello, say: it has the mark of its flow, and what is asked about ends that.
    an_error = "meta l4proto != tcp return"
    return [
        _chain(
            "refuse",
            "meta l4proto tcp counter reject with tcp reset",
            *(f"add @refused{v} {{ {_UDP_FLOW[v]} }}" for v in (4, 6)),
            "meta l4proto udp counter reject with icmpx port-unreachable",
            "counter drop",
        ),
        _chain("epoch", *_epoch_rules(epoch)),
        _chain(
            "watch",
            an_error,
            # The name is in what the initiator sends; a connection of which it says nothing new needs no reader.
            # What says that it comes from the other end, but comes from this side, is looked at.
            f"meta mark & {marks.FROM_ROUTER:#010x} != 0 ct direction reply accept",
            "jump bare",
            "goto ask",
        ),
        _chain(
            "unanswered",
            an_error,
            f"{answer} {_SERVER_HELLO} ct mark set ct mark & {others:#010x} | {_ACCEPT:#010x} accept",
            "jump bare",
            # Any other answer: whatever looks like a hello behind it is none. At once, not with the verdict on it.
            f"{answer} ct mark set ct mark & {others:#010x} | {_PENDING:#010x}",
            "goto ask",
        ),
    ]


def _epoch_rules(epoch: Epoch) -> tuple[str, ...]:
    mask = marks.EPOCH | marks.VERDICT
    current = epoch.number << 24
    return (
        f'ct mark & {mask:#010x} == {current | _ACCEPT:#010x} accept comment "{epoch.number} {epoch.label}"',
        f"ct mark & {mask:#010x} == {current | _BLOCK:#010x} goto refuse",
        f"ct mark & {mask:#010x} == {current | _WATCH:#010x} goto watch",
        f"ct mark & {mask:#010x} == {current | _UNANSWERED:#010x} goto unanswered",
    )


def _filter(config: RulesetConfig) -> list[str]:
    return [
        _name_service(config),
        _flood(config),
        _own(config),
        _bare(),
        _beginnings(),
        *_slow(),
        *_ask(config),
        _select(),
        _flows(config.device_flows),
        _settle(),
        *_rates(config),
    ]


def _name_service(config: RulesetConfig) -> str:
    return _chain(
        "name_service",
        f'iifname "{config.bridge}" meta l4proto {{ tcp, udp }} th dport 53 redirect to :{config.dns_port}',
        base="type nat hook prerouting priority dstnat; policy accept;",
    )


def _own(config: RulesetConfig) -> str:
    names = sorted({53, config.dns_port})
    ports = {*names, *config.tcp_ports}
    pages: list[str] = []
    if config.pages_from:
        ports.discard(config.pages_port)
        networks = map(ip_network, config.pages_from)
        pages = [
            f"{_FAMILY[n.version]} saddr {n} tcp dport {config.pages_port} accept" for n in networks
        ]
    return _chain(
        "own",
        'iifname "lo" accept',
        # Before the rule for what goes on: a flood from one port is one flow.
        f'iifname "{config.bridge}" udp dport {_one_of(names)} jump flood',
        "ct state established,related accept",
        # Neighbour discovery is untracked. Switches ask which groups somebody listens to, and forget who is silent.
        "icmpv6 type { mld-listener-query, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
        # Answers to DHCP come by the router's port alone: from the other one the bridge table has dropped them.
        "udp sport 67 udp dport 68 accept",
        "udp sport 547 udp dport 546 accept",
        # All else is for the school: whoever comes from the router, or by a port of which we know nothing, is a stranger.
        f"meta mark & {marks.FROM_ROUTER:#010x} != 0 drop",
        f'iifname != "{config.bridge}" drop',
        # An appliance that answers no ping looks dead.
        "icmp type echo-request accept",
        "icmpv6 type echo-request accept",
        f"udp dport {_one_of(names)} accept",
        f"tcp dport {_one_of(sorted(ports))} accept",
        *pages,
        # A blocked name has our address: a browser that tries TLS there must not wait.
        "meta l4proto tcp reject with tcp reset",
        base="type filter hook input priority 0; policy drop;",
    )


def _one_of(ports: list[int]) -> str:
    return f"{{ {', '.join(map(str, ports))} }}"


def _flood(config: RulesetConfig) -> str:
    """Return the rules against one device's flood: in the sinkhole's queue it would push out everybody's queries."""
    rules = []
    if config.query_rate:
        rules = [
            f"{_FAMILY[address.version]} saddr {address} return"
            for address in map(ip_address, config.unlimited)
        ]
        rules += _at_most("asking", "ether saddr", config.query_rate)
    return _chain("flood", *rules)


def _bare() -> str:
    # There is no way to write "no payload" but to spell out the lengths that mean it. A set of pairs would be one
    # rule, but nft 1.0.6 aborts when it lists one with this field.
    offsets = range(5, 16)
    return _chain(
        "bare",
        # As for what is asked about: a reset that dies on its way ends the flow here and not at the server.
        "ip ttl set 64",
        "ip6 hoplimit set 64",
        # The SYN of a new flow tells where its octets begin and from which device it comes.
        # One in a flow that is open already may have begun it anew at the server.
        f"{_PURE_SYN} return",
        # What conntrack knows nothing of, and is no SYN, belongs to a flow whose beginning nobody saw.
        "ct state new return",
        # So may an answer that comes from the side of who asked.
        f"meta mark & {marks.FROM_ROUTER:#010x} == 0 ct direction reply return",
        # The urgent pointer alone takes an octet out of what comes later.
        "tcp flags & urg == urg return",
        *(f"ip length {20 + 4 * n} tcp doff {n} accept" for n in offsets),
        *(f"ip6 length {4 * n} tcp doff {n} accept" for n in offsets),
    )


def _beginnings() -> str:
    from_router = f"meta mark & {marks.FROM_ROUTER:#010x}"
    kept = 0xFFFF_FFFF ^ marks.UNSHAKEN
    return _chain(
        "beginnings",
        # Before the verdict: conntrack lets a connection that the server has reset begin anew with its mark, but it is
        # another one. It never lets one that was closed.
        f"{_PURE_SYN} ct state != new ct mark & {marks.VERDICT:#010x} != 0 goto refuse",
        # Conntrack also forgets a connection by a reset that the server does not take. The server then answers the next
        # SYN by an acknowledgement alone, and goes on with the octets that it has.
        f"{_PURE_SYN} {from_router} == 0 ct state new ct mark set ct mark | {marks.UNSHAKEN:#010x}",
        f"{_SHAKE} == syn | ack {from_router} != 0 ct direction reply ct mark set ct mark & {kept:#010x}",
    )


def _ask(config: RulesetConfig) -> list[str]:
    def asked(device: str, bits: int) -> tuple[str, str]:
        # Others' bits come from the flow. Two marks can't be joined in one expression, hence a branch for each port.
        restore = f"meta mark set ct mark & {marks.OTHERS:#010x} | "
        return (
            f"{device} @open_devices {restore}{bits | marks.OPEN:#010x} goto asked",
            f"{restore}{bits:#010x} goto asked",
        )

    hand_off: tuple[str, ...]
    match config.handoff:
        case Handoff.NFT:
            hand_off = (
                f"meta mark & {marks.OPEN:#010x} != 0 queue flags bypass to {_numbers(config.open_queues)}",
                f"queue to {_numbers(config.closed_queues)}",
            )
        case Handoff.IPTABLES:
            hand_off = ("accept",)
        case _:
            assert_never(config.handoff)
    return [
        _chain(
            "ask",
            # A false hello with few hops to live would be read by us and never by the server.
            "meta l4proto tcp ip ttl set 64",
            "meta l4proto tcp ip6 hoplimit set 64",
            f"meta mark & {marks.FROM_ROUTER:#010x} != 0 goto ask_from_router",
            *_at_most("asked_about", "ether saddr", config.packet_rate),
            *asked("ether saddr", _ASK),
        ),
        _chain(
            "ask_from_router",
            # Apart: what others send to a device takes nothing from what it may send.
            *_at_most("told_about", "ether daddr", config.packet_rate),
            *asked("ether daddr", _ASK | marks.FROM_ROUTER),
        ),
        _chain(
            "asked",
            f"ct direction reply meta mark set meta mark | {marks.REPLY:#010x}",
            f"ct state new meta mark set meta mark | {marks.NEW:#010x}",
            f"ct mark & {marks.SETTLED:#010x} != 0 meta mark set meta mark | {marks.DECIDED:#010x}",
            f"ct mark & {marks.UNSHAKEN:#010x} != 0 meta mark set meta mark | {marks.UNSHAKEN:#010x}",
            *hand_off,
        ),
    ]


def _slow() -> list[str]:
    """Return the chains that hold back what passes without being judged."""
    return [
        _chain(
            "slow",
            f"meta mark & {marks.FROM_ROUTER:#010x} != 0 goto slow_from_router",
            *_at_most("slow", "ether saddr", _SLOW_RATE),
        ),
        _chain(
            "slow_from_router",
            # An answer of DHCP to all is no device's: they would have one limit together.
            "meta pkttype { broadcast, multicast } return",
            *_at_most("slow", "ether daddr", _SLOW_RATE),
        ),
        # Apart, so that a device's own pings cost it none.
        _chain("errors", *_at_most("failing", "ether daddr", _SLOW_RATE)),
    ]


def _rated(name: str) -> str:
    return f"set {name} {{ type ether_addr; flags dynamic,timeout; timeout {_RATED_S}s; size {_RATED}; }}"


def _at_most(name: str, device: str, rate: int) -> list[str]:
    """Return the rules that drop what a ``device`` has beyond ``rate`` packets a second; nothing for 0.

    Where a set is full there is no limit for who is not in it. Those whom the policy names are no more than it holds; the
    others, who may be one, have a limit together.
    """
    if not rate:
        return []
    own, all_ = (f"limit rate over {n}/second burst {n} packets" for n in (rate, rate * _STRANGERS))
    known, unknown = f"{device} @known_devices", f"{device} != @known_devices"
    return [
        f"{known} update @{name} {{ {device} {own} }} counter drop",
        f"{unknown} update @{name}_strangers {{ {device} {own} }} counter drop",
        f"{unknown} {all_} counter drop",
    ]


def _numbers(queues: range) -> str:
    return str(queues[0]) if len(queues) == 1 else f"{queues[0]}-{queues[-1]}"


def _select() -> str:
    local = (
        "ip daddr { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 }",
        "ip6 daddr { fc00::/7, fe80::/10 }",
    )
    from_router = f"meta mark & {marks.FROM_ROUTER:#010x} != 0"
    dhcp = (
        "udp sport { 67, 68 } udp dport { 67, 68 }",
        "udp sport { 546, 547 } udp dport { 546, 547 }",
    )
    return _chain(
        "select",
        "tcp flags & syn == syn jump beginnings",
        # Early, because nearly all packets end here.
        "jump epoch",
        # Errors of known flows, and neighbour discovery, which is untracked. What is left is asked about.
        f"{from_router} meta l4proto ipv6-icmp ip6 daddr {_ON_LINK} ct state untracked accept",
        f"icmpv6 type {_NEIGHBOURS} ip6 daddr {_ON_LINK} ip6 length <= {_SHORT_OCTETS} accept",
        # What errors quote could be anything: from the school they are short, from the router they are few.
        f"{from_router} meta l4proto {{ icmp, ipv6-icmp }} ct state related jump errors",
        f"{from_router} meta l4proto {{ icmp, ipv6-icmp }} ct state related accept",
        # To an address that is not on the link a router carries them on.
        "meta l4proto { icmp, ipv6-icmp } jump slow",
        f"{from_router} meta l4proto {{ icmp, ipv6-icmp }} ct state untracked accept",
        f"icmpv6 type {_NEIGHBOURS} ip6 length <= {_SHORT_OCTETS} accept",
        f"meta l4proto udp th sport {_UNRECORDED} jump slow",
        f"meta l4proto udp th dport {_UNRECORDED} jump slow",
        f"meta l4proto {{ icmp, ipv6-icmp }} ct state related ip length <= {20 + _SHORT_OCTETS} accept",
        f"meta l4proto {{ icmp, ipv6-icmp }} ct state related ip6 length <= {_SHORT_OCTETS} accept",
        f"icmp type {{ echo-request, echo-reply }} ip length <= {28 + _ECHO_OCTETS} ct state != invalid accept",
        f"icmpv6 type {{ echo-request, echo-reply }} ip6 length <= {8 + _ECHO_OCTETS} ct state != invalid accept",
        "fib daddr type { broadcast, multicast } accept",
        # To one host, but in a frame for all: RFC 1122, section 3.3.6, has it dropped, and conntrack can't follow it.
        "meta pkttype { broadcast, multicast } counter drop",
        # Within the school only: as a way out these ports are like any other.
        *(f"{where} {ports} accept" for where, ports in zip(local, dhcp, strict=True)),
        "ct state invalid,untracked counter drop",
        # Queries were redirected before they came here; DNS over TLS and over QUIC go nowhere.
        "meta l4proto { tcp, udp } th dport { 53, 853 } counter goto refuse",
        *(f"{_UDP_FLOW[v]} @refused{v} counter drop" for v in (4, 6)),
        f"meta l4proto tcp ct mark & {marks.VERDICT:#010x} {{ 0, {_UNANSWERED:#010x} }} jump bare",
        "goto ask",
        # Behind conntrack (-200), before mangle (-150), where NFQUEUE is in the hand-off by iptables.
        base="type filter hook forward priority -160; policy drop;",
    )


def _flows(limit: int) -> str:
    """Return the rules against one device's filling conntrack's table, in which all others' flows have to be."""
    rules = []
    if limit:
        own, all_ = (f"ct count over {n}" for n in (limit, limit * _STRANGERS))
        known, unknown = "ether saddr @known_devices", "ether saddr != @known_devices"
        rules = [
            f"{known} add @flows {{ ether saddr {own} }} goto refuse",
            f"{unknown} add @flows_strangers {{ ether saddr {own} }} goto refuse",
            f"{unknown} {all_} goto refuse",
        ]
    return _chain("flows", *rules)


def _settle() -> str:
    saved = f"ct mark set meta mark & {0xFFFF_FFFF ^ marks.FROM_ROUTER:#010x}"
    verdict = f"meta mark & {marks.VERDICT:#010x} =="
    blocked_down = _BLOCK | marks.FROM_ROUTER
    return _chain(
        "settle",
        # Here, and not where it is asked about: what waits in a queue is not counted for long.
        f"ct state new meta mark & {marks.FROM_ROUTER:#010x} == 0 {verdict.replace('==', '!=')} {_BLOCK:#010x} jump flows",
        f"{verdict} 0x00000000 accept",
        f"{verdict} {_ACCEPT:#010x} {saved} accept",
        # The server's hello may have overtaken what was asked about before it.
        f"{verdict} {_UNANSWERED:#010x} ct mark & {marks.VERDICT:#010x} {{ {_ACCEPT:#010x}, {_PENDING:#010x} }} accept",
        f"{verdict} {_PENDING:#010x} {saved} accept",
        f"{verdict} {_UNANSWERED:#010x} {saved} accept",
        f"{verdict} {_WATCH:#010x} {saved} accept",
        f"{verdict} {_BLOCK:#010x} {saved}",
        # On its way to the client the packet itself becomes the reset: a download that is cut sends nothing that
        # could be answered. The server gets its own with what it sends next.
        f"meta mark & {marks.VERDICT | marks.FROM_ROUTER:#010x} == {blocked_down:#010x} tcp flags set rst counter accept",
        f"{verdict} {_BLOCK:#010x} goto refuse",
        # Nobody was there to answer, and the group fails open. All other requests without an answer are dropped: so
        # there is no moment between this table and the hand-off by iptables when packets pass unasked.
        f"meta mark & {marks.VERDICT | marks.OPEN:#010x} == {_ASK | marks.OPEN:#010x} counter name {UNJUDGED} accept",
        "counter drop",
        base="type filter hook forward priority 10; policy drop;",
    )


def _rates(config: RulesetConfig) -> list[str]:
    """Return the limits of devices; nothing where there are none."""
    ways = (("down", "ether daddr", config.down), ("up", "ether saddr", config.up))
    if all(rates == Rates() for _, _, rates in ways):
        return []
    sets, chains = [], []
    for way, device, rates in ways:
        rules = []
        for who, mbit, match in (
            # The classifier has written the group into the mark, however it knows the client.
            ("guest", rates.guest_mbit, f"ct mark & {marks.GROUP:#010x} @guests "),
            ("device", rates.device_mbit, ""),
        ):
            if mbit:
                name, octets = f"{who}_{way}", mbit * 125_000
                burst = max(octets // 1000 * _BURST_MS, _BURST_OCTETS)
                limit = f"limit rate over {octets} bytes/second burst {burst} bytes"
                sets.append(_rated(name))
                rules += [
                    f"{match}update @{name} {{ {device} {limit} }} counter drop",
                    *([f"{match}return"] if match else []),
                ]
        chains.append(_chain(way, *rules))
    return [
        *sets,
        *chains,
        _chain(
            "rates",
            f"meta mark & {marks.FROM_ROUTER:#010x} != 0 goto down",
            "goto up",
            # Behind the verdict: what is refused costs nobody his share.
            base="type filter hook forward priority 20; policy accept;",
        ),
    ]
