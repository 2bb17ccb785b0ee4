from gate_firewall.flows import Table


def test_put_forgets_the_oldest_beyond_the_limit():
    table = Table(limit=2, age_s=100)
    for key in "abc":
        table.put(key, key.upper(), 0)

    assert [table.get(key) for key in "abc"] == [None, "B", "C"]


def test_put_forgets_what_is_too_old():
    table = Table(limit=10, age_s=100)
    table.put("a", 1, 0)
    table.put("b", 2, 50)
    table.put("c", 3, 101)

    assert (len(table), table.get("a")) == (2, None)


def test_put_again_makes_an_entry_new():
    table = Table(limit=2, age_s=100)
    table.put("a", 1, 0)
    table.put("b", 2, 0)
    table.put("a", 3, 1)
    table.put("c", 4, 1)

    assert [table.get(key) for key in "abc"] == [3, None, 4]


def test_discard_takes_what_is_not_there():
    table = Table(limit=2, age_s=100)
    table.put("a", 1, 0)
    table.discard("a")
    table.discard("a")

    assert table.get("a") is None
