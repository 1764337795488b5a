"""A base model kept in 8 bits, against the same model with its weights rounded to 8 bits and back."""

import pytest
import torch
from torch import nn

from lora_scripts_ext.adapters import frozen
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Conditioning, Target
from lora_scripts_ext.hosts.standalone.host import StandaloneHost
from lora_scripts_ext.hosts.standalone.inspection import inspect
from lora_scripts_ext.models.layer import row_scale, widened
from lora_scripts_ext.models.low_bits import keep_in_8_bits
from lora_scripts_ext.training import run
from lora_scripts_ext.training.attach import attached

from . import models, shop

STORED = torch.float8_e4m3fn


def gradients(session, target):
    """Prediction and the adapter's gradients, as a step computes them."""
    targets = select(session.targets(), target, False)
    adapter = Adapter(targets, 4, seed=1)
    with torch.no_grad():
        adapter.weights += torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(2)) * 0.05
    generator = torch.Generator().manual_seed(3)
    noisy, context = (
        torch.randn(2, 4, 8, 8, generator=generator),
        torch.randn(2, 77, models.TEXT_WIDTH, generator=generator),
    )
    with attached(adapter, session.targets(), session.blocks(), gradient_checkpointing=False):
        prediction = session.predict(noisy, torch.tensor([10, 900]), Conditioning(context))
        (prediction - 0.3).square().mean().backward()
    return prediction.detach(), adapter.weights.grad


def nearest(weight):
    """``weight`` rounded to 8 bits with a scale per row: the largest of a row becomes 448, e4m3's largest."""
    scale = (weight.float().flatten(1).abs().amax(1) / 448).to(torch.bfloat16).float()
    scale = scale.view(-1, *[1] * (weight.ndim - 1))
    return (weight.float() / scale).to(STORED).float() * scale


def rounded(unet):
    """Every Linear and Conv2d with weights that 8 bits can hold."""
    for module in unet.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.data = nearest(module.weight).to(module.weight.dtype)


def layer_in_8_bits(weight):
    """A layer with this weight, kept in 8 bits."""
    layer = nn.Linear(*weight.shape[::-1]) if weight.ndim == 2 else nn.Conv2d(weight.shape[1], len(weight), 3)
    layer.weight.data = weight.clone()
    keep_in_8_bits(nn.Sequential(layer.requires_grad_(False)))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("std", [0.001, 0.005, 0.01, 0.05])
@pytest.mark.parametrize("shape", [(320, 640), (64, 32, 3, 3)])
def test_small_weights_are_as_exact_as_large_ones(shape, std, dtype):
    """e4m3 has a step of 1/8 between powers of two: normal values are off by 2.6 % (root mean square), whatever their
    size. Without a scale those of 0.005 would be off by 11 %, those of 0.001 by 56 %."""
    weight = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * std).to(dtype)
    layer = layer_in_8_bits(weight)
    restored = widened(layer.weight, row_scale(layer), dtype).float()
    assert layer.weight.dtype == STORED
    torch.testing.assert_close(restored, nearest(weight), rtol=2 * torch.finfo(dtype).eps, atol=1e-7)
    error = ((restored - weight.float()).norm() / weight.float().norm()).item()
    assert 0.024 < error < 0.0275


def test_rows_of_very_different_sizes_do_not_disturb_each_other():
    weight = torch.randn(6, 512, generator=torch.Generator().manual_seed(1)) * 10.0 ** torch.arange(-6, 0)[:, None]
    weight[0] = 0
    layer = layer_in_8_bits(weight)
    restored = widened(layer.weight, row_scale(layer), torch.float32)
    assert not restored[0].any()
    error = (restored - weight)[1:].norm(dim=1) / weight[1:].norm(dim=1)
    assert (error < 0.028).all()


def test_the_scale_moves_with_its_layer():
    layer = layer_in_8_bits(torch.randn(4, 8)).to("meta")
    assert row_scale(layer).device.type == "meta"
    assert layer(torch.empty(2, 8, device="meta")).shape == (2, 4)


def test_eight_bit_weights_without_a_scale_are_used_as_they_are():
    """As Forge keeps them."""
    layer = nn.Linear(8, 4).requires_grad_(False)
    layer.weight = nn.Parameter(layer.weight.to(STORED), requires_grad=False)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    with frozen.efficient_frozen_layers([Target(layer, "lora_unet_x", "x", "unet", "linear")]):
        y = layer(x)
    torch.testing.assert_close(y, x @ layer.weight.float().t() + layer.bias)
    y.sum().backward()
    torch.testing.assert_close(x.grad, layer.weight.float().sum(0).expand(3, -1))


@pytest.mark.parametrize("target", ["attention", "full"])
def test_predictions_and_gradients_are_those_of_the_rounded_weights(target, data, checkpoint, tmp_path):
    config = shop.make_config(data, checkpoint, tmp_path / "out")
    with StandaloneHost().open(config) as session:
        plain = gradients(session, target)
        rounded(session._unet)
        expected = gradients(session, target)
    with StandaloneHost().open(shop.make_config(data, checkpoint, tmp_path / "out", fp8_base=True)) as session:
        weights = [module.weight for module in session._unet.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
        assert {weight.dtype for weight in weights} == {STORED}
        actual = gradients(session, target)
    for one, other, off in zip(actual, expected, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(one, off, rtol=1e-4, atol=1e-6)


def test_no_cast_copy_of_a_weight_is_saved_for_the_backward(data, checkpoint, tmp_path):
    with StandaloneHost().open(shop.make_config(data, checkpoint, tmp_path / "out", fp8_base=True)) as session:
        large = {tuple(w.shape) for name, w in session._unet.named_parameters() if w.dtype == STORED}
        saved = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: saved.append((tuple(t.shape), t.dtype)) or t, lambda t: t
        ):
            gradients(session, "attention-mlp")
    assert [one for one in saved if one[0] in large and one[1] == STORED]
    # Adapter matrices and activations may have a weight's shape by chance; none has the shape of a 3x3 kernel.
    assert not [one for one in saved if len(one[0]) == 4 and one[0][2:] == (3, 3) and one[1] != STORED]


def test_a_run_on_8_bits_writes_a_lora_and_its_estimate_is_smaller(data, checkpoint, tmp_path):
    config = shop.make_config(data, checkpoint, tmp_path / "out", fp8_base=True, preview_epochs=2, preview_steps=1)
    result = run.train(config, StandaloneHost())
    assert result.lora.is_file()
    assert len(result.previews) == 4
    eight = inspect(config).sizes["unet"]
    full = inspect(shop.make_config(data, checkpoint, tmp_path / "out")).sizes["unet"]
    assert eight.parameters == full.parameters
    assert eight.bytes < 0.3 * full.bytes
