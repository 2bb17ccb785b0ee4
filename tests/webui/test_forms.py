import pytest

from gate_webui.forms import text_of_page


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("example.org", "example.org"),
        (" example.org ", "example.org"),
        ("https://www.example.org/page?q=1#x", "www.example.org"),
        ("HTTPS://Example.org:8443", "Example.org"),
        ("example.org/page", "example.org"),
        ("http://user@example.org/", "example.org"),
        ("not a name", "not a name"),
        ("", ""),
        ("///", "///"),
    ],
)
def test_text_of_page_has_the_name_in_it(typed: str, name: str):
    assert text_of_page(typed) == name
