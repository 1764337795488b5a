"""Which keys a form asks for, in which groups, and what each is called there."""

from __future__ import annotations

from .config import FIELDS

#: what a form shows at once: its label and help there
SHOWN = {
    "train_data_dir": (
        "Folder with your images",
        "Where it is on the computer that runs this WebUI. 50 to 200 sharp, varied images are a good start. A text "
        "file of the same name beside an image, or a metadata.csv, says what it shows.",
    ),
    "output_name": ("Name", "What the LoRA is called, as a file and in a prompt. Empty: my_lora."),
    "trigger_word": (
        "Trigger word",
        "A word of your own that calls the look, such as mybrnd. It is put in front of every caption; write it into "
        "prompts later. May be empty.",
    ),
}
#: what is folded away, by heading
FOLDED = {
    "How long and how strong": [
        "epochs", "num_repeats", "batch_size", "gradient_accumulation_steps", "max_steps", "learning_rate",
        "lr_scheduler", "lr_warmup_steps", "lr_cycles", "lr_power", "optimizer", "optimizer_args", "weight_decay",
        "max_grad_norm", "seed",
    ],
    "What is trained": [
        "lora_rank", "lora_alpha", "lora_dropout", "target", "train_text_encoder", "text_encoder_lr", "clip_skip",
        "init_lora",
    ],
    "Images": [
        "resolution", "enable_bucket", "bucket_step", "min_bucket_side", "max_bucket_side", "bucket_no_upscale",
        "crop", "crop_variants", "flip", "masked_loss", "unmasked_weight",
        "normalize_masked_area_loss", "mask_dir", "reg_data_dir", "prior_loss_weight",
    ],
    "Captions": [
        "metadata_path", "caption_encoding", "shuffle_caption", "keep_tokens", "caption_variants", "caption_dropout",
    ],
    "Loss and memory": [
        "gradient_checkpointing", "min_snr_gamma", "noise_offset", "loss", "huber_delta", "prediction_type",
        "zero_terminal_snr",
    ],
    "Checkpoints and previews": [
        "save_epochs", "save_steps", "keep_checkpoints", "save_precision", "save_captions", "preview_epochs",
        "preview_prompts", "preview_negative", "preview_seed", "preview_steps", "preview_cfg_scale", "preview_sampler",
    ],
}  # fmt: skip
#: words of keys that are no plain words
_SPELLED = {"Lora": "LoRA", "lora": "LoRA", "Lr": "Learning rate", "lr": "learning rate", "snr": "SNR"}
#: every key of the form, in its order
KEYS = [*SHOWN, *(key for keys in FOLDED.values() for key in keys)]


def label(key: str) -> str:
    """What a form calls a key: a sentence about ``lora_rank`` leads to the field "LoRA rank"."""
    if key in SHOWN:
        return SHOWN[key][0]
    return " ".join(_SPELLED.get(word, word) for word in key.capitalize().split("_"))


def help_text(key: str) -> str:
    """What a form says below the field of a key."""
    return SHOWN[key][1] if key in SHOWN else str(FIELDS[key].metadata["help"])


def group(key: str) -> str:
    """The heading that a key is folded away under; empty where a form shows it at once, or not at all."""
    return next((heading for heading, keys in FOLDED.items() if key in keys), "")
