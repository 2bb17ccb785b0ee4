"""Compile every list below a folder and print what it took: ``python tests/appliance/lists/bench_lists.py [FOLDER]``."""

import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gate_appliance.lists.compile import Compilation
from gate_appliance.lists.formats import ListError, lines_of, parse_list, read_names
from gate_appliance.lists.index import open_index
from gate_core.categories import CATEGORIES

SHARED = Path(__file__).parents[4] / "shared"


def memory_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@contextmanager
def measured(what: str) -> Iterator[None]:
    since = time.process_time()
    yield
    print(f"{what:<12} {time.process_time() - since:8.3f} s CPU   peak memory {memory_mb()} MB")


def main(folder: Path) -> None:
    print(f"{'start':<12} {0:8.3f} s CPU   peak memory {memory_mb()} MB")
    read = []
    with tempfile.TemporaryDirectory() as directory:
        with Compilation(Path(directory)) as compilation:
            with measured("read"):
                for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                    compilation.begin(CATEGORIES[len(read) % len(CATEGORIES)].id)
                    try:
                        with path.open("rb") as lines:
                            read_names(lines_of(lines), compilation.take, compilation.exclude)
                    except ListError:
                        compilation.drop()
                        continue
                    read.append(path)
            with measured("compile"):
                compiled = compilation.finish()
        with measured("open, check"):
            open_index(compiled.path, compiled.sha256)
        with measured("open"):
            index = open_index(compiled.path, None)
        listed = sum(compiled.by_category.values())
        print(
            f"{len(read)} lists, {listed} names, {compiled.names} different,"
            f" {compiled.size_octets / 1e6:.1f} MB"
        )
        names = [n for path in read for n in parse_list(path.read_bytes().splitlines()).names]
        names = names[:: max(1, len(names) // 100_000)]
        for what, asked in (
            ("listed", names),
            ("below listed", [f"www.{name}" for name in names]),
            ("not listed", [name.replace(".", "-x.", 1) for name in names]),
        ):
            since = time.perf_counter()
            for name in asked:
                index.mask(name)
            print(
                f"{what:<12} {(time.perf_counter() - since) / len(asked) * 1e6:8.2f} µs a look-up"
            )


if __name__ == "__main__":
    shared = Path(os.environ.get("SCHOOLGATE_SHARED", SHARED))
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else shared / "data" / "lists")
