"""Captions -> what the UNet attends to: text encoders and their tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Config
from ..contract import Conditioning, FamilyName
from ..errors import UserError
from ..families.family import TextEncoderLayout
from ..families.registry import by_name
from .parts import Checkpoint, ModelPart
from .tokenizer import SHIPPED, SHIPPED_T5, T5Tokenizer, Tokenizer


class TextEncoders:
    """A base model's text encoder, or SDXL's and Flux's two, with their tokenizers.

    Attributes:
        models: ``CLIPTextModel``, and for SDXL ``CLIPTextModelWithProjection`` as the second, or what behaves as they;
            for Flux a T5 encoder that gives its last hidden states.
        cut: the captions that were too long and lost their tail.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        tokenizers: Sequence[Tokenizer | T5Tokenizer],
        family: FamilyName,
        clip_skip: int,
    ) -> None:
        """Put ``models`` and their ``tokenizers`` together; ``clip_skip`` counts layers from the end, the last is 1.

        Raises:
            UserError: ``clip_skip`` exceeds the layers.
        """
        self.models = list(models)
        self._tokenizers = list(tokenizers)
        self._family = by_name(family)
        self.clip_skip = clip_skip
        self._longest = self._tokenizers[self._family.caption_encoder]
        layers = len(models[0].text_model.encoder.layers)
        if self.clip_skip > layers:
            raise UserError(f"clip_skip is {self.clip_skip}; the base model's text encoder has {layers} layers.")

    @property
    def cut(self) -> set[str]:
        """Captions that lost their tail."""
        return self._longest.cut

    @property
    def caption_tokens(self) -> int:
        """As many tokens of a caption are read."""
        return self._longest.room

    def encode(self, captions: Sequence[str], device: torch.device) -> Conditioning:
        """Conditioning of ``captions`` in the models' dtype, as the family's ``encode_text`` says."""
        return self._family.encode_text(self, captions, device)

    def run(self, index: int, captions: Sequence[str], device: torch.device) -> tuple[Any, Tensor]:
        """The text model's output, and the position of the end token in each row, int64 [captions]."""
        tokens = self.tokens(index, captions, device)
        states = self.models[index].text_model(input_ids=tokens, output_hidden_states=True)
        return states, (tokens == self._tokenizers[index].end).int().argmax(dim=-1)

    def tokens(self, index: int, captions: Sequence[str], device: torch.device) -> Tensor:
        """The captions' tokens for one of the models, int64 [captions, tokens]."""
        return self._tokenizers[index](captions).to(device)


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
