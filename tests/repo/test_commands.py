"""The Makefile, the scripts, and what the documentation says about them."""

import re
import shutil
import subprocess
import tomllib
from dataclasses import fields

import pytest

from gate_core import config


@pytest.fixture(scope="module")
def targets(root):
    """Return the names of the Makefile's targets."""
    makefile = (root / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY:((?:.*\\\n)*.*)$", makefile, re.MULTILINE)
    return set(phony.replace("\\\n", " ").split())


def test_make_help_lists_every_target(root, targets):
    shown = subprocess.run(["make", "help"], cwd=root, capture_output=True, text=True, check=True)
    assert set(re.findall(r"^  make ([a-z-]+) +\S", shown.stdout, re.MULTILINE)) == targets


def test_makefile_has_no_target_that_is_a_file(root, targets):
    rules = re.findall(r"^([a-z][a-z -]*):(?!=)", (root / "Makefile").read_text(), re.MULTILINE)
    assert {name for rule in rules for name in rule.split()} == targets


def test_pages_name_commands_that_exist(pages, targets):
    unknown = {
        f"{page}: make {name}"
        for page, text in pages.items()
        for name in re.findall(r"(?:^|`)(?:sudo )?make ([a-z-]+)", text, re.MULTILINE)
        if name not in targets
    }
    assert unknown == set()


def test_readme_names_the_two_commands(root):
    readme = (root / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


def test_scripts_are_clean(root, files):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    scripts = [f for f in files if re.match(rb"#!.*\b(ba|da)?sh\b", f.read_bytes()[:40])]
    assert scripts
    found = subprocess.run(
        ["shellcheck", *scripts], cwd=root, capture_output=True, text=True, check=False
    )
    assert found.stdout == ""


def test_scripts_can_be_started(files):
    assert [f for f in files if f.read_bytes()[:2] == b"#!" and not f.stat().st_mode & 0o100] == []


def test_package_lists_name_one_package_a_line(root):
    for path in (root / "tools" / "apt").iterdir():
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"# .+|[a-z0-9][a-z0-9.+-]+", line), f"{path.name}: {line}"


def test_pages_hold_toml_that_parses(pages):
    tables = {f.name for f in fields(config.Config)}
    for page, text in pages.items():
        for block in re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            tree = tomllib.loads(block)
            if tree.keys() <= tables:
                assert config.parse(block), page
