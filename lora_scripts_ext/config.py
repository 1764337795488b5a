"""What the user asks for: one dataclass, read from YAML or TOML; every error names key, value and remedy."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from . import config_check, config_file, config_names, config_optimizer, config_subsets
from .errors import UserError
from .families.names import ModelFamily


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
    """All settings of a run.

    Field names are the YAML keys; paths are kept as written, relative to the working folder. ``learning_rate`` and
    ``lr_scheduler`` that are not given are those that suit the optimizer.

    Attributes:
        notes: what the user should know about how the config was read.
    """

    train_data_dir: str = _key(
        "", "Folder of training images, sub-folders included; a folder named `10_name` is repeated ten times."
    )
    base_model: str = _key(
        "", "Checkpoint (.safetensors) or diffusers folder of the Stable Diffusion model to train on."
    )
    output_dir: str = _key("", "Folder for the LoRA, its checkpoints, previews and logs.")
    output_name: str = _key("", "File name of the LoRA without extension; empty uses the name of output_dir.")

    metadata_path: str = _key(
        "",
        "Captions: CSV with `filename,prompt`, .jsonl or kohya's .json; empty finds metadata.csv in train_data_dir.",
    )
    caption_encoding: str = _key("", "Encoding of caption files that are not UTF-8, UTF-16 or clearly Chinese GBK.")
    trigger_word: str = _key("", "Word at the start of every caption; use it in prompts to activate the LoRA.")
    shuffle_caption: bool = _key(False, "Shuffle the comma-separated tags of a caption each time it is used.")
    keep_tokens: int = _key(
        0, "Number of leading tags that are not shuffled; the trigger word does not count.", low=0, high=1000
    )
    caption_variants: int = _key(8, "Number of shuffled variants cached per caption.", low=1, high=256)
    caption_dropout: float = _key(
        0.0, "Fraction of examples trained with an empty caption; 0.05 to 0.1 suits a style.", low=0, high=1
    )
    num_repeats: int = _key(1, "Repeats per epoch of the images whose folder name has no number.", low=1, high=10000)
    reg_data_dir: str = _key("", "Folder of regularisation images of the class, for prior preservation.")
    prior_preservation: Literal["none", "class_prompt"] = _key(
        "none", "Hold prompts of the class, without the trigger word, at the base model's own output; needs no images."
    )
    class_prompt: str = _key(
        "", "Words for the class, such as `a shoe`, held in place of the trigger word; empty leaves that out."
    )
    prior_loss_weight: float = _key(
        1.0,
        "Weight of the mean loss of prior preservation, by regularisation images or class prompt.",
        low=0,
        high=1000,
    )

    resolution: list[int] = _key(
        [], "Training resolution: side in pixels, or [width, height]; empty uses the base model's own."
    )
    enable_bucket: bool = _key(True, "Group images into buckets by aspect ratio instead of cropping all to one.")
    bucket_step: int = _key(64, "Bucket sides are multiples of this many pixels.", low=8, high=1024)
    min_bucket_side: int = _key(0, "Smallest bucket side in pixels; 0 uses half the resolution.", low=0, high=16384)
    max_bucket_side: int = _key(0, "Largest bucket side in pixels; 0 uses twice the resolution.", low=0, high=16384)
    bucket_no_upscale: bool = _key(False, "Put a small image into a smaller bucket instead of upscaling it.")
    crop: Literal["center", "top", "random"] = _key(
        "center", "Which part of an image to keep when cropping it to its bucket."
    )
    crop_variants: int = _key(4, "Number of random crops cached per image with crop: random.", low=1, high=64)
    flip: bool = _key(
        False, "Flip images horizontally half of the time; not for logos, text or left/right-handed products."
    )
    masked_loss: Literal["none", "alpha", "files"] = _key(
        "none", "Train only where the mask is white: the image's alpha channel, or mask files of the same name."
    )
    unmasked_weight: float = _key(
        0.0, "Loss weight outside the mask, 0 to 1; 0.1 keeps a little of the background.", low=0, high=1
    )
    normalize_masked_area_loss: bool = _key(
        False, "Divide the masked loss by the mask's mean, so that small subjects count as much as large ones."
    )
    mask_dir: str = _key("", "Folder of mask images for masked_loss: files.")
    cache_dir: str = _key("", "Folder of cached latents and text embeddings; empty uses output_dir/cache.")

    model_family: ModelFamily = _key("auto", "Family of the base model; set it if detection fails.")
    prediction_type: Literal["auto", "epsilon", "v_prediction"] = _key(
        "auto", "Prediction type of the base model: noise (epsilon) or v."
    )
    zero_terminal_snr: bool | None = _key(None, "Rescale the noise schedule to zero terminal SNR; empty detects it.")
    clip_skip: int = _key(
        1,
        "Use the text encoder's hidden states this many layers from the end; 1 is the last (SD1, SD2).",
        low=1,
        high=12,
    )
    vae: str = _key("", "VAE file to use instead of the checkpoint's own, or where it has none (Flux: ae).")
    clip_l: str = _key("", "File of the text encoder CLIP-L, for a Flux checkpoint that has none.")
    t5xxl: str = _key("", "File of the text encoder T5-XXL, for a Flux checkpoint that has none.")
    text_model_dir: str = _key("", "Folder of tokenizer files to use instead of the included CLIP tokenizer.")

    lora_rank: int = _key(16, "Rank of the LoRA; 4 to 8 for small changes, 16 to 32 for a style.", low=1, high=1024)
    lora_alpha: float | None = _key(
        None, "The LoRA is scaled by alpha / rank; empty uses the rank (scale 1).", above=0, high=65536
    )
    lora_dropout: float = _key(0.0, "Dropout probability of the adapter's input during training.", low=0, high=0.99)
    target: Literal["attention", "attention-mlp", "full"] = _key(
        "attention-mlp",
        "Layers to train: attention only, attention with feed-forward and projections, or convolutions too.",
    )
    train_text_encoder: bool = _key(False, "Train the text encoder(s), too.")
    text_encoder_lr: float | None = _key(
        None, "Learning rate of the text encoder(s); empty uses a tenth of learning_rate.", above=0, high=10
    )
    init_lora: str = _key("", "LoRA file (.safetensors) to start from.")

    batch_size: int = _key(1, "Images per forward pass, for each process.", low=1, high=1024)
    gradient_accumulation_steps: int = _key(
        1, "Batches whose gradients are accumulated before each optimizer step.", low=1, high=4096
    )
    epochs: int = _key(10, "Passes over the whole dataset.", low=1, high=100000)
    max_steps: int = _key(0, "Maximum number of steps; 0 trains all epochs.", low=0, high=10**9)
    validation_share: float = _key(
        0.1,
        "Share of the images to hold out: the loss on them shows which checkpoint is right. 2 to 16 images; below "
        "that, and with 0, none.",
        low=0,
        high=0.5,
    )
    early_stopping: int = _key(
        0,
        "Stop when the held-out loss has not fallen for this many epochs, and keep the best weights; 0 trains to the "
        "end.",
        low=0,
        high=100000,
    )
    learning_rate: float = _key(
        None,
        "Learning rate; 1e-4 to 3e-4 suits most LoRAs. Empty uses the optimizer's default: 1e-4, Prodigy 1.",
        above=0,
        high=10,
    )
    optimizer: Literal["adamw", "adamw8bit", "lion", "adafactor", "prodigy", "schedulefree"] = _key(
        "adamw", "Optimizer; all but adamw and adafactor need an extra package."
    )
    optimizer_args: dict[str, Any] = _key({}, "Further arguments of the optimizer, by the optimizer's own names.")
    weight_decay: float = _key(0.01, "Weight decay of the optimizer.", low=0, high=10)
    lr_scheduler: Literal["auto", "constant", "cosine", "cosine_with_restarts", "linear", "polynomial"] = _key(
        "auto", "Learning rate schedule; auto uses cosine, or the optimizer's default."
    )
    lr_warmup_steps: float = _key(
        0.0, "Warm-up steps of the learning rate; below 1, a fraction of the run.", low=0, high=10**9
    )
    lr_cycles: int = _key(1, "Number of cycles of cosine_with_restarts.", low=1, high=1000)
    lr_power: float = _key(1.0, "Power of the polynomial schedule.", above=0, high=100)
    max_grad_norm: float = _key(1.0, "Clip the gradient norm to this; 0 disables clipping.", low=0, high=10**6)
    mixed_precision: Literal["auto", "fp32", "fp16", "bf16"] = _key(
        "auto", "Precision of the frozen base model; auto uses fp32 on a CPU, bf16 or fp16 on a GPU."
    )
    gradient_checkpointing: bool = _key(
        False, "Recompute activations in the backward pass: less memory, about a third slower."
    )
    fp8_base: bool = _key(
        False, "Store the frozen UNet's weights in fp8: half the memory, slightly less accurate; not inside a WebUI."
    )
    min_snr_gamma: float = _key(
        0.0, "Min-SNR loss weighting: gamma, usually 5; 0 disables it. Not for Flux.", low=0, high=1000
    )
    noise_offset: float = _key(
        0.0, "Noise offset; 0.03 to 0.1 helps with very dark or very bright images.", low=0, high=1
    )
    loss: Literal["l2", "huber"] = _key("l2", "Loss function; Huber is less sensitive to outliers in a mixed dataset.")
    huber_delta: float = _key(0.1, "Huber threshold: quadratic below, linear above.", above=0, high=1000)
    seed: int = _key(42, "Random seed; the same seed and settings give the same LoRA.", low=0, high=2**32 - 1)
    device: str = _key("auto", "Device: auto, cpu, cuda, cuda:1 or mps.")

    save_steps: int = _key(0, "Save a checkpoint every N steps; 0 disables it.", low=0, high=10**9)
    save_epochs: int = _key(0, "Save a checkpoint every N epochs; 0 disables it.", low=0, high=10**9)
    keep_checkpoints: int = _key(
        0,
        "Keep only the N newest checkpoints, and the one with the lowest held-out loss; 0 keeps all.",
        low=0,
        high=10**9,
    )
    save_precision: Literal["fp16", "bf16", "fp32"] = _key("fp16", "Precision of the LoRA file.")
    save_captions: bool = _key(
        True, "Write caption statistics and preview prompts into the files; false keeps captions private."
    )

    preview_epochs: int = _key(
        0, "Generate previews before training and every N epochs; 0 disables them.", low=0, high=10**9
    )
    preview_prompts: list[str] = _key([], "Prompts of the previews; empty uses the first captions.")
    preview_negative: str = _key("", "Negative prompt of the previews.")
    preview_seed: int = _key(1234, "Seed of the first preview; each further one adds 1.", low=0, high=2**32 - 1)
    preview_steps: int = _key(20, "Sampling steps per preview.", low=1, high=1000)
    preview_cfg_scale: float | None = _key(
        None, "CFG scale of the previews (Flux: guidance); empty uses 7, for Flux 3.5.", low=1, high=100
    )
    preview_sampler: Literal["Euler", "Euler a", "DDIM", "DPM++ 2M", "DPM++ 2M Karras"] = _key(
        "Euler", "Sampler of the previews, by the WebUI's name."
    )
    tensorboard: bool = _key(True, "Also write TensorBoard logs if the package is installed.")

    notes: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        for key, value in dataclasses.asdict(config_optimizer.SUITED[self.optimizer]).items():
            if getattr(self, key) == default(key):
                object.__setattr__(self, key, value)

    @property
    def name(self) -> str:
        """The LoRA's file name without extension."""
        return self.output_name or Path(self.output_dir).resolve().name

    @property
    def alpha(self) -> float:
        """LoRA alpha; the rank when the user names none."""
        return float(self.lora_rank) if self.lora_alpha is None else self.lora_alpha

    @property
    def holds_class(self) -> bool:
        """Whether the class prompt is held at the base model's output."""
        return self.prior_preservation == "class_prompt" and self.prior_loss_weight > 0

    @property
    def cache_path(self) -> Path:
        """Where latents and text embeddings are cached."""
        return Path(self.cache_dir) if self.cache_dir else Path(self.output_dir) / "cache"

    def sides(self, stock: int) -> tuple[int, int]:
        """Width and height in pixels to train at; ``stock`` is the side the model itself was trained at."""
        resolution = self.resolution or [stock]
        return resolution[0], resolution[-1]

    def to_dict(self) -> dict[str, Any]:
        """Every key with its value, ready for YAML or JSON."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key in FIELDS}

    def changed(self) -> dict[str, Any]:
        """The keys that differ from what they are when not given."""
        usual = {key: default(key) for key in FIELDS}
        usual |= dataclasses.asdict(config_optimizer.SUITED[self.optimizer])
        return {key: value for key, value in self.to_dict().items() if value != usual[key]}

    def to_yaml(self) -> str:
        """The keys that differ from their default, as a YAML file that gives this config back."""
        return yaml.safe_dump(self.changed(), sort_keys=False, allow_unicode=True)


FIELDS: dict[str, dataclasses.Field[Any]] = {
    field.name: field for field in dataclasses.fields(Config) if "help" in field.metadata
}
_TYPES = typing.get_type_hints(Config)
#: keys that name the file of a part of the base model
PART_FILES = ("vae", "clip_l", "t5xxl")
_REQUIRED = ("train_data_dir", "base_model", "output_dir")
#: keys whose value is text, also where YAML would read a number or a date
TEXT_KEYS = tuple(key for key in FIELDS if _TYPES[key] in (str, list[str]))


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML or TOML file, apply ``key=value`` overrides, check everything.

    Raises:
        UserError: the file, a key or a value is wrong.
    """
    where = str(path)
    text = config_names.text_keys(TEXT_KEYS)
    values = config_subsets.flat(config_file.read(path, text), FIELDS, where)
    values, notes = config_names.translated(config_subsets.with_files(values, FIELDS, where), where)
    changed = config_subsets.with_files(config_file.overrides(overrides, text), FIELDS, "--set")
    changed, more = config_names.translated(changed, "--set")
    config = from_dict({**values, **changed}, where, [*notes, *more])
    config_check.paths(config, where)
    return config


