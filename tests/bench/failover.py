"""./dev bench failover: how many acknowledged changes a failover of Redis loses, with WAIT and without, side by side in one run.

A round makes anew a master, two replicas, a Sentinel and a roostd that takes chat messages from several clients without a pause. Then the
master dies, or is cut off from all but its clients; at the end each acknowledged message is looked for on the server that is the master then.
ROOST_BENCH_ROUNDS is how many rounds each row has (5), ROOST_BENCH_CUT_SECONDS how long a master is cut off (10)."""
import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import statistics
import sys
import threading
import time

for folder in ("support", "replicas"):
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / folder))
from proxy import FaultProxy  # noqa: E402
from redis import Redis  # noqa: E402
from roost import Daemon, free_port, wait_for  # noqa: E402

ROUNDS = int(os.environ.get("ROOST_BENCH_ROUNDS", "5"))
CUT_S = float(os.environ.get("ROOST_BENCH_CUT_SECONDS", "10"))
CLIENTS, SESSIONS = 8, 4
DOWN_MS = 1000              # after which Sentinel takes a silent master for dead; its own default is 30 s
FAR_S = 0.005               # what a piece of the replication's stream takes where the replicas are far away
SERVERS_SIDE = "127.0.0.2"  # where replicas and Sentinel come from; clients come from 127.0.0.1


class Deployment:
    """A master behind a proxy, two replicas, a Sentinel and roostd. Whoever comes to the master comes through the proxy."""

    def __init__(self, stack, release, wait_replicas, lines, far):
        port, lines = free_port(), ["replica-announce-ip 127.0.0.1", "repl-diskless-sync-delay 0", "protected-mode no", *lines]
        self.proxy = stack.enter_context(FaultProxy(port))
        self.proxy.delay_s = FAR_S
        self.distance("delay" if far else "pass")
        self.master = stack.enter_context(Redis([*lines, f"replica-announce-port {self.proxy.port}"], port=port))
        self.replicas = [stack.enter_context(Redis(
            [*lines, f"bind-source-addr {SERVERS_SIDE}", f"replicaof 127.0.0.1 {self.proxy.port}"], port=free_port())) for _ in range(2)]
        self.sentinel = stack.enter_context(Redis(
            [f"bind-source-addr {SERVERS_SIDE}", f"sentinel monitor roost 127.0.0.1 {self.proxy.port} 1",
             f"sentinel down-after-milliseconds roost {DOWN_MS}", "sentinel failover-timeout roost 10000"], port=free_port(), sentinel=True))
        wait_for(lambda: "slaves=2" in self.sentinel.cli("INFO", "sentinel"), what="the Sentinel to know both replicas")
        wait_for(lambda: all("master_link_status:up" in r.cli("INFO", "replication") for r in self.replicas), what="the replicas to be in step")
        self.roostd = stack.enter_context(Daemon(release, {
            "ROOST_STORE__PLUGIN": "store-redis",
            "ROOST_STORE__CONFIG": json.dumps({"sentinels": [f"127.0.0.1:{self.sentinel.port}"], "master_name": "roost", "durability": "ignore",
                                               "key_prefix": "roost", "wait_replicas": wait_replicas}),
            "ROOST_LIMITS__RATE": "0", "ROOST_CHAT__QUEUE_MAX": "100000", "ROOST_LOG__LEVEL": "warn"}))

    def distance(self, mode):
        """How replicas and Sentinel are met."""
        self.proxy.modes[SERVERS_SIDE] = mode

    def die(self):
        """The whole machine: what is on its way to the replicas is lost with it."""
        self.distance("swallow")
        self.master.kill()

    def cut_off(self):
        """From the other servers, which answer nothing any more; clients still reach it."""
        self.distance("swallow")
        time.sleep(CUT_S)
        self.distance("pass")
        self.proxy.cut(SERVERS_SIDE)  # streams with a hole in them

    def new_master(self):
        """The replica that Sentinel made the master, once it did."""
        for replica in self.replicas:
            if "role:master" in replica.cli("INFO", "replication", check=False):
                return replica
        return None

    def lost(self, acknowledged):
        """Those that the new master does not have, message by message."""
        new, missing = self.new_master(), []
        for first in range(0, len(acknowledged), 200):
            some = acknowledged[first:first + 200]
            values = new.cli("MGET", *(f"roost:{{{a.session[:2]}}}:doc:{a.session[:2]}:message/{a.session}/{a.message}" for a in some)).split("\n")
            values += [""] * (len(some) - len(values))  # redis-cli's last empty lines
            missing += [a for a, value in zip(some, values) if f'"{a.text}"' not in value]
        return missing


@dataclasses.dataclass
class Acknowledged:
    at: float
    session: str
    message: str
    text: str


