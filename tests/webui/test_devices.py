import re

import pytest

NEW = "/devices/3e:1f:a0:00:53:41"
LAPTOP = "/devices/00:00:5e:00:53:10"


def test_index_shows_unknown_devices_first(coordinator, full_desk):
    page = coordinator.get("/devices").text
    assert page.index("Not in a group yet (2)") < page.index("In a group (4)")
    assert page.index("3e:1f:a0:00:53:41") < page.index("Laptop 7")


def test_index_says_randomised_addresses_in_words(coordinator, full_desk):
    page = coordinator.get("/devices").text
    assert page.count("This device hides its hardware address.") == 1


def test_device_is_named_and_put_into_a_group(coordinator, full_desk):
    answer = coordinator.post(NEW, {"name": "Year 4 tablet 3", "group": "ks2"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/devices")
    device = full_desk.known["3e:1f:a0:00:53:41"]
    assert (device.name, device.group, device.known) == ("Year 4 tablet 3", "ks2", True)
    assert full_desk.entries[0].actor == "r.example"
    assert "“Year 4 tablet 3” is in Key Stage 2." in coordinator.get("/devices").text


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        ({"name": "", "group": "ks2"}, "name-error"),
        ({"name": "x" * 61, "group": "ks2"}, "name-error"),
        ({"name": "Laptop 7", "group": "ks2"}, "name-error"),
        ({"name": "Tablet 3", "group": ""}, "group-error"),
        ({"name": "Tablet 3", "group": "ks9"}, "group-error"),
    ],
)
def test_device_says_what_is_allowed_and_keeps_what_was_typed(
    coordinator, full_desk, sent, error: str
):
    page = coordinator.post(NEW, sent)
    assert page.status_code == 422
    assert f'id="{error}"' in page.text
    assert f'value="{sent["name"]}"' in page.text or not sent["name"]
    if sent["group"] == "ks2":
        assert re.search(r'value="ks2"\s+selected', page.text)
    assert not full_desk.known["3e:1f:a0:00:53:41"].known


def test_forget_takes_it_out_of_its_group(coordinator, full_desk):
    assert coordinator.post(LAPTOP + "/forget", page=LAPTOP).status_code == 302
    assert not full_desk.known["00:00:5e:00:53:10"].known
    assert "is in no group any more" in coordinator.get("/devices").text


def test_forget_an_unknown_device_is_not_offered(coordinator, full_desk):
    assert "Take out of its group" not in coordinator.get(NEW).text
    assert "Take out of its group" in coordinator.get(LAPTOP).text
