#!/usr/bin/env python3
"""provisioner.py STATE API VOLUMES: the node's storage classes. Each claim gets a directory of VOLUMES as a volume of kind `local`,
which kubelet gives to the pod's fsGroup as it does a disk (a host path it does not), and which goes when the claim is gone. In the class
`disk` an ext4 of the claim's size is mounted there.
STATE holds the cluster's ca.crt and token. Level-triggered: every round looks at all claims and volumes.
"""
import json, os, pathlib, shutil, ssl, subprocess, sys, time, urllib.error, urllib.request

state, api, volumes = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
context = ssl.create_default_context(cafile=state / "ca.crt")
token = (state / "token").read_text().strip()
CLASSES, OWNER = ("local", "disk"), "roost.test/local"


def ask(method, path, body=None):
    request = urllib.request.Request(api + path, method=method, data=json.dumps(body).encode() if body else None,
                                     headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return json.load(answer)


def volume_for(claim):
    meta, spec = claim["metadata"], claim["spec"]
    name = "local-" + meta["uid"]
    path = volumes / name
    path.mkdir(parents=True, exist_ok=True)
    if spec["storageClassName"] == "disk" and not os.path.ismount(path):
        image = path.with_suffix(".img")
        subprocess.run(["truncate", "-s", spec["resources"]["requests"]["storage"].removesuffix("i"), image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, path], check=True)
    return {
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": OWNER}},
        "spec": {
            "storageClassName": spec["storageClassName"], "accessModes": spec["accessModes"], "persistentVolumeReclaimPolicy": "Delete",
            "capacity": {"storage": spec["resources"]["requests"]["storage"]}, "local": {"path": str(path)},
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": ["real"]}]}]}}}}


def round_of_work():
    present = {v["metadata"]["name"]: v for v in ask("GET", "/api/v1/persistentvolumes")["items"]}
    for claim in ask("GET", "/api/v1/persistentvolumeclaims")["items"]:
        waiting = claim["spec"].get("storageClassName") in CLASSES and claim["status"]["phase"] == "Pending"
        if waiting and "local-" + claim["metadata"]["uid"] not in present:
            ask("POST", "/api/v1/persistentvolumes", volume_for(claim))
    for name, volume in present.items():
        path = volume["spec"].get("local", {}).get("path")
        if path and volume.get("status", {}).get("phase") in ("Released", "Failed"):
            if os.path.ismount(path) and subprocess.run(["umount", path]).returncode:
                continue
            shutil.rmtree(path)
            pathlib.Path(path).with_suffix(".img").unlink(missing_ok=True)
            ask("DELETE", f"/api/v1/persistentvolumes/{name}")


while True:
    try:
        round_of_work()
    except (urllib.error.URLError, OSError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr, flush=True)
    time.sleep(0.2)
