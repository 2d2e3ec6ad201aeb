"""A session's delete with its archive in S3: on two servers, over TLS and not; with the storage away, and with storage that lies."""
import json
import os
import pathlib
import re
import subprocess

import pytest

from roost import wait_for
from s3 import ACCESS_KEY, SECRET_KEY, Judge, S3Daemon, S3Server, TrickyProxy, documented_policy


def volumes(daemon, uuid):
    return [p for p in (daemon.directory / "data").rglob(f"pvc-{uuid}") if p.is_dir()]


def archive_of(server, uuid, directory):
    name = server.names()[-1]  # the newest; those that were not read back well lie before it
    assert re.fullmatch(rf"roost/workspace-{uuid}-\d{{8}}T\d{{6}}Z\.zip", name)
    server.fetch(name, directory / "archive.zip")
    return directory / "archive.zip"


@pytest.mark.parametrize("name, tls", [("versitygw", True), ("moto", False)])
def test_a_delete_ends_with_the_archive_in_the_bucket(build, tmp_path, name, tls):
    with S3Server(name, tls) as server, S3Daemon(build, server) as daemon:
        uuid = daemon.create()
        large = os.urandom(20 << 20)  # several parts
        daemon.workspace(uuid).write("notes/week.txt", b"a week's work")
        daemon.workspace(uuid).write("large.bin", large)
        answer = daemon.delete(f"/session/{uuid}")
        assert answer.status == 200 and answer.json["status"] == "terminated", answer
        assert not volumes(daemon, uuid)
        archive = archive_of(server, uuid, tmp_path)
        assert subprocess.run(["unzip", "-p", archive, "notes/week.txt"], capture_output=True).stdout == b"a week's work"
        assert subprocess.run(["unzip", "-p", archive, "large.bin"], capture_output=True).stdout == large
        assert subprocess.run(["unzip", "-tq", archive], capture_output=True).returncode == 0
        receipt = answer.json["backup"]
        assert receipt["archive_bytes"] == archive.stat().st_size and receipt["verified_at"], receipt
        # The keys went to the tasks and are nowhere any more.
        for path in [p for p in daemon.directory.rglob("*") if p.is_file()]:
            assert SECRET_KEY.encode() not in path.read_bytes(), path


def test_a_delete_waits_for_storage_that_is_away(build, tmp_path):
    with S3Server("versitygw") as server, TrickyProxy(server.port) as proxy, \
            S3Daemon(build, server, {"ROOST_HTTP__DELETE_WAIT": "1s"}, proxy.endpoint) as daemon:
        uuid = daemon.create()
        daemon.workspace(uuid).write("a.txt", b"kept")
        proxy.down = True
        assert daemon.delete(f"/session/{uuid}").status == 202
        wait_for(lambda: proxy.refused >= 4, 60, "the storage to be asked again and again")
        assert volumes(daemon, uuid) and daemon.session(uuid)
        proxy.down = False
        wait_for(lambda: daemon.session(uuid) is None, 90, "the delete to finish")
        archive = archive_of(server, uuid, tmp_path)
        assert subprocess.run(["unzip", "-p", archive, "a.txt"], capture_output=True).stdout == b"kept"


def test_storage_that_gives_other_bytes_than_it_was_given_releases_nothing(build, tmp_path):
    with S3Server("versitygw") as server, TrickyProxy(server.port) as proxy, \
            S3Daemon(build, server, {"ROOST_HTTP__DELETE_WAIT": "1s"}, proxy.endpoint) as daemon:
        uuid = daemon.create()
        daemon.workspace(uuid).write("a.bin", os.urandom(1 << 20))
        data = daemon.workspace(uuid).read("a.bin")
        proxy.spoils = True
        assert daemon.delete(f"/session/{uuid}").status == 202
        wait_for(lambda: proxy.spoiled >= 2 and "damaged" in str(daemon.session(uuid)), 60, "the damage to be noticed")
        assert volumes(daemon, uuid), "what was not read back whole is no backup"
        proxy.spoils = False
        wait_for(lambda: daemon.session(uuid) is None, 90, "the delete to finish")
        archive = archive_of(server, uuid, tmp_path)
        assert subprocess.run(["unzip", "-p", archive, "a.bin"], capture_output=True).stdout == data


def test_wrong_keys_are_told_and_the_volume_stays(build):
    with S3Server("versitygw") as server:
        with S3Daemon(build, server, {"TEST_S3_SECRET": "some-other-secret", "ROOST_HTTP__DELETE_WAIT": "1s"}) as daemon:
            uuid = daemon.create()
            assert daemon.delete(f"/session/{uuid}").status == 202
            session = wait_for(lambda: "the secret key is wrong" in str(s := daemon.session(uuid)) and s, 60, "the reason")
            assert volumes(daemon, uuid)
            for text in (str(session), daemon.tail(1 << 20)):
                assert "some-other-secret" not in text and ACCESS_KEY not in str(session)


