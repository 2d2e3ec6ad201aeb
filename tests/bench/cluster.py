"""./dev bench cluster: roostd on a real control plane with fake nodes beside bare clients of the same API server in the same run.

ROOST_BENCH_SESSIONS is how many sessions live at once (5000), ROOST_BENCH_PAIRS how often each pair of runs is repeated (3)."""
import argparse
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from cluster import FIXTURE, KINDS, Cluster, ClusterDaemon  # noqa: E402
from roost import GUIDE_KEY, wait_for  # noqa: E402

SESSIONS = int(os.environ.get("ROOST_BENCH_SESSIONS", "5000"))
PAIRS = int(os.environ.get("ROOST_BENCH_PAIRS", "3"))
BATCH, ALONE, WORKERS = 300, 40, 32
CLAIMED = ("persistentvolumeclaims", "secrets", "deployments")
MADE = ("persistentvolumeclaims", "secrets", "deployments", "services", "ingresses")
CROWD = {"ROOST_LIMITS__RATE": "0", "ROOST_LOG__LEVEL": "warn", "ROOST_SESSIONS__PER_USER": "100000", "ROOST_SESSIONS__CONCURRENT_TASKS": "32"}
LIMITS = {**CROWD, "ROOST_SESSIONS__CONCURRENT_STARTS": "10000", "ROOST_SESSIONS__CONCURRENT_TASKS": "200"}
rows = []


def row(what, value, bar, passed):
    rows.append((what, value, bar, passed))
    print(f"| {what} | {value} | {bar} | {'yes' if passed else '**no**'} |", flush=True)


def note(text):
    print(f"#   {text}", flush=True)


def requests(cluster):
    """(verb, resource) -> how many requests the API server has answered, everybody's."""
    _, text = cluster.request("GET", "/metrics")
    counts = {}
    for line in re.findall(r"^apiserver_request_total\{.*", text, re.M):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
        key = (labels["verb"], labels["resource"] + (f"/{labels['subresource']}" if labels["subresource"] else ""))
        counts[key] = counts.get(key, 0) + float(line.rsplit(" ", 1)[1])
    return counts


def say_requests(who, before, after):
    """Those that came to one in ten sessions or more, for each session."""
    each = {key: (count - before.get(key, 0)) / BATCH for key, count in after.items()}
    note(f"requests a session, {who}: " + ", ".join(f"{v} {r} {n:.1f}" for (v, r), n in sorted(each.items()) if n >= 0.1))


class Writes:
    """Writes of the kinds that Roost makes, by the API server's own count. Controllers change these with PUT or their status only."""

    def __init__(self, cluster):
        self.cluster = cluster

    def count(self):
        _, text = self.cluster.request("GET", "/metrics")
        total = 0
        for line in re.findall(r"^apiserver_request_total\{.*", text, re.M):
            labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
            ours = labels["resource"] in MADE and labels["subresource"] == ""
            resize = labels["resource"] == "pods" and labels["subresource"] == "resize"
            if labels["verb"] in ("POST", "PATCH", "APPLY") and (ours or resize) and labels["code"].startswith("2"):
                total += float(line.rsplit(" ", 1)[1])
        return int(total)


class ReadyPods:
    """A watch of the namespace's pods: when each turned ready, by its `app` label. One thread reads."""

    def __init__(self, space):
        self.space, self.ready, self.changed = space, {}, threading.Condition()
        cluster = space.cluster
        _, listed = cluster.request("GET", space.path("pods") + "?limit=1")
        version = listed["metadata"]["resourceVersion"]
        self.connection = http.client.HTTPSConnection("127.0.0.1", cluster.port, context=cluster.context)
        self.connection.request("GET", f"{space.path('pods')}?watch=1&resourceVersion={version}",
                                headers={"Authorization": f"Bearer {cluster.token}"})
        self.socket = self.connection.sock
        self.stream = self.connection.getresponse()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            for line in self.stream:
                at = time.perf_counter()
                pod = json.loads(line)["object"]
                if not any(c["type"] == "Ready" and c["status"] == "True" for c in pod.get("status", {}).get("conditions", [])):
                    continue
                app = pod["metadata"]["labels"].get("app")
                with self.changed:
                    self.ready.setdefault(app, at)
                    self.changed.notify_all()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass  # closed

    def wait(self, apps, timeout=600):
        with self.changed:
            assert self.changed.wait_for(lambda: all(a in self.ready for a in apps), timeout), "pods that never turned ready"
            return {a: self.ready[a] for a in apps}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)  # ends the thread's read


