"""./dev bench: ratios, each side by side in one run, printed as the rows of docs/performance.md.

A ratio is the median over pairs of runs, A then B, so that a machine whose speed drifts still gives the same ratio."""
import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "support"))
from roost import GUIDE_KEY, Daemon, free_port, wait_for  # noqa: E402

PAIRS = int(os.environ.get("ROOST_BENCH_PAIRS", "5"))
SECONDS = int(os.environ.get("ROOST_BENCH_SECONDS", "4"))
HEALTH_BAR = 2  # times what the bare hello needs
QUIET = {"ROOST_LIMITS__RATE": "0", "ROOST_LOG__LEVEL": "warn"}
rows = []


def row(what, value, bar, passed):
    rows.append((what, value, bar, passed))
    print(f"| {what} | {value} | {bar} | {'yes' if passed else '**no**'} |", flush=True)


def wrk(url, connections=64, key=None):
    headers = ["-H", f"X-API-Key: {key}"] if key else []
    out = subprocess.run(["wrk", "-t2", f"-c{connections}", f"-d{SECONDS}s", "--latency", *headers, url],
                         capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in out, out
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))


def memory_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1))


class Hello:
    def __init__(self, build):
        self.port = free_port()
        self.process = subprocess.Popen([build / "bin/bench_hello", str(self.port)], stdout=subprocess.DEVNULL)
        wait_for(self.answers, what="bench_hello")

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class Probe:
    """bench_probe while something else loads the server."""
    def __init__(self, build, port, path):
        self.command = [build / "bin/bench_probe", str(port), path, str(SECONDS - 0.5)]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        out, _ = self.process.communicate(timeout=SECONDS + 30)
        assert self.process.returncode == 0, "bench_probe failed"
        self.result = json.loads(out)


def status_beside_hello(bench, release):
    """GET /session/{uuid}/status at 64 connections, 1,000 idle keep-alive connections open, beside a bare PollSet + Beast hello."""
    with Hello(bench) as hello, Daemon(release, QUIET) as daemon:
        uuid = daemon.create()
        idle = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(1000)]
        for s in idle:
            s.sendall(f"GET /health HTTP/1.1\r\nHost: localhost:{daemon.port}\r\n\r\n".encode())
            s.recv(4096)
        ratios, probes = [], []
        for _ in range(PAIRS):
            with Probe(bench, hello.port, "/") as of_hello:
                bare = wrk(f"http://127.0.0.1:{hello.port}/")
            with Probe(bench, daemon.port, "/health") as of_health:
                status = wrk(f"http://127.0.0.1:{daemon.port}/session/{uuid}/status", key=GUIDE_KEY)
            ratios.append(status / bare)
            probes.append((of_health.result, of_hello.result))
            print(f"#   hello {bare:.0f}/s, status {status:.0f}/s", flush=True)
        ratio = statistics.median(ratios)
        row("status at 64 connections ÷ bare hello, 1,000 idle connections open", f"{ratio:.2f}", "≥ 0.6", ratio >= 0.6)
        health_beside_hello(probes)


def health_beside_hello(probes):
    """What a prober saw of /health, and of the bare hello under the load of its own: the machine is as busy for both."""
    def spread(side, figure):
        return statistics.median(pair[side][figure] for pair in probes) / 1000
    said = [" / ".join(f"{spread(side, figure):.1f}" for figure in ("p50_us", "p99_us", "worst_us")) for side in (0, 1)]
    ratio = statistics.median(ours["p99_us"] / bare["p99_us"] for ours, bare in probes)
    count, failed = (sum(pair[0][key] for pair in probes) for key in ("probes", "failed"))
    row("`/health` meanwhile ÷ the same of bare hello under its load, p99",
        f"{ratio:.2f} (p50 / p99 / worst {said[0]} ms beside {said[1]} ms, {count} probes, {failed} failed)",
        f"≤ {HEALTH_BAR}, none failed", ratio <= HEALTH_BAR and failed == 0)


def create_beside_sqlite(bench, release):
    """Time to an accepted create (two durable commits) beside two durable commits of bare SQLite on the same disk."""
    with Daemon(release, {**QUIET, "ROOST_SESSIONS__PER_USER": "100000", "ROOST_SESSIONS__CONCURRENT_STARTS": "1"}) as daemon:
        path = daemon.directory / "bare.db"
        ratios = []
        for i in range(PAIRS):
            out = subprocess.run([bench / "bin/bench_sqlite_commit", str(path)], capture_output=True, text=True, check=True).stdout
            bare = float(re.search(r"median_us[\"':= ]+([\d.]+)", out).group(1)) / 1e6
            times = []
            for k in range(10):
                began = time.perf_counter()
                assert daemon.post("/session/create", {"user_id": f"u{i}-{k}"}).status in (200, 201)
                times.append(time.perf_counter() - began)
            made = statistics.median(times)
            ratios.append(made / bare)
            print(f"#   two commits {bare * 1e3:.2f} ms, create {made * 1e3:.2f} ms", flush=True)
        ratio = statistics.median(ratios)
        row("create accepted ÷ two durable SQLite commits", f"{ratio:.1f}", "≤ 5", ratio <= 5)


