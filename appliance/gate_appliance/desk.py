"""The steward's desk: what people may ask and change, each change checked, recorded and published."""

from __future__ import annotations

import json
import re
import secrets
import time
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from gate_appliance import words
from gate_appliance.lists.formats import ListError
from gate_appliance.steward import Steward
from gate_appliance.store import UNKNOWN_GROUP, Change
from gate_core.acceptable_use import ROWS, Cell
from gate_core.clients import Client, MalformedMacError, is_randomised, parse_mac
from gate_core.desk import (
    USERNAME,
    Account,
    ActivityFilter,
    ActivityRecord,
    AuditEntry,
    DeviceView,
    Explanation,
    GroupView,
    PanelReport,
    RefusedError,
    RowView,
    Status,
    TraceStep,
)
from gate_core.names import MalformedNameError, parse_name
from gate_core.policy import decide, explain

MAX_PAUSE_MINUTES: Final = 480

FAILURES_EVERY_S: Final = 10.0
"""How often a failed sign-in is written down: somebody who guesses must not write the audit log full."""

_COORDINATOR: Final = "coordinator"


class StewardDesk:
    """``gate_core.desk.Desk``, on a steward."""

    def __init__(self, steward: Steward) -> None:
        self._steward = steward
        self._store = steward.store
        self._clock = steward.clock
        self._failures_noted_s = float("-inf")

    # The first run and the accounts

    def is_set_up(self) -> bool:
        """Tell whether the first-run wizard has been completed."""
        return self._store.is_set_up()

    def set_up(
        self, *, code: str, school: str, username: str, full_name: str, password_hash: str
    ) -> None:
        """Complete the first run: the school and its first coordinator."""
        with self._steward.lock:
            if self._store.is_set_up():
                raise RefusedError("the first run has been completed; sign in instead")
            expected = self._steward.places.first_run_code.read_text().strip()
            if not secrets.compare_digest(_bare(code).encode(), _bare(expected).encode()):
                raise RefusedError(
                    "this is not the first-run code of this appliance: 12 letters and digits, printed at its start"
                    " and kept in the file first-run-code of its state directory",
                    "code",
                )
            school = _text(school, "school", 100)
            username = _text(username, "username", 40).lower()
            if not USERNAME.fullmatch(username):
                raise RefusedError(
                    "write letters a to z, digits, full stops, hyphens or underscores, beginning with a letter",
                    "username",
                )
            full_name = _text(full_name, "full_name", 100)
            if not password_hash.startswith("$argon2id$"):
                raise RefusedError("the password must come as an argon2id hash", "password_hash")
            change = Change(username, "first run", school, after=f"{full_name} is {_COORDINATOR}")
            with self._steward.changing(change) as db:
                self._store.set_school(school)
                db.table("account").insert(
                    {
                        "username": username,
                        "full_name": full_name,
                        "role": _COORDINATOR,
                        "password_hash": password_hash,
                        "session_epoch": 1,
                    }
                )
            self._steward.places.first_run_code.unlink()

    def account(self, *, username: str) -> Account | None:
        """Return the account of that name."""
        return self._store.account(username.strip().lower())

    def record_sign_in(self, *, username: str, address: str, succeeded: bool) -> None:
        """Write into the audit log who signed in or failed to."""
        account = self.account(username=username)
        if account is None:
            return  # What a stranger types is no entry: anybody could write the log full.
        action = "signed in" if succeeded else "failed to sign in"
        if not succeeded and time.monotonic() < self._failures_noted_s + FAILURES_EVERY_S:
            return
        if not succeeded:
            self._failures_noted_s = time.monotonic()
        with self._store.noting(Change(account.username, action, address[:60]), self._clock.now()):
            pass

    def end_sessions(self, *, username: str, actor: str) -> None:
        """End every session of an account."""
        account = self.account(username=username)
        if account is None:
            raise RefusedError(f"{username[:60]!r} is no account", "username")
        change = Change(actor, "ended sessions", account.username)
        with self._store.noting(change, self._clock.now()) as db:
            db.table("account").update(
                account.username, {"session_epoch": account.session_epoch + 1}
            )

    # What it sees

    def status(self, *, since: int = 0, wait_s: float = 0.0) -> Status:
        """Return the status; wait at most ``wait_s`` (up to 10) while its revision is ``since``."""
        return self._steward.status(since, min(max(wait_s, 0.0), 10.0))

    def rows(self) -> tuple[RowView, ...]:
        """Return the rows of the acceptable-use table, in order."""
        return tuple(
            RowView(row.id, row.number, row.title, row.locked, words.titles(row.categories))
            for row in ROWS
        )

    def groups(self) -> tuple[GroupView, ...]:
        """Return the groups, in the order of the pages."""
        devices = [device.group for device in self._store.devices().values()]
        return tuple(
            GroupView(
                group.id,
                group.title,
                {row: cell.value for row, cell in group.cells.items()},
                group.default.value,
                group.pausable,
                group.quic,
                devices.count(group.id),
            )
            for group in self._store.groups().values()
        )

    def devices(self) -> tuple[DeviceView, ...]:
        """Return all devices, newest first."""
        known = self._store.devices()
        seen = self._steward.sightings.all()
        views = []
        for mac in known.keys() | seen.keys():
            device, sighting = known.get(mac), seen.get(mac)
            views.append(
                DeviceView(
                    mac,
                    device.name if device else "",
                    device.group if device else UNKNOWN_GROUP,
                    device is not None,
                    is_randomised(mac),
                    sighting.addresses if sighting else (),
                    sighting.first_seen if sighting else "",
                    sighting.last_seen if sighting else "",
                )
            )
        return tuple(sorted(views, key=lambda v: (v.first_seen, v.mac), reverse=True))

    def activity(self, *, filter: ActivityFilter) -> tuple[ActivityRecord, ...]:  # noqa: A002  # the word of the page
        """Return what the data plane decided, newest first."""
        groups = self._steward.policy.groups
        return tuple(
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
                    record.event.action, record.event.reason, record.event.rule_id, groups
                ),
                record.event.count,
                record.event.version,
            )
            for record in self._steward.activity.search(filter)
        )

    def explain(self, *, client: str, name: str) -> Explanation:
        """Tell what ``client`` (address, MAC address, device name or group id) gets for ``name``."""
        policy = self._steward.policy
        try:
            qname = parse_name(name)
        except MalformedNameError as e:
            raise RefusedError(str(e), "name") from e
        who = self._client(client)
        at = self._clock.now()
        decision = decide(policy, who, qname, at)
        steps = []
        decided = False
        for place, says in explain(policy, who, qname, at):
            steps.append(
                TraceStep(
                    place,
                    says.action.value if says else "",
                    says.rule_id if says else "",
                    words.sentence(
                        says.action.value, says.reason.value, says.rule_id, policy.groups
                    )
                    if says
                    else "Has nothing to say.",
                    says is not None and not decided,
                )
            )
            decided = decided or says is not None
        return Explanation(
            who.name,
            who.group,
            policy.groups[who.group].title,
            qname,
            decision.action.value,
            decision.reason.value,
            decision.rule_id,
            words.sentence(
                decision.action.value, decision.reason.value, decision.rule_id, policy.groups
            ),
            words.titles(decision.categories),
            tuple(steps),
        )

    def audit(self, *, before: int = 0, limit: int = 50) -> tuple[AuditEntry, ...]:
        """Return changes, newest first."""
        return self._store.audit(before, min(max(limit, 1), 500))

    # What it changes

    def set_cell(self, *, group: str, row: str, cell: str, reason: str, actor: str) -> None:
        """Change one cell of the table."""
        with self._steward.lock:
            groups = self._store.groups()
            its_row = next((r for r in ROWS if r.id == row), None)
            if group not in groups:
                raise RefusedError(f"{group!r} is no group; there are {', '.join(groups)}", "group")
            if its_row is None:
                raise RefusedError(f"{row!r} is no row of the table", "row")
            if its_row.locked:
                raise RefusedError("this row is illegal content: nobody can change it", "cell")
            allowed = [c.value for c in Cell if c is not Cell.ILLEGAL]
            if cell not in allowed:
                raise RefusedError(f"{cell!r} is none of {', '.join(allowed)}", "cell")
            reason = _text(reason, "reason", 500)
            before = groups[group].cells.get(row, Cell.UNACCEPTABLE)
            if before.value == cell:
                return
            change = Change(
                actor, "changed a cell", f"{row} for {group}", before.value, cell, reason
            )
            with self._steward.changing(change) as db:
                db.table("cell").upsert(
                    {"group_id": group, "row_id": row, "cell": cell}, pk=("group_id", "row_id")
                )

    def start_pause(self, *, groups: tuple[str, ...], minutes: int, actor: str) -> None:
        """Pause ``groups`` (none named: all that the button reaches) for 1 to 480 minutes from now."""
        with self._steward.lock:
            if not 1 <= minutes <= MAX_PAUSE_MINUTES:
                raise RefusedError(
                    f"{minutes} is not a number of minutes from 1 to {MAX_PAUSE_MINUTES}", "minutes"
                )
            all_groups = self._store.groups()
            for group in groups:
                if group not in all_groups:
                    raise RefusedError(
                        f"{group!r} is no group; there are {', '.join(all_groups)}", "groups"
                    )
            chosen = sorted(groups or (g.id for g in all_groups.values() if g.pausable))
            # Without a known time a pause holds until somebody ends it: see Question.active.
            since = self._clock.now_or_floor()
            until = since + timedelta(minutes=minutes)
            change = Change(
                actor,
                "started the internet pause",
                ", ".join(chosen),
                after=f"until {until.isoformat(timespec='seconds')}",
            )
            with self._steward.changing(change) as db:
                # A new pause takes its groups out of older ones, and leaves the others in theirs.
                for pause in self._store.pauses():
                    rest = sorted(pause.groups - set(chosen))
                    if rest and pause.span.until > since:
                        db.table("pause").update(int(pause.id), {"groups": json.dumps(rest)})
                    else:
                        db.table("pause").delete(int(pause.id))
                db.table("pause").insert(
                    {
                        "groups": json.dumps(chosen),
                        "since": since.isoformat(),
                        "until": until.isoformat(),
                        "by": actor,
                    }
                )

    def end_pause(self, *, actor: str) -> None:
        """End the internet pause."""
        with self._steward.lock:
            if not self._store.pauses():
                return
            with self._steward.changing(Change(actor, "ended the internet pause", "")) as db:
                db.execute("delete from pause")

    def set_device(self, *, mac: str, name: str, group: str, actor: str) -> None:
        """Name a device and put it into a group."""
        with self._steward.lock:
            mac = _mac(mac)
            name = _text(name, "name", 60)
            groups = self._store.groups()
            if group not in groups:
                raise RefusedError(f"{group!r} is no group; there are {', '.join(groups)}", "group")
            devices = self._store.devices()
            before = devices.get(mac)
            if before and (before.name, before.group) == (name, group):
                return
            if any(d.name.lower() == name.lower() for d in devices.values() if d.mac != mac):
                raise RefusedError(f"another device is called {name!r} already", "name")
            change = Change(
                actor,
                "changed a device" if before else "added a device",
                mac,
                f"{before.name}: {before.group}" if before else "",
                f"{name}: {group}",
            )
            with self._steward.changing(change) as db:
                db.table("device").upsert({"mac": mac, "name": name, "group_id": group}, pk="mac")

    def forget_device(self, *, mac: str, actor: str) -> None:
        """Take a device out of its group; it is unknown again."""
        with self._steward.lock:
            mac = _mac(mac)
            before = self._store.devices().get(mac)
            if not before:
                raise RefusedError(f"{mac} is in no group", "mac")
            change = Change(actor, "removed a device", mac, f"{before.name}: {before.group}")
            with self._steward.changing(change) as db:
                db.table("device").delete(mac)

    def report_panel(self, *, report: PanelReport) -> None:
        """Take what the panel shows."""
        self._steward.heard_panel(report)

    def add_list(self, *, name: str, category: str, path: str, actor: str) -> int:
        """Add the list in the file at ``path`` to a category, or replace it; return how many names are listed."""
        try:
            change = Change(actor, "added a list", f"{name} to {category}", after=Path(path).name)
            return self._steward.add_list(name, category, Path(path), change)
        except (ListError, OSError) as e:
            raise RefusedError(str(e)) from e

    def _client(self, text: str) -> Client:
        """Return the client that somebody means by an address, MAC address, device name or group."""
        policy = self._steward.policy
        sightings = self._steward.sightings.all()
        text = text.strip()
        if text in policy.groups:
            return Client(_NO_ADDRESS, None, text, f"any device of {policy.groups[text].title}")
        by_name = {device.name.lower(): mac for mac, device in policy.devices.items()}
        mac = by_name.get(text.lower())
        if mac is None:
            try:
                mac = parse_mac(text)
            except MalformedMacError:
                try:
                    address = ip_address(text)
                except ValueError:
                    raise RefusedError(
                        f"{text[:60]!r} is no device, MAC address, IP address or group", "client"
                    ) from None
                return policy.client(address, self._steward.mac_of(address))
        addresses = sightings[mac].addresses if mac in sightings else ()
        return policy.client(ip_address(addresses[0]) if addresses else _NO_ADDRESS, mac)


_NO_ADDRESS: Final = ip_address("0.0.0.0")  # noqa: S104  # stands for no address


def _text(text: str, field: str, most: int) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= most:
        raise RefusedError(f"write 1 to {most} characters", field)
    if not text.isprintable():
        raise RefusedError("write letters, digits and signs: no control characters", field)
    return text


def _bare(code: str) -> str:
    """Return a code as it counts: however its hyphens and letter case were typed."""
    return re.sub("[^A-Z0-9]", "", code.upper())


def _mac(text: str) -> str:
    try:
        return parse_mac(text)
    except MalformedMacError as e:
        raise RefusedError(str(e), "mac") from e