def templates(daemon):
    """The objects that Roost made for one session, without what the server filled in: (session id, {kind: object})."""
    uuid, made = daemon.create(), {}
    for kind in MADE:
        document = daemon.namespace.get(kind, ("pvc-" if kind == "persistentvolumeclaims" else "user-") + uuid)
        meta = document["metadata"]
        annotations = {name: value for name, value in meta.get("annotations", {}).items() if name.startswith("roost.dev/")}
        document["metadata"] = {"name": meta["name"], "labels": meta["labels"], "annotations": annotations}
        document.pop("status", None)
        for key in ("clusterIP", "clusterIPs", "volumeName"):
            document["spec"].pop(key, None) if "spec" in document else None
        made[kind] = document
    return uuid, made


class Bare:
    """A client that writes such objects itself, with tests/cluster/writer."""

    def __init__(self, space, sample, made):
        self.space, self.sample, self.made = space, sample, made

    def lines(self, ids, kinds):
        lines = []
        for each in ids:
            bodies = [json.dumps({"path": self.space.path(kind), "body": self.made[kind]}).replace(self.sample, each) for kind in kinds]
            lines.append("[" + ",".join(bodies) + "]")
        return "\n".join(lines)

    def write(self, ids, kinds, workers=WORKERS):
        cluster = self.space.cluster
        out = subprocess.run([pathlib.Path(cluster.kube).parent / "writer", f"https://127.0.0.1:{cluster.port}", cluster.directory / "ca.crt",
                              cluster.token, str(workers)], input=self.lines(ids, kinds), capture_output=True, text=True, check=True).stdout
        return json.loads(out)


def deployments_alone(made):
    """The same Deployment with nothing to wait for: neither claim nor Secret."""
    bare = json.loads(json.dumps(made["deployments"]))
    pod = bare["spec"]["template"]["spec"]
    pod["volumes"] = [v for v in pod["volumes"] if "emptyDir" in v]
    kept = {v["name"] for v in pod["volumes"]}
    for container in pod["containers"] + pod.get("initContainers", []):
        container["volumeMounts"] = [m for m in container.get("volumeMounts", []) if m["name"] in kept]
    return {**made, "deployments": bare}


def fresh_ids(prefix, count):
    return [f"{prefix}{i:05x}" for i in range(count)]


def create_many(daemon, count, workers=16):
    def one(i):
        answer = daemon.post("/session/create", {"user_id": f"u{i}"})
        assert answer.status in (200, 201), answer
        return answer.json["uuid"]
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, range(count)))


def wait_objects(space, wanted):
    """Until there are so many of each kind that a session is made of. Asked cheaply: the API server is what is measured."""
    def there(kind):
        _, first = space.cluster.request("GET", space.path(kind) + "?limit=1")
        return len(first["items"]) + first["metadata"].get("remainingItemCount", 0) >= wanted
    for kind in MADE:
        while not there(kind):
            time.sleep(0.2)


def wait_alone(cluster):
    """What the measurement before this one made is gone: its removal costs the control plane as much as the making."""
    names = lambda: [item["metadata"]["name"] for item in cluster.request("GET", "/api/v1/namespaces")[1]["items"]]
    wait_for(lambda: not [name for name in names() if name.startswith("t-")], 900, "the end of earlier namespaces")


def bare_ready(cluster, sample, made, prefix, kinds):
    """A bare client writes these kinds BATCH times at once: (pods ready a second, the writer's own answer)."""
    wait_alone(cluster)
    with cluster.namespace() as space, ReadyPods(space) as pods:
        before, ids, began = requests(cluster), fresh_ids(prefix, BATCH), time.perf_counter()
        answer = Bare(space, sample, made).write(ids, kinds)
        ready = BATCH / (max(pods.wait([f"user-{u}" for u in ids]).values()) - began)
        say_requests(f"bare, {len(kinds)} objects", before, requests(cluster))
        return ready, answer


