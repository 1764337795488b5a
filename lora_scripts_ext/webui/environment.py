"""The WebUI as the place where jobs run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..contract import Host, Inspection
from ..library.job import Job
from . import paths


class WebUI:
    """Jobs train on the model that the WebUI has loaded, and read what its users may read."""

    runner = "webui"
    uses_keys = False

    @property
    def data_dir(self) -> Path:
        """Where the library, jobs and runs are."""
        return paths.data_dir()

    def lora_dir(self) -> Path:
        """Where this WebUI lists LoRAs."""
        return paths.lora_dir()

    def relist(self, changed: Path | None = None) -> None:
        """See ``Environment.relist``."""
        paths.relist(changed)

    def host(self, stop: Callable[[], None]) -> Host:
        """The WebUI's own model; its Interrupt calls ``stop``."""
        return paths.make_host(stop)

    def inspection(self, config: Any) -> Inspection:
        """See ``Environment.inspection``."""
        return paths.inspection(config)

    def readable(self, path: str) -> Path:
        """See ``Environment.readable``."""
        return paths.readable(path)

    def roots(self) -> list[Path]:
        """See ``Environment.roots``."""
        return paths.roots()

    def endpoint(self, url: str, key_from: str) -> str:
        """See ``Environment.endpoint``."""
        return paths.service(url)

    def captioner_model(self, model: str) -> str:
        """See ``Environment.captioner_model``."""
        return paths.captioner_model(model)

    def base_model(self) -> str:
        """The checkpoint that is chosen."""
        return paths.loaded_checkpoint()

    def refuses_training(self, base_model: str) -> str:
        """See ``Environment.refuses_training``."""
        return paths.refuses_training(base_model)

    def waits_for(self, job: Job) -> str:
        """Why a job cannot be started on the model that is chosen now, as a sentence; empty where it can."""
        requested = job.config.get("base_model", "")
        chosen = paths.loaded_checkpoint()
        if not requested or (chosen and os.path.realpath(requested) == os.path.realpath(chosen)):
            return ""
        return f"Waits for {Path(requested).name} to be chosen at the top of the page."
