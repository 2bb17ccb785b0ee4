"""A steward on real files, with sockets in a short directory."""

import shutil
import tempfile
from pathlib import Path

import pytest

from gate_appliance.desk import StewardDesk
from gate_appliance.steward import Steward
from gate_core.config import ApplianceConfig, Config, DnsConfig


@pytest.fixture
def short_path():
    # Names of unix sockets have 107 octets at most (unix(7)); pytest's own directories may be longer.
    path = Path(tempfile.mkdtemp(prefix="gate"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def config(short_path):
    return Config(
        appliance=ApplianceConfig(
            mode="inline",
            state_directory=str(short_path / "state"),
            run_directory=str(short_path / "run"),
        ),
        dns=DnsConfig(upstreams=("192.0.2.1",)),
    )


@pytest.fixture
def steward(config):
    steward = Steward(config)
    steward.start()
    yield steward
    steward.close()


@pytest.fixture
def desk(steward):
    return StewardDesk(steward)
