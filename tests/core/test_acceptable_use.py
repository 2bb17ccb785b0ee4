from gate_core.acceptable_use import ILLEGAL_ROWS, ROWS, SHIPPED_CELLS, STRICTNESS, Cell, Row
from gate_core.categories import CATEGORIES, ILLEGAL_MASK


def test_rows_are_the_22_of_the_printed_table():
    assert [row.number for row in ROWS] == list(range(1, 23))
    assert len({row.id for row in ROWS}) == 22


def test_rows_decide_each_category_once():
    assert sum(row.categories for row in ROWS) == sum(c.mask for c in CATEGORIES)


def test_rows_of_the_illegal_tier_hold_the_illegal_categories():
    assert sum(row.categories for row in ROWS if row.locked) == ILLEGAL_MASK
    assert {row.id for row in ROWS if row.locked} == ILLEGAL_ROWS


def test_shipped_cells_fill_every_row_and_only_illegal_rows_are_illegal():
    for cells in SHIPPED_CELLS.values():
        assert set(cells) == {row.id for row in ROWS}
        assert {row for row, cell in cells.items() if cell is Cell.ILLEGAL} == ILLEGAL_ROWS


def test_shipped_cells_of_unknown_devices_are_the_strictest():
    for group, cells in SHIPPED_CELLS.items():
        for row, cell in cells.items():
            assert STRICTNESS[SHIPPED_CELLS["quarantine"][row]] >= STRICTNESS[cell], (group, row)


def test_row_without_categories_and_services_is_by_supervision():
    assert Row("x", 1, "x", 0).by_supervision
    assert not Row("x", 1, "x", 0, services=1).by_supervision
    assert not Row("x", 1, "x", 16).by_supervision
