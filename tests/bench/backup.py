"""./dev bench backup: roost-agent beside zip and 7z, on a tree of many small files and on one of large ones; and what roostd reads of
a large archive to give one file of it.

In each pair every program packs the same tree, one after another, in an order that rotates; a ratio is the median over pairs.
"cold" is after the page cache was dropped, where this process may do that. What the trees are made of is the machine's own
headers, programs and text, and noise, always cut in the same way."""
import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from roost import Daemon  # noqa: E402

PAIRS = int(os.environ.get("ROOST_BENCH_PAIRS", "3"))
SMALL_FILES = int(os.environ.get("ROOST_BENCH_FILES", "50000"))
LARGE_MIB = int(os.environ.get("ROOST_BENCH_MIB", "768"))
RANGES_MIB = int(os.environ.get("ROOST_BENCH_RANGES_MIB", "2048"))
LEVEL_ZIP, LEVEL_7Z = 6, 5  # what either does when it is not told
MEMORY_BAR_MIB = 64
OPERATION = "0badcafe"


def row(what, value, bar, passed):
    print(f"| {what} | {value} | {bar} | {'yes' if passed else '**no**' if passed is not None else ''} |", flush=True)


def material(directories, suffixes, most):
    """The bytes of the machine's own files of a kind, in order of their names."""
    out = bytearray()
    for directory in directories:
        for path in sorted(pathlib.Path(directory).rglob("*")):
            if len(out) >= most:
                return bytes(out[:most])
            if path.is_file() and not path.is_symlink() and path.name.endswith(suffixes):
                out += path.read_bytes()
    return bytes(out)


def make_small(root, text, choose):
    """Sizes as in a checked out project with its dependencies: half are below 2 KiB, a few are large."""
    for i in range(SMALL_FILES):
        directory = root / f"package-{i // 400}" / f"module-{i // 20 % 20}"
        directory.mkdir(parents=True, exist_ok=True)
        size = min(int(choose.lognormvariate(7.6, 1.3)), 900_000)
        at = choose.randrange(max(1, len(text) - size))
        (directory / f"file-{i}.c").write_bytes(text[at:at + size])


def make_large(root, text, programs, choose):
    root.mkdir()
    for kind, share in (("text", text), ("programs", programs), ("noise", None)):
        size = LARGE_MIB * (2 if kind != "noise" else 1) // 5 << 20
        with open(root / f"{kind}.bin", "wb") as out:
            while out.tell() < size:
                piece = min(1 << 20, size - out.tell())
                at = choose.randrange(max(1, len(share) - piece)) if share else 0
                out.write(share[at:at + piece] if share else choose.randbytes(piece))


def drop_caches():
    try:
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")
        return True
    except OSError:
        return False


