"""A shop's images and a config for tests: small, generated from a seed."""

from pathlib import Path

import numpy as np
from PIL import Image

from lora_scripts_ext import config as configs
from lora_scripts_ext.config import Config

PRODUCTS = ["phone", "lamp", "chair", "watch", "cup", "shoe"]


def write_images(folder: Path, count: int = 6, side: int = 32) -> Path:
    """``count`` images of coloured boxes with captions in metadata.csv; every third one is wide."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    rows = ["filename,prompt"]
    for index in range(count):
        width = side * 2 if index % 3 == 2 else side
        pixels = generator.integers(200, 256, (side, width, 3), dtype=np.uint8)
        pixels[side // 4 : -side // 4, width // 4 : -width // 4] = generator.integers(0, 200, 3, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
        rows.append(f'{index:02d}.png,"a {PRODUCTS[index % len(PRODUCTS)]}, on a table, soft light"')
    (folder / "metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


def settings(data: Path, model: Path, out: Path, **changes: object) -> dict[str, object]:
    """A config small enough for a test."""
    return {
        "train_data_dir": str(data),
        "base_model": str(model),
        "output_dir": str(out),
        "resolution": 32,
        "bucket_step": 16,
        "lora_rank": 4,
        "batch_size": 2,
        "epochs": 2,
        "learning_rate": 1e-3,
        "tensorboard": False,
        "device": "cpu",
        "trigger_word": "brnd",
        **changes,
    }


def make_config(data: Path, model: Path, out: Path, **changes: object) -> Config:
    """``settings`` as a checked config."""
    return configs.from_dict(settings(data, model, out, **changes))
