"""Captions -> what the UNet attends to, by the rules of each family."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import Config
from ..contract import Conditioning, Family
from ..errors import UserError
from .parts import Checkpoint
from .tokenizer import SHIPPED, T5Tokenizer, Tokenizer


class TextEncoders:
    """A base model's text encoder, or SDXL's and Flux's two, with their tokenizers.

    Attributes:
        models: ``CLIPTextModel``, and for SDXL ``CLIPTextModelWithProjection`` as the second, or what behaves as they;
            for Flux a T5 encoder that gives its last hidden states.
        cut: the captions that were too long and lost their tail.
    """

    def __init__(
        self, models: Sequence[nn.Module], tokenizers: Sequence[Tokenizer | T5Tokenizer], family: Family, clip_skip: int
    ) -> None:
        """Put ``models`` and their ``tokenizers`` together; ``clip_skip`` counts layers from the end, the last is 1.

        Raises:
            UserError: ``clip_skip`` exceeds the layers.
        """
        self.models = list(models)
        self._tokenizers = list(tokenizers)
        self._family = family
        self._skip = clip_skip
        # What is read of a caption; CLIP only sums it up for Flux.
        self._longest = self._tokenizers[-1 if family == "flux" else 0]
        layers = len(models[0].text_model.encoder.layers)
        if self._skip > layers:
            raise UserError(f"clip_skip is {self._skip}; the base model's text encoder has {layers} layers.")

    @property
    def cut(self) -> set[str]:
        """Captions that lost their tail."""
        return self._longest.cut

    @property
    def caption_tokens(self) -> int:
        """As many tokens of a caption are read."""
        return self._longest.room

    def encode(self, captions: Sequence[str], device: torch.device) -> Conditioning:
        """Conditioning of ``captions`` in the models' dtype; differentiable when gradients are enabled.

        SD1 and SD2: the last layer's hidden states, or with ``clip_skip`` n the n-th last's, through the final layer
        norm; SD2's models leave the original's last layer out, so their last is its last but one. SDXL: the last but
        one layer of both encoders side by side, without the norm, and the second's projected end token as ``pooled``.
        Flux: T5's last layer, and CLIP's end token, through the final layer norm, as ``pooled``.
        """
        if self._family == "flux":
            return self._flux(captions, device)
        if self._family != "sdxl":
            states, _ = self._run(0, captions, device)
            norm = self.models[0].text_model.final_layer_norm
            return Conditioning(norm(states.hidden_states[-self._skip]))
        first, _ = self._run(0, captions, device)
        second, ends = self._run(1, captions, device)
        context = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        rows = torch.arange(len(captions), device=device)
        return Conditioning(context, self.models[1].text_projection(second.last_hidden_state[rows, ends]))

    def _flux(self, captions: Sequence[str], device: torch.device) -> Conditioning:
        clip, ends = self._run(0, captions, device)
        rows = torch.arange(len(captions), device=device)
        context = self.models[1](input_ids=self._tokenizers[1](captions).to(device))
        return Conditioning(context, clip.last_hidden_state[rows, ends])

    def _run(self, index: int, captions: Sequence[str], device: torch.device) -> tuple[Any, Tensor]:
        """The text model's output, and the position of the end token in each row, int64 [captions]."""
        tokenizer = self._tokenizers[index]
        tokens = tokenizer(captions).to(device)
        states = self.models[index].text_model(input_ids=tokens, output_hidden_states=True)
        return states, (tokens == tokenizer.end).int().argmax(dim=-1)


def tokenizers(checkpoint: Checkpoint, config: Config) -> list[Tokenizer]:
    """A tokenizer for each text encoder: ``text_model_dir``, else the checkpoint's own, else the shipped CLIP one.

    OpenAI's CLIP (SD1, SDXL's first) was used with the end token as padding, open_clip (SD2, SDXL's second) with token
    0, an exclamation mark.

    Raises:
        UserError: tokenizer files are missing or do not fit the text encoder.
    """
    made = []
    for index, (part, own) in enumerate(zip(checkpoint.texts, checkpoint.tokenizers, strict=True)):
        open_clip = checkpoint.family == "sd2" or index == 1
        folder = Path(config.text_model_dir) if config.text_model_dir else own or SHIPPED
        pad = 0 if open_clip and folder != own else None
        length = part.config.get("max_position_embeddings", 77)
        made.append(Tokenizer.read(folder, pad, length, part.config["vocab_size"]))
    return made
