"""A real Redis for tests: its own directory and unix socket (and port where asked), append only, every write on the disk first."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from roost import wait_for


def program():
    """Debian's redis-tools holds the server under the name of one of its tools: it goes by the name it is called by."""
    for path in (os.environ.get("ROOST_REDIS_SERVER"), shutil.which("redis-server"), "/usr/bin/redis-check-rdb"):
        if path and os.access(path, os.X_OK):
            return path
    raise AssertionError("no redis-server: install redis-tools or redis-server, or name it in ROOST_REDIS_SERVER")


class Redis:
    """Use as a context manager. `lines` are lines of redis.conf after ours."""

    def __init__(self, lines=(), port=0, directory=None, sentinel=False):
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="roost-redis-"))
        self.directory.mkdir(exist_ok=True)
        self.socket = str(self.directory / "redis.sock")
        self.lines, self.port, self.sentinel = list(lines), port, sentinel
        self.process = None

    def start(self):
        ours = [f"dir {self.directory}", f"unixsocket {self.socket}", f"logfile {self.directory}/log", f"port {self.port}",
                "bind 127.0.0.1"]
        if not self.sentinel:
            ours += ["appendonly yes", "appendfsync always", 'save ""']
        (self.directory / "redis.conf").write_text("\n".join(ours + self.lines) + "\n")
        name = "redis-sentinel" if self.sentinel else "redis-server"
        self.process = subprocess.Popen([name, self.directory / "redis.conf"], executable=program(),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: any(word in self.cli("PING", check=False) for word in ("PONG", "NOAUTH", "LOADING")),
                 what=f"Redis in {self.directory}")
        return self

    def cli(self, *words, check=True):
        done = subprocess.run(["redis-cli", "-s", self.socket, *map(str, words)], capture_output=True, text=True, timeout=30)
        assert not check or done.returncode == 0, done.stderr
        return (done.stdout or done.stderr).rstrip("\n")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
