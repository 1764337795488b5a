"""What each optimizer takes: its arguments with their kinds, and the learning rate and schedule that suit it."""

from __future__ import annotations

import ast
import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    from .config import Config


@dataclass(frozen=True)
class Suited:
    """What an optimizer is given where the user says nothing."""

    learning_rate: float
    lr_scheduler: str


# Prodigy estimates the rate itself and multiplies it with this one. Lion's authors take a third to a tenth of AdamW's,
# those of schedule-free one to ten times as much.
SUITED = {
    "adamw": Suited(1e-4, "cosine"),
    "adamw8bit": Suited(1e-4, "cosine"),
    "adafactor": Suited(1e-4, "cosine"),
    "lion": Suited(3e-5, "cosine"),
    "prodigy": Suited(1.0, "constant"),
    "schedulefree": Suited(5e-4, "constant"),
}
_NEGLIGIBLE = 1e-7
_EXCESSIVE = 0.05
_EXCESSIVE_FOR_LION = 1e-3
_NEGLIGIBLE_FOR_PRODIGY = 0.05
_NEGLIGIBLE_SHARE = 1e-3
_LONGEST_TEXT = 200


def number(value: Any) -> float | int | None:
    """A finite number, also one written as text; None for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        parsed = float(value)
    except (ValueError, OverflowError):
        return None
    if not math.isfinite(parsed):
        return None
    return value if isinstance(value, int) else parsed


@dataclass(frozen=True)
class _Kind:
    """An argument's kind: ``read`` gives the value, or None where it is none of this kind."""

    expected: str
    read: Callable[[Any], Any]


def _numbers(expected: str, fits: Callable[[float], bool], count: int = 1) -> _Kind:
    def read(value: Any) -> Any:
        items = list(value) if isinstance(value, list | tuple) else [value]
        numbers = [number(item) for item in items]
        if len(numbers) != count or any(item is None or not fits(item) for item in numbers):
            return None
        return numbers[0] if count == 1 else numbers

    return _Kind(expected, read)


def _just_false(value: Any) -> bool | None:
    return False if value is False else None


_FLAG = _Kind("true or false", lambda value: value if isinstance(value, bool) else None)
_OFF = _Kind("false, because learning_rate and lr_scheduler set the rate", _just_false)
_POSITIVE = _numbers("a number above 0 and at most 1", lambda value: 0 < value <= 1)
_BETA = _numbers("a number of at least 0 and below 1", lambda value: 0 <= value < 1)
_PAIR = "two numbers of at least 0 and below 1, such as [0.9, 0.99]"
_BETAS = _numbers(_PAIR, lambda value: 0 <= value < 1, 2)
_COUNT = _numbers("a whole number of at least 1", lambda value: value >= 1 and value == int(value))
_DECAY = _numbers("a number of at least 0 and at most 10", lambda value: 0 <= value <= 10)
_FACTOR = _numbers("a number above 0 and at most 1000", lambda value: 0 < value <= 1000)

ARGUMENTS: dict[str, dict[str, _Kind]] = {
    "adamw": {"betas": _BETAS, "eps": _POSITIVE, "amsgrad": _FLAG},
    "adamw8bit": {
        "betas": _BETAS,
        "eps": _POSITIVE,
        "min_8bit_size": _COUNT,
        "percentile_clipping": _COUNT,
        "block_wise": _FLAG,
        "is_paged": _FLAG,
    },
    "adafactor": {
        "eps": _numbers("two numbers above 0, such as [1e-30, 1e-3]", lambda value: 0 < value <= 1, 2),
        "clip_threshold": _FACTOR,
        "decay_rate": _numbers("a number of at least -1 and below 0", lambda value: -1 <= value < 0),
        "beta1": _BETA,
        "scale_parameter": _FLAG,
        "relative_step": _OFF,
        "warmup_init": _OFF,
    },
    "lion": {"betas": _BETAS, "decoupled_weight_decay": _FLAG, "use_triton": _FLAG},
    "prodigy": {
        "betas": _BETAS,
        "beta3": _BETA,
        "eps": _POSITIVE,
        "decouple": _FLAG,
        "use_bias_correction": _FLAG,
        "safeguard_warmup": _FLAG,
        "d0": _POSITIVE,
        "d_coef": _FACTOR,
        "growth_rate": _numbers("a number of at least 1", lambda value: value >= 1),
        "slice_p": _COUNT,
    },
    "schedulefree": {
        "betas": _Kind(
            "two numbers above 0 and below 1, such as [0.9, 0.999]",
            _numbers(_PAIR, lambda value: 0 < value < 1, 2).read,
        ),
        "eps": _POSITIVE,
        "r": _numbers("a number of at least 0", lambda value: 0 <= value <= 1000),
        "weight_lr_power": _numbers("a number of at least 0", lambda value: 0 <= value <= 1000),
        "foreach": _FLAG,
    },
}
_OWN_KEYS = {"lr": "learning_rate", "learning_rate": "learning_rate", "warmup_steps": "lr_warmup_steps"}