def throughput(cluster, build):
    """Objects written and pods ready a second: Roost, and a bare client writing the same objects, Deployments with a claim, Deployments."""
    objects, ready = [], {"same": [], "claimed": [], "deployments": []}
    for i in range(PAIRS):
        wait_alone(cluster)
        with cluster.namespace() as space, ClusterDaemon(build, space, LIMITS) as daemon:
            sample, made = templates(daemon)
            with ReadyPods(space) as pods:
                before, began = requests(cluster), time.perf_counter()
                uuids = create_many(daemon, BATCH)
                wait_objects(space, 1 + BATCH)  # and the sample
                roost_objects = BATCH * len(MADE) / (time.perf_counter() - began)
                roost_ready = BATCH / (max(pods.wait([f"user-{u}" for u in uuids]).values()) - began)
                say_requests("Roost", before, requests(cluster))
        same_ready, answer = bare_ready(cluster, sample, made, "0a0", MADE)
        bare_objects = answer["objects"] / answer["seconds"]
        claimed_ready, _ = bare_ready(cluster, sample, made, "0e0", CLAIMED)
        deployment_ready, _ = bare_ready(cluster, sample, deployments_alone(made), "0b0", ["deployments"])
        objects.append(roost_objects / bare_objects)
        ready["same"].append(roost_ready / same_ready)
        ready["claimed"].append(roost_ready / claimed_ready)
        ready["deployments"].append(roost_ready / deployment_ready)
        note(f"objects/s: Roost {roost_objects:.0f}, bare {bare_objects:.0f}; ready/s: Roost {roost_ready:.1f}, the same objects bare "
             f"{same_ready:.1f}, bare Deployments with a claim {claimed_ready:.1f}, without {deployment_ready:.1f}")
    ratio = statistics.median(objects)
    row(f"objects written a second, {BATCH} sessions at once ÷ a bare client writing the same", f"{ratio:.2f}", "≥ 0.8", ratio >= 0.8)
    ratio = statistics.median(ready["same"])
    row("workspaces ready a second ÷ the same objects written by the bare client", f"{ratio:.2f}", "≥ 0.8", ratio >= 0.8)
    ratio = statistics.median(ready["claimed"])
    row("workspaces ready a second ÷ bare Deployments with a claim and a Secret", f"{ratio:.2f}", "≥ 0.8", ratio >= 0.8)
    ratio = statistics.median(ready["deployments"])
    row("workspaces ready a second ÷ bare Deployments (no claim, no Service)", f"{ratio:.2f}", "≥ 0.8", ratio >= 0.8)
    return sample, made


def alone(cluster, build):
    """From the request to the pod's Ready, one at a time, in turn with a bare Deployment on a claim of its own."""
    times = {"roost": [], "bare": [], "deployment": []}
    with cluster.namespace() as space, cluster.namespace() as other, ClusterDaemon(build, space, LIMITS) as daemon:
        sample, made = templates(daemon)
        with ReadyPods(space) as ours, ReadyPods(other) as theirs:
            post = lambda kind, each, what: cluster.request("POST", other.path(kind), json.loads(json.dumps(what[kind]).replace(sample, each)))
            for i, each in enumerate(fresh_ids("0c0", ALONE)):
                began = time.perf_counter()
                uuid = daemon.post("/session/create", {"user_id": f"u{i}"}).json["uuid"]
                times["roost"].append(ours.wait([f"user-{uuid}"])[f"user-{uuid}"] - began)
                began = time.perf_counter()
                for kind in CLAIMED:
                    assert post(kind, each, made)[0] == 201
                times["bare"].append(theirs.wait([f"user-{each}"])[f"user-{each}"] - began)
                each, began = each.replace("0c0", "0d0"), time.perf_counter()
                assert post("deployments", each, deployments_alone(made))[0] == 201
                times["deployment"].append(theirs.wait([f"user-{each}"])[f"user-{each}"] - began)
    for name, at in (("p50", 0.5), ("p99", 0.99)):
        roost, bare, deployment = (sorted(times[k])[min(ALONE - 1, int(at * ALONE))] * 1000 for k in ("roost", "bare", "deployment"))
        row(f"create → Ready alone, {name}", f"{roost:.0f} ms beside {bare:.0f} ms for a bare Deployment with its claim "
            f"({deployment:.0f} ms without one)", "≤ bare + 5 ms", roost <= bare + 5)


def memory_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


def phases(daemon, phase, count, timeout=5400):
    def there():
        found = re.search(rf'roost_sessions{{phase="{phase}"}} (\d+)', daemon.get("/metrics", key=None).body.decode())
        return found and int(found.group(1)) == count
    wait_for(there, timeout, f"{count} sessions {phase}")


