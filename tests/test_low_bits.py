"""A base model kept in 8 bits, against the same model with its weights rounded to 8 bits and back."""

import pytest
import torch
from torch import nn

from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.hosts.base import Conditioning
from lora_scripts_ext.hosts.inspection import inspect
from lora_scripts_ext.hosts.standalone import StandaloneHost
from lora_scripts_ext.training import run
from lora_scripts_ext.training.attach import attached

from . import models, shop

STORED = torch.float8_e4m3fn


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shop.write_pictures(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return models.write_checkpoint(tmp_path_factory.mktemp("model") / "tiny.safetensors", "sd1")


def gradients(session, target):
    """Prediction and the adapter's gradients, in the way that a step computes them."""
    targets = select(session.targets(), target, False)
    adapter = Adapter(targets, 4, seed=1)
    with torch.no_grad():
        adapter.weights += torch.randn(adapter.weights.shape, generator=torch.Generator().manual_seed(2)) * 0.05
    draw = torch.Generator().manual_seed(3)
    noisy, context = torch.randn(2, 4, 8, 8, generator=draw), torch.randn(2, 77, models.TEXT_WIDTH, generator=draw)
    with attached(adapter, session.targets(), session.blocks(), gradient_checkpointing=False):
        prediction = session.predict(noisy, torch.tensor([10, 900]), Conditioning(context))
        (prediction - 0.3).square().mean().backward()
    return prediction.detach(), adapter.weights.grad


def rounded(unet):
    """Every Linear and Conv2d with weights that 8 bits can hold."""
    for module in unet.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.weight.data = module.weight.to(STORED).to(module.weight.dtype)


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
        found = gradients(session, target)
    for one, other, off in zip(found, expected, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
        assert not torch.allclose(one, off, rtol=1e-4, atol=1e-6)


def test_no_cast_copy_of_a_weight_waits_for_the_backward(data, checkpoint, tmp_path):
    with StandaloneHost().open(shop.make_config(data, checkpoint, tmp_path / "out", fp8_base=True)) as session:
        large = {tuple(w.shape) for name, w in session._unet.named_parameters() if w.dtype == STORED}
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: kept.append((tuple(t.shape), t.dtype)) or t, lambda t: t
        ):
            gradients(session, "attention-mlp")
    assert [one for one in kept if one[0] in large and one[1] == STORED]
    # Adapter matrices and activations may have a weight's shape by chance; none has the shape of a 3x3 kernel.
    assert not [one for one in kept if len(one[0]) == 4 and one[0][2:] == (3, 3) and one[1] != STORED]


def test_a_run_on_8_bits_ends_with_a_lora_and_is_foretold_smaller(data, checkpoint, tmp_path):
    config = shop.make_config(data, checkpoint, tmp_path / "out", fp8_base=True, preview_epochs=2, preview_steps=1)
    result = run.train(config, StandaloneHost())
    assert result.lora.is_file()
    assert len(result.previews) == 4
    eight = inspect(config).sizes["unet"]
    whole = inspect(shop.make_config(data, checkpoint, tmp_path / "out")).sizes["unet"]
    assert eight.parameters == whole.parameters
    assert eight.bytes < 0.3 * whole.bytes
