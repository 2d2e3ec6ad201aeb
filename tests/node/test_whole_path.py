"""One user's life with a workspace on a real node: everything that the guide says, seen from the browser, from curl and from kubectl."""
import re
import subprocess

from realnode import ADDRESS, DOMAIN, PATIENCE
from roost import GUIDE_KEY, wait_for

MIB = 1 << 20
LIMIT = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null"
QUOTA = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null"


def shell(node, script):
    """A command of the guide, with this installation's address and key."""
    script = script.replace("http://34.46.174.78", f"http://{ADDRESS}").replace(GUIDE_KEY, node.key)
    script = f'kubectl() {{ "{node.kubectl.program}" kubectl "$@"; }}\nset -euo pipefail\n{script}'
    done = subprocess.run(["bash", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE,
                          env=node.kubectl.environment)
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def numbered(guide, number):
    """Command `number` of the guide's "Test Commands"."""
    block = re.search(r"## Test Commands\n+```bash\n(.*?)```", guide, re.S)[1]
    return re.search(rf"^# {number}\. .*?\n(.*?)(?=^# \d+\. |\Z)", block, re.S | re.M)[1]


def limits(node, uuid):
    """(memory in MiB, CPUs) that the kernel holds the workspace to, read inside it."""
    memory = node.inside(uuid, LIMIT + " | head -1", check=False).strip()
    quota = node.inside(uuid, QUOTA + " | head -1", check=False).split()
    return (int(memory) // MIB, int(quota[0]) // 100_000) if memory.isdigit() and quota else None


def test_the_whole_path(node, browser, guide):
    uuid = shell(node, numbered(guide, 1) + "\necho UUID=$UUID").split("UUID=")[-1].strip()
    node.wait_phase(uuid, "running")
    objects_are_the_guides(node, guide, uuid)
    edit_in_the_browser(node, browser, uuid)
    chat_in_the_terminal(node, browser, uuid)
    sleep_and_wake(node, browser, guide, uuid)
    scale_in_place(node, guide, uuid)
    delete_with_its_backup(node, guide, uuid)


def objects_are_the_guides(node, guide, uuid):
    block = re.search(r"## Kubernetes Resources Created.*?```bash\n(.*?)```", guide, re.S)[1].replace("1823b3a8", uuid)
    out = shell(node, block)
    for name in (f"pvc-{uuid}", f"user-{uuid}", f"vs-code-{uuid}.{DOMAIN}", "Running"):
        assert name in out, out
    assert '"replicas":1' in shell(node, f"UUID={uuid}\n" + numbered(guide, 3)).replace(" ", "")


def edit_in_the_browser(node, browser, uuid):
    stranger = browser("open", url=f"https://vs-code-{uuid}.{DOMAIN}/")
    assert stranger["status"] == 401, stranger
    browser.shot("node-stranger")
    browser("open", url=node.get(f"/session/{uuid}/access").json["url"])
    browser("workbench", timeout=120_000)
    browser("terminal", line="echo start > hello.txt")
    wait_for(lambda: node.inside(uuid, "cat /workspace/hello.txt", check=False) == "start\n", PATIENCE, "the terminal's file")
    browser("edit", file="hello.txt", text="written in VS Code")
    wait_for(lambda: node.inside(uuid, "cat /workspace/hello.txt") == "written in VS Code", PATIENCE, "the saved file")
    browser.shot("node-workbench")


def chat_in_the_terminal(node, browser, uuid):
    def replies():
        return [message.get("reply") for message in node.get(f"/session/{uuid}/messages").json["messages"]]
    assert node.post(f"/session/{uuid}/chat", {"message": "hello"}).status == 200
    assert replies() == [None]
    browser("terminal", line="/roost/bin/roost-agent chat --once -- tr a-z A-Z")  # a terminal's PATH is its login shell's
    wait_for(lambda: replies() == [{"text": "HELLO"}], PATIENCE, "the reply of a consumer in the pod")


def sleep_and_wake(node, browser, guide, uuid):
    before = node.pod(uuid)["metadata"]["uid"]
    shell(node, f"UUID={uuid}\n" + numbered(guide, 4).replace("sleep 10", ""))
    node.wait_phase(uuid, "asleep")
    assert '"replicas":0' in shell(node, f"UUID={uuid}\n" + numbered(guide, 5)).replace(" ", "")
    assert node.kubectl.pods(f"app=user-{uuid}") == []
    assert node.kubectl.get("deployment", f"user-{uuid}")["spec"]["replicas"] == 0
    assert (node.directory(f"pvc-{uuid}") / "hello.txt").read_text() == "written in VS Code"

    shell(node, f"UUID={uuid}\n" + numbered(guide, 6).replace("sleep 30", ""))
    node.wait_phase(uuid, "running")
    assert node.pod(uuid)["metadata"]["uid"] != before
    browser("open", url=f"https://vs-code-{uuid}.{DOMAIN}/?folder=/workspace")  # logged in still: the cookie outlives the pod
    browser("workbench", timeout=120_000)
    browser("shows", file="hello.txt", text="written in VS Code")
    browser.shot("node-after-wake")
    assert node.inside(uuid, "cat /workspace/hello.txt") == "written in VS Code"


def scale_in_place(node, guide, uuid):
    before = node.pod(uuid)
    wait_for(lambda: limits(node, uuid) == (1024, 1), PATIENCE, "the limits of a new session")
    for number, memory, cpus in ((8, 2048, 2), (9, 1024, 1)):
        assert '"success"' in shell(node, f"UUID={uuid}\n" + numbered(guide, number))
        wait_for(lambda: limits(node, uuid) == (memory, cpus), PATIENCE, f"{memory} MiB and {cpus} CPUs inside the container")
        wait_for(lambda: node.session(uuid)["observed"]["size"]["memory_bytes"] == memory * MIB, PATIENCE, "the API's size")
        after = node.pod(uuid)
        (container,) = after["spec"]["containers"]
        assert container["resources"]["limits"] == {"cpu": str(cpus), "memory": f"{memory // 1024}Gi"}
        assert after["metadata"]["uid"] == before["metadata"]["uid"], "the same pod"
        (old,), (new,) = before["status"]["containerStatuses"], after["status"]["containerStatuses"]
        assert (new["restartCount"], new["state"]) == (0, old["state"]), "the same process"


def delete_with_its_backup(node, guide, uuid):
    answer = shell(node, f"UUID={uuid}\n" + numbered(guide, 10).replace("curl ", "curl -sf "))
    assert '"terminated"' in answer or '"terminating"' in answer, answer
    node.wait_phase(uuid, "none: 404", "deleted")
    block = re.search(r"\*\*Verify Backup Created:\*\*\n```bash\n(.*?)```", guide, re.S)[1].replace("1823b3a8", uuid)
    out = shell(node, block)
    assert f"backup-{uuid}" in out and f"Backup completed for {uuid}" in out, out
    listed = shell(node, re.search(r"^kubectl exec .*", guide, re.M)[0])  # told that there is no terminal, it goes on without
    (archive,) = node.archives(uuid)
    assert archive.name in listed
    assert archive.name in node.kubectl("exec", "deployment/session-manager", "--", "ls", "/backups/")
    done = subprocess.run(["unzip", "-p", archive, "hello.txt"], capture_output=True, text=True)
    assert done.stdout == "written in VS Code", done
    assert subprocess.run(["unzip", "-tq", archive], capture_output=True).returncode == 0
    node.assert_gone(uuid)
