"""Names: diffusers <-> original UNet paths, open_clip -> transformers text paths, kohya keys.

Everything here is text in, text out. *Original* means the names of Stable Diffusion's own checkpoints (ldm and sgm
modules, relative to ``model.diffusion_model.``), *diffusers* those of ``UNet2DConditionModel``. Paths may name a module
or one of its parameters: a trailing ``.weight`` or ``.bias`` is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ..families.registry import by_name

if TYPE_CHECKING:
    from ..contract import FamilyName, Part

_ATTENTION_PATH = re.compile(r"^(down|up)_blocks\.(\d+)\.attentions\.(\d+)\.")
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTSIDE_BLOCKS = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_OUTSIDE_LAYERS = {
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding": "text_model.embeddings.token_embedding",
    "ln_final": "text_model.final_layer_norm",
    "text_projection": "text_projection.weight",
}


@dataclass(frozen=True)
class UNetLayout:
    """The shape of a Stable Diffusion UNet, as far as its names depend on it.

    Attributes:
        layers_per_block: residual layers of a down block (diffusers ``layers_per_block``, original
            ``num_res_blocks``); up blocks have one more.
        attention_levels: for each down block, first to last, whether it has attention. Up blocks mirror it; the middle
            block always has attention.
    """

    layers_per_block: int
    attention_levels: tuple[bool, ...]

    @classmethod
    def from_block_types(cls, down_block_types: Sequence[str], layers_per_block: int) -> UNetLayout:
        """The layout of a diffusers config: ``CrossAttnDownBlock2D`` has attention, ``DownBlock2D`` has not."""
        return cls(layers_per_block, tuple("CrossAttn" in name for name in down_block_types))

    @classmethod
    def of_paths(cls, paths: Iterable[str]) -> UNetLayout | None:
        """The layout of a UNet of which ``paths`` (diffusers) are the layers with attention, or more; None where there
        is none."""
        attentions = [(m[1], int(m[2]), int(m[3])) for path in paths if (m := _ATTENTION_PATH.match(path))]
        if not attentions:
            return None
        ups = [level for side, level, _ in attentions if side == "up"]
        levels = 1 + max(level for _, level, _ in attentions)
        down = {level for side, level, _ in attentions if side == "down"} | {levels - 1 - level for level in ups}
        layers = max(layer + (side == "down") for side, _, layer in attentions)
        return cls(layers, tuple(level in down for level in range(levels)))

    def to_original(self, path: str) -> str:
        """Diffusers path -> original path; an original path comes back as it is.

        Raises:
            ValueError: a UNet of this layout has no such path.
        """
        return self._translate(path, self._originals, self._diffusers)

    def to_diffusers(self, path: str) -> str:
        """Original path -> diffusers path; a diffusers path comes back as it is.

        Raises:
            ValueError: a UNet of this layout has no such path.
        """
        return self._translate(path, self._diffusers, self._originals)

    def find_diffusers(self, path: str) -> str | None:
        """Original path -> diffusers path; None for what a UNet of this layout does not have in diffusers."""
        return _replace_head(path, self._diffusers)

    def find_original(self, path: str) -> str | None:
        """Diffusers path -> original path; None for what a UNet of this layout does not have."""
        return _replace_head(path, self._originals)

    def originals(self) -> dict[str, str]:
        """Diffusers path -> original path of every module that the two call differently."""
        return dict(self._originals)

    def _translate(self, path: str, table: dict[str, str], already: dict[str, str]) -> str:
        translated = _replace_head(path, table)
        if translated is not None:
            return translated
        if _replace_head(path, already) is not None:
            return path
        raise ValueError(f"{path}: a Stable Diffusion UNet with {self} has no module of this name.")

    @cached_property
    def _originals(self) -> dict[str, str]:
        """Diffusers path -> original path of every module that the two call differently."""
        return dict(self._pairs())

    @cached_property
    def _diffusers(self) -> dict[str, str]:
        return {original: path for path, original in self._originals.items()}

    def _pairs(self) -> Iterator[tuple[str, str]]:
        yield from _OUTSIDE_BLOCKS.items()
        yield from _resnet_pairs("mid_block.resnets.0", "middle_block.0")
        yield "mid_block.attentions.0", "middle_block.1"
        yield from _resnet_pairs("mid_block.resnets.1", "middle_block.2")
        for level, has_attention in enumerate(self.attention_levels):
            yield from self._down_pairs(level, has_attention)
        for level, has_attention in enumerate(reversed(self.attention_levels)):
            yield from self._up_pairs(level, has_attention)

    def _down_pairs(self, level: int, has_attention: bool) -> Iterator[tuple[str, str]]:
        # input_blocks.0 is conv_in; each level takes one entry a layer and one for its downsampler.
        first = 1 + level * (self.layers_per_block + 1)
        for layer in range(self.layers_per_block):
            yield from _resnet_pairs(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{first + layer}.0")
            if has_attention:
                yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{first + layer}.1"
        if level < len(self.attention_levels) - 1:
            yield f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{first + self.layers_per_block}.0.op"

    def _up_pairs(self, level: int, has_attention: bool) -> Iterator[tuple[str, str]]:
        first = level * (self.layers_per_block + 1)
        for layer in range(self.layers_per_block + 1):
            yield from _resnet_pairs(f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{first + layer}.0")
            if has_attention:
                yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{first + layer}.1"
        if level < len(self.attention_levels) - 1:
            # The upsampler shares its entry with the level's last layer, behind the attention if there is one.
            last = f"output_blocks.{first + self.layers_per_block}.{2 if has_attention else 1}"
            yield f"up_blocks.{level}.upsamplers.0.conv", f"{last}.conv"


def open_clip_to_hf(path: str) -> tuple[str, ...]:
    """Names in transformers' CLIP for a path in open_clip's text tower (``transformer.resblocks.0.mlp.c_fc.weight``).

    One name as a rule. Three for ``attn.in_proj_weight`` and ``attn.in_proj_bias``: query, key, value, which are equal
    thirds of its first dimension in this order. None for what transformers does not keep (``logit_scale``,
    ``attn_mask``). ``text_projection`` is a matrix [width, projection] in open_clip and the transposed weight
    [projection, width] of a Linear in transformers.

    Raises:
        ValueError: open_clip's text tower has no such path.
    """
    if path in ("logit_scale", "attn_mask"):
        return ()
    outside = _replace_head(path, _OPEN_CLIP_OUTSIDE_LAYERS)
    if outside is not None:
        return (outside,)
    if path.startswith("transformer.resblocks."):
        number, _, rest = path.removeprefix("transformer.resblocks.").partition(".")
        layer = f"text_model.encoder.layers.{number}"
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = rest.removeprefix("attn.in_proj_")
            return tuple(f"{layer}.self_attn.{part}_proj.{kind}" for part in "qkv")
        inside = _replace_head(rest, _OPEN_CLIP_LAYER)
        if inside is not None:
            return (f"{layer}.{inside}",)
    raise ValueError(f"{path}: open_clip's text encoder has no module of this name.")


def unet_key(family: FamilyName, path: str, layout: UNetLayout) -> str:
    """The kohya name, without suffix, of the UNet module at ``path`` (diffusers or original).

    SD1 and SD2 files name UNet modules as diffusers does, SDXL files as the original checkpoint does.

    Raises:
        ValueError: a UNet of this layout has no such path.
    """
    named = layout.to_original(path) if by_name(family).keys_from_original else layout.to_diffusers(path)
    return f"lora_unet_{named.replace('.', '_')}"


def flux_key(path: str) -> str:
    """The kohya name, without suffix, of the module at ``path`` in Flux's original layout."""
    return f"lora_unet_{path.replace('.', '_')}"


def text_key(family: FamilyName, part: Part, path: str) -> str:
    """The kohya name, without suffix, of the text encoder module at ``path`` (transformers' name, as in
    ``text_model.encoder.layers.0.self_attn.q_proj``); ``part`` tells SDXL's two encoders apart."""
    return f"{by_name(family).text_key_prefix(part)}_{path.replace('.', '_')}"


def _resnet_pairs(path: str, original: str) -> Iterator[tuple[str, str]]:
    for leaf, original_leaf in _RESNET.items():
        yield f"{path}.{leaf}", f"{original}.{original_leaf}"


def _replace_head(path: str, table: dict[str, str]) -> str | None:
    """``path`` with its leading parts replaced as ``table`` says; None when the table knows none of them."""
    head = path
    while head:
        if head in table:
            return table[head] + path[len(head) :]
        head = head.rpartition(".")[0]
    return None
