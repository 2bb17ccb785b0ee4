"""The steward's desk: what people may ask and change, each change checked, recorded and published."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from gate_appliance import words
from gate_appliance.accounts import AccountsDesk
from gate_appliance.acts import ActsDesk
from gate_appliance.catalogue import CatalogueDesk
from gate_appliance.changes import ChangesDesk
from gate_appliance.counter import COMMAND_LINE, Who, change, text_of
from gate_appliance.evidence import EvidenceError, check_store, render_evidence
from gate_appliance.library import ADDED
from gate_appliance.steward import Steward
from gate_appliance.usage import Consumed, ConsumerKey, consumption
from gate_core.clients import Client, MalformedMacError, is_randomised, parse_mac
from gate_core.desk import (
    ActivityFilter,
    ActivityRecord,
    ActivityView,
    BlockedView,
    ConsumerView,
    DeviceView,
    Explanation,
    GroupView,
    HourView,
    PanelReport,
    RefusedError,
    RowView,
    SiteUse,
    Status,
    TraceStep,
    UsageSpan,
    UsageView,
)
from gate_core.names import MalformedNameError, parse_name
from gate_core.policy import Policy, explain
from gate_core.protocols import BY_ID as PROTOCOLS
from gate_core.protocols import of_category
from gate_core.record import Entry, Verdict
from gate_core.roles import Act, Leave, leave
from gate_core.services import in_mask as services_in
from gate_core.sources import SourceError
from gate_core.written import UNKNOWN_GROUP, aware

LOOKED_EVERY_S: Final = 3600.0
"""How long a reason for looking at the log holds before it is asked and recorded again."""


class StewardDesk(AccountsDesk, ChangesDesk, ActsDesk, CatalogueDesk):
    """``gate_core.desk.Desk``, on a steward."""

    def __init__(self, steward: Steward) -> None:
        super().__init__(steward)
        self._looked: dict[tuple[str, str], float] = {}

    # What it sees

    def status(self, *, since: int = 0, wait_s: float = 0.0) -> Status:
        """Return the status; wait at most ``wait_s`` (up to 10) while its revision is ``since``."""
        return self._steward.status(since, min(max(wait_s, 0.0), 10.0))

    def rows(self) -> tuple[RowView, ...]:
        """Return the rows of the acceptable-use table, in order."""
        written = self._steward.written
        return tuple(
            RowView(
                row.id,
                row.number,
                row.title,
                row.locked,
                words.titles(row.categories),
                tuple(service.title for service in services_in(row.services)),
                tuple(protocol.title for protocol in of_category(row.categories)),
                row.by_supervision,
                written.rows[row.id].note,
            )
            for row in self._steward.policy.rows
        )

    def groups(self) -> tuple[GroupView, ...]:
        """Return the groups, in the order of the pages."""
        policy = self._steward.policy
        devices = [device.group for device in policy.devices.values()]
        return tuple(
            GroupView(
                group.id,
                group.title,
                {row: cell.value for row, cell in group.cells.items()},
                group.default.value,
                group.pausable,
                group.quic,
                devices.count(group.id),
                group.safe_search,
                group.youtube.value,
                group.named_only,
            )
            for group in policy.groups.values()
        )

    def devices(self) -> tuple[DeviceView, ...]:
        """Return all devices, newest first."""
        known = self._steward.written.devices
        members = self._steward.policy.members
        seen = self._steward.sightings.all()
        views = []
        for mac in known.keys() | seen.keys():
            device, sighting = known.get(mac), seen.get(mac)
            by_vlan = members[mac].group if mac in members else UNKNOWN_GROUP
            views.append(
                DeviceView(
                    mac,
                    device.name if device else "",
                    device.group if device else by_vlan,
                    device is not None,
                    is_randomised(mac),
                    sighting.addresses if sighting else (),
                    sighting.first_seen if sighting else "",
                    sighting.last_seen if sighting else "",
                )
            )
        return tuple(sorted(views, key=lambda v: (v.first_seen, v.mac), reverse=True))

    def activity(
        self,
        *,
        filter: ActivityFilter,  # noqa: A002  # the word of the page
        actor: str,
        reason: str = "",
        copy: bool = False,
    ) -> ActivityView:
        """Return what the data plane decided, newest first; who looks, and why, is recorded."""
        masked = self._look(actor, reason, copy=copy)
        if masked and filter.person:
            raise RefusedError("your role sees devices, not the names of people", "person")
        for field, iso in (("since", filter.since), ("until", filter.until)):
            if iso:
                self._time(iso, field)
        policy = self._steward.policy
        try:
            found = self._steward.activity.search(filter)
        except ValueError as e:
            raise RefusedError(str(e), "category") from e
        records = tuple(
            ActivityRecord(
                record.id,
                datetime.fromtimestamp(record.event.at_ms / 1000, self._clock.zone).isoformat(
                    timespec="milliseconds"
                ),
                record.event.source.value,
                record.event.device,
                record.event.mac,
                record.event.address,
                record.event.group,
                record.event.name,
                record.event.kind,
                record.event.action,
                record.event.reason,
                record.event.rule_id,
                words.titles(record.event.categories),
                words.sentence(
                    record.event.action, record.event.reason, record.event.rule_id, policy
                ),
                record.event.count,
                record.event.version,
                "" if masked else record.event.person,
                record.event.took_us,
                record.event.upstream,
                record.event.remote,
                *(record.carried or (None, None)),
            )
            for record in found.records
        )
        back_to = found.back_to.isoformat() if found.back_to else ""
        return ActivityView(records, found.older, back_to)

    def _time(self, text: str, field: str) -> datetime:
        try:
            return aware(text, self._clock.zone).astimezone(self._clock.zone)
        except (ValueError, OverflowError):
            raise RefusedError(
                f"{text[:40]!r} is no date and time such as 2027-01-22T10:30", field
            ) from None

    def hours(self) -> tuple[HourView, ...]:
        """Return what was decided today, by hour and group."""
        zone = self._clock.zone
        return tuple(
            HourView(
                datetime.fromtimestamp(its.begins_ms / 1000, zone).hour,
                its.group,
                its.allowed,
                its.blocked,
            )
            for its in self._steward.totals().hours
        )

    def blocked_most(self, *, actor: str) -> tuple[BlockedView, ...]:
        """Return which sites were blocked most today; they are nobody's by name, so that no reason is asked for."""
        self._demand(actor, Act.SEARCH_ACTIVITY)
        return tuple(BlockedView(*its) for its in self._steward.totals().blocked_most)

    def usage(self, *, span: UsageSpan, actor: str, reason: str = "") -> UsageView:
        """Return who used the internet most; who looks, and why, is recorded."""
        masked = self._look(actor, reason)
        now = self._clock.now()
        if now is None:
            return UsageView("", 0, 0, ())
        today = now.date()
        since = today - timedelta(days=today.weekday()) if span == "week" else today
        used = consumption(self._steward.activity, since, today, with_people=not masked)
        return UsageView(since.isoformat(), used.down, used.up, tuple(map(_consumer, used.most)))

    def explain(self, *, client: str, name: str, at: str = "", protocol: str = "") -> Explanation:
        """Tell what ``client`` (address, MAC address, device name, person or group id) gets for ``name`` at a time."""
        if protocol and protocol not in PROTOCOLS:
            raise RefusedError(
                f"{protocol[:40]!r} is no protocol; allowed are {', '.join(PROTOCOLS)}", "protocol"
            )
        try:
            # A flow may show its protocol and no name.
            qname = parse_name(name) if name or not protocol else ""
        except MalformedNameError as e:
            raise RefusedError(str(e), "name") from e
        policy, when = self._steward.policy, self._clock.now()
        if at:
            when = self._time(at, "at")
            policy = self._steward.policy_at(when)
        who = self._client(policy, client)
        trace = tuple(explain(policy, who, qname, when, protocol))
        decision = next(says for _, says in trace if says)
        steps = []
        decided = False
        for place, says in trace:
            steps.append(
                TraceStep(
                    place,
                    says.action.value if says else "",
                    says.rule_id if says else "",
                    words.sentence(says.action.value, says.reason.value, says.rule_id, policy)
                    if says
                    else "Has nothing to say.",
                    says is not None and not decided,
                )
            )
            decided = decided or says is not None
        safe = None if decision.blocked else policy.safe_name(who, qname)
        return Explanation(
            who.name,
            who.group,
            policy.groups[who.group].title if who.group in policy.groups else who.group,
            qname,
            decision.action.value,
            decision.reason.value,
            decision.rule_id,
            words.sentence(decision.action.value, decision.reason.value, decision.rule_id, policy),
            words.titles(decision.categories),
            tuple(steps),
            words.safe_sentence(safe, who.group, policy) if safe else "",
            safe.rule_id if safe else "",
        )

    # The record

    def record(self, *, before: int = 0, limit: int = 50, actor: str) -> tuple[Entry, ...]:
        """Return entries, newest first; a teacher's are their own."""
        who, allowed = self._demand(actor, Act.READ_RECORD)
        own = who.name if allowed is Leave.OWN else ""
        return tuple(self._store.entries(before, min(max(limit, 1), 500), own))

    def verify_record(self, *, actor: str) -> Verdict:
        """Check the whole record, and that the policy in force is the one that its last entry speaks of."""
        self._demand(actor, Act.READ_RECORD)
        try:
            return check_store(self._steward.places.policy)
        except EvidenceError as e:
            raise RefusedError(str(e)) from e

    def sign_record(self, *, number: int, actor: str) -> Entry:
        """Note that a governor has read the record up to entry ``number``; return the entry that says so."""
        with self._steward.lock:
            who, _ = self._demand(actor, Act.SIGN_RECORD)
            found = self._store.entries(number + 1, 1) if number > 0 else []
            if not found or found[0].number != number:
                last = self._store.entries(limit=1)
                raise RefusedError(
                    f"{number} is no entry; there are 1 to {last[0].number if last else 0}",
                    "number",
                )
            note = change(who, "has read the record", f"to entry {number}", after=found[0].hash)
            with self._store.noting(note, self._clock.now()):
                pass
            return self._store.entries(limit=1)[0]

    def evidence(self, *, actor: str) -> str:
        """Return the whole record as JSON, an entry a line, to be checked offline."""
        who, allowed = self._demand(actor, Act.READ_RECORD)
        if allowed is Leave.OWN:
            raise RefusedError("a teacher reads their own entries on the page Record", "actor")
        note = change(who, "took a copy of the record", "")
        with self._store.noting(note, self._clock.now()):
            pass
        return render_evidence(
            reversed(self._store.entries()), self._signer, school=self._steward.written.school
        )

    # Lists and panel

    def report_panel(self, *, report: PanelReport) -> None:
        """Take what the panel shows."""
        self._steward.heard_panel(report)

    def add_list(self, *, name: str, category: str, path: str, actor: str) -> int:
        """Add the list in the file at ``path`` to a category, or replace it; return how many names it holds."""
        who, _ = self._demand(actor, Act.MANAGE_LISTS)
        source = self._steward.sources.get(name)
        if source and source.category == category:
            raise RefusedError("this list comes from its source; remove that first", "name")
        note = change(who, ADDED, f"{name} to {category}", after=Path(path).name)
        try:
            return self._steward.add_list(
                name,
                category,
                Path(path),
                note,
                may_shorten=leave(who.role, Act.APPROVE) is Leave.YES,
            )
        except SourceError as e:
            raise RefusedError(str(e), e.field) from e
        except (ValueError, OSError) as e:  # also a path that is none
            raise RefusedError(str(e)) from e

    def _look(self, actor: str, reason: str, *, copy: bool = False) -> bool:
        """Let ``actor`` look at what others did, or take a ``copy``; return whether without the names of people."""
        who, allowed = self._demand(actor, Act.SEARCH_ACTIVITY)
        if not who.name.startswith(COMMAND_LINE):
            reason = text_of(reason, "reason", 500)
        if copy:
            note = change(who, "took a copy of the log", "", reason=reason)
            with self._store.noting(note, self._clock.now()):
                pass
        else:
            self._note_look(who, reason)
        return allowed is Leave.MASKED

    def _note_look(self, who: Who, reason: str) -> None:
        """Write down who looks at the log and why, once an hour for each reason."""
        key = (who.name, reason)
        now_s = time.monotonic()
        if now_s < self._looked.get(key, float("-inf")) + LOOKED_EVERY_S:
            return
        self._looked = {k: t for k, t in self._looked.items() if now_s < t + LOOKED_EVERY_S}
        self._looked[key] = now_s
        note = change(who, "looked at the log", "", reason=reason)
        with self._store.noting(note, self._clock.now()):
            pass

    def _client(self, policy: Policy, text: str) -> Client:
        """Return the client that somebody means by an address, MAC address, device name, person or group."""
        sightings = self._steward.sightings.all()
        text = text.strip()
        if text in policy.groups:
            return Client(_NO_ADDRESS, None, text, f"any device of {policy.groups[text].title}")
        held = next((m for m, d in policy.devices.items() if d.person == text), None)
        if text in self._steward.written.people and held is None:
            raise RefusedError(
                f"{text} holds no device at that time; name a group instead", "client"
            )
        by_name = {device.name.lower(): mac for mac, device in policy.devices.items()}
        mac = held or by_name.get(text.lower())
        if mac is None:
            try:
                mac = parse_mac(text)
            except MalformedMacError:
                try:
                    address = ip_address(text)
                except ValueError:
                    raise RefusedError(
                        f"{text[:60]!r} is no device, person, MAC address, IP address or group",
                        "client",
                    ) from None
                return policy.client(address, self._steward.mac_of(address))
        addresses = sightings[mac].addresses if mac in sightings else ()
        return policy.client(ip_address(addresses[0]) if addresses else _NO_ADDRESS, mac)


MAX_SITES: Final = 3
"""Told of each device that used much."""


def _consumer(used: tuple[ConsumerKey, Consumed]) -> ConsumerView:
    key, its = used
    return ConsumerView(
        its.name or key.device,
        its.mac,
        "" if its.mac else key.device,
        key.group,
        key.person,
        its.down,
        its.up,
        its.flows,
        tuple(SiteUse(name, octets) for name, octets in its.sites.most_common(MAX_SITES)),
    )


_NO_ADDRESS: Final = ip_address("0.0.0.0")  # noqa: S104  # stands for no address