def memory(release):
    """Resident memory of roostd idle, and what each of 10,000 sleeping sessions adds."""
    count = 10_000
    with Daemon(release, QUIET) as daemon:
        row("`roostd` idle", f"{memory_kib(daemon.process.pid) / 1024:.1f} MB", "≤ 30 MB", memory_kib(daemon.process.pid) <= 30 * 1024)
        uuid = daemon.create()
        daemon.post(f"/session/{uuid}/sleep")
        daemon.wait_phase(uuid, "asleep")
        daemon.kill()
        daemon.start()
        before = memory_kib(daemon.process.pid)
        daemon.stop()
        copy_session(daemon, uuid, count)
        daemon.start()
        wait_for(lambda: daemon.get("/sessions?limit=1").status == 200, 60)
        wait_for(lambda: f'roost_sessions{{phase="asleep"}} {count + 1}' in daemon.get("/metrics", key=None).body.decode(), 120, "10,000 sleeping sessions")
        time.sleep(5)  # a resync's worth of work is part of the figure
        each = (memory_kib(daemon.process.pid) - before) / count
        row("each of 10,000 sleeping sessions", f"{each:.2f} KB", "≤ 4 KB", each <= 4)


def copy_session(daemon, uuid, count):
    """Writes `count` more sleeping sessions like `uuid`, their volumes too, into a stopped daemon's data."""
    (database,) = (daemon.directory / "data").rglob("*.db")
    (volume,) = [p for p in (daemon.directory / "data").rglob(f"pvc-{uuid}") if p.is_dir()]
    connection = sqlite3.connect(database)
    table = next(t for (t,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
                 if {"partition", "key", "value"} <= {c[1] for c in connection.execute(f"PRAGMA table_info({t})")})
    columns = [c[1] for c in connection.execute(f"PRAGMA table_info({table})")]
    original = dict(zip(columns, connection.execute(f"SELECT * FROM {table} WHERE key=?", (f"session/{uuid}",)).fetchone()))
    text = lambda v: v if isinstance(v, str) else bytes(v).decode()
    top = connection.execute(f"SELECT max(revision) FROM {table}").fetchone()[0]
    for i in range(count):
        other = f"{i + 0x10000000:08x}"[::-1]
        copied = dict(original, partition=type(original["partition"])(other[:2] if isinstance(original["partition"], str) else other[:2].encode()),
                      key=f"session/{other}" if isinstance(original["key"], str) else f"session/{other}".encode(), revision=top + i + 1)
        value = text(original["value"]).replace(uuid, other)
        copied["value"] = value if isinstance(original["value"], str) else value.encode()
        connection.execute(f"INSERT INTO {table} ({','.join(columns)}) VALUES ({','.join('?' * len(columns))})", [copied[c] for c in columns])
        target = volume.with_name(f"pvc-{other}")
        shutil.copytree(volume, target, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
        for document in target.glob("volume.json"):
            document.write_text(document.read_text().replace(uuid, other))
    connection.commit()
    connection.close()


def redis_rows(bench, release):
    """Redis behind roostd, every write on its disk first: status reads, creates accepted, and what 100,000 sessions take."""
    from redis import Redis
    with Redis() as server:
        Daemon.redis = server
        try:
            status_over_redis(bench, release)
            creates_over_redis(release, server)
            many_over_redis(release, server)
        finally:
            Daemon.redis = None


def status_over_redis(bench, release):
    with Hello(bench) as hello, Daemon(release, QUIET) as daemon:
        uuid = daemon.create()
        ratios = []
        for _ in range(PAIRS):
            bare = wrk(f"http://127.0.0.1:{hello.port}/")
            status = wrk(f"http://127.0.0.1:{daemon.port}/session/{uuid}/status", key=GUIDE_KEY)
            ratios.append(status / bare)
            print(f"#   hello {bare:.0f}/s, status with Redis behind {status:.0f}/s", flush=True)
        ratio = statistics.median(ratios)
        row("status with Redis behind ÷ bare hello", f"{ratio:.2f}", "≥ 0.6", ratio >= 0.6)


def creates_over_redis(release, server, clients=16):
    """Creates accepted (two commits each) by as many clients as redis-benchmark has, which runs a script of one SET."""
    sha = server.cli("SCRIPT", "LOAD", "return redis.call('SET', KEYS[1], ARGV[1])")
    post = server.directory / "create.lua"
    post.write_text("""local n = 0
        function request()
          n = n + 1
          return wrk.format("POST", "/session/create", {["X-API-Key"] = "%s", ["Content-Type"] = "application/json"},
                            '{"user_id": "u' .. n .. '"}')
        end""" % GUIDE_KEY)
    overrides = {**QUIET, "ROOST_SESSIONS__PER_USER": "100000", "ROOST_SESSIONS__CONCURRENT_STARTS": "1"}
    pairs = []
    for _ in range(PAIRS):
        out = subprocess.run(["redis-benchmark", "-s", server.socket, "-c", str(clients), "-n", "10000", "-q", "--csv",
                              "EVALSHA", sha, "1", "bench:__rand_int__", "x" * 1024], capture_output=True, text=True, check=True).stdout
        bare = float(out.splitlines()[-1].split(",")[1].strip('"'))
        with Daemon(release, overrides) as daemon:
            out = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{SECONDS}s", "-s", str(post), f"http://127.0.0.1:{daemon.port}"],
                                 capture_output=True, text=True, check=True).stdout
            assert "Non-2xx" not in out, out
            pairs.append((float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), bare))
        print(f"#   creates {pairs[-1][0]:.0f}/s, EVALSHA {bare:.0f}/s", flush=True)
    ratio = statistics.median(made / bare for made, bare in pairs)
    made, bare = (statistics.median(side) for side in zip(*pairs))
    row(f"creates accepted with Redis, {clients} clients", f"{made:.0f}/s beside {bare:.0f} EVALSHA/s of redis-benchmark: {ratio:.2f}", "stated", True)


