"""Several replicas of roostd over one Redis, which share workspaces, backups and the secret key: as on a cluster, on one machine."""
import contextlib
import json
import os
import pathlib
import random
import re
import shutil
import signal
import tempfile
import threading
import time

from history import Final, Op
from roost import WORKLOAD, Daemon, wait_for

SECRET_KEY = "5e" * 32
PHASES = {"running": "running", "asleep": "asleep"}


class Fleet:
    """Use as a context manager. `stores`: the store's configuration for each replica."""

    def __init__(self, build, stores):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="roost-f-"))
        shared = self.directory / "shared"
        (shared / "backups").mkdir(parents=True)
        self.replicas = []
        for number, store in enumerate(stores):
            directory = self.directory / f"r{number}"
            directory.mkdir()
            self.replicas.append(Daemon(build, directory=directory, overrides={
                "ROOST_STORE__PLUGIN": "store-redis",
                "ROOST_STORE__CONFIG": json.dumps({"key_prefix": "roost-f", **store}),
                "ROOST_COMPUTE__CONFIG__DATA_DIR": str(shared / "workspaces"),
                "ROOST_COMPUTE__CONFIG__RUN_DIR": str(shared / "run"),
                "ROOST_BACKUP__CONFIG__PATH": str(shared / "backups"),
                "ROOST_AUTH__SECRET_KEY": SECRET_KEY,
                "ROOST_ENGINE__REPLICA": f"r{number}",
                "ROOST_ENGINE__LEASE": "3s",
                "ROOST_SESSIONS__PER_USER": "50",
                "ROOST_CHAT__TRIES": "100",
            }))

    def __enter__(self):
        for replica in self.replicas:
            replica.start(wait=False)
        for replica in self.replicas:
            replica.wait_ready()
        return self

    def __exit__(self, kind, value, trace):
        for replica in self.replicas:
            if kind:
                print(f"---- {replica.directory.name}\n{replica.tail()}")
            if replica.process and replica.process.poll() is None:
                replica.process.kill()
                replica.process.wait()
        wait_for(lambda: not [self.end(pid) for pids in self.supervisors().values() for pid in pids], what="the supervisors' end")
        shutil.rmtree(self.directory, ignore_errors=True)

    @staticmethod
    def end(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return pid

    def supervisors(self):
        """Session -> pids of those who hold a workload of it."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if "roost-agent" in line and " serve" in line and str(self.directory) in line:
                        session = re.search(r"\b([0-9a-f]{8})\b", line.replace(str(self.directory), ""))
                        found.setdefault(session.group(1) if session else line, []).append(int(entry.name))
        return found

    def workloads(self):
        """Session -> pids of its workloads, found by the volume that each has mounted: a supervisor that still waits for another is none."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if WORKLOAD.encode() in (entry / "cmdline").read_bytes() and (entry / "comm").read_text().startswith("python"):
                        volume = re.search(rf"{self.directory.name}/\S*pvc-([0-9a-f]{{8}})\S* /workspace ", (entry / "mountinfo").read_text())
                        if volume:
                            found.setdefault(volume.group(1), []).append(int(entry.name))
        return found

    def leader(self):
        """The replica that leads; None: none, or nobody knows."""
        for replica in self.replicas:
            with contextlib.suppress(Exception):
                if re.search(r"^roost_engine_leader(\{.*\})? 1", replica.get("/metrics", key=None, timeout=5).body.decode(), re.M):
                    return replica
        return None


class Watcher(threading.Thread):
    """Looks all the time for a session with two workloads."""

    def __init__(self, fleet):
        super().__init__(daemon=True)
        self.fleet, self.over, self.found, self.looks, self.most = fleet, threading.Event(), [], 0, 0

    def run(self):
        while not self.over.wait(0.05):
            self.looks += 1
            first = self.fleet.workloads()
            self.most = max(self.most, len(first))
            # /proc is not read at one moment: the one may have ended before the other began. Who is there at both looks was there between.
            doubtful = {session for session, pids in first.items() if len(pids) > 1}
            again = self.fleet.workloads() if doubtful else {}
            for session in doubtful:
                both = set(first[session]) & set(again.get(session, ()))
                if len(both) > 1:
                    self.found.append((time.monotonic(), session, len(both)))


class Client(threading.Thread):
    """Works on a few sessions through whichever replica, one thing after the other. What has a key is repeated until it is answered."""

    def __init__(self, fleet, number, seed, sessions=2):
        super().__init__(daemon=True)
        self.fleet, self.name_, self.chance, self.most = fleet, f"c{number}", random.Random(seed), sessions
        self.over, self.ops, self.sessions, self.deleted = threading.Event(), [], [], set()
        self.counter = 0

    def any(self):
        return self.chance.choice(self.fleet.replicas)

    def run(self):
        while not self.over.is_set():
            if len(self.sessions) < self.most:
                self.create()
                continue
            session = self.chance.choice(self.sessions)
            if session in self.deleted:
                self.sessions.remove(session)
                continue
            action = self.chance.choices(["send", "sleep", "wake", "delete"], [10, 3, 3, 0.4])[0]
            self.send(session) if action == "send" else self.wish(session, action)
            self.over.wait(self.chance.uniform(0, 0.2))

    def ask(self, ask):
        """(acknowledged, answer): asks once; no answer, or that of a daemon that cannot tell, is none."""
        try:
            answer = ask(self.any())
        except Exception:
            self.over.wait(0.05)
            return False, None
        return answer.status in (200, 201, 202), answer

    def until_answered(self, op, ask):
        while True:
            op.ok, answer = self.ask(ask)
            op.ended = time.monotonic()
            if op.ok or (answer is not None and answer.status not in (409, 429, 500, 502, 503, 504)) or self.over.is_set():
                return answer

    def create(self):
        self.counter += 1
        key = f"{self.name_}-{self.counter}"
        op = Op("create", self.name_, time.monotonic(), 0, False, key=key)
        answer = self.until_answered(op, lambda r: r.post("/session/create", {"user_id": f"{self.name_}@example.com"},
                                                          headers={"Idempotency-Key": key}, timeout=10))
        if op.ok:
            op.session = answer.json["uuid"]
            self.sessions.append(op.session)
        self.ops.append(op)

    def send(self, session):
        self.counter += 1
        text = f"{self.name_} says {self.counter}"
        op = Op("send", self.name_, time.monotonic(), 0, False, session, text=text)
        answer = self.until_answered(op, lambda r: r.post(f"/session/{session}/chat", {"message": text},
                                                          headers={"Idempotency-Key": text.replace(" ", "-")}, timeout=10))
        if op.ok:
            op.message = answer.json["message_id"]
        self.ops.append(op)

    def wish(self, session, action):
        op = Op(action, self.name_, time.monotonic(), 0, False, session)
        if action == "delete":
            self.deleted.add(session)
            answer = self.until_answered(op, lambda r: r.delete(f"/session/{session}", headers={"Prefer": "respond-async"}, timeout=10))
            del answer
        else:
            op.ok, _ = self.ask(lambda r: r.post(f"/session/{session}/{action}", timeout=10))
        op.ended = time.monotonic()
        self.ops.append(op)


class Consumer(threading.Thread):
    """Takes the messages of a client's sessions and answers them, as a workspace does; now and then it forgets to."""

    def __init__(self, fleet, client, seed):
        super().__init__(daemon=True)
        self.fleet, self.client, self.chance = fleet, client, random.Random(seed)
        self.over, self.ops, self.careful = threading.Event(), [], False

    def run(self):
        while not self.over.is_set():
            for session in list(self.client.sessions):
                self.serve(session)
            self.over.wait(0.05)

    def serve(self, session):
        replica = self.chance.choice(self.fleet.replicas)
        op = Op("claim", "w" + self.client.name_, time.monotonic(), 0, False, session)
        try:
            answer = replica.post(f"/session/{session}/messages/claim", {"max": 5, "wait_s": 1, "visibility_s": 3}, timeout=10)
        except Exception:
            return
        op.ended = time.monotonic()
        if answer.status != 200:
            return
        messages = answer.json["messages"]
        op.ok, op.offered = True, [(m["id"], m["message"]) for m in messages]
        self.ops.append(op)
        for message in messages:
            if not self.careful and self.chance.random() < 0.1:
                return
            self.answer(session, message)

    def answer(self, session, message):
        op = Op("ack", "w" + self.client.name_, time.monotonic(), 0, False, session, message=message["id"])
        with contextlib.suppress(Exception):
            answer = self.chance.choice(self.fleet.replicas).post(
                f"/session/{session}/messages/{message['id']}/ack", {"reply": "re: " + message["message"], "claim": message.get("claim")},
                timeout=10)
            op.ok = answer.status == 200
        op.ended = time.monotonic()
        self.ops.append(op)


class Story:
    """Clients, consumers and a watcher at work while `disturb` disturbs; then the end, as every replica tells it."""

    def __init__(self, fleet, seed, clients=3):
        self.fleet = fleet
        self.clients = [Client(fleet, n, seed * 100 + n) for n in range(clients)]
        self.consumers = [Consumer(fleet, client, seed * 100 + 50 + n) for n, client in enumerate(self.clients)]
        self.watcher = Watcher(fleet)

    def play(self, disturb):
        for thread in (*self.clients, *self.consumers, self.watcher):
            thread.start()
        try:
            disturb()
        finally:
            for client in self.clients:
                client.over.set()
            for client in self.clients:
                client.join(60)

    @property
    def ops(self):
        return [op for thread in (*self.clients, *self.consumers) for op in thread.ops]

    def end(self, timeout=120):
        """Call it when nothing is broken any more. Waits until everything has come to rest, on every replica alike."""
        for consumer in self.consumers:
            consumer.careful = True
        sessions = {op.session for op in self.ops if op.kind == "create" and op.session}
        finals = [None]

        def at_rest():
            finals[0] = [self.tell(replica, sessions) for replica in self.fleet.replicas]
            return None not in finals[0] and all(final == finals[0][0] for final in finals[0])
        try:
            wait_for(at_rest, timeout, "every session to come to rest")
        except AssertionError as e:
            raise AssertionError(f"{e}: {[r.get('/sessions').json for r in self.fleet.replicas]} {finals[0]}") from None
        for thread in (*self.consumers, self.watcher):
            thread.over.set()
        for thread in (*self.consumers, self.watcher):
            thread.join(30)
        wanted, deleted, messages = finals[0][0]
        return Final(wanted, deleted, messages, self.watcher.found)

    @staticmethod
    def tell(replica, sessions):
        """(wanted, deleted, messages) as this replica says; None: not at rest, or it does not answer."""
        wanted, deleted, messages = {}, set(), {}
        try:
            for session in sorted(sessions):
                answer = replica.get(f"/session/{session}", timeout=10)
                if answer.status == 404 and "was deleted" in answer.body.decode():
                    deleted.add(session)
                    continue
                if answer.status == 404:
                    continue
                phase = answer.json["phase"]
                if phase not in PHASES:
                    return None
                wanted[session] = PHASES[phase]
                messages[session] = []
                after = ""
                while after is not None:
                    page = replica.get(f"/session/{session}/messages?limit=200" + (f"&after={after}" if after else ""), timeout=10).json
                    messages[session] += [(m["id"], m["message"], m["status"]) for m in page["messages"]]
                    after = page["next_after"]
                if any(state != "answered" for _, _, state in messages[session]):
                    return None
        except Exception:
            return None
        return wanted, deleted, messages