def read_text(text: str, where: str) -> tuple[dict[str, Any], list[str]]:
    """The keys and values in a YAML text, not checked yet, and what to know about them; no file is touched.

    Raises:
        UserError: the text is no mapping in YAML.
    """
    known = config_names.text_keys(TEXT_KEYS)
    return config_names.translated(config_subsets.flat(config_file.parse(text, where, known), FIELDS, where), where)


def from_dict(values: dict[str, Any], where: str = "config", notes: Sequence[str] = ()) -> Config:
    """Check keys, types and ranges of ``values`` and build the config; ``where`` names their origin in errors.

    Raises:
        UserError: an unknown or missing key, a wrong type, a value out of range.
    """
    values, more = config_names.translated(values, where)
    for key in values:
        if key not in FIELDS:
            raise UserError(_unknown(key, where))
    checked = {
        key: config_check.checked(key, value, _TYPES[key], FIELDS[key].metadata, where)
        for key, value in values.items()
        if value is not None or config_check.optional(_TYPES[key])
    }
    for key in _REQUIRED:
        if not checked.get(key):
            raise UserError(
                f"{where}: {key} is missing; {FIELDS[key].metadata['help'][0].lower()}"
                f"{FIELDS[key].metadata['help'][1:]}"
            )
    config = Config(**_with_arguments(checked, where), notes=(*notes, *more))
    config_check.together(config, where)
    return config


