"""Compiles the modules that every new flow goes through, and prints the folder that has them: put it first on PYTHONPATH.

The same sources run without that, more slowly. The folder is named by what is compiled and what compiles it, so it
is never out of date; one that is there already is used again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

_HOME: Final = Path(__file__).parents[1]
_COMPILED: Final = _HOME / "var/compiled"
_PACKAGE: Final = _HOME / "firewall/gate_firewall"
_READ: Final = (_PACKAGE, _HOME / "appliance/gate_core")
"""Packages whose classes and types are compiled in."""

MODULES: Final = (
    "classify",
    "conntrack",
    "flows",
    "hello",
    "host",
    "marks",
    "opening",
    "packet",
    "readable",
    "ruling",
    "stream",
    "watch",
)
"""Of the firewall, those on the way of a new TLS flow. What stands still while it waits for the kernel gains nothing."""

_CHECK: Final = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    path = import_module(f"gate_firewall.{name}").__file__
    assert path.endswith(".so"), f"{name} is not compiled: {path}"
"""


_BUILD: Final = """
import sys
from mypyc.build import mypycify
from setuptools import setup
folder, *paths = sys.argv[1:]
setup(
    name="compiled",
    packages=[],
    py_modules=[],
    ext_modules=mypycify(paths, opt_level="2", target_dir=f"{folder}/c"),
    script_args=["-q", "build_ext", "--build-lib", f"{folder}/out", "--build-temp", f"{folder}/o"],
)
"""


def main() -> None:
    """Print the folder; make it first, where it is not there."""
    folder = _COMPILED / _key()
    if not folder.is_dir():
        sys.stderr.write("Compiling the firewall's hot modules\n")
        _COMPILED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_COMPILED) as made:
            _compile(Path(made))
            (Path(made) / "out").rename(folder)
    sys.stdout.write(f"{folder}\n")


def _key() -> str:
    digest = hashlib.sha256()
    for path in sorted((Path(__file__), *(p for package in _READ for p in package.glob("*.py")))):
        digest.update(path.read_bytes())
    made_by = (sys.version, sysconfig.get_platform(), version("mypy"))
    digest.update(repr(made_by).encode())
    return digest.hexdigest()[:16]


def _compile(folder: Path) -> None:
    """Compile into ``folder / "out"``.

    Raises:
        SystemExit: The compiler failed, or what it made does not load; what was said of it is printed.
    """
    out = folder / "out"
    shutil.copytree(_PACKAGE, out / _PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    _run(_BUILD, str(folder), *(f"{_PACKAGE}/{module}.py" for module in MODULES))
    _run(_CHECK, *MODULES, path=str(out))


def _run(program: str, *words: str, path: str = "") -> None:
    done = subprocess.run(  # noqa: S603  # our own programs
        (sys.executable, "-c", program, *words),
        cwd=_HOME,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")


if __name__ == "__main__":
    main()
