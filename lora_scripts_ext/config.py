"""What the user asks for: one dataclass, YAML in and out, every error names key, value and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from .errors import UserError


def _key(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
) -> Any:
    """A config field: ``low`` and ``high`` are inclusive bounds, ``above`` an exclusive lower one."""
    metadata = {"help": help, "low": low, "high": high, "above": above}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """Everything a run is told.

    Field names are the YAML keys; paths are kept as written, relative to the working folder.
    """

    train_data_dir: str = _key("", "Folder with the training pictures; sub-folders count, `10_name` repeats ten times.")
    base_model: str = _key("", "Stable Diffusion checkpoint (.safetensors) or diffusers folder to train on.")
    output_dir: str = _key("", "Folder for the LoRA, its checkpoints, previews and logs.")
    output_name: str = _key("", "File name of the LoRA without extension; empty takes the name of output_dir.")

    metadata_path: str = _key("", "CSV with `filename,prompt`; empty looks for metadata.csv in train_data_dir.")
    trigger_word: str = _key("", "Word put in front of every caption; say it in a prompt to call the look.")
    shuffle_caption: bool = _key(False, "Draw the order of the comma-separated parts anew for every visit.")
    keep_tokens: int = _key(0, "Leading parts (the trigger word not counted) that shuffling leaves in place.", low=0)
    caption_variants: int = _key(8, "Shuffled variants of each caption that are cached.", low=1, high=256)
    caption_dropout: float = _key(0.0, "Share of visits with an empty caption; 0.05 to 0.1 for a style.", low=0, high=1)
    num_repeats: int = _key(1, "How often an epoch shows each picture of a folder without a number.", low=1, high=10000)
    reg_data_dir: str = _key("", "Regularisation images of the class, for prior preservation.")
    prior_loss_weight: float = _key(1.0, "Weight of the regularisation images' mean loss.", low=0)

    resolution: list[int] = _key([], "Side in pixels, or [width, height]; empty takes the model family's own size.")
    enable_bucket: bool = _key(True, "Train pictures in their own aspect ratio instead of cropping all to one.")
    bucket_step: int = _key(64, "Bucket sides are multiples of this many pixels.", low=8, high=1024)
    min_bucket_side: int = _key(0, "Smallest bucket side in pixels; 0 takes half the resolution.", low=0)
    max_bucket_side: int = _key(0, "Largest bucket side in pixels; 0 takes twice the resolution.", low=0)
    bucket_no_upscale: bool = _key(False, "Put a small picture into a smaller bucket instead of enlarging it.")
    crop: Literal["center", "top", "random"] = _key("center", "Which part of a picture its bucket keeps.")
    crop_variants: int = _key(4, "Different random crops prepared per picture with crop: random.", low=1, high=64)
    flip: bool = _key(False, "Mirror half of the visits; leave off for logos, writing and left/right-handed goods.")
    masked_loss: Literal["none", "alpha", "files"] = _key(
        "none", "Learn only where the mask is white: the picture's alpha, or mask files of the same name."
    )
    unmasked_weight: float = _key(
        0.0, "Weight of what the mask leaves out, 0 to 1; 0.1 keeps a little of the background.", low=0, high=1
    )
    normalize_masked_area_loss: bool = _key(
        False, "Divide a masked loss by its mask's mean: small subjects count as much as large ones."
    )
    mask_dir: str = _key("", "Folder with mask pictures for masked_loss: files.")
    cache_dir: str = _key("", "Folder of cached latents and text embeddings; empty takes output_dir/cache.")

    model_family: Literal["auto", "sd1", "sd2", "sdxl"] = _key("auto", "Family of the base model, if detection errs.")
    prediction_type: Literal["auto", "epsilon", "v_prediction"] = _key("auto", "What the base model predicts.")
    zero_terminal_snr: bool | None = _key(None, "Rescale the schedule to zero terminal SNR; empty detects it.")
    clip_skip: int = _key(1, "Take the text encoder's layer this far from the end (SD1, SD2).", low=1, high=12)
    text_model_dir: str = _key("", "Folder with tokenizer files to use instead of the shipped CLIP tokenizer.")

    lora_rank: int = _key(16, "Size of the LoRA: 4 to 8 for small changes, 16 to 32 for a look.", low=1, high=1024)
    lora_alpha: float | None = _key(None, "Scale is alpha / rank; empty takes the rank, scale 1.", above=0)
    lora_dropout: float = _key(0.0, "Share of the adapter's input dropped while training.", low=0, high=0.99)
    target: Literal["attention", "attention-mlp", "full"] = _key(
        "attention-mlp", "Layers that learn: attention only, with feed-forward and projections, or convolutions too."
    )
    train_text_encoder: bool = _key(False, "Train the text encoder(s) as well.")
    text_encoder_lr: float | None = _key(None, "Learning rate of the text encoder(s); empty takes a tenth.", above=0)
    init_lora: str = _key("", "LoRA file (.safetensors) to continue from.")

    batch_size: int = _key(1, "Images computed together, per process.", low=1, high=1024)
    gradient_accumulation_steps: int = _key(1, "Batches whose gradients are added before a step.", low=1, high=4096)
    epochs: int = _key(10, "Times the whole set is seen.", low=1, high=100000)
    max_steps: int = _key(0, "Stop after this many steps; 0 runs all epochs.", low=0)
    learning_rate: float = _key(1e-4, "Size of a step; 1e-4 to 3e-4 suits most.", above=0, high=10)
    optimizer: Literal["adamw", "adamw8bit", "lion", "adafactor", "prodigy", "schedulefree"] = _key(
        "adamw", "How gradients become steps; all but adamw and adafactor need a package."
    )
    optimizer_args: dict[str, Any] = _key({}, "Further arguments of the optimizer, by their own names.")
    weight_decay: float = _key(0.01, "Pull of the weights towards zero.", low=0, high=10)
    lr_scheduler: Literal["constant", "cosine", "cosine_with_restarts", "linear", "polynomial"] = _key(
        "cosine", "How the learning rate falls over the run."
    )
    lr_warmup_steps: int = _key(0, "Steps over which the learning rate rises from zero.", low=0)
    lr_cycles: int = _key(1, "Restarts of cosine_with_restarts.", low=1, high=1000)
    lr_power: float = _key(1.0, "Power of the polynomial schedule.", above=0, high=100)
    max_grad_norm: float = _key(1.0, "Gradients longer than this are shortened to it; 0 leaves them.", low=0)
    mixed_precision: Literal["auto", "fp32", "fp16", "bf16"] = _key(
        "auto", "Number format of the frozen model; auto takes fp32 on a CPU, bf16 or fp16 on a GPU."
    )
    gradient_checkpointing: bool = _key(False, "Compute the blocks twice to save memory; about a third slower.")
    fp8_base: bool = _key(
        False, "Keep the frozen UNet's weights in 8 bits: half the memory, a little less exact; not inside a WebUI."
    )
    min_snr_gamma: float = _key(
        0.0, "Weigh down easy timesteps (min-SNR); 5 is usual, 0 is off; Flux takes none.", low=0
    )
    noise_offset: float = _key(0.0, "Shift the noise's brightness so dark and bright looks are learnt.", low=0, high=1)
    loss: Literal["l2", "huber"] = _key("l2", "Huber forgives outliers in a mixed set.")
    huber_delta: float = _key(0.1, "Where Huber turns from square to straight.", above=0)
    seed: int = _key(42, "The same seed and settings give the same LoRA.", low=0, high=2**32 - 1)
    device: str = _key("auto", "auto, cpu, cuda, cuda:1 or mps.")

    save_steps: int = _key(0, "Write a checkpoint every so many steps; 0 is off.", low=0)
    save_epochs: int = _key(0, "Write a checkpoint every so many epochs; 0 is off.", low=0)
    keep_checkpoints: int = _key(0, "Keep only the newest so many checkpoints; 0 keeps all.", low=0)
    save_precision: Literal["fp16", "bf16", "fp32"] = _key("fp16", "Number format of the LoRA file.")
    save_captions: bool = _key(True, "Write caption statistics into the file; false keeps captions private.")

    preview_epochs: int = _key(0, "Draw previews every so many epochs, and before the first; 0 is off.", low=0)
    preview_prompts: list[str] = _key([], "Prompts to draw; empty takes the first captions.")
    preview_negative: str = _key("", "Negative prompt of the previews.")
    preview_seed: int = _key(1234, "Seed of the first preview; the next ones count up.", low=0, high=2**32 - 1)
    preview_steps: int = _key(20, "Sampling steps of a preview.", low=1, high=1000)
    preview_cfg_scale: float | None = _key(
        None, "How closely a preview follows its prompt; empty takes 7, for Flux 3.5.", low=1, high=100
    )
    preview_sampler: Literal["Euler", "Euler a", "DDIM", "DPM++ 2M", "DPM++ 2M Karras"] = _key(
        "Euler", "Sampler of the previews, by the WebUI's name."
    )
    tensorboard: bool = _key(True, "Also write TensorBoard logs when the package is installed.")

    @property
    def name(self) -> str:
        """The LoRA's file name without extension."""
        return self.output_name or Path(self.output_dir).resolve().name

    @property
    def alpha(self) -> float:
        """LoRA alpha; the rank when the user names none."""
        return float(self.lora_rank) if self.lora_alpha is None else self.lora_alpha

    @property
    def cache_path(self) -> Path:
        """Where latents and text embeddings are cached."""
        return Path(self.cache_dir) if self.cache_dir else Path(self.output_dir) / "cache"

    def sides(self, stock: int) -> tuple[int, int]:
        """Width and height in pixels to train at; ``stock`` is the side the model itself was trained at."""
        wanted = self.resolution or [stock]
        return wanted[0], wanted[-1]

    def to_dict(self) -> dict[str, Any]:
        """Every key with its value, ready for YAML or JSON."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The keys that differ from their default, as a YAML file that gives this config back."""
        changed = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if getattr(self, f.name) != default(f.name)
        }
        return yaml.safe_dump(changed, sort_keys=False, allow_unicode=True)


