"""What is looked at from time to time, because nobody tells: the filter of illegal content, who asks for whom, Unbound."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from gate_appliance import illegal_filter
from gate_appliance.activity import ActivityLog
from gate_appliance.validator import answers
from gate_core.config import Config
from gate_core.desk import Component
from gate_core.forwarding import Forwarding, Unclear, find_forwarding
from gate_core.upstreams import Upstream

_log = logging.getLogger(__name__)

EVERY_S: Final = 300.0
VALIDATOR_EVERY_S: Final = 5.0
VALIDATOR_GONE_AFTER: Final = 3
"""Looks in vain: it needs a moment to start."""
BEHIND_EVERY_S: Final = 60.0
"""How often the resolvers behind Unbound are looked at, which hides their silence."""
_HOUR_MS: Final = 3_600_000

IDENTITY: Final = "identity"


class Probes:
    """Looks in a thread of its own; what it found may be read from any."""

    def __init__(
        self,
        config: Config,
        activity: ActivityLog,
        asked: Callable[[], Collection[Upstream]],
        on_news: Callable[[], None],
    ) -> None:
        """Know nothing yet.

        Args:
            config: Of the appliance.
            activity: Where it is looked up who asked for what.
            asked: Tells who is asked for names at this moment.
            on_news: Called when something else was found than before.
        """
        self._config = config
        self._activity = activity
        self._on_news = on_news
        self._asked = asked
        self._illegal = illegal_filter.unknown(config.illegal_filter)
        self._identity = _NOT_KNOWN
        self._in_vain = 0
        self._silent_once: frozenset[Upstream] = frozenset()
        self.silent: frozenset[Upstream] = frozenset()
        """Resolvers behind Unbound that were silent at each of the last two looks."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True, name="probes")

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def found(self) -> tuple[Component, ...]:
        """Return what was found last, held against who is asked now."""
        illegal = illegal_filter.with_asked(
            self._illegal, self._config.illegal_filter, self._asked()
        )
        return illegal, self._identity

    @property
    def validator_gone(self) -> bool:
        """Whether the Unbound that checks signatures does not run, where it should."""
        return self._in_vain >= VALIDATOR_GONE_AFTER

    def look(self) -> None:
        """Look at all now."""
        before = self.found()
        self._illegal = illegal_filter.look(
            self._config.illegal_filter, self._config.dns.tls_authorities
        )
        now_ms = int(time.time() * 1000)
        uses = self._activity.uses(now_ms - _HOUR_MS, now_ms)
        forwarding = find_forwarding(
            {key: use.names for key, use in uses.items() if use.names},
            [key for key, use in uses.items() if use.flows],
        )
        if not isinstance(forwarding, Unclear):
            devices = forwarding.devices if forwarding else ()
            self._identity = _identity(forwarding, [uses[device].device for device in devices])
        if self.found() != before:
            self._on_news()

    def look_at_validator(self) -> None:
        """Look whether Unbound runs."""
        gone = self.validator_gone
        self._in_vain = 0 if answers(self._config.dns.validator_port) else self._in_vain + 1
        if self.validator_gone != gone:
            self._on_news()

    def look_behind_validator(self) -> None:
        """Look whether the resolvers answer that Unbound asks; may take some seconds for each."""
        before = self.silent
        authorities = self._config.dns.tls_authorities
        now = frozenset(u for u in self._asked() if not illegal_filter.replies(u, authorities))
        self.silent, self._silent_once = now & self._silent_once, now
        if self.silent != before:
            self._on_news()

    def _watch(self) -> None:
        looks = [(EVERY_S, self.look)]
        if self._config.dns.dnssec == "validate":
            looks += [
                (VALIDATOR_EVERY_S, self.look_at_validator),
                (BEHIND_EVERY_S, self.look_behind_validator),
            ]
        due = [time.monotonic()] * len(looks)
        while True:
            for place, (every_s, look) in enumerate(looks):
                if time.monotonic() < due[place]:
                    continue
                try:
                    look()
                except Exception:  # noqa: BLE001  # a mistake of ours in this must not end the steward
                    _log.exception("action=probe")
                due[place] = time.monotonic() + every_s
            if self._closing.wait(max(0.0, min(due) - time.monotonic())):
                return


_NOT_KNOWN: Final = Component(
    IDENTITY,
    "starting",
    "It is not known yet whether devices ask for names themselves: too few names have been asked for.",
)


def _identity(forwarding: Forwarding | None, names: Sequence[str]) -> Component:
    if forwarding is None:
        return Component(IDENTITY, "ok", "Devices ask for names themselves, and are told apart.")
    silent = (
        f": {forwarding.silent} others use the internet and ask for none"
        if forwarding.silent
        else ""
    )
    ask, server = ("asks", "that server") if len(names) == 1 else ("ask", "those servers")
    return Component(
        IDENTITY,
        "degraded",
        f"{' and '.join(names)} {ask} for the names of all devices{silent}. So all of them get the policy of one group, and"
        " the record can't tell them apart. Whoever looks after the network changes two things (docs/watching.md): what"
        " tells devices their settings (DHCP) names this box as the one to ask for site names; and the box asks"
        f" {server} for the school's own names only, such as those of its computers (a zone).",
    )
