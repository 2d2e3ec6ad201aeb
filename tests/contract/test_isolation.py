"""A workspace is a stranger: from inside it neither the API, nor another workspace, nor the host's files can be reached."""
import contextlib
import json
import os
import pathlib
import socket
import threading

import pytest

from roost import GUIDE_KEY, Daemon


@pytest.fixture(scope="module")
def inside(shared_daemon):
    uuid = shared_daemon.create("inside")
    return shared_daemon.workspace(uuid)


def test_the_api_cannot_be_reached(shared_daemon, inside):
    probe = ("import socket,sys\n"
             "for host in ('127.0.0.1','localhost','10.0.2.2','10.0.2.15','169.254.1.1'):\n"
             "    try:\n"
             f"        s=socket.create_connection((host,{shared_daemon.port}),3); s.sendall(b'GET /health HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n')\n"
             "        print('REACHED', host, s.recv(100))\n"
             "    except OSError: pass\n")
    code, output = inside.run("python3", "-c", probe)
    assert code == 0 and "REACHED" not in output, output


def test_a_host_listener_on_loopback_cannot_be_reached(inside):
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        listener.settimeout(8)
        port = listener.getsockname()[1]
        touched = []

        def accept():
            try:
                touched.append(listener.accept())
            except OSError:
                pass
        waiter = threading.Thread(target=accept)
        waiter.start()
        inside.run("python3", "-c", f"import socket\nfor h in ('127.0.0.1','10.0.2.2'):\n  try: socket.create_connection((h,{port}),2)\n  except OSError: pass")
        waiter.join()
        assert not touched


def test_host_files_and_secrets_are_not_there(shared_daemon, inside):
    data = shared_daemon.directory / "data"
    for path in (data, shared_daemon.directory / "run", data / "secret.key", pathlib.Path.home() / ".bashrc", "/etc/shadow", pathlib.Path.home(), "/var/log",
                 pathlib.Path(__file__).resolve()):
        code, output = inside.run("sh", "-c", f"cat {path} || ls {path}/*")
        assert code != 0, f"{path} can be read: {output[:200]}"
    for path in ("/etc/x", "/usr/x", "/x", "/usr/bin/sh"):
        assert inside.run("sh", "-c", f": >> {path}")[0] != 0, path


def test_no_secret_is_in_an_environment_or_on_a_command_line(shared_daemon, inside):
    _, environment = inside.run("sh", "-c", "cat /proc/*/environ | tr '\\0' '\\n'")
    ours = {line.split("=")[0] for line in environment.splitlines() if "ROOST_" in line}
    assert ours == {"ROOST_API_SOCKET"} and GUIDE_KEY not in environment, "the path of a socket, and nothing of the daemon's"
    host_lines = b"".join(p.read_bytes() for p in pathlib.Path("/proc").glob("[0-9]*/cmdline") if p.exists())
    secret = (shared_daemon.directory / "data/secret.key").read_bytes()
    assert secret not in host_lines and secret.hex().encode() not in host_lines


def test_other_processes_and_workspaces_are_not_visible(shared_daemon, inside):
    other = shared_daemon.create("other")
    shared_daemon.workspace(other).write("private.txt", b"private")
    _, output = inside.run("sh", "-c", "ls /proc | grep -c '^[0-9]'")
    assert int(output) < 15
    code, output = inside.run("sh", "-c", "find / -xdev -name private.txt 2>/dev/null; find /run /tmp -name '*.sock*' 2>/dev/null | head; id -u")
    assert "private.txt" not in output and other not in output
    assert inside.run("id", "-u")[1].strip() != "0"


def test_a_socket_swapped_for_a_link_leads_nowhere(shared_daemon, inside):
    """The workload owns its socket's directory: a link there must not make the front a way to the host's sockets."""
    uuid = shared_daemon.create("swap")
    visitor = shared_daemon.workspace(uuid)
    with socket.socket(socket.AF_UNIX) as listener:
        path = shared_daemon.directory / "host.sock"
        listener.bind(str(path))
        os.chmod(path, 0o666)
        listener.listen()
        listener.settimeout(3)
        _, where = visitor.run("sh", "-c", "tr '\\0' '\\n' </proc/1/cmdline; for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline; done")
        sockets = {line for line in where.splitlines() if line.startswith("/") and line.endswith(".sock")}
        assert sockets, where
        for inner in sockets:
            visitor.run("sh", "-c", f"rm -f {inner}; ln -s {path} {inner}")
        answer = visitor.request("GET", "/")
        assert answer.status in (502, 503, 504), answer
        with pytest.raises(OSError):
            listener.accept()


def of_user(user):
    """The processes of this user of the host, as /proc tells them; zombies count. None where workspaces have no user of their own."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if user >= 0 and entry.name.isdigit():
            with contextlib.suppress(OSError):
                status = (entry / "status").read_text()
                if f"\nUid:\t{user}\t" in status:
                    found.append(status)
    return found


def test_a_fork_bomb_stays_inside(build):
    first = 100_000_000 + os.getpid() * 16  # users that no other daemon's workspaces have
    with Daemon(build, {"ROOST_COMPUTE__CONFIG__UID_RANGE": json.dumps({"first": first, "count": 16})}) as daemon:
        uuid = daemon.create("bomb")
        visitor = daemon.workspace(uuid)
        volume = json.loads((daemon.directory / f"data/workspaces/volumes/pvc-{uuid}/volume.json").read_text())
        user = volume["host_uid"]
        assert user == -1 or of_user(user)
        limits = daemon.session(uuid)["observed"]["isolation"]
        if "pids" not in str(limits):
            pytest.skip(f"no process limit is in force on this machine: {limits}")
        try:
            visitor.run("timeout", "3", "python3", "-c", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass")
        except (OSError, AssertionError):
            pass
        assert daemon.get("/health", key=None).status == 200
        daemon.post(f"/session/{uuid}/sleep")
        daemon.wait_phase(uuid, "asleep")
        assert not daemon.processes("serve", uuid)  # the supervisor
        assert not of_user(user)  # everything that it kept
