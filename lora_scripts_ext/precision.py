"""Precisions by the names that configs give them."""

from __future__ import annotations

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}


def name_of(dtype: torch.dtype) -> str:
    """``fp32``, ``fp16`` or ``bf16``; torch's own name for other dtypes."""
    return _NAMES.get(dtype, str(dtype))
