"""tests/conftest.py: what a skip counts as."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIP = "def test_it():\n    pytest.skip('no nft here')"
FILES = {
    "test": SKIP,
    "mark": "@pytest.mark.skipif(True, reason='no nft here')\ndef test_it(): pass",
    "fixture": "@pytest.fixture\ndef f(): pytest.skip('no nft here')\ndef test_it(f): pass",
    "module": "pytest.importorskip('no_such_module')\ndef test_it(): pass",
    "shared": SKIP.replace("no nft here", "../shared is absent: no lists"),
    "image": f"@pytest.mark.image\n{SKIP}",
    "pi": f"@pytest.mark.pi\n{SKIP}",
    "expected": "@pytest.mark.xfail\ndef test_it(): assert 0",
}


def outcomes(directory, *, ci):
    """Run the files above under the project's conftest, and return pytest's word for each."""
    shutil.copy(CONFTEST, directory)
    for name, text in FILES.items():
        (directory / f"test_{name}.py").write_text(f"import pytest\n\n{text}\n")
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = image\n    pi\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "--tb=no",
            "-rA",
            "--no-fold-skipped",
            "--continue-on-collection-errors",
        ],
        cwd=directory,
        # Without the plugins that are installed: loading them takes longer than the rest.
        env={
            **os.environ,
            "CI": ci,
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        m[2]: m[1] for m in re.finditer(r"^([A-Z]+) .*?test_(\w+)\.py", done.stdout, re.MULTILINE)
    }


@pytest.fixture(scope="module")
def where_it_counts(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("counts"), ci="true")


@pytest.mark.parametrize(
    ("name", "outcome"),
    [("test", "FAILED"), ("mark", "ERROR"), ("fixture", "ERROR"), ("module", "ERROR")],
)
def test_hold_fails_a_skip_where_it_counts(where_it_counts, name, outcome):
    assert where_it_counts[name] == outcome


@pytest.mark.parametrize("name", ["shared", "image", "pi"])
def test_hold_leaves_what_may_be_absent(where_it_counts, name):
    assert where_it_counts[name] == "SKIPPED"


def test_hold_leaves_an_expected_failure(where_it_counts):
    assert where_it_counts["expected"] == "XFAIL"


def test_hold_leaves_skips_elsewhere(tmp_path):
    assert set(outcomes(tmp_path, ci="").values()) == {"SKIPPED", "XFAIL"}
