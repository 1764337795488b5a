"""NaN and infinity: whether they come from a damaged file or from a precision whose range is too small."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .contract import Session


@dataclass(frozen=True)
class Damage:
    """Tensors that hold NaN or infinity.

    Attributes:
        count: how many tensors do, ``of`` how many.
        first: name of the first.
        nan: whether there is a NaN; False where all are infinities, as a cast to fp16 leaves them.
    """

    count: int
    of: int
    first: str
    nan: bool

    def __str__(self) -> str:
        return f"{self.count} of {self.of} tensors hold NaN or infinity, the first is {self.first}"


def largest(tensor: Tensor) -> float:
    """The largest absolute value; NaN or infinity where the tensor holds one. Waits for the device the tensor is on."""
    if not tensor.numel() or tensor.dtype == torch.bool:
        return 0.0
    low, high = torch.aminmax(tensor if _compares(tensor.dtype, tensor.device.type) else tensor.float())
    return max(abs(low.item()), abs(high.item()))


@functools.cache
def _compares(dtype: torch.dtype, device_type: str) -> bool:
    """Whether torch has ``aminmax`` for a dtype: for no 8-bit one, for float16 on a CPU since 2.2 or so."""
    try:
        torch.aminmax(torch.zeros(1, dtype=dtype, device=device_type))
    except RuntimeError:
        return False
    return True


def damage(tensors: Iterable[tuple[str, Tensor]]) -> Damage | None:
    """Which of the named tensors are not finite; None where all are."""
    largest_values = {name: largest(tensor) for name, tensor in tensors if not tensor.is_meta}
    bad = [name for name, value in largest_values.items() if not math.isfinite(value)]
    if not bad:
        return None
    return Damage(len(bad), len(largest_values), bad[0], any(math.isnan(largest_values[name]) for name in bad))


def explain(session: Session, what: str, dtype: torch.dtype | None = None) -> str:
    """Why the base model gives values that are not finite, and what to do, in one sentence.

    Reads all of the model's weights: to be called only after such values have occurred. The adapter is not examined.

    Args:
        session: whose model it is.
        what: the beginning of the sentence, such as "The VAE gives NaN for shoe.png".
        dtype: of the computation, where it is not the model's own (VAEs compute in float32).
    """
    model, dtype = session.model, dtype or session.model.dtype
    for part, module in session.parts().items():
        if part_damage := damage(module.named_parameters()):
            return f"{what}: {_blame(model.name, part, part_damage, session)}"
    if dtype == torch.float16:
        return f"{what}: values in {model.name} exceed the range of fp16; {session.wider_precision}."
    kind = str(dtype).removeprefix("torch.")
    return (
        f"{what}, in {kind} and with finite weights: values in {model.name} overflow in any precision; "
        "use another version of it."
    )


def _blame(name: str, part: str, flaw: Damage, session: Session) -> str:
    if session.model.dtype == torch.float16 and not flaw.nan:
        return (
            f"in the {part} of {name} {flaw}; either its values exceed the range of fp16 ({session.wider_precision}), "
            "or the file is damaged (download it again)."
        )
    return f"in the {part} of {name} {flaw}; the file is damaged, download it again or use another version of it."
