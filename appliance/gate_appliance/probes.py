"""What is looked at every few minutes, because nobody tells: the filter of illegal content, and who asks for whom."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from gate_appliance import illegal_filter
from gate_appliance.activity import ActivityLog
from gate_core.config import Config
from gate_core.desk import Component
from gate_core.forwarding import Forwarding, Unclear, find_forwarding

_log = logging.getLogger(__name__)

EVERY_S: Final = 300.0
_HOUR_MS: Final = 3_600_000

IDENTITY: Final = "identity"


class Probes:
    """Looks in a thread of its own; what it found may be read from any."""

    def __init__(self, config: Config, activity: ActivityLog, on_news: Callable[[], None]) -> None:
        """Know nothing yet.

        Args:
            config: Of the appliance.
            activity: Where it is looked up who asked for what.
            on_news: Called when something else was found than before.
        """
        self._config = config
        self._activity = activity
        self._on_news = on_news
        self._illegal = illegal_filter.unknown(config.illegal_filter)
        self._identity = _identity(None, "")
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
        """Return what was found last."""
        return self._illegal, self._identity

    def look(self) -> None:
        """Look at all now."""
        before = self.found()
        self._illegal = illegal_filter.look(self._config.illegal_filter, self._config.dns)
        now_ms = int(time.time() * 1000)
        uses = self._activity.uses(now_ms - _HOUR_MS, now_ms)
        forwarding = find_forwarding(
            {key: use.names for key, use in uses.items() if use.names},
            [key for key, use in uses.items() if use.flows],
        )
        if not isinstance(forwarding, Unclear):
            name = uses[forwarding.device].device if forwarding else ""
            self._identity = _identity(forwarding, name)
        if self.found() != before:
            self._on_news()

    def _watch(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # noqa: BLE001  # a mistake of ours in this must not end the steward
                _log.exception("action=probe")
            if self._closing.wait(EVERY_S):
                return


def _identity(forwarding: Forwarding | None, name: str) -> Component:
    if forwarding is None:
        return Component(IDENTITY, "ok", "Devices ask for names themselves, and are told apart.")
    silent = (
        f": {forwarding.silent} others use the internet and ask for none"
        if forwarding.silent
        else ""
    )
    return Component(
        IDENTITY,
        "degraded",
        f"{name} asks for the names of all devices{silent}. So all of them get the policy of its group, and the record"
        " can't tell them apart. Whoever looks after the network changes two things (docs/watching.md): what tells"
        " devices their settings (DHCP) names this box as the one to ask for site names; and the box asks that server"
        " for the school's own names only, such as those of its computers (a zone).",
    )
