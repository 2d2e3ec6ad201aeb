"""What a backup brings back on a real node: into the session and as a new one, from a volume of the cluster and from S3. The pod, which is
nobody in particular, reads and writes what a Job that is root has restored; Jobs have no more than they need, and their Secrets go with them."""
import base64
import contextlib
import hashlib
import json
import os
import stat
import subprocess

import pytest

from realnode import PATIENCE, Watch
from roost import wait_for
from s3 import ACCESS_KEY, SECRET_KEY, S3Server, documented_policy

BRIDGE = "10.244.0.1"  # this machine, as its pods see it
TASK_KEYS = ("AKIATASKS", "secret-of-the-tasks")
TREE = r"""
set -e; cd /workspace; umask 022
mkdir -p src/deep shared empty/inside
echo 'int main() { return 0; }' > src/main.c
printf '#!/bin/sh\necho it runs\n' > src/tool; chmod 755 src/tool
head -c 3000000 /dev/urandom > large
echo hidden > src/deep/none; chmod 000 src/deep/none
echo key > src/deep/private; chmod 600 src/deep/private
echo all > shared/file; chmod 664 shared/file; chmod 2775 shared; chmod g-s src src/deep
ln -s src/main.c link; ln -s '/nowhere/at all' dangling
touch -d @1600000000 src/main.c; chmod 750 src/deep; chmod 500 empty/inside; chmod 1777 empty
"""
CHANGES = "set -e; cd /workspace; rm -rf src shared; echo other > large; echo new > new"
# As the workspace's user: everything of its own can be read, but what it took from itself; and changed.
USE = r"""
set -e; cd /workspace; test "$(id -u)" = 1000
test "$(src/tool)" = 'it runs'; test "$(cat link)" = 'int main() { return 0; }'; test "$(cat src/deep/private)" = key
! cat src/deep/none 2>/dev/null; chmod 600 src/deep/none; test "$(cat src/deep/none)" = hidden
echo more >> src/main.c; echo more >> src/deep/private; mkdir shared/made; test -g shared/made; echo x > top; rm -r empty
"""
RESTORES = {"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID"}
CAPABILITIES = {"backup": {"DAC_READ_SEARCH"}, "verify": set(), "restore": RESTORES}


def tree(top):
    """Everything that a backup promises to keep, and whose it is: path to what it is. The file system's own lost+found is not the user's."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            entry = [oct(status.st_mode), status.st_mtime_ns, status.st_uid, status.st_gid]
            if stat.S_ISLNK(status.st_mode):
                entry[0] = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    entry.append(hashlib.sha256(file.read()).hexdigest())
            found[os.path.relpath(path, top)] = entry
    found.pop("lost+found", None)
    return found


def finished(node, path, outcome="succeeded"):
    done = wait_for(lambda: (o := node.get(path).json)["done"] and o, 2 * PATIENCE, f"the end of {path}")
    assert done["outcome"] == outcome, done
    return done


def backed_up(node, uuid, outcome="succeeded"):
    begun = node.post(f"/session/{uuid}/backups")
    assert begun.status == 202, begun
    return begun.json["backup_id"], finished(node, begun.json["operation"], outcome)


def restored(node, uuid, backup):
    begun = node.post(f"/session/{uuid}/restore", {"backup_id": backup})
    assert begun.status == 202, begun
    return finished(node, begun.json["operation"])


def change(node, uuid, to, phase):
    assert node.post(f"/session/{uuid}/{to}").status in (200, 202)
    node.wait_phase(uuid, phase)


def volume(node, uuid):
    return node.session(uuid)["volume"]["name"]


def claims(node, uuid):
    return sorted(i["metadata"]["name"] for i in node.kubectl.get("pvc", "-l", f"uuid={uuid}")["items"])


def delete(node, uuid):
    """Until it is gone: the answer's receipt."""
    answer = node.delete(f"/session/{uuid}")
    assert answer.status in (200, 202), answer
    node.wait_phase(uuid, "none: 404", "deleted")
    return node.delete(f"/session/{uuid}").json["backup"]


def container_of_job(pod):
    (container,) = pod["spec"]["containers"]
    return container


