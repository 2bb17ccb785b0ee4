"""The lock files: each requirement pinned, with hashes, from wherever."""

import re
import tomllib

import pytest

LOCKS = ["build", "run", "dev"]


def requirements(root, lock):
    """Return name to (pin with its marker, hashes)."""
    text = (root / "locks" / f"{lock}.lock").read_text()
    entries = text.replace("\\\n", " ").strip().splitlines()
    return {re.split(r"[=<>~! ]", e, maxsplit=1)[0]: e.split(" --hash=") for e in entries}


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_pin_and_hash_every_requirement(root, lock):
    loose = [
        name
        for name, (pin, *hashes) in requirements(root, lock).items()
        if not re.match(r"[a-z0-9-]+==[0-9][\w.]*( ; .+)?\s*$", pin)
        or not hashes
        or not all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", h) for h in hashes)
    ]
    assert loose == []


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_what_pyproject_asks(root, lock):
    project = tomllib.loads((root / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    build = groups["build"]
    run = project["project"]["dependencies"]
    dev = [x for x in groups["dev"] if isinstance(x, str)]
    asked = {"build": build, "run": run, "dev": [*build, *run, *dev]}[lock]
    names = {re.match(r"[\w-]+", x)[0].lower() for x in asked}
    assert names - requirements(root, lock).keys() == set()


@pytest.mark.parametrize("lock", ["build", "run"])
def test_locks_agree(root, lock):
    whole = requirements(root, "dev")
    assert {n for n, entry in requirements(root, lock).items() if whole.get(n) != entry} == set()
