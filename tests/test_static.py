"""What the code is checked for without running it: style, format, types."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# torch for it ends with 2.2, whose types are others.
intel_mac = pytest.mark.skipif(
    sys.platform == "darwin" and platform.machine() == "x86_64", reason="an Intel Mac has an old torch"
)


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        pytest.param(["mypy"], marks=intel_mac),
    ],
    ids=" ".join,
)
def test_the_code_passes(command):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr
