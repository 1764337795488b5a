"""Other trainers' keys: kohya's sd-scripts, diffusers' example scripts and, where simple, ai-toolkit and OneTrainer.

A key that means the same is translated to ours, one that changes nothing here is ignored with a warning, and one whose
effect is not available is refused with a sentence.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from . import config_optimizer, config_values
from .config_check import shown
from .config_values import Ours
from .errors import UserError

#: another trainer's key -> ours with the same meaning and the same values
SAME = {
    "pretrained_model_name_or_path": "base_model",
    "name_or_path": "base_model",
    "ae": "vae",
    "base_model_name": "base_model",
    "image_dir": "train_data_dir",
    "instance_data_dir": "train_data_dir",
    "folder_path": "train_data_dir",
    "class_data_dir": "reg_data_dir",
    "in_json": "metadata_path",
    "metadata_file": "metadata_path",
    "network_dim": "lora_rank",
    "network_alpha": "lora_alpha",
    "network_weights": "init_lora",
    "rank": "lora_rank",
    "linear": "lora_rank",
    "linear_alpha": "lora_alpha",
    "train_batch_size": "batch_size",
    "num_train_epochs": "epochs",
    "epoch": "epochs",
    "unet_lr": "learning_rate",
    "lr": "learning_rate",
    "lr_scheduler_num_cycles": "lr_cycles",
    "lr_num_cycles": "lr_cycles",
    "lr_scheduler_power": "lr_power",
    "lr_warmup_ratio": "lr_warmup_steps",
    "warmup_ratio": "lr_warmup_steps",
    "learning_rate_warmup_steps": "lr_warmup_steps",
    "adam_weight_decay": "weight_decay",
    "snr_gamma": "min_snr_gamma",
    "max_resolution": "resolution",
    "min_bucket_reso": "min_bucket_side",
    "max_bucket_reso": "max_bucket_side",
    "bucket_reso_steps": "bucket_step",
    "flip_aug": "flip",
    "random_flip": "flip",
    "dataset_repeats": "num_repeats",
    "repeats": "num_repeats",
    "caption_dropout_rate": "caption_dropout",
    "validation_split": "validation_share",
    "fp8_base_unet": "fp8_base",
    "save_every_n_epochs": "save_epochs",
    "save_every_n_steps": "save_steps",
    "checkpointing_steps": "save_steps",
    "save_last_n_epochs": "keep_checkpoints",
    "checkpoints_total_limit": "keep_checkpoints",
    "sample_every_n_epochs": "preview_epochs",
    "validation_epochs": "preview_epochs",
}
#: keys that change nothing here: speed, logs, uploads, comments, and caches that are always there
HARMLESS = frozenset([
    "cache_latents", "cache_latents_to_disk", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk",
    "cache_info", "text_encoder_batch_size", "vae_batch_size", "skip_cache_check",
    "pre_compute_text_embeddings", "max_data_loader_n_workers", "persistent_data_loader_workers",
    "dataloader_num_workers",
    "xformers", "sdpa", "mem_eff_attn", "allow_tf32",
    "torch_compile", "dynamo_backend", "enable_xformers_memory_efficient_attention", "enable_npu_flash_attention",
    "lowram", "highvram", "no_half_vae", "full_fp16",
    "full_bf16", "fused_backward_pass", "cpu_offload_checkpointing", "blocks_to_swap",
    "disable_mmap_load_safetensors", "tokenizer_cache_dir", "ddp_timeout", "ddp_gradient_as_bucket_view",
    "ddp_static_graph", "local_rank", "config_file", "output_config",
    "logging_dir", "log_with", "log_prefix", "log_tracker_name",
    "log_tracker_config", "log_config", "report_to", "wandb_run_name",
    "wandb_api_key", "console_log_level", "console_log_file", "console_log_simple",
    "debug_loss", "training_comment", "metadata_title", "metadata_author",
    "metadata_description", "metadata_license", "metadata_tags", "huggingface_repo_id",
    "huggingface_repo_type", "huggingface_path_in_repo", "huggingface_token", "huggingface_repo_visibility",
    "save_state_to_huggingface", "async_upload", "push_to_hub", "hub_model_id",
    "hub_token", "save_state", "save_state_on_train_end", "save_last_n_steps",
    "save_last_n_steps_state", "save_last_n_epochs_state", "save_n_epoch_ratio", "use_safetensors",
    "sample_at_first", "num_validation_images", "with_prior_preservation", "num_class_images",
    "sample_batch_size", "prior_generation_precision", "multires_noise_discount", "huber_schedule",
    "huber_c", "huber_scale", "logit_mean", "logit_std",
    "mode_scale", "validation_seed", "output_kohya_format",
])  # fmt: skip
_NOT_HERE = "is not available here; take it out"
#: a key whose effect would be missed -> what to do, as a sentence after the key's name and value
REFUSED = {
    "network_train_text_encoder_only": "trains the text encoder alone, which is not available here; take it out",
    "dim_from_weights": "is not available here; set lora_rank to the rank of the file in init_lora",
    "base_weights": "merges a LoRA into the base model, which is not available here; merge it beforehand",
    "scale_weight_norms": _NOT_HERE,
    "network_dropout": "drops the output of the down matrix, lora_dropout its input; write lora_dropout instead",
    "network_module": "is another kind of adapter, here a LoRA is trained; write networks.lora or take it out",
    "use_dora": _NOT_HERE,
    "pretrained_vae_model_name_or_path": "replaces the VAE; name its .safetensors file in vae",
    "resume": "is an argument here; start train.py with --resume",
    "resume_from_checkpoint": "is an argument here; start train.py with --resume",
    "resume_from_huggingface": "is not available here; start train.py with --resume in the folder of the run",
    "initial_epoch": "is not available here; start train.py with --resume",
    "initial_step": "is not available here; start train.py with --resume",
    "skip_until_initial_step": "is not available here; start train.py with --resume",
    "dataset_name": "names a data set to download; name a folder in train_data_dir",
    "dataset_config": "names a file; give its folder in train_data_dir, or use train.py",
    "image_column": "is found by itself; take it out",
    "caption_column": "is found by itself; take it out, and name the columns filename and prompt",
    "max_train_samples": "leaves images out; move them out of train_data_dir",
    "scale_lr": "scales the learning rate with the batch; write the learning_rate you mean",
    "no_metadata": "is not available here; save_captions: false keeps the captions out of the file",
    "save_model_as": "is another format; LoRAs are written as .safetensors",
    "debug_dataset": "shows the images instead of training; start train.py with --dry-run",
    "color_aug": _NOT_HERE,
    "face_crop_aug_range": "is not available here; take it out, crop: top keeps faces",
    "keep_tokens_separator": "is not available here; write keep_tokens",
    "secondary_separator": _NOT_HERE,
    "enable_wildcard": "is not available here; write captions without {a|b}",
    "caption_separator": "is another separator; separate the parts of a caption by commas",
    "caption_extension": "is not read; name caption files NAME.txt or NAME.caption",
    "caption_ext": "is not read; name caption files NAME.txt or NAME.caption",
    "caption_extention": "is not read; name caption files NAME.txt or NAME.caption",
    "caption_prefix": "is trigger_word here, with a comma after it; write that instead",
    "caption_suffix": "is not available here; write it into the captions",
    "caption_dropout_every_n_epochs": "is not available here; caption_dropout takes a share of the visits",
    "caption_tag_dropout_rate": "is not available here; caption_dropout leaves out whole captions",
    "token_warmup_min": _NOT_HERE,
    "token_warmup_step": _NOT_HERE,
    "weighted_captions": "is not available here; write captions without weights",
    "max_token_length": "is not available here; captions are read to their first 75 tokens, shorten them",
    "tokenizer_max_length": "is not available here; captions are read to their first 75 tokens, shorten them",
    "tokenizer_name": "is text_model_dir here; name the folder there",
    "revision": "chooses among downloads; name a file on your disk in base_model",
    "variant": "chooses among downloads; name a file on your disk in base_model",
    "resize_interpolation": _NOT_HERE,
    "image_interpolation_mode": _NOT_HERE,
    "dataset_class": _NOT_HERE,
    "network_multiplier": _NOT_HERE,
    "custom_attributes": _NOT_HERE,
    "noise_offset_type": "is not available here; take it out, noise_offset is kohya's original one",
    "noise_offset_random_strength": _NOT_HERE,
    "multires_noise_iterations": "is not available here; noise_offset teaches dark and bright looks",
    "adaptive_noise_scale": _NOT_HERE,
    "ip_noise_gamma": _NOT_HERE,
    "ip_noise_gamma_random_strength": _NOT_HERE,
    "input_perturbation": _NOT_HERE,
    "scale_v_pred_loss_like_noise_pred": "is not available here; min_snr_gamma balances the timesteps",
    "v_pred_like_loss": _NOT_HERE,
    "debiased_estimation_loss": "is not available here; min_snr_gamma balances the timesteps",
    "weighting_scheme": "is not available here; min_snr_gamma balances the timesteps",
    "min_timestep": _NOT_HERE,
    "max_timestep": _NOT_HERE,
    "loss_type": "differs from the losses here; write loss: l2 or loss: huber with huber_delta",
    "lr_scheduler_type": "is not available here; write lr_scheduler",
    "lr_scheduler_args": "is not available here; write lr_cycles, lr_power or lr_warmup_steps",
    "lr_decay_steps": "is not available here; write lr_scheduler: linear or cosine",
    "lr_scheduler_timescale": _NOT_HERE,
    "lr_scheduler_min_lr_ratio": _NOT_HERE,
    "stop_text_encoder_training": "is not available here; lower text_encoder_lr or take it out",
    "adam_weight_decay_text_encoder": "is not available here; weight_decay holds for all parts",
    "class_labels_conditioning": _NOT_HERE,
    "do_edm_style_training": _NOT_HERE,
    "text_encoder_use_attention_mask": _NOT_HERE,
    "sample_every_n_steps": "is counted in epochs here; write preview_epochs",
    "validation_images": "is not available here; write preview_prompts",
    "conditioning_data_dir": "holds masks; write masked_loss: files and mask_dir",
}
# Beside null, false, 0 and nothing: values that ask for what happens anyway.
_USUAL = {
    "network_module": ("networks.lora",),
    "save_model_as": ("safetensors",),
    "caption_separator": (",", ", "),
    "caption_extension": (".txt", ".caption", "txt", "caption"),
    "caption_ext": (".txt", ".caption", "txt", "caption"),
    "caption_extention": (".txt", ".caption"),
    "max_token_length": (75, "75"),
    "tokenizer_max_length": (77,),
    "token_warmup_min": (1,),
    "noise_offset_type": ("Original", "original"),
    "weighting_scheme": ("uniform", "none"),
    "max_timestep": (1000,),
    "loss_type": ("l2",),
    "network_multiplier": (1.0,),
}


def text_keys(ours: Collection[str]) -> set[str]:
    """``ours``, the keys whose value is text, and what other trainers call them."""
    return {*ours, *(name for name, key in SAME.items() if key in ours)}


def translated(values: dict[str, Any], where: str) -> tuple[Ours, list[str]]:
    """``values`` under our keys, and what the user should know about it; keys that no trainer knows stay.

    Raises:
        UserError: a key asks for what is not available, or two names of one key have different values.
    """
    settings = {key: value for key, value in values.items() if value not in (None, "") or not _foreign(key)}
    translation: Ours = {}
    origin: dict[str, str] = {}
    for key, value in settings.items():
        for ours, meant in _meaning(key, value, where).items():
            if ours in translation and not config_values.equal(translation[ours], meant):
                raise UserError(
                    f"{where}: {origin[ours]} is {shown(settings[origin[ours]])} but {key} is {shown(value)}, and both "
                    f"set {ours}; keep one of them."
                )
            translation[ours] = meant
            origin.setdefault(ours, key)
    _length(settings, translation)
    _text_encoder(settings, translation)
    _arguments(settings, translation)
    return translation, _notes(settings, translation, where)


def _foreign(key: str) -> bool:
    return key in SAME or key in REFUSED or key in HARMLESS or key in config_values.CONVERTED


def _meaning(key: str, value: Any, where: str) -> Ours:
    """Our keys with their values for one key of any trainer."""
    if key in config_values.CONVERTED:
        return config_values.CONVERTED[key](key, value, where)
    if key in REFUSED:
        if value not in (None, False, 0, "", [], {}) and value not in _USUAL.get(key, ()):
            raise UserError(f"{where}: {key} ({shown(value)}) {REFUSED[key]}.")
        return {}
    if key in HARMLESS:
        return {}
    ours = SAME.get(key, key)
    return {ours: config_values.VALUES[ours](value, where) if ours in config_values.VALUES else value}


def _length(settings: dict[str, Any], translation: Ours) -> None:
    """``max_train_steps`` lasts that many steps, however many epochs that takes; `max_train_epochs` overrides it."""
    steps = config_optimizer.number(settings.get("max_train_steps", settings.get("steps")))
    if not steps:
        return
    if config_optimizer.number(settings.get("max_train_epochs")):
        translation.pop("max_steps", None)
    elif "epochs" not in settings and "epoch" not in settings:
        # An epoch has a step at least.
        translation["epochs"] = max(1, min(int(steps), 100_000))


def _text_encoder(settings: dict[str, Any], translation: Ours) -> None:
    """kohya's text encoder is trained at the general learning rate, and not at all at a rate of 0."""
    if config_optimizer.number(translation.get("text_encoder_lr")) == 0:
        del translation["text_encoder_lr"]
        translation.setdefault("train_text_encoder", False)
    if settings.get("network_train_unet_only") is False and translation.get("train_text_encoder"):
        rate = translation.get("learning_rate")
        if rate is not None:
            translation.setdefault("text_encoder_lr", rate)