FIELDS: dict[str, dataclasses.Field[Any]] = {field.name: field for field in dataclasses.fields(Config)}
_TYPES = typing.get_type_hints(Config)
_REQUIRED = ("train_data_dir", "base_model", "output_dir")
_ARTICLES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file, apply ``key=value`` overrides, check everything.

    Raises:
        UserError: the file, a key or a value is wrong.
    """
    values = _read_yaml(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UserError(f"--set {override}: write it as key=value, for example --set epochs=5.")
        values[key.strip()] = _parse_value(key.strip(), text)
    return from_dict(values, str(path))


def from_dict(values: dict[str, Any], where: str = "config") -> Config:
    """Check keys, types and ranges of ``values`` and build the config; ``where`` names their origin in errors.

    Raises:
        UserError: an unknown or missing key, a wrong type, a value out of range.
    """
    for key in values:
        if key not in FIELDS:
            raise UserError(_unknown(key, where))
    checked = {key: _check(key, value, where) for key, value in values.items() if value is not None or _optional(key)}
    for key in _REQUIRED:
        if not checked.get(key):
            raise UserError(
                f"{where}: {key} is missing; {FIELDS[key].metadata['help'][0].lower()}"
                f"{FIELDS[key].metadata['help'][1:]}"
            )
    config = Config(**checked)
    _check_together(config, where)
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such config file; check the path after --config.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the config file cannot be read ({error}); save it as UTF-8 text.") from error
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: this is not valid YAML; every line reads `key: value`.") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{path}: expected lines of `key: value`, found {type(values).__name__}.")
    return values


def _parse_value(key: str, text: str) -> Any:
    if _TYPES.get(key) is str:
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {key}={text}: this value is not valid YAML; put it in quotes.") from error


def _unknown(key: str, where: str) -> str:
    near = difflib.get_close_matches(key, FIELDS, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "remove it; the README lists all keys."
    return f"{where}: unknown key {key}; {hint}"


def _optional(key: str) -> bool:
    return type(None) in typing.get_args(_TYPES[key])


def _check(key: str, value: Any, where: str) -> Any:
    """Return ``value`` as the key's type, within its range."""
    kind = _TYPES[key]
    if isinstance(kind, types.UnionType):
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not type(None))
    if typing.get_origin(kind) is Literal:
        return _check_choice(key, value, typing.get_args(kind), where)
    if typing.get_origin(kind) is list:
        return _check_list(key, value, typing.get_args(kind)[0], where)
    if typing.get_origin(kind) is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: {key} is {value!r}, expected a mapping such as {{betas: [0.9, 0.99]}}.")
        return value
    return _check_range(key, _as_scalar(key, value, kind, where), where)


