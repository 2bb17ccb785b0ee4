from gate_core.timetable import Period, Timetable, WeeklySpan
from gate_webui.week import WIDTH, week_of

SCHOOL_DAYS = frozenset(range(5))


def test_week_has_five_days_and_an_hour_around_what_happens():
    week = week_of(Timetable(periods=(Period("Maths", SCHOOL_DAYS, 9 * 60, 10 * 60),)))
    assert [day for _, day in week.days] == ["Mon", "Tue", "Wed", "Thu", "Fri"]
    assert next(hour for _, hour in week.hours) == "08:00"
    assert len(week.blocks) == 5
    assert {block.title for block in week.blocks} == {"Maths"}


def test_week_without_anything_has_no_blocks():
    assert week_of(Timetable()).blocks == ()


def test_week_leaves_out_a_weekend_that_is_open_all_day_and_draws_another():
    whole = WeeklySpan(frozenset({5, 6}), 0, 1440)
    assert len(week_of(Timetable(spans=(whole,))).days) == 5
    morning = WeeklySpan(frozenset({5}), 600, 720)
    assert [d for _, d in week_of(Timetable(spans=(morning,))).days][-1] == "Sat"


def test_week_goes_on_after_midnight_on_the_next_day():
    week = week_of(Timetable(spans=(WeeklySpan(frozenset({0}), 20 * 60, 2 * 60),)))
    monday, tuesday = sorted(week.blocks, key=lambda b: b.x)
    assert monday.y > tuesday.y


def test_week_draws_a_certain_time_beside_the_lesson_it_lies_in():
    week = week_of(
        Timetable(
            spans=(WeeklySpan(frozenset({0}), 9 * 60, 10 * 60),),
            periods=(Period("Maths", frozenset({0}), 9 * 60, 10 * 60),),
        )
    )
    lesson, free = week.blocks
    assert lesson.x + lesson.width <= free.x
    assert lesson.width == free.width


def test_week_stays_inside_the_drawing():
    week = week_of(Timetable(spans=(WeeklySpan(frozenset(range(7)), 18 * 60, 17 * 60, "x" * 60),)))
    for block in week.blocks:
        assert block.x >= 0
        assert block.x + block.width <= WIDTH
        assert block.y + block.height <= week.height
        assert len(block.title) < 20


def test_week_of_a_group_has_its_own_times():
    school = Timetable(spans=(WeeklySpan(SCHOOL_DAYS, 720, 780),))
    own = (WeeklySpan(frozenset({0}), 600, 660),)
    assert len(week_of(school).blocks) == 5
    assert len(week_of(school, own).blocks) == 1