def life(cluster, build):
    """SESSIONS sessions created, slept, woken, deleted: writes of each step, memory, and nothing left over. With the limit
    of starts that Roost has by default: thousands at once are a burden to the control plane that makes each of them slower."""
    writes = Writes(cluster)
    with cluster.namespace() as space, ClusterDaemon(build, space, CROWD) as daemon:
        idle = memory_kib(daemon.process.pid)

        def step(name, bar, act, phase):
            since, began = writes.count(), time.perf_counter()
            act()
            phases(daemon, phase, SESSIONS)
            took, each = time.perf_counter() - began, (writes.count() - since) / SESSIONS
            note(f"{name}: {SESSIONS} in {took:.0f} s, {SESSIONS / took:.1f}/s")
            row(f"API writes for a {name}", f"{each:.2f}", f"≤ {bar}", each <= bar + 0.005)
            return SESSIONS / took

        uuids = []
        ready = step("create", 5, lambda: uuids.extend(create_many(daemon, SESSIONS)), "running")
        row(f"{SESSIONS} sessions running, made at", f"{ready:.1f}/s", "stated", True)
        each = (memory_kib(daemon.process.pid) - idle) / SESSIONS
        row(f"memory of `roostd` for each of {SESSIONS} running sessions", f"{each:.1f} KB", "stated", True)
        since, began = writes.count(), time.perf_counter()
        wait_for(lambda: time.perf_counter() - began > 30, 60)  # the steady state, as long as half a resync
        row("API writes in 30 s of the steady state", str(writes.count() - since), "0", writes.count() == since)

        def everybody(action):
            def all_of_them():
                with concurrent.futures.ThreadPoolExecutor(16) as pool:
                    for answer in pool.map(lambda u: daemon.post(f"/session/{u}/{action}"), uuids):
                        assert answer.status == 200, answer
            return all_of_them
        step("sleep", 1, everybody("sleep"), "asleep")
        step("wake", 1, everybody("wake"), "running")
        began = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda u: daemon.delete(f"/session/{u}", headers={"Prefer": "respond-async"}), uuids))
        wait_for(lambda: daemon.get("/sessions?limit=1").json["count"] == 0, 7200, "the deletes")
        note(f"delete with backup and verification: {SESSIONS} in {time.perf_counter() - began:.0f} s")
        left_over(daemon, uuids)


def remains(space):
    """Of the sessions' own objects there must be none; of their tasks' the one Job that reports for a day, with its pod and its Secret."""
    own = {kind: len(space.list(kind, "roost.dev/role=workspace")) for kind in KINDS if kind != "jobs"}
    tasks = {kind: space.list(kind, "roost.dev/role=task") for kind in ("jobs", "pods", "secrets")}
    copying = sum(item["metadata"]["labels"]["roost.dev/task"] != "verify" for items in tasks.values() for item in items)
    wrong = sum(own.values()) + copying + abs(len(tasks["jobs"]) - SESSIONS)
    return wrong, f"of sessions {own}, of tasks {({k: len(v) for k, v in tasks.items()})}, of them of copies {copying}"


def left_over(daemon, uuids):
    space = daemon.namespace
    with contextlib.suppress(AssertionError):  # the garbage collector comes a moment after what owned a thing
        wait_for(lambda: remains(space)[0] == 0, 120)
    wrong, what = remains(space)
    note(f"left: {what}")
    missing = set(uuids) - {job["metadata"]["labels"].get("session-uuid") for job in space.list("jobs")}
    if missing:
        log = (daemon.directory / "roostd.log").read_text(errors="replace").splitlines()
        said = [line for line in log if any(uuid in line for uuid in missing)]
        note(f"no Job reports for {sorted(missing)}; of these the log says:\n" + "\n".join(said[-200:]))
    row(f"left over of {SESSIONS} deleted sessions (but one Job each that reports for a day)", str(wrong), "0", wrong == 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("only", nargs="*", choices=["throughput", "alone", "life", []])
    options = parser.parse_args()
    chosen = options.only or ["throughput", "alone", "life"]
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"# {os.cpu_count()} × {cpu.group(1) if cpu else '?'}, {time.strftime('%Y-%m-%d')}\n| What | Measured | Bar | Met |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as directory:
        for name in chosen:  # each on a cluster of its own: what one leaves behind in etcd is no burden of the next
            state = pathlib.Path(directory) / name
            subprocess.run([FIXTURE, "up", state], check=True, stdout=subprocess.DEVNULL)
            try:
                {"throughput": throughput, "alone": alone, "life": life}[name](Cluster(state), options.build.resolve())
            finally:
                subprocess.run([FIXTURE, "down", state], check=True)
    print(json.dumps([{"what": w, "value": v, "bar": b, "met": p} for w, v, b, p in rows]))
    sys.exit(0 if all(p for *_, p in rows) else 1)


if __name__ == "__main__":
    main()
