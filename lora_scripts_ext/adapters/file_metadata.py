"""The metadata of a LoRA file: kohya's ``ss_*``, Stability's ``modelspec.*`` and hashes. All values are text."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..config import Config
from ..contract import ModelInfo
from ..families.registry import by_name
from ..precision import name_of


@dataclass(frozen=True)
class Folder:
    """A folder of images: how many, and how often each is used in an epoch."""

    images: int
    repeats: int


@dataclass(frozen=True)
class RunFacts:
    """Facts of a run when a file is written.

    Attributes:
        steps: optimizer steps done.
        max_steps: optimizer steps planned.
        epoch: epochs begun; the last one need not be whole.
        started_at: seconds since 1970.
        finished_at: seconds since 1970.
        batches_per_epoch: batches, before gradient accumulation.
        text_encoder_lr: None when the text encoders are not trained.
        folders: training folders by name.
        reg_folders: regularisation folders by name.
        buckets: images, repeats counted, by bucket (width, height) in pixels.
        tag_frequency: by training folder, how many of its captions hold each comma-separated part.
        dataset_version: SHA-256 (hex) of images, captions and repeats: what the LoRA was trained on.
    """

    steps: int
    max_steps: int
    epoch: int
    started_at: float
    finished_at: float
    batches_per_epoch: int
    text_encoder_lr: float | None
    folders: Mapping[str, Folder]
    reg_folders: Mapping[str, Folder] = field(default_factory=dict)
    buckets: Mapping[tuple[int, int], int] = field(default_factory=dict)
    tag_frequency: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    dataset_version: str = ""


def build(config: Config, model: ModelInfo, facts: RunFacts) -> dict[str, str]:
    """The metadata of a file, without its hashes (:func:`hashes` needs the tensors).

    With ``save_captions: false`` neither caption statistics nor folder names, which may serve as captions, are in it.
    """
    entries = {
        **_model_entries(config, model),
        **_training_entries(config, model, facts),
        **_data_entries(config, model, facts),
    }
    if config.save_captions:
        entries["ss_dataset_dirs"] = _json(_folders(facts.folders))
        entries["ss_reg_dataset_dirs"] = _json(_folders(facts.reg_folders))
        entries["ss_tag_frequency"] = _json(facts.tag_frequency)
    return {key: str(value) for key, value in (entries | _modelspec(config, model, facts)).items()}


def hashes(serialised: bytes) -> dict[str, str]:
    """Hashes of a LoRA file as kohya's scripts and the WebUIs define them.

    ``sshs_model_hash`` is the SHA-256 of the tensor data, everything behind the header; ``modelspec.hash_sha256`` the
    same with 0x in front. ``sshs_legacy_hash`` is the first eight digits of the SHA-256 of bytes 0x100000 to 0x110000.

    Args:
        serialised: the file's bytes when its metadata holds only the ``ss_*`` entries.
    """
    header_size = int.from_bytes(serialised[:8], "little")
    tensor_data = memoryview(serialised)[8 + header_size :]
    model_hash = hashlib.sha256(tensor_data).hexdigest()
    legacy_hash = hashlib.sha256(serialised[0x100000:0x110000]).hexdigest()[:8]
    return {
        "sshs_model_hash": model_hash,
        "sshs_legacy_hash": legacy_hash,
        "modelspec.hash_sha256": f"0x{model_hash}",
    }


def _model_entries(config: Config, model: ModelInfo) -> dict[str, Any]:
    return {
        "ss_output_name": config.name,
        "ss_base_model_version": by_name(model.family).base_model_version(model),
        "ss_v2": by_name(model.family).kohya_v2,
        "ss_sd_model_name": model.name,
        # The WebUI's short hash and the full SHA-256 that it is the beginning of.
        "ss_sd_model_hash": model.hash[:10],
        "ss_new_sd_model_hash": model.hash,
        "ss_clip_skip": config.clip_skip,
        "ss_zero_terminal_snr": model.zero_terminal_snr,
        "ss_network_module": "networks.lora",
        "ss_network_dim": config.lora_rank,
        "ss_network_alpha": config.alpha,
        "ss_network_dropout": config.lora_dropout,
        "ss_network_args": _json(_network_args(config)),
    }


def _training_entries(config: Config, model: ModelInfo, facts: RunFacts) -> dict[str, Any]:
    return {
        "ss_training_started_at": facts.started_at,
        "ss_training_finished_at": facts.finished_at,
        "ss_learning_rate": config.learning_rate,
        "ss_unet_lr": config.learning_rate,
        "ss_text_encoder_lr": facts.text_encoder_lr,
        "ss_optimizer": _optimizer(config),
        "ss_lr_scheduler": config.lr_scheduler,
        "ss_lr_warmup_steps": f"{config.lr_warmup_steps:g}",
        "ss_max_grad_norm": config.max_grad_norm,
        "ss_epoch": facts.epoch,
        "ss_num_epochs": -(-facts.max_steps * config.gradient_accumulation_steps // facts.batches_per_epoch),
        "ss_steps": facts.steps,
        "ss_max_train_steps": facts.max_steps,
        "ss_gradient_accumulation_steps": config.gradient_accumulation_steps,
        "ss_gradient_checkpointing": config.gradient_checkpointing,
        "ss_mixed_precision": "no" if model.dtype == torch.float32 else name_of(model.dtype),
        "ss_fp8_base": config.fp8_base,
        "ss_seed": config.seed,
        "ss_loss_type": config.loss,
        "ss_min_snr_gamma": config.min_snr_gamma or None,
        "ss_noise_offset": config.noise_offset or None,
        "ss_prior_loss_weight": config.prior_loss_weight,
    }


def _data_entries(config: Config, model: ModelInfo, facts: RunFacts) -> dict[str, Any]:
    return {
        "ss_dataset_version": facts.dataset_version,
        "ss_num_train_images": _visits(facts.folders),
        "ss_num_reg_images": _visits(facts.reg_folders),
        "ss_num_batches_per_epoch": facts.batches_per_epoch,
        "ss_batch_size_per_device": config.batch_size,
        "ss_resolution": _resolution(config, model),
        "ss_enable_bucket": config.enable_bucket,
        "ss_bucket_info": _json(_bucket_info(facts.buckets)),
        "ss_shuffle_caption": config.shuffle_caption,
        "ss_keep_tokens": config.keep_tokens,
        "ss_caption_dropout_rate": config.caption_dropout,
        "ss_flip_aug": config.flip,
    }


def _modelspec(config: Config, model: ModelInfo, facts: RunFacts) -> dict[str, Any]:
    width, height = _resolution(config, model)
    finished = datetime.datetime.fromtimestamp(facts.finished_at, datetime.timezone.utc)
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": by_name(model.family).architecture(model),
        "modelspec.implementation": by_name(model.family).implementation,
        "modelspec.title": config.name,
        "modelspec.date": finished.isoformat(timespec="seconds"),
        "modelspec.resolution": f"{width}x{height}",
        **_prediction(model),
        "modelspec.encoder_layer": config.clip_skip,
    }


def _prediction(model: ModelInfo) -> dict[str, str]:
    """The specification only has epsilon and v."""
    name = {"epsilon": "epsilon", "v_prediction": "v"}.get(model.prediction_type)
    return {"modelspec.prediction_type": name} if name else {}


def _network_args(config: Config) -> dict[str, Any]:
    """kohya's arguments of a LoRA with convolutions, and our own name of the set of layers that are trained."""
    convolutions = {"conv_dim": config.lora_rank, "conv_alpha": config.alpha} if config.target == "full" else {}
    return {"target": config.target, **convolutions}


def _optimizer(config: Config) -> str:
    arguments = {"weight_decay": config.weight_decay, **config.optimizer_args}
    return f"{config.optimizer}({','.join(f'{key}={value}' for key, value in arguments.items())})"


def _resolution(config: Config, model: ModelInfo) -> tuple[int, int]:
    sides = config.resolution or [model.resolution]
    return sides[0], sides[-1]


def _visits(folders: Mapping[str, Folder]) -> int:
    return sum(folder.images * folder.repeats for folder in folders.values())


def _folders(folders: Mapping[str, Folder]) -> dict[str, dict[str, int]]:
    return {name: {"n_repeats": folder.repeats, "img_count": folder.images} for name, folder in folders.items()}


def _bucket_info(buckets: Mapping[tuple[int, int], int]) -> dict[str, Any]:
    sizes = sorted(buckets.items())
    return {"buckets": {str(i): {"resolution": size, "count": count} for i, (size, count) in enumerate(sizes)}}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