def measured(command, **more):
    """Seconds and peak memory in MiB. The peak is asked for while it runs: what wait4 answers begins with the parent's own."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    status, peak = pathlib.Path(f"/proc/{process.pid}/status"), 0
    while process.poll() is None:
        try:
            peak = max([peak] + [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")])
        except OSError:
            pass
        time.sleep(0.005)
    seconds = time.monotonic() - began
    assert process.returncode == 0, f"{command}: {process.stderr.read().decode()}"
    return seconds, peak / 1024


class Packers:
    def __init__(self, build, place):
        self.build, self.place = build, place
        (place / "store").mkdir()

    def clean(self):
        for path in list(self.place.glob("*.zip")) + list((self.place / "store").iterdir()):
            path.unlink()

    def archive(self, name):
        return self.place / "store/roost.zip" if name == "roost-agent" else self.place / f"{name}.zip"

    def task(self, kind, tree, store=None, archive="roost.zip"):
        spec = {"id": "abcd1234", "user_id": "bench@example.com", "operation": OPERATION, "attempt": 1, "kind": kind,
                "archive": archive, "backup_id": "abcd1234-20251115T035136Z", "volume": {"name": "v", "token": "t", "uid": "u"},
                "volume_path": str(tree), "backup": {"manifest": str(self.build / "lib/roost/plugins/backup-directory.roost.json"),
                                                     "config": {"path": str(store or self.place / "store")}, "mounts": []}}
        (self.place / "spec.json").write_text(json.dumps(spec))
        return [self.build / "bin/roost-agent", kind, "--spec", self.place / "spec.json", "--result", self.place / "result.json",
                "--progress", self.place / "progress.json"]

    def pack(self, name, tree):
        if name == "zip":
            return measured(["zip", "-q", "-r", "-y", f"-{LEVEL_ZIP}", self.archive(name), "."], cwd=tree)
        if name == "7z":
            return measured(["7z", "a", "-tzip", f"-mx={LEVEL_7Z}", "-mmt=on", "-bd", "-snl", self.archive(name), "."], cwd=tree)
        return measured(self.task("backup", tree))

    def check(self, name, tree):
        if name == "zip":
            return measured(["unzip", "-tqq", self.archive("zip")])
        if name == "7z":
            return measured(["7z", "t", "-bd", self.archive("7z")])
        return measured(self.task("verify", tree))


def compare(packers, tree, what):
    names = ["zip", "roost-agent", "7z"]
    for temperature in ("cold", "warm"):
        if temperature == "cold" and not drop_caches():
            print(f"({what}: no cold run: this process may not drop the page cache)")
            continue
        seconds, peaks, sizes, checks = ({name: [] for name in names} for _ in range(4))
        for pair in range(PAIRS):
            packers.clean()
            for name in names[pair % 3:] + names[:pair % 3]:
                if temperature == "cold":
                    drop_caches()
                took, peak = packers.pack(name, tree)
                seconds[name].append(took)
                peaks[name].append(peak)
                sizes[name].append(packers.archive(name).stat().st_size)
                if temperature == "warm":
                    checks[name].append(packers.check(name, tree))
        report(f"{what}, {temperature}", seconds, peaks, sizes, checks)


def report(what, seconds, peaks, sizes, checks):
    median = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = {name: statistics.median(b / a for a, b in zip(seconds["roost-agent"], seconds[name])) for name in seconds}
    row(f"{what}: `zip -r` ÷ `roost-agent backup`", f"{ratio['zip']:.2f} ({median['roost-agent']:.2f} s beside {median['zip']:.2f} s;"
        f" 7z {median['7z']:.2f} s)", "≥ 2", ratio["zip"] >= 2)
    if not checks["zip"]:
        return
    size = sizes["roost-agent"][0] / sizes["zip"][0]
    row(f"{what}: size beside `zip -r`", f"{size:.3f} ({sizes['roost-agent'][0] / 1e6:.1f} beside {sizes['zip'][0] / 1e6:.1f} MB;"
        f" 7z {sizes['7z'][0] / 1e6:.1f} MB)", "≤ 1.03", size <= 1.03)
    peak = max(peaks["roost-agent"])
    row(f"{what}: peak memory of backup", f"{peak:.1f} MiB", f"≤ {MEMORY_BAR_MIB} MiB", peak <= MEMORY_BAR_MIB)
    times = {name: statistics.median(took for took, _ in values) for name, values in checks.items()}
    peak = max(peak for _, peak in checks["roost-agent"])
    row(f"{what}: `unzip -t` ÷ `roost-agent verify`", f"{times['zip'] / times['roost-agent']:.2f} ({times['roost-agent']:.2f} s beside "
        f"{times['zip']:.2f} s; 7z t {times['7z']:.2f} s; {peak:.1f} MiB)", "stated", None)


def read_by(process):
    """Bytes that it has read from files so far; sockets do not count."""
    lines = pathlib.Path(f"/proc/{process.pid}/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def one_file(packers, place, choose):
    """roostd finds an archive of noise in its storage, and gives one file of it, of noise too: nothing of it is spared by packing."""
    tree, wanted = place / "ranges", choose.randbytes(1 << 20)
    tree.mkdir()
    for name in ("a", "c"):
        with open(tree / name, "wb") as out:
            for _ in range(RANGES_MIB // 2):
                out.write(choose.randbytes(1 << 20))
    (tree / "b").write_bytes(wanted)
    daemon = Daemon(packers.build)
    store = daemon.directory / "backups"
    store.mkdir()
    name = "workspace-abcd1234-20251115T035136Z.zip"
    measured(packers.task("backup", tree, store, name))
    shutil.rmtree(tree)
    config = pathlib.Path(__file__).resolve().parents[2] / "config/roost.yaml"
    subprocess.run([packers.build / "bin/roostd", "--config", config, "recover"], env=daemon.environment, check=True, stdout=subprocess.DEVNULL)
    with daemon:
        (backup,) = daemon.get("/backups").json["backups"]
        before, began = read_by(daemon.process), time.monotonic()
        answer = daemon.get(f"/backups/{backup['id']}/files/b")
        seconds, more = time.monotonic() - began, read_by(daemon.process) - before - len(wanted)
        assert answer.status == 200 and answer.body == wanted, answer.status
        row(f"One file of 1 MiB out of an archive of {(store / name).stat().st_size / 2**30:.2f} GiB: read beside its size",
            f"{more / 1024:.0f} KiB ({seconds * 1000:.0f} ms)", "≤ 1 MiB", more <= 1 << 20)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("what", nargs="*", help="small, large, ranges (default: all)")
    arguments = parser.parse_args()
    wanted = arguments.what or ["small", "large", "ranges"]
    for tool in ("zip", "unzip", "7z"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing")
    with tempfile.TemporaryDirectory(prefix="roost-bench-") as name:
        place, choose = pathlib.Path(name), random.Random(20251115)
        text = material(["/usr/include", "/usr/lib/python3"], (".h", ".hpp", ".py", ".txt"), 200 << 20)
        programs = material(["/usr/lib/x86_64-linux-gnu", "/usr/bin"], ("",), 400 << 20)
        print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {PAIRS} pairs")
        print("| What | Measured | Bar | Met |\n|---|---|---|---|")
        packers = Packers(arguments.build.resolve(), place)
        if "small" in wanted:
            make_small(place / "small", text, choose)
            compare(packers, place / "small", f"{SMALL_FILES:,} small files")
        if "large" in wanted:
            make_large(place / "large", text, programs, choose)
            compare(packers, place / "large", f"{LARGE_MIB} MiB in large files")
        if "ranges" in wanted:
            one_file(packers, place, choose)


main()
