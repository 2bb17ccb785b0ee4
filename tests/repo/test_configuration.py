"""docs/configuration.md."""

import subprocess
import sys
import tomllib
from dataclasses import fields

from gate_core import config


def test_page_is_what_make_docs_writes(root):
    written = subprocess.run(
        [sys.executable, "tools/configuration.py"],
        cwd=root,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (root / "docs" / "configuration.md").read_text() == written.stdout, "run: make docs"


def test_page_has_a_heading_for_every_key(root):
    lines = (root / "docs" / "configuration.md").read_text().splitlines()
    for table in fields(config.Config):
        for key in fields(table.default_factory):
            assert f"### {table.name}.{key.name}" in lines


def test_reference_is_a_configuration_once_its_marks_are_gone():
    keys = [line.removeprefix("# ") for line in config.reference().splitlines() if " = " in line]
    lines = [
        line.removeprefix("# ") if line.removeprefix("# ") in keys else line
        for line in config.reference().splitlines()
    ]
    text = "\n".join(lines)
    assert tomllib.loads(text).keys() == {f.name for f in fields(config.Config)}
    assert config.parse(text) == config.parse("")
