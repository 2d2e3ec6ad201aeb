import collections
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "support"))


def pytest_addoption(parser):
    parser.addoption("--roost-build", default="build/release", help="the build directory whose programs are tested")
    parser.addoption("--store", default="sqlite", choices=("sqlite", "redis"), help="where the daemons under test keep their documents")


def pytest_configure(config):
    config.addinivalue_line("markers", "own_store: about SQLite itself, whose file is in the daemon's data directory: not with --store redis")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a run that is ended takes down what it started, as after ^C
    config.addinivalue_line("markers", "alone: measures, or meddles with what all share: ./dev runs it when no other test runs")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config, items):
    if config.getoption("--store") != "sqlite":
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("own_store")])
        items[:] = [item for item in items if not item.get_closest_marker("own_store")]
    if hasattr(config, "workerinput"):
        group(items)


def group(items):
    """For a worker of pytest-xdist: a module's tests that share a fixture go to one of them, the largest groups first, as those who wait
    for the last one do nothing; each of the others goes to whoever is free."""
    sizes = collections.Counter(item.path for item in items if shares(item))
    for item in items:
        if shares(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: -sizes[item.path] if shares(item) else 0)


def shares(item):
    return any(found[-1].scope == "module" for found in item._fixtureinfo.name2fixturedefs.values())


@pytest.fixture(scope="session")
def build(request):
    path = pathlib.Path(request.config.getoption("--roost-build")).resolve()
    assert (path / "bin/roostd").exists(), f"{path}/bin/roostd is missing: ./dev build"
    return path


@pytest.fixture(scope="session", autouse=True)
def store(request):
    """With --store redis: one Redis for all daemons, a key prefix for each."""
    if request.config.getoption("--store") == "sqlite":
        yield None
        return
    import roost
    from redis import Redis
    with Redis() as server:
        roost.Daemon.redis = server
        yield server
        roost.Daemon.redis = None


@pytest.fixture
def daemon(build):
    from roost import Daemon
    with Daemon(build) as started:
        yield started


@pytest.fixture(scope="module")
def shared_daemon(build):
    """One for a module's tests that leave it as they found it."""
    from roost import Daemon
    with Daemon(build) as started:
        yield started


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.skipped and os.environ.get("CI") == "true":  # a skip is for laptops
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