def many_over_redis(release, server, count=100_000):
    """Copies one sleeping session; the copies have no volumes, so compute has nothing to say of them when memory is read."""
    with Daemon(release, QUIET) as daemon:
        uuid = daemon.create()
        daemon.post(f"/session/{uuid}/sleep")
        daemon.wait_phase(uuid, "asleep")
        idle = memory_kib(daemon.process.pid)
        daemon.stop()
        used = lambda: int(re.search(r"used_memory:(\d+)", server.cli("INFO", "memory")).group(1))
        before = used()
        copy = """
            local prefix, uuid = ARGV[1], ARGV[2]
            local bucket = prefix .. ':{' .. string.sub(uuid, 1, 2) .. '}:'
            local document = redis.call('GET', bucket .. 'doc:' .. string.sub(uuid, 1, 2) .. ':session/' .. uuid)
            for i = tonumber(ARGV[3]), tonumber(ARGV[4]) do
              local other = string.reverse(string.format('%08x', i + 0x10000000))
              local tag = string.sub(other, 1, 2)
              local here, member = prefix .. ':{' .. tag .. '}:', tag .. ':session/' .. other
              redis.call('SET', here .. 'doc:' .. member, (string.gsub(document, uuid, other)))
              redis.call('ZADD', here .. 'index', 0, member)
              redis.call('HSET', here .. 'revisions', member, string.format('%.0f', 1700000000000000 + i))
            end"""
        for first in range(1, count, 5_000):
            server.cli("EVAL", copy, "0", daemon.directory.name, uuid, first, first + 4_999)
        row(f"each of {count:,} sessions in Redis", f"{(used() - before) / count:.0f} bytes", "stated", True)
        daemon.start()
        row(f"each of {count:,} sessions in `roostd`", f"{(memory_kib(daemon.process.pid) - idle) / count:.2f} KB", "≤ 4 KB",
            (memory_kib(daemon.process.pid) - idle) / count <= 4)
        began, seen, cursor = time.perf_counter(), 0, ""
        while cursor is not None:
            page = daemon.get(f"/sessions?limit=1000{'&cursor=' + cursor if cursor else ''}").json
            seen, cursor = seen + len(page["sessions"]), page.get("next_cursor")
        assert seen == count + 1, seen
        row(f"{count:,} sessions listed in pages of 1,000", f"{time.perf_counter() - began:.1f} s", "stated", True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--release", type=pathlib.Path, required=True)
    parser.add_argument("only", nargs="*", choices=["status", "create", "memory", "redis", []])
    options = parser.parse_args()
    bench, release = options.build.resolve(), options.release.resolve()
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"# {os.cpu_count()} × {cpu.group(1) if cpu else '?'}, {time.strftime('%Y-%m-%d')}\n| What | Measured | Bar | Met |\n|---|---|---|---|")
    chosen = options.only or ["status", "create", "memory", "redis"]
    if "status" in chosen:
        status_beside_hello(bench, release)
    if "create" in chosen:
        create_beside_sqlite(bench, release)
    if "memory" in chosen:
        memory(release)
    if "redis" in chosen:
        redis_rows(bench, release)
    print(json.dumps([{"what": w, "value": v, "bar": b, "met": p} for w, v, b, p in rows]))
    sys.exit(0 if all(p for *_, p in rows) else 1)


if __name__ == "__main__":
    main()