def assert_no_more_than_needed(pods):
    """Of all the tasks' pods that were seen: what they may do."""
    kinds = set()
    for pod in pods:
        kind = pod["metadata"]["labels"]["roost.dev/task"]
        kinds.add(kind)
        security = container_of_job(pod)["securityContext"]
        assert set(security["capabilities"].get("add", [])) == CAPABILITIES[kind], kind
        assert security["capabilities"]["drop"] == ["ALL"] and security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
        assert pod["spec"]["automountServiceAccountToken"] is False and not security.get("privileged")
        for mount in container_of_job(pod)["volumeMounts"]:
            if mount["mountPath"] == "/workspace":
                assert mount.get("readOnly", False) == (kind == "backup"), mount
    return kinds


def tasks_of(uuid):
    return f"roost.dev/session={uuid},roost.dev/role=task"


def test_files_come_back_to_their_user(node):
    uuid = node.running()
    node.inside(uuid, TREE)
    with Watch(node.kubectl, "pods", tasks_of(uuid)) as pods:
        # A volume of one pod at a time cannot be read beside it: told at once, without a Job.
        done = backed_up(node, uuid, "failed")[1]
        assert done["reason"] == "Unsupported" and "ReadWriteOncePod" in done["message"], done
        assert node.kubectl.get("jobs", "-l", tasks_of(uuid))["items"] == [] and node.session(uuid)["phase"] == "running"
        change(node, uuid, "sleep", "asleep")
        then, first = tree(node.directory(volume(node, uuid))), volume(node, uuid)
        assert then["src/deep/none"][0] == oct(stat.S_IFREG) and then["shared"][0] == oct(stat.S_IFDIR | 0o2775), then
        backup, _ = backed_up(node, uuid)
        change(node, uuid, "wake", "running")
        node.inside(uuid, CHANGES)
        change(node, uuid, "sleep", "asleep")
        now = tree(node.directory(first))

        restored(node, uuid, backup)
        second = volume(node, uuid)
        assert claims(node, uuid) == [first, second] and second != first
        (kept,) = node.session(uuid)["kept_volumes"]
        assert kept["name"] == first and tree(node.directory(first)) == now
        assert tree(node.directory(second)) == then
        new = node.post(f"/backups/{backup}/restore", {"user_id": "other@example.com"})
        assert new.status == 201, new
        other = new.json["uuid"]
        change(node, uuid, "wake", "running")
        assert tree(node.directory(second)) == then, "the kubelet, which gives volumes to their group, changes nothing"
        node.inside(uuid, USE)
        node.wait_phase(other, "running")
        assert tree(node.directory(volume(node, other))) == then
        node.inside(other, USE)
        wait_for(lambda: claims(node, uuid) == [second], PATIENCE, "the end of the volume that was kept")
        wait_for(lambda: not node.session(uuid).get("kept_volumes"), PATIENCE, "the session to know it")
        assert node.session(uuid)["phase"] == "running"
    assert assert_no_more_than_needed(pod for _, pod in pods.seen) == {"backup", "verify", "restore"}
    for one in (uuid, other):
        assert delete(node, one)["verified_at"]
        node.assert_gone(one)


@pytest.fixture(scope="module")
def bucket(node):
    """Roost with its archives in S3, over TLS, with keys of their own for tasks; and with volumes that are disks, which a node's pods share."""
    with S3Server("versitygw", tls=True, host=BRIDGE) as server:
        server.make_user(TASK_KEYS, documented_policy("### With a role", server.bucket, "roost/"))
        keys = {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY, "task_access_key_id": TASK_KEYS[0], "task_secret_access_key": TASK_KEYS[1]}
        node.kubectl("create", "secret", "generic", "roost-s3", *(f"--from-literal={name}={value}" for name, value in keys.items()))
        values = node.values()
        values["workspaces"]["storage"].update(className="disk", accessMode="ReadWriteOnce", size="256Mi")
        values["extraEnv"] = [{"name": f"S3_{name.upper()}", "valueFrom": {"secretKeyRef": {"name": "roost-s3", "key": name}}} for name in keys]
        values["networkPolicy"] = {"taskEgress": [{"to": [{"ipBlock": {"cidr": f"{BRIDGE}/32"}}]}]}
        values["config"]["backup"] = {
            "plugin": "backup-s3", "config": {"bucket": server.bucket, "endpoint": server.endpoint, "ca_pem": server.ca.read_text()},
            "secrets": {name: {"env": f"S3_{name.upper()}"} for name in keys}}
        node.helm("upgrade", values)
        yield server
        node.helm("upgrade")
        node.kubectl("delete", "secret", "roost-s3")


def the_newest(node, uuid, trigger):
    return [b for b in node.get(f"/session/{uuid}/backups").json["backups"] if b["trigger"] == trigger][-1]


