"""The adapter against PEFT on the same tiny UNet and text encoder: outputs, loss, gradients."""

import copy
from functools import cache, partial

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import nn
from torch.utils.checkpoint import checkpoint

from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.dropout import Dropout, layer_seed
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Target
from lora_scripts_ext.models.targets import text_targets, unet_targets

from .models import TEXT_WIDTH, tiny_parts

RANK, ALPHA = 3, 2.0


built = cache(tiny_parts)


def fresh_parts(family):
    """A copy, so that no test sees what another did to a model."""
    return copy.deepcopy(built(family))


def all_targets(parts, family):
    targets = list(unet_targets(parts.unet, family))
    for index, text in enumerate(parts.texts):
        targets += text_targets(text, family, f"te{index + 1}")
    return targets


def randomised(adapter, seed=0):
    """Weights of a trained adapter's kind: ``up`` is not zero."""
    with torch.no_grad():
        adapter.weights.copy_(torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(seed)) * 0.1)
    adapter.refresh()
    return adapter


def unet_inputs(family="sd1", dtype=torch.float32):
    generator = torch.Generator().manual_seed(5)
    noisy = torch.randn(2, 4, 8, 8, generator=generator)
    context = torch.randn(2, 7, TEXT_WIDTH, generator=generator)
    return noisy.to(dtype), torch.tensor([11, 900]), context.to(dtype)


def loss_of(unet, inputs):
    prediction = unet(*inputs).sample
    return prediction, (prediction.float() - 0.3).square().mean()


def with_peft(model, targets, adapter, dropout=0.0):
    """A copy of ``model`` with PEFT's layers, holding the adapter's weights."""
    twin = copy.deepcopy(model)
    paths = [target.path for target in targets]
    inject_adapter_in_model(
        LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=dropout, target_modules=paths), twin, adapter_name="default"
    )
    weights = adapter.layers()
    with torch.no_grad():
        for target in targets:
            layer = twin.get_submodule(target.path)
            layer.lora_A["default"].weight.copy_(weights[target.key].down)
            layer.lora_B["default"].weight.copy_(weights[target.key].up)
    return twin


def assert_same_gradients(adapter, targets, twin, **tolerance):
    rank_first = [g for group in adapter.tensors().values() for g in group]
    by_key = dict(zip(adapter.keys(), zip(rank_first[::2], rank_first[1::2], strict=True), strict=True))
    for target in targets:
        layer = twin.get_submodule(target.path)
        down, up = by_key[target.key]
        assert layer.lora_A["default"].weight.grad.abs().max() > 0
        torch.testing.assert_close(down.grad, layer.lora_A["default"].weight.grad.flatten(1), **tolerance)
        torch.testing.assert_close(up.grad, layer.lora_B["default"].weight.grad.flatten(1), **tolerance)


CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.mark.parametrize("target_set", ["attention", "attention-mlp", "full"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_unet_equals_peft(target_set, channels_last):
    parts = fresh_parts("sd1")
    inputs = unet_inputs()
    if channels_last:
        parts.unet.to(memory_format=torch.channels_last)
        inputs = (inputs[0].contiguous(memory_format=torch.channels_last), *inputs[1:])
    targets = select(unet_targets(parts.unet, "sd1"), target_set, False)
    adapter = randomised(Adapter(targets, RANK, ALPHA))
    twin = with_peft(parts.unet, targets, adapter)
    expected, expected_loss = loss_of(twin, inputs)
    expected_loss.backward()
    with adapter.attached():
        prediction, loss = loss_of(parts.unet, inputs)
        loss.backward()
    torch.testing.assert_close(prediction, expected, **CLOSE)
    torch.testing.assert_close(loss, expected_loss, **CLOSE)
    assert_same_gradients(adapter, targets, twin, **CLOSE)


def test_text_encoder_equals_peft():
    text = fresh_parts("sd1").texts[0]
    targets = list(text_targets(text, "sd1", "te1"))
    assert len(targets) == 3 * 6
    adapter = randomised(Adapter(targets, RANK, ALPHA))
    twin = with_peft(text, targets, adapter)
    tokens = torch.arange(2 * 77).view(2, 77)
    expected = twin(tokens).last_hidden_state
    expected.square().mean().backward()
    with adapter.attached():
        hidden = text(tokens).last_hidden_state
        hidden.square().mean().backward()
    torch.testing.assert_close(hidden, expected, **CLOSE)
    assert_same_gradients(adapter, targets, twin, **CLOSE)


class Masked(nn.Module):
    """Instead of PEFT's dropout: the adapter's mask for this layer, scaled as ``nn.Dropout`` does."""

    def __init__(self, rate, seeds, key):
        super().__init__()
        self.rate, self.dropout, self.seed = rate, Dropout(rate, seeds, torch.device("cpu")), layer_seed(key)

    def forward(self, x):
        return x * self.dropout.mask(x.shape, self.seed) / (1 - self.rate)


@pytest.mark.parametrize("target_set", ["attention-mlp", "full"])
def test_dropout_equals_peft(target_set):
    unet = fresh_parts("sd1").unet
    inputs = unet_inputs()
    targets = select(unet_targets(unet, "sd1"), target_set, False)
    adapter = randomised(Adapter(targets, RANK, ALPHA, dropout=0.25))
    twin = with_peft(unet, targets, adapter, dropout=0.25)
    for target in targets:
        layer = twin.get_submodule(target.path)
        assert layer.lora_dropout["default"].p == 0.25
        layer.lora_dropout["default"] = Masked(0.25, [4, 5], target.key)
    expected, expected_loss = loss_of(twin, inputs)
    expected_loss.backward()
    with adapter.attached(), adapter.dropping([4, 5]):
        prediction, loss = loss_of(unet, inputs)
        loss.backward()
    torch.testing.assert_close(prediction, expected, **CLOSE)
    assert_same_gradients(adapter, targets, twin, **CLOSE)


def convolution(**shape):
    torch.manual_seed(1)
    return nn.Conv2d(6, 10, **shape).requires_grad_(False)


CONVOLUTIONS = {
    "1x1": {"kernel_size": 1},
    "1x1 stride 2": {"kernel_size": 1, "stride": 2},
    "3x3": {"kernel_size": 3, "padding": 1},
    "3x3 stride 2": {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False},
    "3x3 dilated": {"kernel_size": 3, "padding": 2, "dilation": 2},
}


def in_layout(x, layout):
    if layout == "channels-last":
        return x.contiguous(memory_format=torch.channels_last)
    return x.transpose(2, 3).contiguous().transpose(2, 3) if layout == "transposed" else x


@pytest.mark.parametrize("shape", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("layout", ["contiguous", "channels-last", "transposed"])
@pytest.mark.parametrize("grad_layout", ["contiguous", "channels-last", "transposed"])
@pytest.mark.parametrize("plain", [True, False])
def test_convolutions(shape, layout, grad_layout, plain):
    """Every layout, and both the fused path and the one over another forward, against the formula in float64."""
    module = convolution(**shape)
    target = Target(module, "lora_unet_x", "x", "unet", "conv")
    adapter = randomised(Adapter([target], RANK, ALPHA))
    x = in_layout(torch.randn(2, 6, 9, 8), layout).requires_grad_()
    layer = adapter.layers()["lora_unet_x"]
    down, up = (w.double().requires_grad_() for w in (layer.down, layer.up))
    wide = x.detach().double().requires_grad_()
    frozen = copy.deepcopy(module).double()
    hidden = nn.functional.conv2d(wide, down, None, frozen.stride, frozen.padding, frozen.dilation)
    expected = frozen(wide) + ALPHA / RANK * nn.functional.conv2d(hidden, up)
    grad = in_layout(torch.randn(expected.shape), grad_layout)
    expected.backward(grad.double())
    if not plain:
        module.forward = module.forward
    with adapter.attached():
        y = module(x)
        y.backward(grad)
    torch.testing.assert_close(y.double(), expected, **CLOSE)
    torch.testing.assert_close(x.grad.double(), wide.grad, **CLOSE)
    for tensor, reference in zip(adapter.tensors()["unet"], (down, up), strict=True):
        torch.testing.assert_close(tensor.grad.double(), reference.grad.flatten(1), **CLOSE)
    if layout != "transposed":
        memory_format = torch.channels_last if layout == "channels-last" else torch.contiguous_format
        # What a convolution computes by itself lies as its weights do.
        assert y.is_contiguous(memory_format=torch.contiguous_format if plain else memory_format)
        assert x.grad.is_contiguous(memory_format=memory_format)


def tiny_adapter(**options):
    unet = fresh_parts("sd1").unet
    targets = select(unet_targets(unet, "sd1"), "full", False)
    return unet, randomised(Adapter(targets, RANK, ALPHA, **options))


def test_detaching_leaves_no_trace():
    unet, adapter = tiny_adapter()
    inputs = unet_inputs()
    before = unet(*inputs).sample
    own = unet.down_blocks[0].attentions[0].proj_in
    own.forward = lambda x: type(own).forward(own, x) * 2
    doubled = unet(*inputs).sample
    traces = {name: dict(module.__dict__) for name, module in unet.named_modules()}
    with pytest.raises(ZeroDivisionError), adapter.attached():
        assert not torch.equal(unet(*inputs).sample, doubled)
        raise ZeroDivisionError
    assert {name: dict(module.__dict__) for name, module in unet.named_modules()} == traces
    assert torch.equal(unet(*inputs).sample, doubled)
    del own.forward
    assert torch.equal(unet(*inputs).sample, before)
    assert not any("forward" in module.__dict__ for module in unet.modules())


def test_an_existing_instance_forward_is_kept_underneath():
    module = nn.Linear(4, 4)
    module.forward = lambda x: x * 5
    adapter = randomised(Adapter([Target(module, "lora_unet_x", "x", "unet", "linear")], 2))
    x = torch.randn(3, 4)
    layer = adapter.layers()["lora_unet_x"]
    with adapter.attached():
        y = module(x)
    torch.testing.assert_close(y, x * 5 + x @ layer.down.t() @ layer.up.t())
    assert torch.equal(module(x), x * 5)


def test_strength_scales_the_effect():
    unet, adapter = tiny_adapter()
    linear = unet.down_blocks[0].attentions[0].transformer_blocks[0].attn1.to_q
    x = torch.randn(3, linear.in_features)
    plain = linear(x)
    with adapter.attached():
        full = linear(x)
        adapter.strength = 0.5
        half = linear(x)
        adapter.strength = 0.0
        none = linear(x)
    torch.testing.assert_close(half - plain, (full - plain) / 2)
    assert torch.equal(none, plain)


def test_checkpointing_gives_the_same_gradients():
    unet, adapter = tiny_adapter()
    inputs = unet_inputs()
    with adapter.attached():
        loss_of(unet, inputs)[1].backward()
        expected = adapter.weights.grad.clone()
        adapter.zero_grad()
        assert not adapter.weights.grad.any()
        for block in (*unet.down_blocks, unet.mid_block, *unet.up_blocks):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
        loss_of(unet, inputs)[1].backward()
    assert expected.abs().max() > 0
    torch.testing.assert_close(adapter.weights.grad, expected, rtol=1e-5, atol=1e-7)


def test_gradients_add_up_and_steps_reach_the_layers():
    unet, adapter = tiny_adapter()
    inputs = unet_inputs()
    group = adapter.groups()["unet"]
    with adapter.attached():
        loss_of(unet, inputs)[1].backward()
        once = adapter.weights.grad.clone()
        loss_of(unet, inputs)[1].backward()
        torch.testing.assert_close(group.grad, 2 * once)
        assert group.grad.data_ptr() == adapter.weights.grad.data_ptr()
        before = loss_of(unet, inputs)[1]
        torch.optim.SGD([group], lr=1e-2).step()
        adapter.refresh()
        assert loss_of(unet, inputs)[1] < before


def test_gradients_reach_the_adapter_and_only_inputs_that_require_them():
    unet, adapter = tiny_adapter()
    noisy, timesteps, context = unet_inputs()
    block = unet.down_blocks[0].attentions[0].transformer_blocks[0]
    with adapter.attached():
        for needed in (True, False):
            adapter.zero_grad()
            context = context.detach().requires_grad_(needed)
            block.attn2.to_k(context).square().sum().backward()
            assert adapter.weights.grad.abs().max() > 0
            assert (context.grad is not None) == needed
        assert all(parameter.grad is None for parameter in unet.parameters())
        with torch.no_grad():
            assert not unet(noisy, timesteps, context).sample.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("way", ["cast", "autocast", "cast and autocast"])
def test_half_precision_is_close(dtype, way):
    """Gradients land in float32, within the rounding of the format, whether the model is cast or autocast."""
    unet, adapter = tiny_adapter()
    inputs = unet_inputs()
    with adapter.attached():
        loss_of(unet, inputs)[1].backward()
    expected = adapter.weights.grad
    unet, adapter = tiny_adapter(dtype=dtype)
    if way.startswith("cast"):
        unet.to(dtype)
        inputs = unet_inputs(dtype=dtype)
    with adapter.attached(), torch.autocast("cpu", dtype, enabled="autocast" in way):
        prediction, loss = loss_of(unet, inputs)
    loss.backward()
    assert prediction.dtype == dtype
    assert adapter.weights.grad.dtype == torch.float32
    error = (adapter.weights.grad - expected).norm() / expected.norm()
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_initial_weights_depend_on_seed_and_key_only():
    unet = fresh_parts("sd1").unet
    targets = select(unet_targets(unet, "sd1"), "full", False)
    adapter, reversed_ = Adapter(targets, RANK, seed=1), Adapter(targets[::-1], RANK, seed=1)
    assert torch.equal(adapter.weights, reversed_.weights)
    assert adapter.keys() == reversed_.keys()
    fewer = Adapter(targets[:5], RANK, seed=1).layers()
    assert all(torch.equal(fewer[key].down, adapter.layers()[key].down) for key in fewer)
    assert not torch.equal(adapter.weights, Adapter(targets, RANK, seed=2).weights)
    for layer in adapter.layers().values():
        bound = layer.down[0].numel() ** -0.5
        assert not layer.up.any()
        assert layer.down.abs().max() <= bound
        assert layer.down.std() == pytest.approx(bound / 3**0.5, rel=0.25)


def test_groups_divide_the_buffer():
    parts = fresh_parts("sdxl")
    targets = select(all_targets(parts, "sdxl"), "attention", True)
    adapter = Adapter(targets, RANK)
    unet, text = adapter.groups()["unet"], adapter.groups()["text"]
    assert unet.numel() + text.numel() == adapter.weights.numel()
    assert unet.data_ptr() == adapter.weights.data_ptr()
    matrices = adapter.tensors()
    assert {name: sum(m.numel() for m in matrices[name]) for name in matrices} == {
        "unet": unet.numel(),
        "text": text.numel(),
    }
    matrices["text"][0].grad.fill_(1)
    assert text.grad.sum() == matrices["text"][0].numel()
