"""The output folder of a run: checkpoints, the LoRA with its sidecar files, and where the state is."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .. import files
from ..adapters import card, file
from ..adapters.adapter import Adapter
from ..config import Config
from ..contract import ModelInfo
from ..precision import DTYPES
from . import state as states


class Output:
    """The run's folder, ``config.output_dir``."""

    def __init__(self, config: Config, model: ModelInfo) -> None:
        self.config = config
        self.model = model
        self.folder = Path(config.output_dir)

    @property
    def state_dir(self) -> Path:
        """Where the run's state is kept for --resume."""
        return states.folder_in(self.folder)

    def prepare(self) -> None:
        """Make the folder, free of what a killed run was writing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.state_dir, self._previews):
            files.sweep(folder)
        self._preview_lora.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Move what an earlier run of this name left into ``previous/<time>``: a new run overwrites nothing."""
        name = self.config.name
        beside = ("events.jsonl", "tensorboard", "state", "previews")
        old = [path for path in self.folder.glob("*") if path.name in beside or _belongs(path.name, name)]
        if not old:
            return
        shelf = _free(self.folder / "previous" / time.strftime("%Y%m%d-%H%M%S"))
        for path in old:
            files.move(path, shelf / path.name)

    def write_step(self, adapter: Adapter, step: int, metadata: dict[str, str]) -> Path:
        """Write the checkpoint of a step, ``NAME-stepXXXXXXXX.safetensors``."""
        return self._write(adapter, f"{self.config.name}-step{step:08d}", metadata)

    def write_epoch(self, adapter: Adapter, epoch: int, metadata: dict[str, str]) -> Path:
        """Write the checkpoint of an epoch, ``NAME-XXXXXX.safetensors``."""
        return self._write(adapter, f"{self.config.name}-{epoch:06d}", metadata)

    def write_final(self, adapter: Adapter, metadata: dict[str, str], preview: Path | None) -> Path:
        """Write ``NAME.safetensors``, its sidecar JSON and, given one, its preview image."""
        path = self._write(adapter, self.config.name, metadata)
        card.write(path, self.config, self.model)
        if preview is not None and preview.exists():
            card.write_preview(path, preview)
        return path

    @contextmanager
    def for_preview(self, adapter: Adapter) -> Iterator[Path]:
        """The adapter as a file, just as it would be written now, for as long as previews are drawn from it."""
        path = self._preview_lora
        try:
            file.save(path, adapter.layers(), DTYPES[self.config.save_precision], {})
            yield path
        finally:
            path.unlink(missing_ok=True)

    @property
    def _previews(self) -> Path:
        return self.folder / "previews"

    @property
    def _preview_lora(self) -> Path:
        return self._previews / f".{self.config.name}.safetensors"

    def step_of(self, checkpoint: Path) -> int | None:
        """The step that a checkpoint's name tells; None where it tells an epoch."""
        _, behind, step = checkpoint.stem.rpartition("-step")
        return int(step) if behind and step.isdigit() else None

    def epoch_of(self, checkpoint: Path) -> int:
        """The epoch that a checkpoint's name tells."""
        return int(checkpoint.stem.rpartition("-")[2])

    def prune(self, checkpoints: list[Path], best: Path | None = None) -> list[Path]:
        """Delete all but the newest ``keep_checkpoints``, and ``best``; return those that stay."""
        keep = self.config.keep_checkpoints
        if not keep:
            return checkpoints
        stay = [path for path in checkpoints[:-keep] if path == best] + checkpoints[-keep:]
        for path in checkpoints:
            if path not in stay:
                path.unlink(missing_ok=True)
        return stay

    def _write(self, adapter: Adapter, stem: str, metadata: dict[str, str]) -> Path:
        path = self.folder / f"{stem}.safetensors"
        file.save(path, adapter.layers(), DTYPES[self.config.save_precision], {**metadata, "ss_output_name": stem})
        return path


def _free(folder: Path) -> Path:
    """``folder``, or with a number behind it where that exists."""
    others = (folder.with_name(f"{folder.name}-{number}") for number in itertools.count(2))
    return next(path for path in itertools.chain([folder], others) if not path.exists())


def _belongs(file_name: str, name: str) -> bool:
    """Whether a run called ``name`` wrote the file: another LoRA in the folder may be called ``name-v2``."""
    return re.fullmatch(re.escape(name) + r"(-\d{6}|-step\d{8})?\.(safetensors|json|png)", file_name) is not None
