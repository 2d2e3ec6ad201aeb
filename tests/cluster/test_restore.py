"""Backups on demand and restores on a cluster: the objects that come and go. Fake nodes run no task, so the bytes are not in question."""
import json

import pytest

from cluster import ClusterDaemon
from roost import wait_for


def finished(daemon, path):
    return wait_for(lambda: (o := daemon.get(path).json)["done"] and o, 60, f"the end of {path}\n{daemon.tail()}")


def asleep(daemon, uuid):
    daemon.post(f"/session/{uuid}/sleep")
    daemon.wait_phase(uuid, "asleep")


def claims(space, uuid):
    return sorted(c["metadata"]["name"] for c in space.list("persistentvolumeclaims", f"uuid={uuid}"))


@pytest.mark.parametrize("mode, outcome", [("ReadWriteOnce", "succeeded"), ("ReadWriteOncePod", "failed")])
def test_a_running_workspace_is_backed_up_where_its_volume_can_be_shared(build, namespace, mode, outcome):
    with ClusterDaemon(build, namespace, compute={"access_mode": mode}) as daemon:
        uuid = daemon.create()
        pod = namespace.pods(uuid)[0]["metadata"]["uid"]
        done = finished(daemon, daemon.post(f"/session/{uuid}/backups").json["operation"])
        assert done["outcome"] == outcome, done
        if outcome == "failed":
            assert done["reason"] == "Unsupported" and "ReadWriteOncePod" in done["message"], done
        assert namespace.pods(uuid)[0]["metadata"]["uid"] == pod and daemon.session(uuid)["phase"] == "running"
        wait_for(lambda: not namespace.list("jobs", f"roost.dev/session={uuid},roost.dev/task=backup"), what="the end of its Job")


def test_a_restore_takes_the_place_of_the_volume_and_the_old_one_goes_later(build, namespace):
    with ClusterDaemon(build, namespace, {"ROOST_SESSIONS__KEPT_VOLUME": "5s", "ROOST_ENGINE__RESYNC": "1s"}) as daemon:
        uuid = daemon.create()
        asleep(daemon, uuid)
        backup = finished(daemon, daemon.post(f"/session/{uuid}/backups").json["operation"])["backup_id"]
        begun = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
        assert begun.status == 202, begun
        done = finished(daemon, begun.json["operation"])
        assert done["outcome"] == "succeeded", done
        assert f"pvc-{uuid}-g1" in claims(namespace, uuid)
        daemon.post(f"/session/{uuid}/wake")
        daemon.wait_phase(uuid, "running")
        volumes = namespace.get("deployments", f"user-{uuid}")["spec"]["template"]["spec"]["volumes"]
        assert [v["persistentVolumeClaim"]["claimName"] for v in volumes if v["name"] == "workspace"] == [f"pvc-{uuid}-g1"]
        wait_for(lambda: claims(namespace, uuid) == [f"pvc-{uuid}-g1"], 60, f"the release of the old volume\n{daemon.tail()}")
        assert daemon.session(uuid)["phase"] == "running"
        daemon.delete(f"/session/{uuid}")
        wait_for(lambda: daemon.session(uuid) is None, 60, "the delete")
        assert namespace.left(uuid) <= {("jobs", f"backup-{uuid}")} | {("pods", p["metadata"]["name"]) for p in namespace.list(
            "pods", f"batch.kubernetes.io/job-name=backup-{uuid}")}, "nothing but the Job that reports the backup"


def test_a_delete_right_after_a_restore_leaves_no_volume(build, namespace):
    with ClusterDaemon(build, namespace) as daemon:
        uuid = daemon.create()
        asleep(daemon, uuid)
        backup = finished(daemon, daemon.post(f"/session/{uuid}/backups").json["operation"])["backup_id"]
        assert finished(daemon, daemon.post(f"/session/{uuid}/restore", {"backup_id": backup}).json["operation"])["outcome"] == "succeeded"
        assert claims(namespace, uuid) == [f"pvc-{uuid}", f"pvc-{uuid}-g1"]
        made = daemon.post(f"/backups/{backup}/restore", {})
        assert made.status == 201, made
        daemon.wait_phase(made.json["uuid"], "running")
        assert claims(namespace, made.json["uuid"]) == [f"pvc-{made.json['uuid']}"]
        daemon.delete(f"/session/{uuid}")
        wait_for(lambda: daemon.session(uuid) is None, 60, "the delete")
        assert claims(namespace, uuid) == [], json.dumps(daemon.delete(f"/session/{uuid}").json)


def test_a_wake_cancels_a_restore_that_hangs_and_its_claim_goes(build, namespace):
    with ClusterDaemon(build, namespace) as daemon:
        uuid = daemon.create()
        asleep(daemon, uuid)
        backup = finished(daemon, daemon.post(f"/session/{uuid}/backups").json["operation"])["backup_id"]
        daemon.stop()
        config = json.loads(daemon.environment["ROOST_COMPUTE__CONFIG"])
        daemon.environment["ROOST_COMPUTE__CONFIG"] = json.dumps({**config, "task": {"command": ["hang"]}})
        daemon.start()
        begun = daemon.post(f"/session/{uuid}/restore", {"backup_id": backup})
        wait_for(lambda: namespace.list("jobs", f"roost.dev/session={uuid},roost.dev/task=backup"), what="a Job that hangs")
        daemon.post(f"/session/{uuid}/wake")
        daemon.wait_phase(uuid, "running")
        assert finished(daemon, begun.json["operation"])["outcome"] == "cancelled"
        assert not namespace.list("jobs", f"roost.dev/session={uuid},roost.dev/task=backup")
        assert claims(namespace, uuid) == [f"pvc-{uuid}"]
