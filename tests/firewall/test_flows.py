from gate_firewall.flows import SHARES, SharedTable, Table


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


def test_put_takes_from_whoever_has_too_much():
    table = SharedTable(limit=4 * SHARES, age_s=100)
    table.put("a", 1, "mine", 0)
    for key in range(1000):
        table.put(key, key, "yours", 1)

    assert table.get("a") == 1
    assert [table.get(key) for key in (995, 996, 999)] == [None, 996, 999]
    assert len(table) == 5


def test_put_of_many_owners_forgets_the_oldest():
    table = SharedTable(limit=SHARES, age_s=100)
    for key in "abcdefgh"[: SHARES + 1]:
        table.put(key, 1, key, 0)

    assert (len(table), table.get("a"), table.get("b")) == (SHARES, None, 1)


def test_put_gives_an_entry_to_another_owner():
    table = SharedTable(limit=2 * SHARES, age_s=100)
    table.put("a", 1, "mine", 0)
    table.put("a", 2, "yours", 0)
    for key in "bc":
        table.put(key, 3, "mine", 0)

    assert [table.get(key) for key in "abc"] == [2, 3, 3]


def test_shared_table_forgets_what_is_too_old():
    table = SharedTable(limit=100, age_s=100)
    table.put("a", 1, "mine", 0)
    table.discard("a")
    table.discard("a")
    table.put("b", 1, "mine", 0)
    table.put("c", 1, "yours", 101)

    assert [table.get(key) for key in "abc"] == [None, None, 1]


def test_shared_table_counts_what_its_entries_hold():
    table = SharedTable(limit=2 * SHARES, age_s=100, octets=15 * SHARES)
    for key in "ab":
        table.put(key, 1, "mine", 0)
        table.hold(key, 8)
    assert table.is_spent("mine")
    assert not table.is_spent("yours")

    table.hold("a", 7)
    assert not table.is_spent("mine")
    table.hold("a", 8)
    table.put("c", 1, "mine", 0)  # pushes out the first
    assert table.get("a") is None
    assert not table.is_spent("mine")
    table.hold("c", 8)
    assert table.is_spent("mine")
    table.put("c", 1, "yours", 0)
    assert not table.is_spent("mine")
    table.hold("b", 16)
    assert table.is_spent("mine")
    table.discard("b")
    assert not table.is_spent("mine")


def test_shared_table_forgets_what_was_held_for_longest_when_all_is_held():
    table = SharedTable(limit=100, age_s=100, octets=30)
    for number, key in enumerate("abcd"):
        table.put(key, 1, f"made up {number}", 0)
    for key in "abc":
        table.hold(key, 10)
    table.hold("a", 11)
    assert [table.get(key) for key in "abcd"] == [1, None, 1, 1]
    table.hold("d", 40)

    assert [table.get(key) for key in "abcd"] == [None, None, None, 1]
    table.put("e", 1, "mine", 0)
    table.hold("e", 1)
    assert (table.get("d"), table.get("e")) == (None, 1)
