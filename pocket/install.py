"""Puts the pocket model into a WebUI: ``python -m pocket.install WEBUI_DIR``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from lora_scripts_ext import files

MODEL = Path(__file__).resolve().parent / "model"
NAME = "pocket"
_TEXT = "version: text"


def main(arguments: Sequence[str] | None = None) -> int:
    """Copy the model and print where it is. Exit code 2 where that is no WebUI or cannot be written."""
    parser = argparse.ArgumentParser(
        prog="python -m pocket.install", description="Put the pocket model into a WebUI, where it can be chosen."
    )
    parser.add_argument("webui", type=Path, metavar="WEBUI_DIR", help="the WebUI's folder, or its --data-dir")
    folder = parser.parse_args(arguments).webui / "models" / "Stable-diffusion"
    if not folder.is_dir():
        print(f"There is no folder {folder}; give the folder of the WebUI, which has one.", file=sys.stderr)
        return 2
    try:
        installed = install(folder)
    except OSError as error:
        print(
            f"The pocket model cannot be written to {folder} ({error}); choose a folder you may write.", file=sys.stderr
        )
        return 2
    print(f"{installed} is there; refresh the WebUI's list of checkpoints and choose {NAME}.")
    return 0


def install(folder: Path) -> Path:
    """Copy the checkpoint and what it needs into a WebUI's ``folder`` of checkpoints.

    The WebUIs look for the text encoder's folder from wherever they were started: the copy names it in full.

    Returns:
        The checkpoint there.
    """
    folder = folder.resolve()
    text = folder / f"{NAME}-text"
    for source in sorted((MODEL / "text").iterdir()):
        _copy(source, text / source.name)
    settings = (MODEL / "pocket.yaml").read_text(encoding="utf-8")
    # A JSON string is a YAML string.
    files.write_text(folder / f"{NAME}.yaml", settings.replace(_TEXT, f"version: {json.dumps(str(text))}"))
    # Last: what makes the WebUI list it.
    installed = folder / f"{NAME}.safetensors"
    _copy(MODEL / "pocket.safetensors", installed)
    return installed


def _copy(source: Path, target: Path) -> None:
    with files.replacing(target) as temporary:
        shutil.copyfile(source, temporary)


if __name__ == "__main__":
    sys.exit(main())