def test_a_backup_says_how_far_it_is(node):
    """By the log of its Job, which the daemon's rights let it read."""
    uuid = node.running()
    node.inside(uuid, "head -c 300000000 /dev/urandom > /workspace/large")
    change(node, uuid, "sleep", "asleep")
    begun = node.post(f"/session/{uuid}/backups")
    told = wait_for(lambda: (o := node.get(begun.json["operation"]).json)["done"] and {"progress": None} or o["progress"] and o, PATIENCE, "progress")
    assert told["progress"] and 0 < told["progress"]["bytes"] <= told["progress"]["total_bytes"], told
    finished(node, begun.json["operation"])
    delete(node, uuid)


def test_a_delete_ends_with_the_archive_in_the_bucket_and_the_keys_gone(node, bucket, tmp_path):
    uuid = node.running()
    with contextlib.ExitStack() as stack:
        pods, secrets, volumes = (stack.enter_context(Watch(node.kubectl, kind, selector)) for kind, selector in (
            ("pods", tasks_of(uuid)), ("secrets", tasks_of(uuid)), ("pvc", f"uuid={uuid}")))
        assert (node.directory(volume(node, uuid)) / "lost+found").is_dir()
        node.inside(uuid, TREE)
        before, then = node.pod(uuid), tree(node.directory(volume(node, uuid)))
        backup, _ = backed_up(node, uuid)
        assert node.pod(uuid)["metadata"]["uid"] == before["metadata"]["uid"] and node.session(uuid)["phase"] == "running"
        assert the_newest(node, uuid, "request")["consistency"] == "live"
        (live,) = {pod["spec"]["nodeName"] for _, pod in pods.seen if pod["metadata"]["labels"]["roost.dev/task"] == "backup"
                   and pod["spec"].get("nodeName")}
        assert live == before["spec"]["nodeName"]
        node.inside(uuid, CHANGES)
        change(node, uuid, "sleep", "asleep")
        restored(node, uuid, backup)
        assert tree(node.directory(volume(node, uuid))) == then
        assert (node.directory(volume(node, uuid)) / "lost+found").is_dir()
        change(node, uuid, "wake", "running")
        node.inside(uuid, USE)
        receipt = delete(node, uuid)
        node.assert_gone(uuid)
        wait_for(lambda: not node.kubectl.get("secrets", "-l", tasks_of(uuid))["items"], PATIENCE, "the end of the tasks' Secrets")
        wait_for(lambda: [event for event, _ in volumes.seen].count("DELETED") == 2, PATIENCE, "the news of both volumes' end")

    archive = tmp_path / "archive.zip"
    bucket.fetch(f"roost/{receipt['archive']}", archive)
    assert f"roost/{receipt['archive']}" in bucket.names() and archive.stat().st_size == receipt["archive_bytes"]
    assert subprocess.run(["unzip", "-p", archive, "src/deep/private"], capture_output=True, text=True).stdout == "key\nmore\n"
    assert subprocess.run(["unzip", "-tq", archive], capture_output=True).returncode == 0
    assert the_newest(node, uuid, "delete")["state"] == "verified"
    # The volume that the session had was asked to go after the Job that read the archive back had ended.
    job = node.kubectl.get("job", f"backup-{uuid}")
    assert f"Backup completed for {uuid}" in node.kubectl("logs", f"job/backup-{uuid}")
    last = [v for _, v in volumes.seen if v["metadata"]["name"] == f"pvc-{uuid}-g1" and v["metadata"].get("deletionTimestamp")]
    assert last and all(v["metadata"]["deletionTimestamp"] >= job["status"]["completionTime"] for v in last), (last, job["status"])
    keys_of_tasks(secrets.seen)
    assert assert_no_more_than_needed(pod for _, pod in pods.seen) == {"backup", "verify", "restore"}


def keys_of_tasks(seen):
    """Each task's Secret was its Job's, held the tasks' keys and not the daemon's, and is gone."""
    names, gone = set(), set()
    for event, secret in seen:
        name = secret["metadata"]["name"]
        (gone if event == "DELETED" else names).add(secret["metadata"]["uid"])
        (owner,) = secret["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"]) == ("Job", name), owner
        spec = base64.b64decode(secret["data"]["spec.json"]).decode()
        assert json.loads(spec)["backup"]["secrets"] == dict(zip(("access_key_id", "secret_access_key"), TASK_KEYS)), name
        assert SECRET_KEY not in spec
    assert len(names) >= 6 and names == gone, (names, gone)  # backup and verify, three times; restore
