"""What must not be in the repository: where one machine gets its packages from, or keeps its files."""

import re

# Put together here, so that this file does not hold what it looks for.
HOSTS = [
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("npmjs", "org"),
    ("npmjs", "com"),
    ("deb.debian", "org"),
    ("security.debian", "org"),
    ("snapshot.debian", "org"),
    ("ftp.debian", "org"),
    ("archive.raspberrypi", "com"),
    ("archive.raspberrypi", "org"),
    ("piwheels", "org"),
    ("crates", "io"),
    ("proxy.golang", "org"),
    ("docker", "io"),
    ("pkg", "dev"),
]
DIRECTORIES = [
    ("work", "main"),
    ("work", "shared"),
    ("tmp", "sg"),
    ("opt", "pypi"),
    ("home", r"\w+"),
]
NOTED = re.compile(
    "|".join(
        [rf"\b{re.escape(name)}\.{top}\b" for name, top in HOSTS]
        + [rf"(?<![\w.])/{a}/{b}\b" for a, b in DIRECTORIES]
        + [r"(?<![\w.])/root/\w", r"\bfile:/{2,}\w"]
    )
)


def test_pattern_finds_what_it_is_for():
    for name, top in HOSTS:
        assert NOTED.search(f"get it from https://{name}.{top}/simple")
    for a, b in DIRECTORIES[:-1]:
        assert NOTED.search(f"open /{a}/{b}/x")
    assert not NOTED.search("tests/home/plan.py, /run/lab, https://example.org")


def test_files_name_no_registry_and_no_machine(texts):
    found = {str(path): NOTED.findall(text) for path, text in texts.items() if NOTED.search(text)}
    assert found == {}


def test_links_lead_somewhere(root, pages):
    broken = [
        f"{page}: {target}"
        for page, text in pages.items()
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        if "://" not in target and not (root / page.parent / target).exists()
    ]
    assert broken == []