def _with_arguments(values: dict[str, Any], where: str) -> dict[str, Any]:
    """``optimizer_args`` checked for the optimizer; the weight decay among them is the key's."""
    name = values.get("optimizer", default("optimizer"))
    arguments = config_optimizer.arguments(name, values.get("optimizer_args", {}), where)
    decay = arguments.pop("weight_decay", None)
    if decay is not None and values.get("weight_decay", decay) != decay:
        raise UserError(
            f"{where}: weight_decay is {values['weight_decay']:g} and {decay:g} in optimizer_args; keep one of them."
        )
    weight_decay = {} if decay is None else {"weight_decay": float(decay)}
    return {**values, **weight_decay, "optimizer_args": arguments}


def _unknown(key: str, where: str) -> str:
    near = difflib.get_close_matches(key, [*FIELDS, *config_names.SAME], n=1, cutoff=0.5)
    if not near:
        return (
            f"{where}: unknown key {config_check.shown(key).strip(chr(39))}; remove it; docs/config.md lists all keys."
        )
    here = config_names.SAME.get(near[0], near[0])
    return f"{where}: unknown key {key}; did you mean {here}?"


def default(key: str) -> Any:
    """A key's value when it is not given; None for a learning rate that depends on the optimizer."""
    field = FIELDS[key]
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
