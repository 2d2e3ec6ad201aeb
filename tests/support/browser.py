"""A person at a browser: tests/browser/driver.mjs, spoken to a line at a time."""
import json
import os
import pathlib
import subprocess

from roost import TOP

SHOTS = pathlib.Path(os.environ.get("ROOST_SCREENSHOTS", TOP / "build/screenshots"))


class Browser:
    """Chromium with one page. `resolver`: host names that lead elsewhere, as --host-resolver-rules takes them; certificates are not
    checked then."""

    def __init__(self, resolver=None):
        SHOTS.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, **({"BROWSER_RESOLVER": resolver} if resolver else {})}
        self.process = subprocess.Popen(["node", TOP / "tests/browser/driver.mjs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment)

    def __call__(self, action, **arguments):
        self.process.stdin.write(json.dumps({"action": action, **arguments}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"ok":false,"error":"the browser is gone"}')
        if not answer["ok"]:
            self.process.stdin.write(json.dumps({"action": "screenshot", "path": str(SHOTS / "failure.png")}) + "\n")
            self.process.stdin.flush()
            self.process.stdout.readline()
            raise AssertionError(f"{action} {arguments}: {answer['error']} (see {SHOTS}/failure.png)")
        return answer

    def shot(self, name):
        self("screenshot", path=str(SHOTS / f"{name}.png"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
