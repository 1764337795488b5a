"""What is done with LoRAs of the library: merged, resized, merged into checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..library.job import Job, NewJob
from ..library.model import Model, Version
from ..library.models import Models
from ..library.queue import Queue
from .environment import Environment
from .of_model import new_run
from .submit import submit

_MOST_PARTS = 50


@dataclass(frozen=True)
class Part:
    """A LoRA with its weight: a version of a model, the newest where ``number`` is None, or a file."""

    weight: float = 1.0
    model: str = ""
    number: int | None = None
    file: str = ""


def merge(
    queue: Queue,
    environment: Environment,
    models: Models,
    request: NewJob,
    parts: Sequence[Part],
    *,
    name: str,
    kind: str = "",
    tags: Sequence[str] = (),
) -> tuple[Model, Job]:
    """Queue merging LoRAs into the first version of a new model called ``name``; the request's config has ``rank`` and
    ``precision``.

    To be called in a transaction: if the job cannot be queued there is no model.

    Raises:
        UserError: a part or a value cannot be used.
        Conflict: there is a model of that name.
    """
    if not 1 <= len(parts) <= _MOST_PARTS:
        raise UserError(f"parts: there are {len(parts)}; name 1 to {_MOST_PARTS} LoRAs.")
    found = [_found(models, environment, part) for part in parts]
    first = next((model for model, _, _ in found if model is not None), None)
    words = dict.fromkeys(model.trigger_word for model, _, _ in found if model is not None and model.trigger_word)
    model = models.create(
        name, kind or (first.kind if first else "brand_style"), trigger_word=_joined(words), tags=tags
    )
    lineage = [_lineage(part, *one) for part, one in zip(parts, found, strict=True)]
    with new_run(models.home(model.id)) as folder:
        config = {
            **request.config, "loras": [str(file) for _, _, file in found], "weights": [one.weight for one in parts],
            "output_dir": str(folder), "output_name": name, "lineage": {"parts": lineage},
        }  # fmt: skip
        job = replace(request, kind="merge", config=config, name=request.name or f"Merge {name}", model=model.id)
        return model, submit(queue, environment, [job])[0]


def resize(queue: Queue, environment: Environment, models: Models, request: NewJob, model: Model, number: int) -> Job:
    """Queue bringing a version of a model to another rank, which becomes its next version; the request's config has
    ``rank`` and ``precision``.

    Raises:
        NotFound: there is no such version.
        UserError: its file is not there, or a value cannot be used.
    """
    version = models.version(model.id, number)
    with new_run(models.home(model.id)) as folder:
        own = {"lora": str(file_of(model, version)), "output_dir": str(folder), "output_name": model.name}
        config = {**request.config, **own}
        job = replace(
            request, kind="resize", config=config, name=request.name or f"Resize {model.name}", model=model.id
        )
        return submit(queue, environment, [job])[0]


def into_checkpoint(
    queue: Queue, environment: Environment, models: Models, request: NewJob, model: Model, number: int
) -> Job:
    """Queue merging a version of a model into a checkpoint; the request's config has ``base_model``, ``weight`` and
    ``output``, which is in the model's folder where it is left out.

    Raises:
        NotFound: there is no such version.
        UserError: its file is not there, or a value cannot be used.
    """
    version = models.version(model.id, number)
    config = {**request.config, "loras": [str(file_of(model, version))], "weights": [request.config.get("weight", 1.0)]}
    config.pop("weight", None)
    base = str(config.get("base_model") or version.facts.get("config", {}).get("base_model") or "")
    config["base_model"] = base or environment.base_model()
    if not config.get("output"):
        base_model = Path(config["base_model"])
        # A diffusers folder gives a folder.
        suffix = ".safetensors" if base_model.suffix else ""
        output = f"{base_model.stem} {model.name} v{number}{suffix}"
        config["output"] = str(models.home(model.id) / "checkpoints" / output)
    job = replace(
        request, kind="into_checkpoint", config=config, name=request.name or f"Merge {model.name} into a checkpoint",
        model=model.id,
    )  # fmt: skip
    return submit(queue, environment, [job])[0]


def file_of(model: Model, version: Version) -> Path:
    """Where the LoRA of a version is.

    Raises:
        UserError: it is not there any more.
    """
    for path in (version.file, version.published):
        if path and Path(path).is_file():
            return Path(path)
    raise UserError(f"{model.name}: the file of version {version.number}, {version.file}, is not there; put it back.")


def _found(models: Models, environment: Environment, part: Part) -> tuple[Model | None, Version | None, Path]:
    if bool(part.model) == bool(part.file):
        raise UserError("parts: each names a model or a file, and not both; correct it.")
    if part.file:
        return None, None, environment.readable(part.file)
    model = models.get(part.model)
    versions = models.versions(model.id)
    if not versions:
        raise UserError(f"{model.name}: it has no version yet; train it first.")
    version = versions[0] if part.number is None else models.version(model.id, part.number)
    return model, version, file_of(model, version)


def _lineage(part: Part, model: Model | None, version: Version | None, file: Path) -> dict[str, Any]:
    known: dict[str, Any] = {"file": str(file), "weight": part.weight}
    if model is not None and version is not None:
        known |= {"model": model.id, "name": model.name, "number": version.number, "version": version.id}
    return known


def _joined(words: Sequence[str] | dict[str, None]) -> str:
    """The trigger words of all, as far as a model can have them."""
    text = ", ".join(words)
    return text if len(text) <= 200 else next(iter(words))
