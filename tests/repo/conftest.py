"""For the tests of the repository itself: its files, as a newcomer's clone would have them."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def files():
    """Return every file under version control, and those about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="session")
def texts(files):
    """Return the text of every file that has one."""
    read = {}
    for path in files:
        try:
            read[path.relative_to(ROOT)] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture, or bytes for a test
    return read


@pytest.fixture(scope="session")
def pages(texts):
    """Return the documentation: Markdown by path."""
    return {path: text for path, text in texts.items() if path.suffix == ".md"}
