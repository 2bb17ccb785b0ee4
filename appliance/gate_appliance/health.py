"""How the appliance does: one status, made from what each part says of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, assert_never

from gate_appliance.activity import ActivityLog, Totals
from gate_appliance.clock import SystemClock
from gate_appliance.library import Lists
from gate_appliance.packets import Packets
from gate_appliance.probes import Probes
from gate_appliance.recorder import Recorder
from gate_appliance.resolvers import Resolvers
from gate_core.config import Config
from gate_core.desk import Component, PanelReport, PauseView, Status
from gate_core.events import BLOCK, Source
from gate_core.policy import Pause, Policy

_COUNT_EVERY_S: Final = 2.0

_PANEL_ALIVE_S: Final = 5.0

RESOLVER_UNCOVERED: Final = (
    "Only look-ups of names are filtered: a device that uses another resolver, a VPN or a bare address is not stopped.",
    "The internet pause stops new look-ups, not what is already running.",
    "Devices are filtered only where the router hands out this appliance as their resolver.",
)
"""What one port can't do, said wherever the mode is shown."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the steward knows."""

    policy: Policy
    lists: Lists
    school: str
    panel: PanelReport | None
    policy_fault: str = ""
    """Why another policy than the newest one is in force; "" where none is."""
    waiting: int = 0
    """Proposals that wait for an approval."""
    recovered: Sequence[tuple[str, str]] = ()
    """Who has let themselves in with a recovery code, and when (ISO 8601), until they have new ones."""


class Health:
    """Makes the status."""

    def __init__(
        self,
        config: Config,
        clock: SystemClock,
        recorder: Recorder,
        activity: ActivityLog,
        probes: Probes,
        resolvers: Resolvers,
    ) -> None:
        self._config = config
        self._resolvers = resolvers
        self._packets = Packets(recorder, activity, clock, config.firewall)
        self._probes = probes
        self._clock = clock
        self._recorder = recorder
        self._activity = activity
        self._counted_at = float("-inf")
        self._totals = Totals()
        self._panel_at = float("-inf")
        self.fault = ""
        """Why the steward can't do its work, such as a full disk; "" while it can."""
        self.log_fault = ""
        """Why what is over its time can't be deleted from the log; "" while it can."""

    def heard_panel(self) -> None:
        """Note that the panel is alive."""
        self._panel_at = time.monotonic()

    def is_everywhere(self, version: int) -> bool:
        """Tell whether every part that is alive acts on ``version``."""
        return all(self._recorder.in_force(s) in (None, version) for s in self._needed())

    def status(self, facts: Facts) -> Status:
        """Return the status of this moment, without a revision."""
        version = facts.policy.version
        needed = self._needed()
        in_force = {source: self._recorder.in_force(source) for source in needed}
        now = self._clock.now()
        totals = self.totals()
        pauses = [p for p in facts.policy.pauses if now is None or p.span.covers(now)]
        pause = max(pauses, key=lambda p: p.span.until, default=None)
        return Status(
            revision=0,
            at=now.isoformat(timespec="seconds") if now else "",
            school=facts.school,
            mode=self._config.appliance.mode,
            version=version,
            filtering=all(v is not None for v in in_force.values()),
            components=(
                *(self._data_plane(source, v, facts.policy) for source, v in in_force.items()),
                Component("policy", "degraded", f"{facts.policy_fault}.")
                if facts.policy_fault
                else Component("policy", "ok", "The school's policy is in force."),
                _lists(facts.lists),
                Component("clock", "ok", "The time is known.")
                if now
                else Component(
                    "clock",
                    "degraded",
                    "The time is not known: the strict side of every timetable holds.",
                ),
                self._recorder_component(),
                self._panel_component(facts.panel),
                *_accounts(facts.recovered),
                *self._probes.found(),
            ),
            pause=pause_view(pause, all(v is not None and v >= version for v in in_force.values()))
            if pause
            else None,
            waiting=facts.waiting,
            allowed_today=totals.allowed,
            blocked_today=totals.blocked,
            devices_today=totals.devices,
            listed_names=facts.lists.names,
            panel=facts.panel,
            uncovered=RESOLVER_UNCOVERED if self._config.appliance.mode == "resolver" else (),
            queues=self._packets.queues(),
        )

    def _needed(self) -> tuple[Source, ...]:
        inline = self._config.appliance.mode == "inline"
        return (Source.DNS, Source.FIREWALL) if inline else (Source.DNS,)

    def totals(self) -> Totals:
        """Return what was decided today, counted some seconds ago at most."""
        if time.monotonic() - self._counted_at >= _COUNT_EVERY_S:
            now = self._clock.now()
            self._totals = self._activity.totals(now.date()) if now else Totals()
            self._counted_at = time.monotonic()
        return self._totals

    def _data_plane(self, source: Source, in_force: int | None, policy: Policy) -> Component:
        component = _data_plane(source, in_force, policy.version)
        if component.state != "ok":
            return component
        # What is wrong besides is news only of a part that is well.
        match source:
            case Source.DNS:
                fault = self._resolvers.fault(
                    validator_gone=self._probes.validator_gone, silent=self._probes.silent
                )
            case Source.FIREWALL:
                fault = self._packets.fault(policy.groups)
            case _:
                assert_never(source)
        return fault or component

    def _recorder_component(self) -> Component:
        fault = self._recorder.fault or self.fault
        if fault:
            return Component("recorder", "degraded", f"Nothing can be written: {fault}.")
        lost = self._recorder.lost()
        if lost.total():
            return Component(
                "recorder",
                "degraded",
                f"{lost.total()} decisions could not be recorded, {lost[BLOCK]} of them blocked ones.",
            )
        if self.log_fault:
            fault = f"Old activity could not be deleted: {self.log_fault}."
            return Component("recorder", "degraded", fault)
        if self._recorder.malformed:
            return Component("recorder", "degraded", "Messages came that nobody can read.")
        return Component("recorder", "ok", "Every decision is recorded.")

    def _panel_component(self, panel: PanelReport | None) -> Component:
        if panel is None or time.monotonic() - self._panel_at > _PANEL_ALIVE_S:
            return Component("panel", "down", "The panel with lamps and button does not answer.")
        where = "on the dashboard only" if panel.virtual else "on the box"
        return Component("panel", "ok", f"Lamps and button are {where}.")


