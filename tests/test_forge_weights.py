"""Weights loaded as Forge loads them, under inference mode, made fit for gradients and given back."""

import pytest
import torch
from torch import nn

from lora_scripts_ext.hosts.webui.forge.weights import UNET, ordinary, out_of_place, patch_blocks


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
        made = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)).eval()
        made[2].tied = made[2].weight
    return made


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


def test_blocks_that_add_in_place_learn_and_say_the_same():
    torch.manual_seed(2)
    block = BasicTransformerBlock().requires_grad_(False)
    x, context = torch.randn(2, 5, 8), torch.randn(2, 5, 8)
    with torch.no_grad():
        expected = block(x.clone(), context=context)
    leaf = x.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="modified by an inplace"):
        block(leaf * 1, context=context).sum().backward()
    with out_of_place(block, UNET):
        answer = block(leaf * 1, context=context)
        answer.sum().backward()
        with torch.no_grad():
            assert torch.equal(block(x.clone(), context=context), expected)
    assert torch.equal(answer, expected)
    assert leaf.grad.abs().sum() > 0
    assert "forward" not in vars(block)
    patch_blocks(block, UNET)
    assert torch.equal(block(leaf * 1, context=context), expected)
