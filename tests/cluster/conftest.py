import os
import subprocess

import pytest

from cluster import FIXTURE, Cluster, ClusterDaemon


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """The one of ROOST_TEST_CLUSTER, else one that lives as long as this run."""
    given = os.environ.get("ROOST_TEST_CLUSTER")
    if given:
        yield Cluster(given)
        return
    directory = tmp_path_factory.mktemp("cluster") / "state"
    subprocess.run([FIXTURE, "up", directory], check=True, timeout=1800)
    try:
        yield Cluster(directory)
    finally:
        subprocess.run([FIXTURE, "down", directory], check=True)


@pytest.fixture
def namespace(cluster):
    with cluster.namespace() as made:
        yield made


@pytest.fixture
def daemon(build, namespace):
    with ClusterDaemon(build, namespace) as started:
        yield started
