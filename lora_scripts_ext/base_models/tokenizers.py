"""The tokenizers that go with a base model's text encoders."""

from __future__ import annotations

from pathlib import Path

from ..config import Config
from ..families.family import TextEncoderLayout
from ..families.registry import by_name
from ..models.tokenizer import SHIPPED, SHIPPED_T5, T5Tokenizer, Tokenizer
from .parts import Checkpoint, ModelPart


def tokenizers(checkpoint: Checkpoint, config: Config) -> list[Tokenizer | T5Tokenizer]:
    """A tokenizer for each text encoder: for CLIP ``text_model_dir``, else the checkpoint's own, else the shipped one.

    OpenAI's CLIP (SD1, SDXL's first) was used with the end token as padding, open_clip (SD2, SDXL's second) with token
    0, an exclamation mark.

    Raises:
        UserError: tokenizer files are missing or do not fit the text encoder.
    """
    return [
        _tokenizer(part, own, layout, config)
        for part, own, layout in zip(
            checkpoint.texts, checkpoint.tokenizers, by_name(checkpoint.family).text_encoders, strict=True
        )
    ]


def _tokenizer(part: ModelPart, own: Path | None, layout: TextEncoderLayout, config: Config) -> Tokenizer | T5Tokenizer:
    vocabulary = part.config["vocab_size"]
    if layout.t5:
        return T5Tokenizer.read(own or SHIPPED_T5, vocabulary)
    folder = Path(config.text_model_dir) if config.text_model_dir else own or SHIPPED
    pad = 0 if layout.open_clip and folder != own else None
    return Tokenizer.read(folder, pad, part.config.get("max_position_embeddings", 77), vocabulary)
