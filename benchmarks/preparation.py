"""Time and memory of preparing a dataset of many large photos.

``python benchmarks/preparation.py [--pictures N] [--megapixels M]``

Makes the photos first (not timed), 40 different ones that take turns under new names; then reports on them, captions
them by their names and makes copies that are ready. The last line of stdout is one JSON object; memory is this
process's largest resident set in MiB.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import psutil
from PIL import Image

from lora_scripts_ext.captioning import choose
from lora_scripts_ext.captioning.base import CaptionerOptions
from lora_scripts_ext.captioning.label import label
from lora_scripts_ext.captions.store import CaptionStore
from lora_scripts_ext.preparation.check import check
from lora_scripts_ext.preparation.prepare import PreparationOptions
from lora_scripts_ext.preparation.training_set import ready
from tests.photos import photo

_DIFFERENT = 40


def main() -> int:
    """Make, report, caption."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--megapixels", type=float, default=12)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name) / "photos", options.pictures, options.megapixels)
        before = psutil.Process().memory_info().rss
        report = {"first_report": timed(lambda: check(folder, None, 512, "", _quiet))}
        report["second_report"] = timed(lambda: check(folder, None, 512, "", _quiet))
        report["captions"] = timed(
            lambda: label(folder, CaptionStore.open(folder), choose.make(CaptionerOptions("names")))
        )
        out = Path(name) / "ready"
        report["preparation"] = timed(lambda: ready(folder, out, 512, PreparationOptions(kind="jpg"), _quiet))
        report["before_mib"] = round(before / 2**20)
        report["peak_mib"] = round(peak() / 2**20)
    print(json.dumps(report))
    return 0


def write(folder: Path, count: int, megapixels: float) -> Path:
    """JPEGs of 4:3, hard links where a photo comes again."""
    folder.mkdir()
    width, height = round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5)
    for index in range(count):
        path, first = folder / f"thing_{index:05d}.jpg", folder / f"thing_{index % _DIFFERENT:05d}.jpg"
        if index < _DIFFERENT:
            photo(index).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=92)
        else:
            os.link(first, path)
    return folder


def timed(call: object) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return round(time.perf_counter() - start, 2)


def peak() -> int:
    """Bytes of this process's largest resident set."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _quiet(done: int, total: int, what: str) -> None:
    """Print nothing."""


if __name__ == "__main__":
    sys.exit(main())
