"""The part of ``in_a1111.py`` that runs in A1111's own Python, in its folder: ``inside_a1111.py RUN.json``."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import psutil

RUN = Path(sys.argv[1]).resolve()
VALUES = json.loads(RUN.read_text(encoding="utf-8"))
sys.argv = [
    "launch.py", "--use-cpu", "all", "--no-half", "--skip-torch-cuda-test", "--skip-prepare-environment",
    "--skip-version-check", "--no-download-sd-model", "--skip-load-model-at-start", "--disable-console-progressbars",
    "--data-dir", str(RUN.parent / "webui"), "--ckpt", VALUES["base_model"],
]  # fmt: skip
sys.path[:0] = [str(Path.cwd()), str(Path(__file__).resolve().parents[1])]

from modules import initialize

initialize.imports()
initialize.initialize()

from modules import processing, script_callbacks, shared

from lora_scripts_ext import config as configs
from lora_scripts_ext.hosts.a1111 import A1111Host, inspection
from lora_scripts_ext.training import run, speed
from lora_scripts_ext.training.estimate import estimate

script_callbacks.before_ui_callback()
_MIB = 2**20
_PERIOD = 0.02


class Peak:
    """The largest resident set of this process since it was made."""

    def __init__(self) -> None:
        self.bytes = resident()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Stop watching; the peak in bytes."""
        self._over.set()
        self._thread.join()
        return self.bytes

    def _watch(self) -> None:
        while not self._over.wait(_PERIOD):
            self.bytes = max(self.bytes, resident())


def resident() -> int:
    """Bytes of this process's resident set."""
    return psutil.Process().memory_info().rss


def draw() -> None:
    """A picture, so that the model is as a user's is when he presses Start."""
    side = configs.from_dict(VALUES).resolution[0]
    job = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model, prompt="a picture", seed=1, sampler_name="Euler", steps=2, cfg_scale=7.0,
        width=side, height=side, do_not_save_samples=True, do_not_save_grid=True,
    )  # fmt: skip
    processing.process_images(job)
    job.close()


def timed(name: str) -> dict[str, float]:
    """One run: seconds until its first step begins, and between its last steps; memory before, at its peak, after."""
    config = configs.from_dict(VALUES | {"output_name": name})
    before, peak, times = resident(), Peak(), {}
    start = time.perf_counter()

    def hear(event: dict[str, object]) -> None:
        times.setdefault(f"{event['event']} {event.get('step', '')}", time.perf_counter() - start)

    run.train(config, A1111Host(), report=hear)
    steps = [seconds for key, seconds in times.items() if key.startswith("step ")]
    return {
        "seconds_to_first_step": round(next(s for key, s in times.items() if key.startswith("start")), 2),
        "seconds_a_step": round((steps[-1] - steps[1]) / (len(steps) - 2), 2),
        "before_mib": round(before / _MIB),
        "peak_mib": round(peak.end() / _MIB),
        "after_mib": round(resident() / _MIB),
    }


if __name__ == "__main__":
    draw()
    config = configs.from_dict(VALUES)
    model = shared.sd_model
    told = estimate(config, inspection(config))
    rate = speed.flops_per_second(told.model.device, told.model.dtype)
    seen = {
        "model_mib": round(sum(p.numel() * p.element_size() for p in model.parameters()) / _MIB),
        "told": {
            "extra_mib": round(told.extra_bytes / _MIB),
            "seconds_a_step": round(told.flops / rate / told.steps, 2),
        },
        "first_run": timed("first"),
        "second_run": timed("second"),
    }
    print(json.dumps(seen))
