"""roostctl as people and scripts run it, on pipes and on a terminal; and a server that misbehaves as it is told."""
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

from roost import GUIDE_KEY


class Ctl:
    """One user's roostctl: a home directory of its own, nothing of the caller's environment."""

    def __init__(self, build, home, url=None, key=GUIDE_KEY):
        self.program = build / "bin/roostctl"
        self.home = home
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "LANG": "C.UTF-8",
                            **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
        if url:
            self.environment["ROOST_URL"] = url
        if key:
            self.environment["ROOST_API_KEY"] = key

    def __call__(self, *words, code=0, env=None, **options):
        done = self.start(*words, env=env, **options).finish(code)
        return done

    def start(self, *words, env=None, input=None, cwd=None):
        return Running([self.program, *words], {**self.environment, **(env or {})}, input, cwd or self.home)

    def json(self, *words, **options):
        return json.loads(self("--json", *words, **options).out)

    def on_a_terminal(self, *words, columns=100, env=None, **options):
        return OnATerminal([self.program, *words], {**self.environment, **(env or {})}, columns, **options)


class Running:
    def __init__(self, command, environment, input, cwd):
        self.command = command
        self.process = subprocess.Popen(command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        stdin=subprocess.DEVNULL if input is None else subprocess.PIPE)
        self.input = input

    def finish(self, code=0, timeout=120):
        try:
            out, err = self.process.communicate(self.input, timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"{self.command} did not end: {self.process.communicate()}") from None
        self.raw, self.out, self.err, self.code = out, out.decode(errors="replace"), err.decode(errors="replace"), self.process.returncode
        assert code is None or self.code == code, f"{self.command[1:]}: exit {self.code}, not {code}\n{self.out}\n{self.err}"
        return self

    def line(self, timeout=60):
        """The next line of its output."""
        line = b""
        deadline = time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.process.stdout], [], [], left)[0], f"no line came: {line!r}"
            byte = os.read(self.process.stdout.fileno(), 1)
            assert byte, f"it ended: {line!r} {self.process.stderr.read()!r}"
            line += byte
        return line.decode()

    def interrupt(self):
        deadline = time.monotonic() + 60  # before it catches the signal, that would end it, or be lost where the caller ignores it
        while not self.catches(signal.SIGINT):
            assert self.process.poll() is None and time.monotonic() < deadline, f"{self.command} never caught SIGINT"
            time.sleep(0.01)
        self.process.send_signal(signal.SIGINT)
        return self

    def catches(self, number):
        with open(f"/proc/{self.process.pid}/status") as status:
            caught = next(line.split()[1] for line in status if line.startswith("SigCgt"))
        return int(caught, 16) >> (number - 1) & 1 == 1


class OnATerminal:
    """stdin and stderr, and stdout unless it is `out`, are a terminal."""

    def __init__(self, command, environment, columns, out=None, cwd=None):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(command, env=environment, stdin=slave, stdout=out or slave, stderr=slave, cwd=cwd,
                                        start_new_session=True)
        self.slave = slave
        self.seen = b""

    def echoes(self):
        return bool(termios.tcgetattr(self.slave)[3] & termios.ECHO)

    def until(self, text, timeout=60):
        deadline = time.monotonic() + timeout
        while text.encode() not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"{text!r} did not come: {self.seen!r}"
            self._read(left)
        return self

    def type(self, text):
        os.write(self.master, text.encode())

    def finish(self, code=0, timeout=120):
        deadline = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it did not end: {self.seen!r}"
            self._read(0.05)
        while self._read(0):
            pass
        os.close(self.slave)
        os.close(self.master)
        self.text = self.seen.decode(errors="replace")
        assert self.process.returncode == code, f"exit {self.process.returncode}, not {code}: {self.text}"
        return self

    def _read(self, timeout):
        if not select.select([self.master], [], [], timeout)[0]:
            return False
        self.seen += os.read(self.master, 65536)
        return True


class FaultServer:
    """Answers the n-th request with answers[n] (the last one again and again): bytes that are sent as they are, or a function of
    the request and the socket. What was asked is in `requests`: (method, path, headers in lower case, body)."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.ended = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _serve(self):
        while not self.ended.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection, contextlib.suppress(OSError):
            data = b""
            while b"\r\n\r\n" not in data:
                piece = connection.recv(65536)
                if not piece:
                    return
                data += piece
            head, body = data.split(b"\r\n\r\n", 1)
            first, *lines = head.decode().split("\r\n")
            headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
            while len(body) < int(headers.get("content-length", 0)):
                body += connection.recv(65536)
            with self.lock:
                method, path, _ = first.split(" ")
                self.requests.append((method, path, headers, body))
                answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
            if callable(answer):
                answer(self.requests[-1], connection)
            else:
                connection.sendall(answer)


def http(status, body=b"", headers=(), length=None):
    """An answer; length: what Content-Length says, if it lies."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body) if length is None else length}", "Connection: close",
             *(f"{k}: {v}" for k, v in dict(headers).items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def problem(status, detail, **headers):
    return http(status, {"type": "about:blank", "title": "X", "status": status, "detail": detail},
                {"Content-Type": "application/problem+json", **{k.replace("_", "-"): v for k, v in headers.items()}})
