"""A TCP proxy before Redis that can be told to misbehave: to cut what is open, to refuse, to delay, to swallow, to truncate an answer."""
import contextlib
import random
import socket
import threading
import time


class FaultProxy:
    """Use as a context manager. `mode`: "pass"; "refuse" (hangs up on whoever comes); "delay" (each piece waits `delay_s`);
    "swallow" (bytes go nowhere, connections stay open); "truncate" (of the next answer only the first bytes arrive, then it is cut).
    `modes`: another one for whoever comes from that address."""

    def __init__(self, upstream_port, seed=1):
        self.upstream_port, self.mode, self.modes, self.delay_s = upstream_port, "pass", {}, 0.05
        self.chance = random.Random(seed)
        self.lock, self.open = threading.Lock(), {}  # whatever is open, and from which address the client came
        self.truncated = self.cuts = 0

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def cut(self, origin=None):
        """Ends what is open, or only what came from an address."""
        with self.lock:
            victims = [one for one, came in self.open.items() if origin in (None, came)]
            for one in victims:
                del self.open[one]
        self.cuts += len(victims)
        for one in victims:
            self.end(one)

    @staticmethod
    def end(one):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            one.close()

    def accept(self):
        while True:
            try:
                client, (origin, _) = self.listener.accept()
            except OSError:
                return
            try:
                if self.modes.get(origin, self.mode) == "refuse":
                    raise OSError("told to refuse")
                server = socket.create_connection(("127.0.0.1", self.upstream_port), timeout=5)
            except OSError:
                self.end(client)
                continue
            server.settimeout(None)
            with self.lock:
                self.open.update({client: origin, server: origin})
            for source, sink, answers in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.copy, args=(source, sink, origin, answers), daemon=True).start()

    def copy(self, source, sink, origin, answers):
        try:
            while piece := source.recv(16384):
                mode = self.modes.get(origin, self.mode)
                if mode == "delay":
                    time.sleep(self.delay_s)
                if mode == "swallow":
                    continue
                if mode == "truncate" and answers and len(piece) > 1:
                    sink.sendall(piece[:self.chance.randrange(1, len(piece))])
                    self.truncated += 1
                    break
                sink.sendall(piece)
        except OSError:
            pass
        for one in (source, sink):
            self.end(one)
        with self.lock:
            for one in (source, sink):
                self.open.pop(one, None)
