"""Where things lie."""

import re

# The folder under tests/ and the package that it tests.
PACKAGES = {
    "core": "appliance/gate_core",
    "appliance": "appliance/gate_appliance",
    "dns": "dns/gate_dns",
    "firewall": "firewall/gate_firewall",
    "webui": "webui/gate_webui",
    "hardware": "hardware/gate_hardware",
}
FOLDERS = ("appliance", "dns", "firewall", "webui", "image-build", "hardware", "tests")


def mirrors_module(root, folder, path):
    """Return whether the test file ``path`` is named after a module or package of what ``folder`` tests.

    ``test_policy_order.py`` tests one side of ``policy.py``.
    """
    part = path.parent.relative_to(root / "tests" / folder)
    words = path.stem.removeprefix("test_").split("_")
    modules = [
        root / PACKAGES[folder] / part / "_".join(words[:count])
        for count in range(len(words), 0, -1)
    ]
    return any(module.is_dir() or module.with_suffix(".py").is_file() for module in modules)


def test_test_files_mirror_modules(root, files):
    strays = [
        str(path.relative_to(root))
        for path in files
        for folder in PACKAGES
        if path.is_relative_to(root / "tests" / folder)
        and re.fullmatch(r"test_\w+\.py", path.name)
        and not mirrors_module(root, folder, path)
        # What a mark sets apart as a whole (real neighbours, real lists) has no one module.
        and "\npytestmark = " not in path.read_text()
    ]
    assert strays == []


def test_tests_are_no_packages(root, files):
    # tests/dns/__init__.py would make `import dns` mean the tests.
    assert [f for f in files if f.name == "__init__.py" and f.is_relative_to(root / "tests")] == []


def test_folders_are_no_packages(root):
    assert [folder for folder in FOLDERS if (root / folder / "__init__.py").exists()] == []


def test_packages_are_typed(root):
    assert [p for p in PACKAGES.values() if not (root / p / "py.typed").is_file()] == []


def test_folders_tell_what_they_are(root):
    silent = [f for f in FOLDERS if not (root / f / "README.md").is_file()]
    assert silent == []
