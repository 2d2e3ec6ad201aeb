"""docs/kubernetes.md: its commands run as they are printed, and what it says of rights and of Pod Security is so."""
import os
import re
import subprocess

import pytest

from chart import Helm, kubectl, objects
from cluster import ClusterDaemon
from roost import TOP, wait_for

PAGE = (TOP / "docs/kubernetes.md").read_text()


@pytest.fixture
def shell(cluster, tmp_path):
    """Runs a script as a reader of the page would, on this cluster."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, command in (("kubectl", f'exec {cluster.kube} kubectl "$@"'), ("helm", f'exec {TOP}/tests/cluster/helm "$@"')):
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o755)
    environment = {**Helm(tmp_path, cluster).environment(), "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(script):
        done = subprocess.run(["bash", "-c", "set -euo pipefail\n" + script], cwd=TOP, env=environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout
    return run


@pytest.mark.alone  # the page's namespace, `roost`
def test_its_commands_run(cluster, shell):
    blocks = re.findall(r"```bash run\n(.*?)```", PAGE, re.S)
    assert len(blocks) >= 5
    try:
        out = shell("\n".join(blocks) + '\necho "KEY=$KEY"\n')
        assert re.search(r"KEY=\w{40,}", out)
    finally:
        kubectl(cluster, "delete", "namespace", "roost", "--ignore-not-found", "--wait=false")
        kubectl(cluster, "delete", "clusterrole,clusterrolebinding", "roost-roost-roost", "--ignore-not-found")
        wait_for(lambda: cluster.request("GET", "/api/v1/namespaces/roost")[0] == 404, what="the namespace's end", timeout=90)


def test_its_table_of_rights_is_the_charts_role(cluster, tmp_path):
    rendered = objects(cluster, Helm(tmp_path, cluster).template())
    granted = {(resource, verb) for (kind, _), o in rendered.items() if kind in ("Role", "ClusterRole") for rule in o["rules"]
               for resource in rule["resources"] for verb in rule["verbs"]}
    section = PAGE.split("## What the daemon may do", 1)[1].split("\n## ", 1)[0]
    stated = set()
    for names, verbs in re.findall(r"^\| (`.*?) \| ([a-z ]+) \|", section, re.M):
        names = names.split(" (or")[0]  # Gateway API's routes stand beside Ingresses
        stated |= {(name, verb) for name in re.findall(r"`([a-z/]+)`", names) for verb in verbs.split()}
    assert stated == granted


def test_workspaces_satisfy_restricted_and_the_copying_job_needs_more(build, cluster, namespace):
    def enforce(level):
        kubectl(cluster, "label", "namespace", namespace.name, f"pod-security.kubernetes.io/enforce={level}", "--overwrite")

    def refused():
        events = cluster.request("GET", f"/api/v1/namespaces/{namespace.name}/events")[1]["items"]
        return [e for e in events if "violates PodSecurity" in e["message"] and "DAC_READ_SEARCH" in e["message"]]
    enforce("restricted")
    with ClusterDaemon(build, namespace, {"ROOST_HTTP__DELETE_WAIT": "0s"}) as daemon:
        uuid = daemon.create()  # waits until it runs
        assert daemon.delete(f"/session/{uuid}").status == 202
        wait_for(refused, what="the Job's pod refused")
        enforce("privileged")
        wait_for(lambda: daemon.session(uuid) is None, what="the session's end", timeout=90)
