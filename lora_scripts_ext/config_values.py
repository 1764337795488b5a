"""Other trainers' values: how kohya's, diffusers' and other scripts write what a key of ours holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import config_optimizer
from .config_check import shown
from .errors import UserError
from .families.names import KOHYA_OPTIONS

Ours = dict[str, Any]
# A key, its value and where they stand -> our keys with their values.
_Converter = Callable[[str, Any, str], Ours]


_OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "lion": "lion",
    "prodigy": "prodigy",
    "adafactor": "adafactor",
    "adamwschedulefree": "schedulefree",
    "schedulefree": "schedulefree",
}
# What kohya, diffusers and the packages themselves write.
_SPELLED = ("AdamW", "AdamW8bit", "Lion", "Prodigy", "AdaFactor", "Adafactor", "AdamWScheduleFree")
#: diffusers' options that are arguments of the optimizer.
ARGUMENTS = {
    "adam_beta1": "betas",
    "adam_beta2": "betas",
    "adam_epsilon": "eps",
    "prodigy_beta3": "beta3",
    "prodigy_decouple": "decouple",
    "prodigy_use_bias_correction": "use_bias_correction",
    "prodigy_safeguard_warmup": "safeguard_warmup",
}
_SCHEDULES = {"constant_with_warmup": "constant"}
_SAMPLERS = {
    "euler": "Euler", "k_euler": "Euler", "euler_a": "Euler a", "k_euler_a": "Euler a", "ddim": "DDIM",
    "dpmsolver++": "DPM++ 2M",
}  # fmt: skip
_PRECISIONS = {"no": "fp32", "float": "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, `8` and "8" included."""
    numbers = config_optimizer.number(one), config_optimizer.number(other)
    return one == other if None in numbers else numbers[0] == numbers[1]


def _resolution(value: Any, where: str) -> Any:
    """`512`, `"512,768"` and `"512x768"`: a side, or width and height."""
    if not isinstance(value, str):
        return value
    return [side.strip() for side in value.lower().replace("x", ",").strip("[]() ").split(",")]


def _known(table: dict[str, str]) -> Callable[[Any, str], Any]:
    """A value that is looked up in any case, and stays as it is where it is unknown."""
    return lambda value, where: table.get(value.lower(), value) if isinstance(value, str) else value


def _precision(value: Any, where: str) -> Any:
    # YAML reads `no` as false.
    return "fp32" if value is False else _known(_PRECISIONS)(value, where)


def _optimizer(value: Any, where: str) -> Any:
    """kohya's and diffusers' own spelling, such as ``AdamW8bit``."""
    return _OPTIMIZERS[value.lower()] if value in _SPELLED else value


def _masked(value: Any, where: str) -> Any:
    """kohya's is true or false."""
    if value is True:
        raise UserError(f"{where}: masked_loss is true; write alpha, or files with mask_dir.")
    return "none" if value is False else value


def _single(value: Any, where: str) -> Any:
    """A list of one, or of equal values, as kohya writes it for several text encoders."""
    same = isinstance(value, list) and value and all(equal(one, value[0]) for one in value)
    return value[0] if same else value


#: a key of ours -> its value from what others write under this key, or under the key of the same meaning
VALUES: dict[str, Callable[[Any, str], Any]] = {
    "resolution": _resolution,
    "mixed_precision": _precision,
    "save_precision": _known(_PRECISIONS),
    "lr_scheduler": _known(_SCHEDULES),
    "optimizer": _optimizer,
    "optimizer_args": config_optimizer.as_mapping,
    "masked_loss": _masked,
    "text_encoder_lr": _single,
}


def _optimizer_type(key: str, value: Any, where: str) -> Ours:
    known = _OPTIMIZERS.get(str(value).lower())
    if known is None:
        raise UserError(
            f"{where}: {key} is {shown(value)}; here there are {', '.join(sorted(set(_OPTIMIZERS.values())))}."
        )
    return {"optimizer": known}


def _network_args(key: str, value: Any, where: str) -> Ours:
    """kohya's arguments of a LoRA: convolutions are trained with ``conv_dim``."""
    arguments = config_optimizer.as_mapping(value, where, key)
    if not isinstance(arguments, dict):
        raise UserError(f"{where}: {key} is {shown(value)}, expected a list such as [conv_dim=16].")
    values: Ours = {}
    for name, one in arguments.items():
        if one in (None, 0, False):
            continue
        if name == "conv_dim":
            values |= {"target": "full", "lora_rank": one}
        elif name == "conv_alpha":
            values["lora_alpha"] = one
        else:
            raise UserError(
                f"{where}: {key} holds {name}, which is not available here; it takes conv_dim and conv_alpha, equal to "
                "network_dim and network_alpha."
            )
    return values


def _switch(on: Ours, off: Ours | None = None) -> _Converter:
    """``on`` where the value is true, ``off`` where it is false."""

    def convert(key: str, value: Any, where: str) -> Ours:
        if not isinstance(value, bool):
            raise UserError(f"{where}: {key} is {shown(value)}, expected true or false.")
        return on if value else off or {}

    return convert


def _renamed(ours: str, change: Callable[[Any], Any] = lambda value: value) -> _Converter:
    """``ours`` with the changed value; nothing where it is 0 or empty."""
    return lambda key, value, where: {ours: change(value)} if value else {}


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _sampler(key: str, value: Any, where: str) -> Ours:
    known = _SAMPLERS.get(_lowered(value)) if isinstance(value, str) else None
    if known is None:
        raise UserError(f"{where}: {key} is {shown(value)}; {', '.join(sorted(_SAMPLERS))} are known.")
    return {"preview_sampler": known}


def _prompts(key: str, value: Any, where: str) -> Ours:
    """A list, of which kohya's options (` --n`) are cut off."""
    if not isinstance(value, list):
        raise UserError(f"{where}: {key} ({shown(value)}) names a file; write the prompts as a list, preview_prompts.")
    return {"preview_prompts": [one.split(" --")[0].strip() if isinstance(one, str) else one for one in value]}


#: a key of another trainer's -> our keys with their values
CONVERTED: dict[str, _Converter] = {
    "optimizer_type": _optimizer_type,
    "network_args": _network_args,
    "use_lion_optimizer": _switch({"optimizer": "lion"}),
    "use_8bit_adam": _switch({}),
    "network_train_unet_only": _switch({"train_text_encoder": False}, {"train_text_encoder": True}),
    **{option: _switch({"model_family": name}) for option, name in KOHYA_OPTIONS.items()},
    "v_parameterization": _switch({"prediction_type": "v_prediction"}),
    "random_crop": _switch({"crop": "random"}),
    "center_crop": _switch({"crop": "center"}, {"crop": "random"}),
    "alpha_mask": _switch({"masked_loss": "alpha"}),
    "max_train_steps": _renamed("max_steps"),
    "steps": _renamed("max_steps"),
    "max_train_epochs": _renamed("epochs"),
    "learning_rate_scheduler": _renamed("lr_scheduler", _lowered),
    "sample_sampler": _sampler,
    "sample_prompts": _prompts,
    "validation_prompt": _renamed("preview_prompts", lambda value: [value]),
    "class_tokens": _renamed("trigger_word"),
    "instance_prompt": _renamed("trigger_word"),
    **dict.fromkeys(ARGUMENTS, lambda key, value, where: {}),
}
