"""Models of transformers for captioners: found on this machine, put on the device, let go of again."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from ..errors import UserError
from .base import CaptionerOptions


def load(kind: str, source: str, options: CaptionerOptions) -> Any:
    """A pretrained part: ``kind`` is a class of transformers, ``source`` a folder or a name on the hub.

    Weights are read from safetensors alone, and no code of the model's is run.

    Raises:
        UserError: transformers is missing or too old, or the model is not on this machine.
    """
    try:
        import transformers

        chosen = getattr(transformers, kind)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"This captioner needs transformers with {kind}; install it with pip install -U transformers, or take "
            "another captioner."
        ) from error
    local = not options.download or Path(source).is_dir()
    weights = {} if "Processor" in kind or "Tokenizer" in kind else {"use_safetensors": True}
    try:
        return chosen.from_pretrained(source, local_files_only=local, **weights)
    except (OSError, ValueError, KeyError) as error:
        if Path(source).is_dir():
            raise UserError(
                f"{source}: no {kind} can be read from this folder ({_first_line(error)}); it must hold "
                "config.json and model.safetensors as the hub has them."
            ) from error
        raise UserError(
            f"The model {source} is not on this machine; run auto_label.py once with --download, or name a folder "
            "that holds it (--model)."
        ) from error


def device(options: CaptionerOptions) -> torch.device:
    """Where a captioner computes.

    Raises:
        UserError: torch knows no such device, or this machine has none.
    """
    if options.device == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        chosen = torch.device(options.device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device is {options.device!r} ({_first_line(error)}); take auto or cpu.") from error
    return chosen


def placed(model: Any, where: torch.device) -> Any:
    """The model, ready to use: frozen, on its device, in half precision on a CUDA card."""
    model = model.requires_grad_(False).eval()
    return model.to(where, torch.float16 if where.type == "cuda" else torch.float32)


def inputs(processed: Any, model: Any) -> dict[str, Any]:
    """A processor's tensors where the model is; pixels in its precision."""
    parameter = next(model.parameters())
    return {
        name: tensor.to(parameter.device, parameter.dtype if tensor.is_floating_point() else None)
        for name, tensor in processed.items()
    }


def free(where: torch.device) -> None:
    """Give the device's memory back after a model has been dropped."""
    gc.collect()
    if where.type == "cuda":
        torch.cuda.empty_cache()


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200] or type(error).__name__