def _check_choice(key: str, value: Any, choices: tuple[str, ...], where: str) -> str:
    if value in choices and isinstance(value, str):
        return value
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? Valid: " if near else "valid: "
    raise UserError(f"{where}: {key} is {value!r}; {hint}{', '.join(choices)}.")


def _check_list(key: str, value: Any, kind: type, where: str) -> list[Any]:
    items = value if isinstance(value, list) else [value]
    checked = [_as_scalar(key, item, kind, where) for item in items]
    if key == "resolution" and (len(checked) > 2 or any(not 32 <= side <= 8192 for side in checked)):
        raise UserError(f"{where}: resolution is {value!r}; write a side of 32 to 8192 pixels, or [width, height].")
    return checked


def _as_scalar(key: str, value: Any, kind: type, where: str) -> Any:
    """YAML reads `2e-4` as text and `8` where 8.0 is meant: take both, refuse everything else."""
    if kind is str:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    elif kind is bool:
        if isinstance(value, bool):
            return value
    elif not isinstance(value, bool):
        number = _as_number(value)
        if number is not None and math.isfinite(number) and (kind is float or number == int(number)):
            return kind(number)
    raise UserError(f"{where}: {key} is {value!r}, expected {_ARTICLES[kind]}.")


def _as_number(value: Any) -> float | int | None:
    if isinstance(value, int | float):
        return value
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _check_range(key: str, value: Any, where: str) -> Any:
    bounds = FIELDS[key].metadata
    low, high, above = bounds["low"], bounds["high"], bounds["above"]
    too_low = (low is not None and value < low) or (above is not None and value <= above)
    if too_low or (high is not None and value > high):
        lower = f"at least {low:g}" if low is not None else f"above {above:g}" if above is not None else ""
        upper = f"at most {high:g}" if high is not None else ""
        raise UserError(f"{where}: {key} is {value!r}, it must be {' and '.join(filter(None, (lower, upper)))}.")
    return value


def _check_together(config: Config, where: str) -> None:
    if config.masked_loss == "files" and not config.mask_dir:
        raise UserError(f"{where}: masked_loss is files but mask_dir is empty; name the folder of the mask pictures.")
    if config.min_bucket_side and config.max_bucket_side and config.min_bucket_side > config.max_bucket_side:
        raise UserError(
            f"{where}: min_bucket_side {config.min_bucket_side} is above max_bucket_side {config.max_bucket_side}; "
            "swap them."
        )
    if Path(config.output_dir).resolve() == Path(config.train_data_dir).resolve():
        raise UserError(
            f"{where}: output_dir and train_data_dir are both {config.output_dir}; previews would become training "
            "pictures, name another output_dir."
        )
    bad = set(config.output_name) & set('/\\:*?"<>|,')
    if bad:
        raise UserError(
            f"{where}: output_name is {config.output_name!r}; a file name cannot hold {' '.join(sorted(bad))}."
        )
    if config.output_name.startswith("."):
        raise UserError(f"{where}: output_name is {config.output_name!r}; a file name cannot start with a dot here.")


def default(key: str) -> Any:
    """A key's default value."""
    field = FIELDS[key]
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
