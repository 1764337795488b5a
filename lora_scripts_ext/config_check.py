"""One value of a config: its kind, its range, and the sentence that says what is wrong with it."""

from __future__ import annotations

import datetime
import difflib
import os
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import config_optimizer, file_name
from .errors import UserError

if TYPE_CHECKING:
    from .config import Config

#: keys that name a file or a folder
PATHS = (
    "train_data_dir", "base_model", "output_dir", "metadata_path", "reg_data_dir", "mask_dir", "cache_dir",
    "text_model_dir", "init_lora", "vae", "clip_l", "t5xxl",
)  # fmt: skip
_ARTICLES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Prompts may have several lines.
_CONTROL_IN_PROMPT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PROMPTS = ("preview_prompts", "preview_negative")
_LONGEST_SHOWN = 80


def optional(kind: Any) -> bool:
    """Whether the key may be left empty."""
    return type(None) in typing.get_args(kind)


def shown(value: Any) -> str:
    """``value`` as a message quotes it, cut where it is long."""
    text = str(value) if isinstance(value, datetime.date | datetime.time) else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def checked(key: str, value: Any, kind: Any, bounds: Mapping[str, Any], where: str) -> Any:
    """``value`` as ``kind``, the key's type, within ``bounds`` (``low``, ``high`` inclusive; ``above`` exclusive).

    Raises:
        UserError: another kind of value, or one out of range.
    """
    if kind is Any:
        # Its owner checks it.
        return value
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is Literal:
        return _choice(key, value, typing.get_args(kind), where)
    if typing.get_origin(kind) is list:
        return _list(key, value, typing.get_args(kind)[0], where)
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: {key} is {shown(value)}, expected a mapping such as {{betas: [0.9, 0.99]}}.")
        return value
    return _in_range(key, _scalar(key, value, kind, where), bounds, where)


def together(config: Config, where: str) -> None:
    """What the values must agree on; no file is touched.

    Raises:
        UserError: two of them contradict each other.
    """
    _texts(config, where)
    if config.masked_loss == "files" and not config.mask_dir:
        raise UserError(f"{where}: masked_loss is files but mask_dir is empty; name the folder of the mask images.")
    _prior(config, where)
    if config.min_bucket_side and config.max_bucket_side and config.min_bucket_side > config.max_bucket_side:
        raise UserError(
            f"{where}: min_bucket_side {config.min_bucket_side} is above max_bucket_side {config.max_bucket_side}; "
            "swap them."
        )
    if _plain(config.output_dir) == _plain(config.train_data_dir):
        raise _one_folder(config, where)
    if config.lr_warmup_steps > 1 and config.lr_warmup_steps % 1:
        raise UserError(
            f"{where}: lr_warmup_steps is {config.lr_warmup_steps:g}; write a whole number of steps, or a share of the "
            "run below 1."
        )
    _name(config, where)


def _prior(config: Config, where: str) -> None:
    """Refuse settings under which holding the class prompt would keep the LoRA from learning."""
    if config.prior_preservation == "none":
        if config.class_prompt:
            raise UserError(
                f"{where}: class_prompt is {shown(config.class_prompt)} but prior_preservation is none; set "
                "prior_preservation: class_prompt, or write it as the captions of the images in reg_data_dir."
            )
        return
    if not config.trigger_word:
        raise UserError(
            f"{where}: prior_preservation: class_prompt holds prompts without the trigger word, but trigger_word is "
            "empty; write a word of your own."
        )
    if _words(config.trigger_word) <= _words(config.class_prompt):
        raise UserError(
            f"{where}: class_prompt is {shown(config.class_prompt)}, which holds the trigger word, and would keep it "
            "from being learned; write the words for the class alone."
        )
    if config.caption_dropout:
        raise UserError(
            f"{where}: caption_dropout trains on a caption without the trigger word, which prior_preservation: "
            "class_prompt holds as it is; set caption_dropout: 0."
        )
    if config.reg_data_dir:
        raise UserError(
            f"{where}: reg_data_dir and prior_preservation: class_prompt both preserve the class; keep one of them."
        )


def _words(text: str) -> set[str]:
    return set(text.casefold().replace(",", " ").replace("\N{FULLWIDTH COMMA}", " ").split())


