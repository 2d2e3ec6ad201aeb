"""The commands of the documentation run as they are printed."""
import os
import re
import subprocess

import pytest

from roost import GUIDE_KEY, TOP, Daemon

DOCUMENTS = ["README.md", "docs/api.md", "docs/plugin-guide.md", "docs/backup-format.md", "docs/backups.md", "docs/backups-s3.md", "docs/roostctl.md"]


def blocks(document):
    """Every ```bash run block: those are the ones that a reader is meant to paste."""
    return re.findall(r"```bash run\n(.*?)```", (TOP / document).read_text(), re.S)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_block_runs(build, document, tmp_path):
    scripts = blocks(document)
    if not scripts:
        assert document != "README.md", "README.md must show commands that run"
        return
    with Daemon(build, {"ROOST_BACKUP__CONFIG__PATH": ""}) as daemon:  # where the shipped configuration puts them
        script = "set -eo pipefail\n" + "\n".join(scripts).replace("http://127.0.0.1:8080", f"http://127.0.0.1:{daemon.port}")
        script = script.replace("localhost:8080", f"localhost:{daemon.port}").replace("./data", str(daemon.directory / "data"))
        done = subprocess.run(["bash", "-c", script], cwd=TOP, capture_output=True, text=True, timeout=300,
                              env={**os.environ, "KEY": GUIDE_KEY, "PATH": f"{build}/bin:{os.environ['PATH']}", "TMPDIR": str(tmp_path)})
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_links_between_documents_lead_somewhere():
    for page in [TOP / "README.md", *(TOP / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
