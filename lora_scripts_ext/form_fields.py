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
    "Which checkpoint is right": ["validation_share", "early_stopping"],
    "What is trained": [
        "lora_rank", "lora_alpha", "lora_dropout", "target", "train_text_encoder", "text_encoder_lr", "clip_skip",
        "init_lora",
    ],
    "Images": [
        "resolution", "enable_bucket", "bucket_step", "min_bucket_side", "max_bucket_side", "bucket_no_upscale",
        "crop", "crop_variants", "flip", "masked_loss", "unmasked_weight",
        "normalize_masked_area_loss", "mask_dir", "reg_data_dir", "prior_preservation", "class_prompt",
        "prior_loss_weight",
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
#: the heading of what a WebUI decides by itself: asked for only outside of one
BASE_MODEL = "Base model and device"
STANDALONE = [
    "base_model", "model_family", "vae", "clip_l", "t5xxl", "text_model_dir", "mixed_precision", "fp8_base", "device",
]  # fmt: skip
_LABELS = {
    "epochs": "Epochs",
    "num_repeats": "Repeats of each image",
    "batch_size": "Images at once (batch size)",
    "gradient_accumulation_steps": "Gradient accumulation steps",
    "max_steps": "Maximum steps",
    "learning_rate": "Learning rate",
    "lr_scheduler": "Learning rate schedule",
    "lr_warmup_steps": "Warm-up",
    "lr_cycles": "Learning rate restarts",
    "lr_power": "Power of the polynomial schedule",
    "optimizer": "Optimizer",
    "optimizer_args": "Optimizer arguments",
    "weight_decay": "Weight decay",
    "max_grad_norm": "Maximum gradient norm",
    "seed": "Random seed",
    "lora_rank": "LoRA rank (size)",
    "lora_alpha": "LoRA alpha (strength)",
    "lora_dropout": "LoRA dropout",
    "target": "Layers to train",
    "train_text_encoder": "Train the text encoder, too",
    "text_encoder_lr": "Text encoder learning rate",
    "clip_skip": "CLIP skip",
    "init_lora": "Start from this LoRA",
    "resolution": "Resolution",
    "enable_bucket": "Keep the images' proportions",
    "bucket_step": "Sizes are multiples of",
    "min_bucket_side": "Shortest side",
    "max_bucket_side": "Longest side",
    "bucket_no_upscale": "Do not enlarge small images",
    "crop": "Part to keep when cropping",
    "crop_variants": "Random crops of each image",
    "flip": "Mirror images half of the time",
    "masked_loss": "Train only on a part of each image",
    "unmasked_weight": "Weight of the rest of the image",
    "normalize_masked_area_loss": "Count small parts as much as large ones",
    "mask_dir": "Folder of masks",
    "reg_data_dir": "Folder of class images",
    "prior_preservation": "What else the model keeps",
    "class_prompt": "Words for the class",
    "prior_loss_weight": "Weight of what is kept of the class",
    "metadata_path": "File with captions",
    "caption_encoding": "Encoding of the caption files",
    "shuffle_caption": "Shuffle the tags",
    "keep_tokens": "Tags that stay in front",
    "caption_variants": "Shuffled variants of each caption",
    "caption_dropout": "Share trained without a caption",
    "gradient_checkpointing": "Save memory (slower)",
    "min_snr_gamma": "Balance of coarse and fine detail (min-SNR gamma)",
    "noise_offset": "Noise offset",
    "loss": "Loss function",
    "huber_delta": "Huber threshold",
    "prediction_type": "Prediction type",
    "zero_terminal_snr": "Zero terminal SNR",
    "validation_share": "Share of images held out",
    "early_stopping": "Stop early after so many epochs",
    "save_epochs": "Checkpoint every so many epochs",
    "save_steps": "Checkpoint every so many steps",
    "keep_checkpoints": "Checkpoints to keep",
    "save_precision": "Precision of the LoRA file",
    "save_captions": "Write caption words into the file",
    "preview_epochs": "Preview every so many epochs",
    "preview_prompts": "Prompts of the previews",
    "preview_negative": "Negative prompt of the previews",
    "preview_seed": "Seed of the previews",
    "preview_steps": "Sampling steps of a preview",
    "preview_cfg_scale": "CFG scale of the previews",
    "preview_sampler": "Sampler of the previews",
    "base_model": "Base model",
    "output_dir": "Output folder",
    "cache_dir": "Folder of the cache",
    "model_family": "Family of the base model",
    "vae": "VAE file",
    "clip_l": "CLIP-L file",
    "t5xxl": "T5-XXL file",
    "text_model_dir": "Folder of tokenizers",
    "mixed_precision": "Precision of the base model",
    "fp8_base": "Keep the base model in fp8",
    "device": "Device",
    "tensorboard": "Write TensorBoard logs",
}
# What a form calls the values of a key; others are their own names.
_CHOICES = {
    "lr_scheduler": {
        "auto": "Automatic", "constant": "Constant", "cosine": "Cosine",
        "cosine_with_restarts": "Cosine with restarts", "linear": "Linear", "polynomial": "Polynomial",
    },
    "optimizer": {"adamw": "AdamW", "adamw8bit": "AdamW, 8 bit", "schedulefree": "Schedule-free AdamW"},
    "target": {
        "attention": "Attention", "attention-mlp": "Attention and feed-forward", "full": "All, convolutions too",
    },
    "crop": {"center": "The middle", "top": "The top, with faces", "random": "A random part"},
    "masked_loss": {
        "none": "The whole image", "alpha": "What is not transparent", "files": "What is white in its mask",
    },
    "prior_preservation": {
        "none": "Nothing but class images", "class_prompt": "What it draws without the trigger word",
    },
    "loss": {"l2": "Mean squared error (L2)", "huber": "Huber, for mixed quality"},
    "prediction_type": {"auto": "Detect it", "epsilon": "Noise (epsilon)", "v_prediction": "Velocity (v)"},
    "model_family": {"auto": "Detect it"},
    "mixed_precision": {"auto": "Automatic"},
}  # fmt: skip
#: every key of the form, in its order
KEYS = [*SHOWN, *(key for keys in FOLDED.values() for key in keys)]


def label(key: str) -> str:
    """What a form calls a key."""
    return SHOWN[key][0] if key in SHOWN else _LABELS[key]


def help_text(key: str) -> str:
    """What a form says below the field of a key."""
    return SHOWN[key][1] if key in SHOWN else str(FIELDS[key].metadata["help"])


def choice_label(key: str, choice: str) -> str:
    """What a form calls a value of a key."""
    return _CHOICES.get(key, {}).get(choice, choice)


def group(key: str) -> str:
    """The heading that a key is folded away under; empty where a form shows it at once, or not at all."""
    if key in STANDALONE:
        return BASE_MODEL
    return next((heading for heading, keys in FOLDED.items() if key in keys), "")
