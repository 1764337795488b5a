"""A model of the library: a LoRA with its images and settings, and the versions that were trained of it."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Literal

ModelKind = Literal["brand_style", "season", "scene", "product", "character", "car"]
KINDS: tuple[ModelKind, ...] = ("brand_style", "season", "scene", "product", "character", "car")
Origin = Literal["training", "import", "merge", "resize"]
Standing = Literal["draft", "queued", "training", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Model:
    """A LoRA to be trained, once or again and again.

    Attributes:
        kind: what it is of, which also says which preset it is trained with.
        folder: of its images; empty where they lie in the data folder.
        config: the draft: the keys of a training that the user has changed.
        created, changed: in seconds since the epoch.
        tags: words to find it by.
        retired: when it was put aside, in seconds since the epoch; None while it is in use.
    """

    id: str
    name: str
    kind: ModelKind
    trigger_word: str
    folder: str
    config: dict[str, Any]
    created: float
    changed: float
    tags: list[str] = field(default_factory=list)
    retired: float | None = None

    @classmethod
    def of(cls, row: sqlite3.Row) -> Model:
        """The model in a row of the table ``models``."""
        return cls(**{**dict(row), "config": json.loads(row["config"]), "tags": json.loads(row["tags"])})


@dataclass(frozen=True)
class Version:
    """What a training of a model came to, or a LoRA that was imported, merged or resized.

    Attributes:
        number: 1 for the first.
        job: id of the job that made it; None where that has been removed from the library, or there was none.
        parent: id of the version that it was made from.
        file: of the LoRA.
        sha256: of the file, hex; empty where it could not be read.
        published: where the file was copied to for use; empty where it was not.
        facts: what the training came to, and its config; of other origins what it was made from.
        created: in seconds since the epoch.
        origin: how it was made.
    """

    id: str
    model: str
    number: int
    job: str | None
    parent: str | None
    file: str
    sha256: str
    published: str
    facts: dict[str, Any]
    created: float
    origin: Origin = "training"

    @classmethod
    def of(cls, row: sqlite3.Row) -> Version:
        """The version in a row of the table ``versions``."""
        return cls(**{**dict(row), "facts": json.loads(row["facts"])})


@dataclass(frozen=True)
class State:
    """How far a model is, for its card.

    Attributes:
        standing: ``draft`` before the first training; else what the training that matters most now does or came to.
        share: of the steps done, 0 to 1, while it trains.
        reason: why it failed or was stopped, as a sentence.
        job: id of that training.
        versions: how many there are.
        newest: the version with the highest number.
        review: what people have last said of it: ``none``, ``requested``, ``approved`` or ``rejected``.
    """

    standing: Standing
    share: float | None = None
    reason: str = ""
    job: str | None = None
    versions: int = 0
    newest: Version | None = None
    review: str = "none"


@dataclass(frozen=True)
class ModelPage:
    """Some models, and where the next ones begin; None after the last."""

    models: list[Model]
    total: int
    next: str | None = field(default=None)
