import pytest

from gate_core.roles import ACCOUNT_ROLES, TITLES, Act, Leave, Role, holders, leave

# The visibility matrix of the sector's expectations, and what follows from it for the acts it has no line for.
TABLE = """
                 head  safeguarding coordinator it      governor teacher auditor panel
SEE_POLICY       yes   yes          yes         yes     yes      yes     yes     no
EXPLAIN          yes   yes          yes         yes     yes      yes     yes     no
SEARCH_ACTIVITY  yes   yes          yes         masked  no       no      no      no
READ_RECORD      yes   yes          yes         yes     yes      own     yes     no
SIGN_RECORD      no    no           no          no      yes      no      no      no
PROPOSE          yes   yes          yes         yes     no       own     no      no
APPROVE          yes   yes          yes         second  no       no      no      no
PAUSE            yes   yes          yes         yes     no       own     no      yes
LESSON           yes   yes          yes         no      no       own     no      no
LEND             yes   yes          yes         yes     no       own     no      no
ISOLATE          yes   yes          yes         yes     no       no      no      no
SUSPEND          yes   yes          yes         no      no       no      no      no
GRANT            no    no           yes         yes     no       no      no      no
MANAGE_LISTS     no    no           yes         yes     no       no      no      no
"""
HEAD, *LINES = [line.split() for line in TABLE.strip().splitlines()]


def test_table_speaks_of_every_role_and_act():
    assert sorted(HEAD) == sorted(role.value for role in Role)
    assert sorted(line[0] for line in LINES) == sorted(act.name for act in Act)


@pytest.mark.parametrize(
    ("act", "role", "word"),
    [
        pytest.param(Act[name], Role(role), word, id=f"{role} {name}")
        for name, *words in LINES
        for role, word in zip(HEAD, words, strict=True)
    ],
)
def test_leave_is_what_the_table_says(act, role, word):
    assert leave(role, act) is Leave(word)


@pytest.mark.parametrize("act", Act)
def test_holders_are_the_accounts_that_may_act_alone_and_everywhere(act):
    assert holders(act)
    assert Role.PANEL not in holders(act)
    assert set(holders(act)) | {Role.PANEL} >= {r for r in Role if leave(r, act) is Leave.YES}
    assert all(leave(role, act) is Leave.YES for role in holders(act))


def test_holders_of_approval_are_without_it_which_may_be_the_second_only():
    assert holders(Act.APPROVE) == (Role.HEAD, Role.SAFEGUARDING, Role.COORDINATOR)


def test_nobody_has_the_role_of_the_buttons_and_every_role_a_title():
    assert Role.PANEL not in ACCOUNT_ROLES
    assert set(ACCOUNT_ROLES) | {Role.PANEL} == set(Role) == set(TITLES)
