"""Where everything lies: the files of the state directory and the sockets of the run directory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gate_core.config import ApplianceConfig


@dataclass(frozen=True, slots=True)
class Places:
    """Paths below the two directories that the configuration names."""

    state: Path
    run: Path

    @classmethod
    def of(cls, config: ApplianceConfig) -> Places:
        """Return the places of a configuration."""
        return cls(Path(config.state_directory), Path(config.run_directory))

    def make(self) -> None:
        """Make the two directories."""
        self.state.mkdir(parents=True, exist_ok=True, mode=0o750)
        self.run.mkdir(parents=True, exist_ok=True, mode=0o750)
        (self.run / "pids").mkdir(exist_ok=True)

    @property
    def policy(self) -> Path:
        """The policy store."""
        return self.state / "policy.db"

    @property
    def activity(self) -> Path:
        """Directory of the log of decisions."""
        return self.state / "activity"

    @property
    def sightings(self) -> Path:
        """Devices seen."""
        return self.state / "sightings.json"

    @property
    def lists(self) -> Path:
        """Directory of the school's own lists."""
        return self.state / "lists"

    @property
    def sources(self) -> Path:
        """The sources of the school's lists."""
        return self.state / "sources.json"

    @property
    def outcomes(self) -> Path:
        """What came of looking at the sources."""
        return self.state / "sources-looked-at.json"

    @property
    def source_keys(self) -> Path:
        """The keys of sources that are transferred as zones; secret."""
        return self.state / "source-keys.json"

    @property
    def snapshots(self) -> Path:
        """Directory of the snapshot in force and its compiled lists."""
        return self.state / "snapshot"

    @property
    def first_run_code(self) -> Path:
        """The code that the first-run wizard asks for; there until it has been used."""
        return self.state / "first-run-code"

    @property
    def web(self) -> Path:
        """Directory of the certificate and the key of the pages."""
        return self.state / "web"

    @property
    def signing_key(self) -> Path:
        """The appliance's own key, which signs exports of policy and record."""
        return self.state / "signing-key"

    @property
    def announce(self) -> Path:
        """Directory of the sockets to which new snapshots are announced."""
        return self.run / "announce"

    @property
    def desk(self) -> Path:
        """The steward's control socket."""
        return self.run / "steward.sock"

    @property
    def panel(self) -> Path:
        """The panel's control socket."""
        return self.run / "panel.sock"

    @property
    def events(self) -> Path:
        """The recorder's socket."""
        return self.run / "events.sock"

    def pins(self, firewall: int) -> Path:
        """Return the socket of a process of the firewall for the addresses of safe versions."""
        return self.run / f"pins-{firewall}.sock"

    def given(self, firewall: int) -> Path:
        """Return the socket of a process of the firewall for what the sinkhole gave to whom."""
        return self.run / f"given-{firewall}.sock"

    def given_of(self, worker: int, firewall: int) -> Path:
        """Return the socket at which a worker of the sinkhole is asked for it by a process of the firewall."""
        return self.run / f"given-{firewall}-{worker}.sock"

    def epochs(self, firewall: int) -> Path:
        """Return the socket by which a process of the firewall agrees with the others on epochs."""
        return self.run / f"epochs-{firewall}.sock"

    def pid(self, part: str) -> Path:
        """The file with the process id of a part that ``gate up`` started."""
        return self.run / "pids" / part
