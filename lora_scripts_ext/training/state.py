"""A run's state on disk: enough to resume it bit-exactly."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .. import config as configs
from .. import files
from ..config import Config
from ..errors import TrainingError, UserError

_TENSOR, _NUMBER = "tensor:", "number:"
_KEPT = 2
_VERSION = 2
"""Increased when an older state would resume to other weights, or cannot be read."""
# What may change between a run and its continuation without changing what is computed, but for rounding.
_FREE_KEYS = {
    "output_dir", "output_name", "cache_dir", "save_steps", "save_epochs", "keep_checkpoints", "save_precision",
    "save_captions", "preview_epochs", "preview_prompts", "preview_negative", "preview_seed", "preview_steps",
    "preview_cfg_scale", "preview_sampler", "tensorboard", "train_data_dir", "metadata_path", "caption_encoding",
    "reg_data_dir", "mask_dir", "base_model", "vae", "clip_l", "t5xxl", "text_model_dir", "device",
    "gradient_checkpointing", "fp8_base", "mixed_precision",
}  # fmt: skip
# The file may lie elsewhere on another machine; its content is in the weights already.
_FILE_KEYS = {"init_lora"}
# What a state means that does not name the key: it was saved before there was one.
_WITHOUT_KEY = {"validation_share": 0.0}
# What counts as their product with the number of processes, and as the number of steps.
_COMBINED_KEYS = {"batch_size", "gradient_accumulation_steps", "epochs", "max_steps"}


@dataclass(frozen=True)
class State:
    """A saved state, read back.

    Attributes:
        step: steps done.
        progress: the listeners' small state (JSON).
        weights: float32 [parameters], the adapter's flat buffer.
        optimizer: the optimizer's ``state_dict``.
        scaler: the gradient scaler's ``state_dict``.
        best: float32 [parameters], the weights of the lowest held-out loss, where the run keeps them.
    """

    step: int
    progress: dict[str, Any]
    weights: Tensor
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    best: Tensor | None = None


class Damaged(Exception):
    """A state that cannot be read; the text is the reason."""


def folder_in(output_dir: Path) -> Path:
    """Where the states of a run are."""
    return output_dir / "state"


def fingerprint(
    config: Config, *, model_hash: str, dataset_hash: str, effective_batch: int, total_steps: int
) -> dict[str, Any]:
    """What must be the same for a continuation to make sense, by key or, with spaces, by what it is called."""
    values = {key: value for key, value in config.to_dict().items() if key not in _FREE_KEYS | _COMBINED_KEYS}
    return {
        **values,
        "base model": model_hash,
        "images and captions": dataset_hash,
        "effective batch size (batch_size x gradient_accumulation_steps x processes)": effective_batch,
        # A constant learning rate does not depend on where the run ends.
        "number of steps (epochs, max_steps)": None if config.lr_scheduler == "constant" else total_steps,
    }


def save(folder: Path, state: State, identity: dict[str, Any]) -> None:
    """Write ``folder/step-XXXXXXXX`` whole or not at all, then drop all but the newest two.

    Raises:
        TrainingError: the state holds values that are not finite numbers; nothing is written.
    """
    tensors: dict[str, Tensor] = {"weights": state.weights.detach().cpu()}
    if state.best is not None:
        tensors["best"] = state.best
    facts = {
        "version": _VERSION,
        "step": state.step,
        "progress": state.progress,
        "identity": identity,
        "optimizer": _pack(state.optimizer, tensors),
        "scaler": state.scaler,
    }
    if not all(_finite(tensor) for tensor in tensors.values()):
        raise TrainingError(
            f"After step {state.step} the weights or the optimizer's state are not finite: the training "
            "diverged. Lower learning_rate and start again."
        )
    with files.replacing_folder(folder / f"step-{state.step:08d}") as temporary:
        save_file(tensors, temporary / "tensors.safetensors")
        (temporary / "state.json").write_text(json.dumps(facts, allow_nan=False), encoding="utf-8")
    for old in saved(folder)[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def saved(folder: Path) -> list[Path]:
    """The states in ``folder``, oldest first."""
    states = [path for path in folder.glob("step-*") if path.is_dir()]
    # One with .old behind it is of the same step, and was written before.
    return sorted(states, key=lambda path: (path.stem, path.suffix == ""))


def load(folder: Path, identity: dict[str, Any], warn: Callable[[str], None]) -> State | None:
    """The newest whole state in ``folder``; None when there is none at all. ``warn`` is called for damaged ones.

    Raises:
        UserError: the state belongs to other settings, images or another base model, or all of them are damaged.
    """
    reasons = []
    for path in reversed(saved(folder)):
        try:
            facts, state = _read(path)
        except Damaged as error:
            reasons.append(f"{path} is damaged ({error})")
            continue
        _check_identity(path, facts, json.loads(json.dumps(identity)))
        for reason in reasons:
            warn(f"The saved state {reason}; resuming from the one before, at step {state.step}.")
        return state
    if not reasons:
        return None
    raise UserError(f"The saved state {reasons[0]}, and there is no other; start a new run without --resume.")


def _read(path: Path) -> tuple[dict[str, Any], State]:
    """The state's JSON, and the state.

    Raises:
        Damaged: a file is missing, cut, or holds something else.
    """
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if not isinstance(facts, dict):
            raise Damaged("state.json holds no state")
        tensors = load_file(path / "tensors.safetensors")
        state = State(
            step=int(facts["step"]),
            progress=dict(facts["progress"]),
            weights=tensors["weights"],
            optimizer=_unpack(facts["optimizer"], tensors),
            scaler=dict(facts["scaler"]),
            best=tensors.get("best"),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        raise Damaged(" ".join(str(error).split()) or type(error).__name__) from error
    if not all(_finite(tensor) for tensor in tensors.values()):
        raise Damaged("it holds values that are not finite")
    return facts, state


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def _check_identity(path: Path, facts: dict[str, Any], now: dict[str, Any]) -> None:
    if facts.get("version") != _VERSION:
        raise UserError(
            f"{path}: this state was saved by another version of LoRA Trainer, which composed its steps differently; "
            "start a new run without --resume."
        )
    before = facts.get("identity", {})
    for key, value in now.items():
        # Any other key that is newer than the state had its default then.
        usual = configs.default(key) if key in configs.FIELDS else None
        then = before.get(key, _WITHOUT_KEY.get(key, usual))
        if then == value or (key in _FILE_KEYS and Path(str(then)).name == Path(str(value)).name):
            continue
        change = f"was {then!r} when this state was saved and is {value!r} now"
        if key in ("base model", "images and captions"):
            raise UserError(f"{path}: the {key} changed since this state was saved; start a new run without --resume.")
        raise UserError(
            f"{path}: {'the ' if ' ' in key else ''}{key} {change}; put it back, or start a new run without --resume."
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
    plain = value.item() if hasattr(value, "item") else value
    # An optimizer's setting may be infinite, which JSON cannot hold.
    return f"{_NUMBER}{plain}" if isinstance(plain, float) and not math.isfinite(plain) else plain


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(_TENSOR):
        return tensors[value]
    if isinstance(value, str) and value.startswith(_NUMBER):
        return float(value.removeprefix(_NUMBER))
    if isinstance(value, dict):
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
