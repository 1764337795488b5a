"""Run by the WebUI at every start, in a process of its own: is what it ships enough, and are the extras wanted?

Nothing is installed unless the WebUI is started with ``--lora-trainer-extras``; then the packages that some settings
want are, without changing any that is there. Whatever goes wrong is a line, never an error.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

FLAG = "--lora-trainer-extras"
#: package -> its module, the oldest version that works inside a WebUI
NEEDED = {
    "torch": ("torch", "2.1"),
    "transformers": ("transformers", "4.30"),
    "safetensors": ("safetensors", "0.4"),
    "numpy": ("numpy", "1.23"),
    "Pillow": ("PIL", "9.4"),
    "PyYAML": ("yaml", "5.4"),
    "gradio": ("gradio", "3.41"),
    "fastapi": ("fastapi", "0.94"),
}
#: package -> what it is for
EXTRAS = {
    "prodigyopt": "optimizer: prodigy",
    "schedulefree": "optimizer: schedulefree",
    "lion-pytorch": "optimizer: lion",
    "tensorboard": "TensorBoard logs",
    "pillow-heif": "HEIC images",
    "onnxruntime": "captioner: wd14",
}
if sys.platform != "darwin":
    EXTRAS["bitsandbytes"] = "optimizer: adamw8bit"
_VERSION = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+([._-][a-z0-9]+)*)?")


def main() -> None:
    """Say what is missing; install the extras where they are asked for."""
    if sys.version_info < (3, 10):
        say(f"it needs Python 3.10 or newer, and the WebUI runs on {sys.version.split()[0]}.")
        return
    if lacking := too_old():
        say(f"the WebUI has {', '.join(lacking)}; update the WebUI, or some of the tab will not work.")
    if asked():
        try:
            install([name for name in EXTRAS if version(name) is None])
        except OSError as error:
            say(f"the extras cannot be installed ({error}).")


def say(sentence: str) -> None:
    """One line in the WebUI's console."""
    print(f"LoRA Trainer: {sentence}", flush=True)


def version(package: str) -> str | None:
    """The version that is installed; None where there is none."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def too_old() -> list[str]:
    """What is missing or too old, each with the version that is needed."""
    lacking = []
    for package, (module, least) in NEEDED.items():
        found = version(package)
        if found is None and importlib.util.find_spec(module) is None:
            lacking.append(f"no {package} (needed: {least} or newer)")
        # A module without a package of that name was installed in a way of its own: it is taken as it is.
        elif found is not None and _numbers(found) < _numbers(least):
            lacking.append(f"{package} {found} (needed: {least} or newer)")
    return lacking


def asked() -> bool:
    """Whether the WebUI was started with the flag: in ``COMMANDLINE_ARGS``, or on the command line of a process above
    this one, as the WebUI does not pass it on."""
    try:
        if FLAG in shlex.split(os.environ.get("COMMANDLINE_ARGS", "")):
            return True
    except ValueError:
        # The WebUI itself says what is wrong with it.
        return False
    try:
        import psutil
    except ImportError:
        return False
    try:
        return any(FLAG in process.cmdline() for process in psutil.Process().parents())
    except (psutil.Error, OSError):
        return False


def install(packages: list[str]) -> None:
    """Install what can be without touching what is there; say of each what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "constraints.txt"
        for package in packages:
            kept.write_text(constraints(), encoding="utf-8")
            done = pip(package, kept)
            if done.returncode == 0:
                say(f"installed {package} {version(package)} ({EXTRAS[package]}).")
            else:
                last = (done.stderr.strip().splitlines() or ["pip gives no reason"])[-1]
                say(f"{package} ({EXTRAS[package]}) cannot be installed without changing other packages: {last}")


def constraints() -> str:
    """What is installed, each package held at its version."""
    held: dict[str, str] = {}
    for one in metadata.distributions():
        name, found = one.metadata["Name"], one.version
        if name and found and _VERSION.fullmatch(found):
            held.setdefault(re.sub(r"[-_.]+", "-", name).lower(), found)
    return "".join(f"{name}=={found}\n" for name, found in sorted(held.items()))


def pip(package: str, kept: Path) -> subprocess.CompletedProcess[str]:
    """Ask pip for a package, from the index that the WebUI uses."""
    index = os.environ.get("INDEX_URL")
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--prefer-binary", "--disable-pip-version-check"),
        *("--retries", "2", "--constraint", str(kept), package, *(("--index-url", index) if index else ())),
    ]
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers, for comparing."""
    return tuple(map(int, re.findall(r"\d+", re.split(r"[^\d.]", version)[0])))


if __name__ == "__main__":
    main()