def test_a_role_gives_each_task_keys_for_its_own_archive_only(build):
    with S3Server("moto") as server, Judge(server) as judge:
        secrets = {"access_key_id": {"value": judge.keys[0]}, "secret_access_key": {"value": judge.keys[1]}}
        config = {"task_role": Judge.ROLE, "task_session_s": 900, "sts_endpoint": judge.endpoint}
        with S3Daemon(build, server, config=config, secrets=secrets) as daemon:
            uuid = daemon.create()
            daemon.workspace(uuid).write("large.bin", os.urandom(20 << 20))  # several parts
            answer = daemon.delete(f"/session/{uuid}")
            assert answer.status == 200 and answer.json["backup"]["verified_at"], answer
            assert not volumes(daemon, uuid)
            assert "given the keys that roostd itself uses" not in daemon.tail(1 << 20)
        (key,) = server.names(judge.keys)
        archive = key.split("/")[-1]
        assert [form["RoleSessionName"] for form, _ in judge.asked] == [f"roost-backup-{archive}", f"roost-verify-{archive}"]
        bucket = f"Bucket={server.bucket!r}"
        own, other, listed = f"get_object({bucket}, Key={key!r})", f"get_object({bucket}, Key='roost/other.zip')", f"list_objects_v2({bucket})"
        put, removed = f"put_object({bucket}, Key={key!r}, Body=b'x')", f"delete_object({bucket}, Key={key!r})"
        put_other = f"put_object({bucket}, Key='roost/other.zip', Body=b'x')"
        # The role has the policy of the last task, which verified.
        may = server.what_keys_may(judge.asked[1][1], own, other, listed, put, put_other, removed)
        assert [call for call, allowed in may.items() if allowed] == [own]


def test_tasks_with_a_pair_of_their_own_neither_list_nor_remove(build):
    with S3Server("versitygw") as server:
        tasks = ("AKIATASKS", "the-tasks-secret")
        server.make_user(tasks, documented_policy("### With a role", server.bucket, "roost/"))  # "the three rights above"
        secrets = {"task_access_key_id": {"value": tasks[0]}, "task_secret_access_key": {"value": tasks[1]}}
        with S3Daemon(build, server, secrets=secrets) as daemon:
            uuid = daemon.create()
            daemon.workspace(uuid).write("large.bin", os.urandom(20 << 20))
            answer = daemon.delete(f"/session/{uuid}")
            assert answer.status == 200 and answer.json["backup"]["verified_at"], answer
        (key,) = server.names()
        bucket = f"Bucket={server.bucket!r}"
        read, listed, removed = f"get_object({bucket}, Key={key!r})", f"list_objects_v2({bucket})", f"delete_object({bucket}, Key={key!r})"
        elsewhere = f"put_object({bucket}, Key='other/a.zip', Body=b'x')"
        assert server.what_keys_may(tasks, read, listed, removed, elsewhere) == {read: True, listed: False, removed: False, elsewhere: False}


def test_tasks_that_are_not_told_what_is_absent_make_their_archives(build):
    with S3Server("versitygw") as server, TrickyProxy(server.port) as proxy:
        tasks = ("AKIATASKS", "the-tasks-secret")
        server.make_user(tasks, documented_policy("### With a role", server.bucket, "roost/"))
        secrets = {"task_access_key_id": {"value": tasks[0]}, "task_secret_access_key": {"value": tasks[1]}}
        proxy.hides_from = tasks[0]
        with S3Daemon(build, server, endpoint=proxy.endpoint, secrets=secrets) as daemon:
            for size in (1 << 10, 20 << 20):  # in one request, and in parts
                uuid = daemon.create()
                daemon.workspace(uuid).write("a.bin", os.urandom(size))
                answer = daemon.delete(f"/session/{uuid}")
                assert answer.status == 200 and answer.json["backup"]["verified_at"], answer
        assert proxy.hidden >= 2


def test_tasks_with_the_daemons_keys_are_warned_of(build):
    with S3Server("versitygw") as server, S3Daemon(build, server) as daemon:
        uuid = daemon.create()
        assert daemon.delete(f"/session/{uuid}").status == 200
        assert daemon.tail(1 << 20).count("given the keys that roostd itself uses") == 1


def faketime():
    """The library that shifts a program's clock (Debian's libfaketime)."""
    found = sorted(pathlib.Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    return str(found[0]) if found else None


@pytest.mark.skipif(not faketime(), reason="libfaketime is not installed")
@pytest.mark.parametrize("shift", ["+2h", "-3h"])
def test_a_task_whose_clock_is_wrong_goes_by_the_servers(build, tmp_path, shift):
    # AddressSanitizer wants to be the first library; it is linked in, so the order does no harm.
    clock = {"LD_PRELOAD": faketime(), "FAKETIME": shift, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "ASAN_OPTIONS": "verify_asan_link_order=0"}
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/a.bin").write_bytes(os.urandom(12 << 20))
    with S3Server("versitygw") as server:
        for kind in ("backup", "verify"):
            spec = {"id": "0000abcd", "user_id": "me", "operation": "00000001", "attempt": 1, "kind": kind, "archive": "a.zip", "backup_id": "b",
                    "volume": {"uid": "u"}, "volume_path": str(tmp_path / "volume"),
                    "backup": {"manifest": str(build / "lib/roost/plugins/backup-s3.roost.json"), "config": server.config(), "mounts": [],
                               "secrets": {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY}}}
            (tmp_path / "spec.json").write_text(json.dumps(spec))
            done = subprocess.run([build / "bin/roost-agent", kind, "--spec", tmp_path / "spec.json", "--result", tmp_path / "result.json"],
                                  env={**os.environ, **clock}, capture_output=True, text=True, timeout=300)
            assert json.loads((tmp_path / "result.json").read_text())["state"] == "succeeded", done.stderr
            assert "the clock of this machine differs by" in done.stderr
