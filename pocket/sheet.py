"""A sheet of what a trained model draws: an object a column, a style a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from diffusers import AutoencoderKL
from PIL import Image
from transformers import CLIPTokenizer

from lora_scripts_ext import files
from pocket import drawings, text
from pocket.diffusion import Pair, sample

#: the last two are strangers to the 64-px model
OBJECTS = ("a camera", "an umbrella", "a trophy", "a bicycle", "a teapot", "a guitar", "an owl", "a castle")


def write(pair: Pair, model: AutoencoderKL, factor: float, tokenizer: CLIPTokenizer, path: Path) -> None:
    """Draw every object in every style and write the sheet as a PNG.

    factor: the latents' scale factor.
    """
    rows = []
    for style in drawings.STYLES.values():
        ids = text.ids(tokenizer, [f"{style} style, {name}" for name in OBJECTS])
        rows.append(np.concatenate(sample(pair, model, ids, text.ids(tokenizer, [""]), factor), axis=1))
    with files.replacing(path) as temporary:
        Image.fromarray(np.concatenate(rows)).save(temporary, format="PNG")
