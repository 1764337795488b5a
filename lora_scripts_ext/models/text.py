"""Captions -> what the UNet attends to: text encoders and their tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import Conditioning, FamilyName
from ..errors import UserError
from ..families.registry import by_name
from .tokenizer import T5Tokenizer, Tokenizer


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
        self._require_layers(models[0])

    def _require_layers(self, model: nn.Module) -> None:
        """``clip_skip`` is of CLIP; T5's layers are not chosen from."""
        if not hasattr(model, "text_model"):
            return
        layers = len(list(model.get_submodule("text_model.encoder.layers").children()))
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
        states = self.models[index].get_submodule("text_model")(input_ids=tokens, output_hidden_states=True)
        return states, (tokens == self._tokenizers[index].end).int().argmax(dim=-1)

    def tokens(self, index: int, captions: Sequence[str], device: torch.device) -> Tensor:
        """The captions' tokens for one of the models, int64 [captions, tokens]."""
        return self._tokenizers[index](captions).to(device)
