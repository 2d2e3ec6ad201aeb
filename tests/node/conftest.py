import shutil

import pytest

import realnode
from roost import TOP


@pytest.fixture(scope="session")
def node(build):
    if reason := realnode.why_not():
        pytest.skip(reason)
    with realnode.Node(build) as started:
        yield started


@pytest.fixture
def browser(node):
    from browser import Browser
    if not shutil.which("chromium"):
        pytest.skip("chromium is not installed")
    with Browser(resolver=f"MAP *.{realnode.DOMAIN}:443 127.0.0.1:{node.front.port}") as opened:
        yield opened


@pytest.fixture(scope="session")
def guide():
    return (TOP / "docs/client-api-guide.md").read_text()
