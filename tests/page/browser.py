"""A Chromium to drive pages with: the machine's own, or the one that npm's @sparticuz/chromium carries (Linux, x86-64).

That package holds a headless Chromium with all its libraries, made for machines that have none.
"""

from __future__ import annotations

import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from . import packages

ROOT = Path(__file__).resolve().parents[2]
_PACKAGE = "@sparticuz/chromium@131.0.1"
_FOLDER = ROOT / ".venv-chromium"
_QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--headless",
]  # fmt: skip


@contextmanager
def opened(engine: Any, url: str, width: int = 1400, height: int = 1000) -> Iterator[Any]:
    """Playwright's page at *address*; *engine* is what ``sync_playwright`` gives."""
    path, environment = find()
    browser = engine.chromium.launch(executable_path=path, args=_QUIET, env=environment)
    try:
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(url, timeout=90_000)
        yield page
    finally:
        browser.close()


def here() -> bool:
    """Whether there is a Chromium, or one can be had."""
    return _own() is not None or (sys.platform == "linux" and platform.machine() == "x86_64")


def find() -> tuple[str, dict[str, str]]:
    """A Chromium and the environment it runs in; downloaded once where the machine has none."""
    if own := _own():
        return own, dict(os.environ)
    with FileLock(f"{_FOLDER}.lock"):
        if not (_FOLDER / "installed").exists():
            _download()
    libraries = _FOLDER / "al2023" / "lib"
    return str(_FOLDER / "chromium"), {**os.environ, "LD_LIBRARY_PATH": str(libraries), "HOME": str(_FOLDER)}


def _own() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def _download() -> None:
    import brotli

    shutil.rmtree(_FOLDER, ignore_errors=True)
    _FOLDER.mkdir()
    subprocess.run([packages.npm(), "pack", _PACKAGE, "--silent"], cwd=_FOLDER, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(next(_FOLDER.glob("*.tgz"))) as package:
        for name in ("al2023", "swiftshader"):
            packed = package.extractfile(f"package/bin/{name}.tar.br").read()
            with tarfile.open(fileobj=io.BytesIO(brotli.decompress(packed))) as inner:
                # swiftshader's own files lie beside the program.
                inner.extractall(_FOLDER / (name if name == "al2023" else "."), filter="data")
        (_FOLDER / "chromium").write_bytes(brotli.decompress(package.extractfile("package/bin/chromium.br").read()))
    (_FOLDER / "chromium").chmod(0o755)
    (_FOLDER / "installed").touch()
