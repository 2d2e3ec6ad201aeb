"""The Helm chart and the plain manifests, as a test renders, checks and installs them."""
import json
import os
import subprocess

from roost import TOP

CHART = TOP / "packaging/helm/roost"
HELM = TOP / "tests/cluster/helm"
MINIMAL = {"workspaces": {"domain": "preview.example.com"}}


def merged(base, more):
    """`more` laid over `base`, map by map, as Helm lays one file of values over another."""
    if not isinstance(base, dict) or not isinstance(more, dict):
        return more
    return {**base, **{key: merged(base.get(key), value) for key, value in more.items()}}


class Helm:
    """Runs Helm; with a cluster, on that one. `values` are laid over the least that the chart wants."""

    def __init__(self, directory, cluster=None):
        self.directory, self.cluster, self.count = directory, cluster, 0

    def environment(self):
        kubeconfig = str(self.cluster.directory / "kubeconfig") if self.cluster else "/nonexistent"
        return {**os.environ, "KUBECONFIG": kubeconfig, "HELM_CACHE_HOME": str(self.directory / "helm"),
                "HELM_CONFIG_HOME": str(self.directory / "helm"), "HELM_DATA_HOME": str(self.directory / "helm")}

    def run(self, *arguments, values=None, check=True):
        if values is not None:
            self.count += 1
            file = self.directory / f"values-{self.count}.yaml"
            file.write_text(json.dumps(merged(MINIMAL, values)))
            arguments += ("--values", str(file))
        done = subprocess.run([str(HELM), *map(str, arguments)], env=self.environment(), capture_output=True, text=True, timeout=300)
        assert done.returncode == 0 or not check, f"helm {arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def template(self, values=None, *more, namespace="roost"):
        return self.run("template", "roost", CHART, "--namespace", namespace, *more, values=values or {}).stdout

    def refused(self, values):
        """What Helm says to values that it must refuse."""
        done = self.run("template", "roost", CHART, "--namespace", "roost", values=values, check=False)
        assert done.returncode != 0, f"{values} was accepted"
        return done.stderr


def kubectl(cluster, *arguments, stdin=None, check=True):
    done = subprocess.run([cluster.kube, "kubectl", "--kubeconfig", cluster.directory / "kubeconfig", *map(str, arguments)],
                          input=stdin, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0 or not check, f"kubectl {arguments}\n{done.stdout}\n{done.stderr}"
    return done


def objects(cluster, rendered):
    """The rendered objects as JSON, read by kubectl: {(kind, name): object}."""
    text = kubectl(cluster, "create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-", stdin=rendered).stdout
    decoder, found = json.JSONDecoder(), {}
    while text.strip():
        text = text.lstrip()
        item, end = decoder.raw_decode(text)
        text = text[end:]
        for each in item.get("items", [item]):
            found[each["kind"], each["metadata"]["name"]] = each
    return found
