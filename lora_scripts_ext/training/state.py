"""A run's state on disk: enough to go on to the very same weights."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from ..config import Config
from ..errors import UserError

_TENSOR = "tensor:"
_UNFINISHED = ".writing-"
# What may change between a run and its continuation without changing the weights.
_FREE_KEYS = {
    "output_dir", "output_name", "cache_dir", "save_steps", "save_epochs", "keep_checkpoints", "save_precision",
    "save_captions", "preview_epochs", "preview_prompts", "preview_negative", "preview_seed", "preview_steps",
    "preview_cfg_scale", "preview_sampler", "tensorboard", "train_data_dir", "metadata_path", "reg_data_dir",
    "mask_dir", "base_model", "text_model_dir", "device",
}  # fmt: skip


@dataclass(frozen=True)
class State:
    """A saved state, read back.

    Attributes:
        step: steps done.
        progress: the small facts the loop saved along (JSON).
        weights: float32 [parameters], the adapter's flat buffer.
        optimizer: the optimizer's ``state_dict``.
        scaler: the gradient scaler's ``state_dict``.
    """

    step: int
    progress: dict[str, Any]
    weights: Tensor
    optimizer: dict[str, Any]
    scaler: dict[str, Any]


def fingerprint(config: Config, model_hash: str, dataset_hash: str) -> dict[str, Any]:
    """What must be the same for a continuation to make sense."""
    values = {key: value for key, value in config.to_dict().items() if key not in _FREE_KEYS}
    return {**values, "base model": model_hash, "pictures and captions": dataset_hash}


def save(folder: Path, state: State, identity: dict[str, Any]) -> None:
    """Write ``folder/step-XXXXXXXX`` whole or not at all, then drop the older ones."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {"weights": state.weights.detach().cpu()}
    facts = {
        "step": state.step,
        "progress": state.progress,
        "identity": identity,
        "optimizer": _pack(state.optimizer, tensors),
        "scaler": state.scaler,
    }
    temporary = Path(tempfile.mkdtemp(dir=folder, prefix=_UNFINISHED))
    try:
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(json.dumps(facts), encoding="utf-8")
        for file in temporary.iterdir():
            _flush(file)
        final = folder / f"step-{state.step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    for old in saved(folder):
        if old.name != final.name:
            shutil.rmtree(old, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Delete what a run that was killed while it saved left behind."""
    for left in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(left, ignore_errors=True)


def saved(folder: Path) -> list[Path]:
    """The states in ``folder``, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())


def load(folder: Path, identity: dict[str, Any]) -> State | None:
    """The newest state in ``folder``; None when there is none.

    Raises:
        UserError: the state belongs to other settings, pictures or another base model, or is damaged.
    """
    found = saved(folder)
    if not found:
        return None
    path = found[-1]
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        tensors = load_file(path / "tensors.safetensors")
        _check_identity(path, facts["identity"], json.loads(json.dumps(identity)))
        return State(
            step=facts["step"],
            progress=facts["progress"],
            weights=tensors["weights"],
            optimizer=_unpack(facts["optimizer"], tensors),
            scaler=facts["scaler"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{path}: the saved state is damaged ({error}); delete this folder, or run without --resume."
        ) from error


def _check_identity(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    for key, value in now.items():
        if before.get(key) == value:
            continue
        if " " in key:
            raise UserError(
                f"{path}: the {key} changed since this state was saved; run without --resume to start anew."
            )
        raise UserError(
            f"{path}: {key} was {before.get(key)!r} when this state was saved and is {value!r} now; "
            "put it back, or run without --resume to start anew."
        )


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON for ``value``, its tensors moved to ``tensors`` under a name that stands in for them."""
    if isinstance(value, Tensor):
        name = f"{_TENSOR}{len(tensors)}"
        tensors[name] = value.detach().cpu().clone().contiguous()
        return name
    if isinstance(value, dict):
        return {"items": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, tensors) for item in value]
    return value.item() if hasattr(value, "item") else value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value]
    if isinstance(value, dict):
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