class Client(threading.Thread):
    """Sends one message after the other to one session, each once."""

    def __init__(self, roostd, number, session, over):
        super().__init__(daemon=True)
        self.roostd, self.number, self.session, self.over, self.acknowledged = roostd, number, session, over, []

    def run(self):
        sent = 0
        while not self.over.is_set():
            sent += 1
            text = f"c{self.number}-{sent}."
            with contextlib.suppress(Exception):
                answer = self.roostd.post(f"/session/{self.session}/chat", {"message": text}, timeout=20)
                if answer.status in (200, 201, 202):
                    self.acknowledged.append(Acknowledged(time.monotonic(), self.session, answer.json["message_id"], text))
                    continue
            self.over.wait(0.02)


@dataclasses.dataclass
class Case:
    what: str
    wait_replicas: object
    disturb: object           # of a Deployment
    lines: tuple = ()         # of the servers' configuration
    far: bool = False
    rounds: list = dataclasses.field(default_factory=list)  # (acknowledged, lost, seconds from the first lost one to the last, longest pause)

    def play(self, release):
        with contextlib.ExitStack() as stack:
            deployment = Deployment(stack, release, self.wait_replicas, self.lines, self.far)
            over = threading.Event()
            sessions = [deployment.roostd.create() for _ in range(SESSIONS)]
            clients = [Client(deployment.roostd, n, sessions[n % SESSIONS], over) for n in range(CLIENTS)]
            done = lambda: sum(len(client.acknowledged) for client in clients)
            for client in clients:
                client.start()
            wait_for(lambda: done() > 500, 120, "a steady stream of changes")
            self.disturb(deployment)
            wait_for(deployment.new_master, 60, "the failover")
            before = done()
            wait_for(lambda: done() > before + 200, 120, f"changes after the failover\n{deployment.roostd.tail()}")
            over.set()
            for client in clients:
                client.join()
            acknowledged = sorted((a for client in clients for a in client.acknowledged), key=lambda a: a.at)
            if deployment.master.process.poll() is None:
                wait_for(lambda: "role:slave" in deployment.master.cli("INFO", "replication", check=False), 60, "the old master to follow")
            lost = deployment.lost(acknowledged)
            pause = max(b.at - a.at for a, b in zip(acknowledged, acknowledged[1:]))
            self.rounds.append((len(acknowledged), len(lost), lost[-1].at - lost[0].at if lost else 0, pause))
            print(f"#   {self.what}, wait_replicas {self.wait_replicas}: {len(acknowledged)} acknowledged, {len(lost)} lost, "
                  f"within {self.rounds[-1][2]:.3f} s; longest pause {pause:.1f} s", flush=True)

    def row(self):
        made, lost, within, pause = zip(*self.rounds)
        each = f"{statistics.median(lost):.0f} (at most {max(lost)})" if any(lost) else "0"
        told = f"{max(within):.2f} s" if any(lost) else ""
        return (f"| {self.what} | `{self.wait_replicas}` | {each} of {statistics.median(made):.0f} | {told} | {statistics.median(pause):.1f} s "
                f"(at most {max(pause):.1f}) |")


def cases():
    near, far = "dies", f"dies, replicas {FAR_S * 1000:.0f} ms away"
    apart, guarded = f"is cut off for {CUT_S:.0f} s", f"is cut off for {CUT_S:.0f} s, with `min-replicas-to-write 1` and `min-replicas-max-lag 2`"
    rule = ("min-replicas-to-write 1", "min-replicas-max-lag 2")
    return [
        Case(near, "auto", Deployment.die), Case(near, 0, Deployment.die),
        Case(far, "auto", Deployment.die, far=True), Case(far, 0, Deployment.die, far=True),
        Case(apart, "auto", Deployment.cut_off), Case(apart, 0, Deployment.cut_off),
        Case(guarded, "auto", Deployment.cut_off, rule), Case(guarded, 0, Deployment.cut_off, rule),
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", type=pathlib.Path, required=True)
    release = parser.parse_args().release.resolve()
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    print(f"# {os.cpu_count()} × {cpu.group(1) if cpu else '?'}, {time.strftime('%Y-%m-%d')}, {ROUNDS} rounds", flush=True)
    chosen = cases()
    for _ in range(ROUNDS):
        for case in chosen:
            case.play(release)
    print("| The master | `wait_replicas` | Lost of those acknowledged | Over a time of at most | No change was acknowledged for |\n|---|---|---|---|---|")
    for case in chosen:
        print(case.row())
    broken = [case.what for case in chosen if case.wait_replicas == "auto" and any(lost for _, lost, *_ in case.rounds)]
    sys.exit(f"with WAIT acknowledged changes were lost: {broken}" if broken else 0)


if __name__ == "__main__":
    main()
