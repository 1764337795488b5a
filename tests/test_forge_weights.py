"""Weights loaded as Forge loads them, under inference mode, made fit for gradients, and restored."""

import pytest
import torch
from diffusers.models.embeddings import apply_rotary_emb, get_1d_rotary_pos_embed
from torch import nn

from lora_scripts_ext.hosts.webui.forge.weights import (
    UNET,
    apply_rope,
    obstacle,
    ordinary,
    out_of_place,
    patch_blocks,
)


class BasicTransformerBlock(nn.Module):
    """The shape of Forge's: what is added, is added in place."""

    disable_self_attn = False

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.first, self.second, self.ff = (nn.Linear(width, width) for _ in range(3))

    def attn1(self, x, context=None):
        return self.first(x)

    def attn2(self, x, context=None):
        return self.second(x) * context

    def forward(self, x, context=None, transformer_options=None):
        x += self.attn1(self.norm1(x))
        x += self.attn2(self.norm2(x), context=context)
        return x + self.ff(self.norm3(x))


@pytest.fixture
def model():
    with torch.inference_mode():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
        layers[2].tied = layers[2].weight
    return layers


def slots(model):
    return [
        tensor for module in model.modules() for tensor in (*module._parameters.values(), *module._buffers.values())
    ]


def test_gradients_go_through_weights_of_inference_mode_and_they_come_back(model):
    before = slots(model)
    assert all(tensor.is_inference() for tensor in before)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved"):
        model(x).sum().backward()
    with ordinary([model]):
        inside = slots(model)
        assert not any(tensor.is_inference() or tensor.requires_grad for tensor in inside)
        assert [tensor.data_ptr() for tensor in inside] == [tensor.data_ptr() for tensor in before]
        assert model[2].tied is model[2].weight
        model(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(now is then for now, then in zip(slots(model), before, strict=True))


def test_they_come_back_after_a_failure(model):
    before = slots(model)
    with pytest.raises(KeyError), ordinary([model]):
        raise KeyError("a run")
    assert all(now is then for now, then in zip(slots(model), before, strict=True))


def test_blocks_that_add_in_place_have_the_same_outputs_and_gradients():
    torch.manual_seed(2)
    block = BasicTransformerBlock().requires_grad_(False)
    x, context = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    with torch.no_grad():
        expected = block(x.clone(), context=context)
    leaf = x.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        block(leaf * 1, context=context).sum().backward()
    with out_of_place(block, UNET):
        output = block(leaf * 1, context=context)
        output.sum().backward()
        with torch.no_grad():
            assert torch.equal(block(x.clone(), context=context), expected)
    assert torch.equal(output, expected)
    assert leaf.grad.abs().sum() > 0
    assert "forward" not in vars(block)
    patch_blocks(block, UNET)
    assert torch.equal(block(leaf * 1, context=context), expected)


class Quantised(torch.Tensor):
    """A class of its own, as quantised weights have."""


def test_quantised_tensors_stay_as_they_are():
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.uint8).as_subclass(Quantised), requires_grad=False)
    weight, bias = layer.weight, layer.bias
    with ordinary([layer]):
        assert layer.weight is weight
        assert layer.bias is not bias


def test_rotary_embeddings_are_those_of_diffusers_and_have_gradients():
    generator = torch.Generator().manual_seed(3)
    query, key = (torch.randn(2, 3, 5, 8, generator=generator, requires_grad=True) for _ in range(2))
    cosine, sine = get_1d_rotary_pos_embed(8, torch.arange(5), repeat_interleave_real=True, use_real=True)
    cos, sin = cosine[:, ::2], sine[:, ::2]
    rotations = torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2))[None, None]
    found = apply_rope(query, key, rotations)
    for one, rotated in zip((query, key), found, strict=True):
        expected = apply_rotary_emb(one, (cosine, sine))
        torch.testing.assert_close(rotated, expected)
        weights = torch.randn(rotated.shape, generator=generator)
        gradients = [torch.autograd.grad((x * weights).sum(), one, retain_graph=True)[0] for x in (rotated, expected)]
        torch.testing.assert_close(*gradients)


class Linear(nn.Module):
    """A layer that computes with quantised numbers and is no Linear of PyTorch's."""

    in_features = 4


class SVDQW4A4Linear(nn.Module):
    """Named as Nunchaku's, which can be imported on CUDA cards only."""


class ForgeOperationsFP8:
    class Linear(nn.Linear):
        """Computes in fp8, though its weights are ordinary ones."""


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (Linear(), "fp16, bf16 or fp8 without scales"),
        (SVDQW4A4Linear(), "has quantised weights (Nunchaku's int4)"),
        (ForgeOperationsFP8.Linear(4, 4), "start the WebUI without --fast-fp8"),
        (torch.compile(nn.Linear(4, 4)), "compiled by torch.compile"),
        (nn.Linear(4, 4), None),
        (nn.Linear(4, 4).bfloat16(), None),
        (nn.Linear(4, 4).to(torch.float8_e4m3fn), None),
        (nn.Conv2d(4, 4, 1), None),
    ],
)
def test_layers_without_gradient_are_told(module, sentence):
    said = obstacle(module)
    assert said is None if sentence is None else sentence in said
