"""launch/local.py: which exit statuses of launch.py it restarts after."""

import subprocess
import sys
from pathlib import Path

import pytest

LOCAL = Path(__file__).resolve().parents[2] / "launch/local.py"
# In place of launch.py: process 0 exits with the next status of the plan, the others with 0.
FAKE_LAUNCH = """
import os, pathlib, sys
if os.environ["CAPJAX_PROCESS"] == "0":
    plan = pathlib.Path("plan")
    status, *rest = plan.read_text().split()
    plan.write_text(" ".join(rest))
    sys.exit(int(status))
"""


@pytest.mark.parametrize(
    ("plan", "status", "rest"),
    [
        ("0 9", 0, "9"),
        ("1 0", 1, "0"),  # an error to mend, or a failure before the first step
        ("2 0", 2, "0"),
        ("70 0 9", 0, "9"),
        ("75 143 0 9", 0, "9"),
        ("75 75 75 9", 75, "9"),  # --restarts 2
    ],
)
def test_only_lost_hosts_stops_and_crashes_are_restarted(tmp_path, plan, status, rest):
    (tmp_path / "launch.py").write_text(FAKE_LAUNCH)
    (tmp_path / "plan").write_text(plan)
    program = (
        f"import sys; sys.path.insert(0, {str(LOCAL.parent)!r}); import local; from pathlib import Path;"
        "local.LAUNCH = Path('launch.py').resolve(); sys.exit(local.main())"
    )
    command = [sys.executable, "-c", program, "--processes", "2", "--restarts", "2", "--", "--config", "x"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "plan").read_text() == rest
