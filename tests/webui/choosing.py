"""Runs inside a WebUI's own Python, as ``inside.py`` does: it was started with one checkpoint, another is chosen.

INPUT is a folder with images and, in ``models``, the other checkpoint. The last line of stdout is one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from inside import CHECKPOINT, INPUT, KIND, OUT, PROMPT, draw, settings
from modules import call_queue, sd_models, shared
from safetensors import safe_open

from lora_scripts_ext.jobs.launcher import ThreadLauncher
from lora_scripts_ext.webui.environment import WebUI
from tests.place import Place

OTHER = OUT / "webui" / "models" / "Stable-diffusion" / f"other{CHECKPOINT.suffix}"


def choose(path: Path) -> None:
    """What the dropdown at the top of the page does, without waiting for the queue."""
    title = next(one.title for one in sd_models.checkpoints_list.values() if Path(one.filename) == path)
    if KIND == "neo":
        from modules_forge import main_entry

        main_entry.checkpoint_change(title, None, save=False)
    elif KIND == "forge":
        from modules_forge import main_entry

        main_entry.checkpoint_change(title, save=False)
    else:
        shared.opts.data["sd_model_checkpoint"] = title


def load() -> None:
    """What follows in A1111 once the queue is free, and in the others when the next image is generated."""
    if KIND != "a1111":
        sd_models.forge_model_reload()
    else:
        sd_models.reload_model_weights()


def chosen() -> str:
    """The name of the file that is selected in the WebUI."""
    return Path(sd_models.select_checkpoint().filename).name


PLACE = Place(OUT / "library")
PLACE.environment = WebUI()


class Run:
    """A run as the tab starts it."""

    def __init__(self, name: str, path: Path) -> None:
        config = settings(name, base_model=str(path), preview_epochs=1)
        self.job = PLACE.add(config.changed())
        self._running = ThreadLauncher(PLACE.queue, PLACE.environment).start(PLACE.claim())

    @property
    def alive(self) -> bool:
        """Whether it is not over yet."""
        return self._running.death() is None

    def report(self) -> dict[str, Any]:
        """How it has ended, once it has."""
        while self.alive:
            time.sleep(0.05)
        ended = PLACE.queue.get(self.job.id)
        return {"status": ended.state, "error": ended.reason or None, "lora": ended.result.get("lora")}


def waiting(name: str, path: Path, meanwhile: Any) -> dict[str, Any]:
    """What becomes of a run that waits for its turn while something changes."""
    with call_queue.queue_lock:
        waits = Run(name, path)
        time.sleep(1)
        assert waits.alive
        meanwhile()
    return waits.report() | {"chosen": chosen()}


def choosing() -> dict[str, Any]:
    """Choose the other checkpoint, train, generate; then change what is chosen while runs wait."""
    sd_models.list_models()
    first = draw(PROMPT)
    choose(OTHER)
    load()
    report: dict[str, Any] = {"first": first, "before": draw(PROMPT)}
    ended = Run("second", OTHER).report()
    report["second"] = {"status": ended["status"], "error": ended["error"], "chosen": chosen()}
    report["after"] = draw(PROMPT)
    with safe_open(ended["lora"], "pt") as file:
        report["trained on"] = file.metadata()["ss_sd_model_name"]
    report["listed"] = "second" in sys.modules["networks"].available_networks
    report["other chosen"] = waiting("third", OTHER, lambda: choose(CHECKPOINT))
    choose(OTHER)
    load()
    report["replaced"] = waiting("fourth", OTHER, lambda: os.utime(OTHER, ns=(1, 1)))
    report["unloaded"] = unloaded()
    return report


def unloaded() -> dict[str, Any]:
    """Another checkpoint is in memory than the one that is chosen, as a request or a refiner leaves it."""
    choose(CHECKPOINT)
    load()
    choose(OTHER)
    report = waiting("fifth", OTHER, lambda: None)
    with safe_open(report["lora"], "pt") as file:
        return report | {"trained on": file.metadata()["ss_sd_model_name"]}


if __name__ == "__main__":
    assert INPUT.is_dir()
    assert threading.current_thread() is threading.main_thread()
    print(json.dumps(choosing()))
