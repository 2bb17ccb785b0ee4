import pytest

from gate_core.written import plain, shipped

PUPIL, TEACHER, TABLET, PRINTER, NEW = (f"00:00:5e:00:53:0{n}" for n in range(1, 6))


@pytest.fixture(scope="session")
def document():
    """The written policy of a small school as plain tables; a test that changes it copies it first."""
    made = plain(shipped())
    made["school"] = "St Example"
    made["groups"]["ks2"]["times"] = {
        "club": {"days": "Mon-Fri", "since": "15:00", "until": "17:00", "title": "Club"}
    }
    made["timetable"] |= {
        "periods": {"p1": {"days": "Mon-Fri", "since": "09:00", "until": "10:00", "title": "1"}},
        "terms": {"autumn": {"first": "2026-09-01", "last": "2026-12-18", "title": "Autumn"}},
        "holidays": {"2026-11-26": "Founder's day"},
        "one_off": {"2026-12-05": {"title": "Fair", "open": ["10:00-12:00"], "school": True}},
    }
    made["rooms"] = {"room-1": {"title": "Room 1"}, "room-2": {"title": "Room 2"}}
    made["people"] = {
        "p1": {"name": "Pupil one", "kind": "pupil"},
        "p2": {"name": "Pupil two", "kind": "pupil"},
        "t1": {"name": "Teacher one", "kind": "staff"},
    }
    made["devices"] = {
        mac: {"name": name, "group": group, "room": room, "person": person, "until": until}
        for mac, name, group, room, person, until in (
            (PUPIL, "Laptop 1", "ks2", "room-1", "p1", ""),
            (TEACHER, "Desk", "staff", "room-1", "t1", ""),
            (TABLET, "Tablet 1", "ks1", "", "", "2026-12-01T00:00"),
            (PRINTER, "Printer", "infrastructure", "", "", ""),
            (NEW, "New", "quarantine", "", "", ""),
        )
    }
    made["networks"] = {
        "192.0.2.0/24": {"group": "staff", "room": ""},
        "192.0.2.128/25": {"group": "guest", "room": "room-2"},
    }
    made["vlans"] = {"20": {"group": "ks1", "room": "room-2"}}
    made["nominees"] = {"games": ["person:p1"], "social-media": [f"device:{TEACHER}"]}
    made["names"] = {"essential": ["office.example"], "protected": ["helpline.example"]}
    made["exceptions"] = {
        id_: {
            "action": action,
            "scope": scope,
            "subject": subject,
            "names": names,
            "services": services,
            "since": "2026-11-01",
            "until": "2026-12-31",
            "why": "a reason",
        }
        for id_, action, scope, subject, names, services in (
            ("e1", "allow", "group", "ks2", ["games.example"], []),
            ("e2", "block", "person", "p1", ["games.example", "other.example"], []),
            ("e3", "block", "group", "ks2", ["wiki.example"], []),
            ("e4", "block", "device", PUPIL, [], ["youtube"]),
            ("e5", "allow", "school", "", ["video.example"], ["youtube"]),
            ("e6", "allow", "person", "t1", ["shop.example"], []),
        )
    }
    made["direct"] = {
        "zoom": {
            "title": "Zoom calls",
            "networks": ["203.0.113.0/24", "2001:db8::/32"],
            "protocol": "udp",
            "ports": "8801-8810",
            "why": "Lessons with our partner school",
            "group": "ks2",
        }
    }
    return made
