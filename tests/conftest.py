"""For every test: what is skipped on the machine that decides (``CI=true``) has failed."""

import os

import pytest

# The only thing that a checkout may lack there.
ALLOWED = "../shared is absent"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    elsewhere = item.get_closest_marker("image") or item.get_closest_marker("pi")
    return report if elsewhere else hold(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return hold((yield))


def hold(report):
    """Turn a skip into a failure, where it counts."""
    expected = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected:
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped, and with CI=true nothing may be: {reason}"
    return report
