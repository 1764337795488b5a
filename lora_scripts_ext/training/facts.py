"""The metadata of the files that a run writes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..adapters import file_metadata
from ..adapters.file_metadata import Folder, RunFacts
from ..captions import caption
from ..config import Config
from ..contract import ModelInfo
from ..dataset.example import Example
from ..dataset.store import Store
from . import optimizer


class Facts:
    """Gathered once at the start; each file adds how far the run has come."""

    def __init__(self, config: Config, model: ModelInfo, store: Store, steps_per_epoch: int, total_steps: int) -> None:
        self._config = config
        self._model = model
        self._steps_per_epoch = steps_per_epoch
        self._total_steps = total_steps
        self._started = time.time()
        self._version = store.content_hash
        training = [example for example in store.examples if not example.regularisation]
        self._folders = _folders(training, config.train_data_dir)
        self._reg_folders = _folders(
            [example for example in store.examples if example.regularisation], config.reg_data_dir
        )
        self._buckets = Counter[tuple[int, int]]()
        for example in training:
            self._buckets[example.bucket] += example.repeats
        self._tags = _tags(training, config.train_data_dir)

    def metadata(self, step: int) -> dict[str, str]:
        """The metadata of a file written after ``step`` steps."""
        config = self._config
        facts = RunFacts(
            steps=step,
            max_steps=self._total_steps,
            epoch=-(-step // self._steps_per_epoch),
            started_at=self._started,
            finished_at=time.time(),
            batches_per_epoch=self._steps_per_epoch * config.gradient_accumulation_steps,
            text_encoder_lr=optimizer.text_rate(config) if config.train_text_encoder else None,
            folders=self._folders,
            reg_folders=self._reg_folders,
            buckets=dict(self._buckets),
            tag_frequency=self._tags,
            dataset_version=self._version,
        )
        return file_metadata.build(config, self._model, facts)


def _folder_name(example: Example, root: str) -> str:
    parent = PurePosixPath(example.name).parent
    return Path(root).resolve().name if parent == PurePosixPath() else parent.as_posix()


def _folders(examples: Sequence[Example], root: str) -> dict[str, Folder]:
    images = Counter(_folder_name(example, root) for example in examples)
    repeats = {_folder_name(example, root): example.repeats for example in examples}
    return {name: Folder(count, repeats[name]) for name, count in sorted(images.items())}


def _tags(examples: Sequence[Example], root: str) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for example in examples:
        counts.setdefault(_folder_name(example, root), Counter()).update(caption.parts(example.caption))
    return {name: dict(tags.most_common()) for name, tags in sorted(counts.items())}
