"""A client that keeps changing its mind while the daemon is killed under it; and what must hold afterwards."""
import random
import threading

import pytest

from roost import wait_for


class Chaos:
    """`wanted`: uuid -> "running", "asleep" or "deleted" as acknowledged, "unknown" where an answer was lost."""

    def __init__(self, daemon, seed, sessions=6):
        self.daemon, self.chance, self.sessions, self.wanted = daemon, random.Random(seed), sessions, {}
        self.over = threading.Event()

    def run(self, disturb):
        """Calls disturb() while the client is at work, then ends the client."""
        worker = threading.Thread(target=self.client)
        worker.start()
        try:
            disturb()
        finally:
            self.over.set()
            worker.join(30)

    def client(self):
        while not self.over.is_set():
            uuid = self.chance.choice(list(self.wanted)) if self.wanted and self.chance.random() < 0.75 else None
            try:
                self.act(uuid)
            except Exception:  # the daemon was killed: either is right
                if uuid:
                    self.wanted[uuid] = "unknown"
                self.over.wait(0.05)

    def act(self, uuid):
        if uuid is None:
            if len(self.wanted) < self.sessions:
                answer = self.daemon.post("/session/create", {"user_id": f"u{self.chance.randrange(3)}"}, timeout=5)
                if answer.status in (200, 201):
                    self.wanted[answer.json["uuid"]] = "running"
            return
        if self.wanted[uuid] == "deleted":
            return
        action = self.chance.choice(["sleep", "wake", "scale", "delete"] if self.chance.random() < 0.2 else ["sleep", "wake", "scale"])
        if action == "delete":
            answer = self.daemon.delete(f"/session/{uuid}", timeout=5)
            self.wanted[uuid] = "deleted" if answer.status in (200, 202) else "unknown"
            return
        body = {"scale": self.chance.choice(["up", "down"])} if action == "scale" else None
        if self.daemon.post(f"/session/{uuid}/{action}", body, timeout=5).status == 200 and action != "scale":
            self.wanted[uuid] = {"sleep": "asleep", "wake": "running"}[action]

    def settled(self):
        for uuid, want in self.wanted.items():
            session = self.daemon.session(uuid)
            if want == "deleted" and session is not None:
                return False
            if want in ("running", "asleep") and (session is None or session["phase"] != want):
                return False
            if session is not None and session["phase"] not in ("running", "asleep"):
                return False
        return True

    def check(self, timeout=120):
        """Everything converges, and what was acknowledged is there. Answers the sessions that are left, by phase."""
        try:
            wait_for(self.settled, timeout, "every session to converge")
        except AssertionError:
            pytest.fail(f"{self.wanted} but {self.daemon.get('/sessions').json}\n{self.daemon.tail()}")
        listed = {s["uuid"]: s["phase"] for s in self.daemon.get("/sessions").json["sessions"]}
        assert {u for u, w in self.wanted.items() if w in ("running", "asleep")} <= set(listed)
        return listed