def paths(config: Config, where: str) -> None:
    """What is on the disk where the config points; for a config of someone who may read this disk.

    Raises:
        UserError: a folder where a file is expected, or the reverse, or one folder for input and output.
    """
    for key in ("metadata_path", "init_lora", "vae", "clip_l", "t5xxl"):
        path = getattr(config, key)
        if path and Path(path).is_dir():
            raise UserError(f"{where}: {key} is {path}, which is a folder; name the file itself.")
    for key in ("output_dir", "reg_data_dir", "mask_dir", "cache_dir", "text_model_dir"):
        path = getattr(config, key)
        if path and Path(path).is_file():
            raise UserError(f"{where}: {key} is {path}, which is a file; name a folder.")
    if Path(config.output_dir).resolve() == Path(config.train_data_dir).resolve():
        raise _one_folder(config, where)


def _plain(path: str) -> str:
    """The path without detours; links are not followed, so that the disk is not touched."""
    return os.path.normcase(os.path.normpath(Path(path).absolute()))


def _one_folder(config: Config, where: str) -> UserError:
    return UserError(
        f"{where}: output_dir and train_data_dir are both {config.output_dir}; previews would become training "
        "images, name another output_dir."
    )


def _texts(config: Config, where: str) -> None:
    """Refuse what no file and no path can hold: NUL, bytes that are not text, names longer than file systems take."""
    for key, value in config.to_dict().items():
        for text in (one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)):
            if not file_name.is_text(text):
                raise UserError(
                    f"{where}: {key} is {text!r}, which holds NUL or bytes that are not UTF-8; rename the file or "
                    "write the value again."
                )
    for key in PATHS:
        part = file_name.too_long(getattr(config, key))
        if part:
            raise UserError(f"{where}: {key} holds the name {part}, longer than the 255 bytes that file systems take.")


def _name(config: Config, where: str) -> None:
    """Everything that a run derives from its name can be written, on every system."""
    # A comma would end the name in the WebUI's <lora:name:1> lists.
    problem = file_name.problem(config.name, also_forbidden=",")
    if problem and config.output_name:
        raise UserError(f"{where}: output_name is {config.output_name!r}; {problem}.")
    if problem:
        raise UserError(
            f"{where}: output_dir {config.output_dir} gives the LoRA its name, {config.name!r}; {problem}, or set "
            "output_name."
        )


def _choice(key: str, value: Any, choices: tuple[str, ...], where: str) -> str:
    if isinstance(value, str) and value in choices:
        return value
    near = difflib.get_close_matches(str(value)[:_LONGEST_SHOWN], choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? Valid: " if near else "valid: "
    raise UserError(f"{where}: {key} is {shown(value)}; {hint}{', '.join(choices)}.")


def _list(key: str, value: Any, kind: type, where: str) -> list[Any]:
    items = value if isinstance(value, list) else [value]
    values = [_scalar(key, item, kind, where) for item in items]
    if key == "resolution" and (len(values) > 2 or any(not 32 <= side <= 8192 for side in values)):
        raise UserError(
            f"{where}: resolution is {shown(value)}; write a side of 32 to 8192 pixels, or [width, height]."
        )
    return values


def _scalar(key: str, value: Any, kind: type, where: str) -> Any:
    """YAML reads `2e-4` as text and `8` where 8.0 is meant: take both, refuse everything else."""
    if kind is str:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return _text(key, str(value), where)
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif not isinstance(value, bool):
        number = config_optimizer.number(value)
        if number is not None and (kind is float or number == int(number)):
            return kind(number)
    quotes = "; put it in quotes" if kind is str and not isinstance(value, list | dict) else ""
    raise UserError(f"{where}: {key} is {shown(value)}, expected {_ARTICLES[kind]}{quotes}.")


def _text(key: str, value: str, where: str) -> str:
    """Without spaces at its ends, `~` of a path replaced by the home folder; no invisible characters."""
    if key in _PROMPTS:
        control = _CONTROL_IN_PROMPT.search(value)
    else:
        value = value.strip()
        control = _CONTROL.search(value)
    if control:
        remedy = (
            "a backslash in double quotes makes one: use single quotes or forward slashes"
            if key in PATHS
            else "take it out"
        )
        raise UserError(f"{where}: {key} is {shown(value)}, which holds the control character "
                        f"U+{ord(control.group()):04X}; {remedy}.")  # fmt: skip
    return _at_home(value) if key in PATHS and value.startswith("~") else value


def _at_home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        return path


def _in_range(key: str, value: Any, bounds: Mapping[str, Any], where: str) -> Any:
    low, high, above = bounds["low"], bounds["high"], bounds["above"]
    too_low = (low is not None and value < low) or (above is not None and value <= above)
    if too_low or (high is not None and value > high):
        lower = f"at least {low:g}" if low is not None else f"above {above:g}" if above is not None else ""
        upper = f"at most {high:g}" if high is not None else ""
        raise UserError(f"{where}: {key} is {shown(value)}, it must be {' and '.join(filter(None, (lower, upper)))}.")
    return value