def arguments(optimizer: str, values: dict[str, Any], where: str) -> dict[str, Any]:
    """The checked ``optimizer_args`` of ``optimizer``; pairs come as lists, numbers written as text as numbers.

    Raises:
        UserError: an argument that the optimizer lacks, or a value of another kind.
    """
    known = {**ARGUMENTS[optimizer], "weight_decay": _DECAY}
    checked = {}
    for name, value in values.items():
        if name in _OWN_KEYS:
            raise UserError(
                f"{where}: optimizer_args holds {name}, which has a key of its own; write {_OWN_KEYS[name]} instead."
            )
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}; " if near else ""
            raise UserError(
                f"{where}: optimizer_args holds {str(name)[:_LONGEST_TEXT]}, which {optimizer} does not take; {hint}"
                f"it takes {', '.join(sorted(known))}."
            )
        if value is None:
            continue
        kind = known[name]
        read = kind.read(_literal(value))
        if read is None:
            raise UserError(
                f"{where}: {name} in optimizer_args is {repr(value)[:_LONGEST_TEXT]}, expected {kind.expected}."
            )
        checked[name] = read
    return checked


def as_mapping(value: Any, where: str, key: str = "optimizer_args") -> Any:
    """Arguments written as other trainers do, ``["weight_decay=0.01", "betas=0.9,0.99"]``, as a mapping.

    Raises:
        UserError: an item without an equals sign, or a name that is there twice.
    """
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list):
        return value
    mapping: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=") if isinstance(item, str) else ("", "", "")
        if not equals or not name.strip():
            raise UserError(f"{where}: {key} holds {repr(item)[:_LONGEST_TEXT]}; write each as NAME=VALUE.")
        if name.strip() in mapping:
            raise UserError(f"{where}: {key} holds {name.strip()} twice; keep one.")
        mapping[name.strip()] = _literal(text)
    return mapping


def warnings(config: Config) -> list[str]:
    """What is allowed but known not to work well."""
    return [text for text in (_rate(config), _schedule(config), _text_rate(config)) if text]


def _rate(config: Config) -> str:
    name, rate = config.optimizer, config.learning_rate
    setting = f"learning_rate is {rate:g}"
    if name == "prodigy":
        if rate < _NEGLIGIBLE_FOR_PRODIGY:
            return (
                f"{setting}: Prodigy finds the rate itself and multiplies it by this one, so it learns almost nothing; "
                "leave learning_rate out, or set it to 1."
            )
        return ""
    suited = SUITED[name].learning_rate
    if rate >= _EXCESSIVE or (name == "lion" and rate >= _EXCESSIVE_FOR_LION):
        return f"{setting}, far above what suits {name}; {suited:g} is usual, expect a LoRA that is destroyed."
    if rate < _NEGLIGIBLE:
        return f"{setting}: {name} learns next to nothing with it; {suited:g} is usual."
    return ""


def _schedule(config: Config) -> str:
    if config.optimizer == "schedulefree" and config.lr_scheduler != "constant":
        return (
            f"lr_scheduler is {config.lr_scheduler}: a schedule-free optimizer averages the weights instead of "
            "lowering the rate, and learns less with both; leave lr_scheduler out, or set it to constant."
        )
    return ""


def _text_rate(config: Config) -> str:
    if config.text_encoder_lr is None:
        return ""
    if not config.train_text_encoder:
        return "text_encoder_lr has no effect, because train_text_encoder is false."
    if config.optimizer == "prodigy" and config.text_encoder_lr < config.learning_rate * _NEGLIGIBLE_SHARE:
        return (
            f"text_encoder_lr is {config.text_encoder_lr:g}: Prodigy finds the rate itself and multiplies it with this "
            "one, so the text encoder learns next to nothing; leave text_encoder_lr out, or set it to 0.1."
        )
    return ""


def _literal(value: Any) -> Any:
    """Text such as ``0.9,0.99`` or ``True`` as the value it stands for; the text itself where it is none."""
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT:
        return value
    text = value.strip()
    if text.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(text.lower())
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