def pause_view(pause: Pause, on_the_wire: bool) -> PauseView:
    """Return a pause as pages show it."""
    return PauseView(
        pause.id,
        tuple(sorted(pause.groups)),
        tuple(sorted(pause.rooms)),
        pause.span.since.isoformat(timespec="seconds"),
        pause.span.until.isoformat(timespec="seconds"),
        pause.by,
        pause.why,
        on_the_wire,
    )


def _data_plane(source: Source, in_force: int | None, version: int) -> Component:
    what = {
        Source.DNS: "Look-ups of names",
        Source.FIREWALL: "Connections",
    }[source]
    if in_force is None:
        return Component(
            source.value, "down", f"{what} are held closed: this part does not answer."
        )
    if in_force < version:
        return Component(source.value, "starting", f"{what}: the newest policy is being taken.")
    return Component(source.value, "ok", f"{what} are filtered.")


def _accounts(recovered: Sequence[tuple[str, str]]) -> Iterator[Component]:
    sentences = [
        f"A recovery code was used on {datetime.fromisoformat(used):%Y-%m-%d at %H:%M} for the account of {name}. Ask them:"
        " if it was not they, have the account removed. Else they print new codes, and this goes away."
        for name, used in recovered
    ]
    if sentences:
        yield Component("accounts", "degraded", " ".join(sentences))


def _lists(lists: Lists) -> Component:
    if lists.faults:
        return Component("lists", "degraded", " ".join(lists.faults))
    return Component("lists", "ok", f"{lists.names:,} names are on the lists.")
