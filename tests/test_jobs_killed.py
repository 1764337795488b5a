"""A queue whose workers are killed at random moments."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize(
    ("jobs", "kills", "spared"), [(3, 3, []), (2, 2, ["--spare-jobs"])], ids=["all processes", "the worker alone"]
)
def test_nothing_is_lost_and_nothing_done_twice(jobs, kills, spared):
    command = [sys.executable, str(ROOT / "benchmarks" / "kill_queue.py"), "--seed", "3", *spared]
    size = ["--jobs", str(jobs), "--kills", str(kills), "--steps", "8", "--longest", "10"]
    done = subprocess.run([*command, *size], capture_output=True, text=True, timeout=900)
    result = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0, result
    assert result["states"] == {"done": jobs - 1, "failed": 1}
    assert result["same_bytes"] and "there is no folder" in result["bad"]
