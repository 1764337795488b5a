"""Bootstrap that needs nothing but Python: ``run.py demo [--out DIR]`` and ``run.py test [pytest options]``."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
USAGE = "usage: python run.py demo [--out DIR] | python run.py test [pytest options]"


def main(arguments: list[str]) -> int:
    """Prepare ``.venv`` and run the command in it; returns its exit code."""
    if sys.version_info < (3, 10):
        print(f"LoRA Trainer needs Python 3.10 or newer, this is {sys.version.split()[0]}.", file=sys.stderr)
        return 2
    command, rest = (arguments[0] if arguments else ""), arguments[1:]
    if command == "demo":
        install("requirements.txt")
        # Not in ROOT: --out is relative to where the user stands.
        return subprocess.call([str(PYTHON), "-m", "pocket.demo", *rest], env={**os.environ, "PYTHONPATH": str(ROOT)})
    if command == "test":
        install("requirements.txt", "requirements-test.txt")
        # Two at a time, each file's tests in one of them; `-n 0` among the options, which come later, overrides it.
        return subprocess.call([str(PYTHON), "-m", "pytest", "-n", "2", "--dist", "loadfile", *rest], cwd=ROOT)
    print(USAGE, file=sys.stderr)
    return 2


def install(*names: str) -> None:
    """Install the pinned requirements into ``.venv``, unless they are there already."""
    stamp = VENV / f"installed-{names[-1]}"
    wanted = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in names)).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"Installing {', '.join(names)} into {VENV} (once; a few minutes).", file=sys.stderr, flush=True)
    if not PYTHON.exists():
        venv.create(VENV, with_pip=True)
    files = [option for name in names for option in ("-r", str(ROOT / name))]
    # pip talks on stdout; ours is kept for the command's result.
    subprocess.run([str(PYTHON), "-m", "pip", "install", "--quiet", *files], check=True, stdout=sys.stderr)
    stamp.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