def _arguments(settings: dict[str, Any], translation: Ours) -> None:
    """diffusers' options of the optimizer; those of Prodigy are for Prodigy only."""
    if settings.get("use_8bit_adam") is True and translation.get("optimizer", "adamw") == "adamw":
        translation["optimizer"] = "adamw8bit"
    arguments: Ours = {}
    if "adam_beta1" in settings or "adam_beta2" in settings:
        arguments["betas"] = [settings.get("adam_beta1", 0.9), settings.get("adam_beta2", 0.999)]
    for key, name in config_values.ARGUMENTS.items():
        if key in settings and name != "betas" and (name == "eps" or translation.get("optimizer") == "prodigy"):
            arguments[name] = settings[key]
    if arguments:
        translation["optimizer_args"] = {**arguments, **translation.get("optimizer_args", {})}


def _notes(settings: dict[str, Any], translation: Ours, where: str) -> list[str]:
    notes = []
    ignored = [key for key, value in settings.items() if key in HARMLESS and value not in (False, 0, "", [], {})]
    if ignored:
        notes.append(f"{where}: ignored, because it changes nothing here: {', '.join(ignored)}.")
    if "max_train_epochs" in settings and "max_train_steps" in settings and "max_steps" not in translation:
        notes.append(f"{where}: max_train_steps is ignored, because max_train_epochs is set, as in kohya's scripts.")
    named = [key for key in ("class_tokens", "instance_prompt") if settings.get(key)]
    if named:
        notes.append(f"{where}: {named[0]} is put in front of every caption, as trigger_word.")
    prompts = settings.get("sample_prompts")
    if isinstance(prompts, list) and any(" --" in str(prompt) for prompt in prompts):
        notes.append(f"{where}: options (--n, --w ...) of sample_prompts are ignored; see the preview_... keys.")
    if "network_module" in settings:
        notes += _kohya_defaults(translation, where)
    return notes


def _kohya_defaults(translation: Ours, where: str) -> list[str]:
    """What kohya's scripts would do where the file says nothing, and here is done differently."""
    differs = {
        "lora_alpha": "network_alpha (kohya: 1, here: the rank)",
        "lr_scheduler": "lr_scheduler (kohya: constant, here: what suits the optimizer)",
        "epochs": "max_train_steps (kohya: 1600, here: 10 epochs)",
        "train_text_encoder": "network_train_unet_only (kohya: the text encoder learns, here: it does not)",
    }
    missing = [note for key, note in differs.items() if key not in translation]
    return [f"{where}: not set, and different from kohya's scripts: {'; '.join(missing)}."] if missing else []
