"""The WebUIs that tests run in, and where their checkpoints and Pythons are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from . import checkpoints

#: the families of Stable Diffusion that each knows
FAMILIES = {"a1111": ("sd1", "sd2", "sdxl"), "forge": ("sd1", "sd2", "sdxl"), "neo": ("sd1", "sdxl")}
VARIABLES = {"a1111": "WEBUI_A1111", "forge": "WEBUI_FORGE", "neo": "WEBUI_NEO"}
_TITLES = {"a1111": "an AUTOMATIC1111 v1.10.1", "forge": "a Forge", "neo": "a Forge Neo"}
HERE = Path(__file__).parent


def marked(kind: str, *values: object) -> Any:
    """A test's parameters, run only where the WebUI is there."""
    variable = VARIABLES[kind]
    reason = f"{variable} does not name the folder of {_TITLES[kind]}"
    here = pytest.mark.skipif(not os.environ.get(variable), reason=reason)
    return pytest.param(kind, *values, marks=[pytest.mark.webui, here])


def root(kind: str) -> Path:
    """The WebUI's folder."""
    return Path(os.environ[VARIABLES[kind]])


def python(kind: str) -> Path:
    """The WebUI's own Python."""
    return root(kind) / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def imports(kind: str, module: str) -> bool:
    """Whether the WebUI's Python has this module."""
    return subprocess.run([str(python(kind)), "-c", f"import {module}"], capture_output=True).returncode == 0


def choosing(kind: str, checkpoint: Path) -> list[str]:
    """The flags by which the WebUI finds *checkpoint*; in Neo, which lists the folder, a setting chooses it later."""
    return ["--ckpt-dirs", str(checkpoint.parent)] if kind == "neo" else ["--ckpt", str(checkpoint)]


def checkpoint(kind: str, folder: Path, family: str, **changes: bool) -> Path:
    """A checkpoint as small as the WebUI takes it."""
    write = checkpoints.write if kind == "a1111" else checkpoints.write_wide
    return write(folder, family, **changes)


def inside(
    kind: str, mode: str, model: Path, out: Path, source: Path, *flags: str, driver: str = "inside.py"
) -> dict[str, Any]:
    """The driver's JSON from the WebUI's own Python."""
    (out / "webui").mkdir(parents=True, exist_ok=True)
    command = [str(python(kind)), str(HERE / driver), kind, mode, str(model), str(out), str(source), *flags]
    done = subprocess.run(command, cwd=root(kind), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def assert_restored(report: dict[str, Any]) -> None:
    """However a run ends, the model and the images it draws are as before it; ``report`` of the driver's matrix."""
    assert len(report["ways"]) >= 13
    for way, after in report["ways"].items():
        assert after["ended"] == (way if way in ("done", "stopped") else f"failed: {way}")
        assert after["changed"] == [], way
        assert after["image"], way
        assert after["image with LoRA"], way


def controlnet() -> Path | None:
    """A1111's ControlNet extension: that of ``WEBUI_CONTROLNET``, or of the WebUI itself; None where there is none."""
    named = os.environ.get("WEBUI_CONTROLNET", "")
    webui = os.environ.get(VARIABLES["a1111"], "")
    extension = Path(named) if named else Path(webui) / "extensions" / "sd-webui-controlnet"
    return extension if (named or webui) and extension.is_dir() else None


def with_controlnet(kind: str) -> Any:
    """As :func:`marked`, of an A1111 that has the extension."""
    reason = "WEBUI_A1111 lacks the extension sd-webui-controlnet, and WEBUI_CONTROLNET does not name it"
    return pytest.param(kind, marks=[*marked(kind).marks, pytest.mark.skipif(controlnet() is None, reason=reason)])
