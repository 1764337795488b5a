"""Which inputs of an adapter are dropped."""

import copy
from functools import cache

import pytest
import torch
from torch import nn

from lora_scripts_ext import random_streams
from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.dropout import Dropout, layer_seed
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Target
from lora_scripts_ext.models.targets import unet_targets
from lora_scripts_ext.training import recompute

from .models import TEXT_WIDTH, tiny_parts

CPU = torch.device("cpu")
LAYER = layer_seed("lora_unet_x")
built = cache(tiny_parts)


def of_example(step, position):
    return random_streams.derive(42, 2, step, position)


def mask_of(rate, examples, shape, layer=LAYER):
    return Dropout(rate, examples, CPU).mask(torch.Size(shape), layer)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.99])
def test_the_share_that_is_kept_and_the_expected_value(rate):
    mask = mask_of(rate, [of_example(0, 0), of_example(0, 1)], (2, 500, 1000))
    assert set(mask.unique().tolist()) == {0, 1}
    spread = (rate * (1 - rate) / mask.numel()) ** 0.5
    assert mask.double().mean().item() == pytest.approx(1 - rate, abs=5 * spread + 2**-16)
    scaled = mask.double().mean().item() * Dropout(rate, [1], CPU).scale
    assert scaled == pytest.approx(1, abs=6 * spread / (1 - rate))


def test_layers_steps_and_examples_are_dropped_independently():
    """Two independent masks agree in p² + (1 - p)² of their elements."""
    here = mask_of(0.3, [of_example(0, 0)], (1, 400, 400))
    others = {
        "layer": mask_of(0.3, [of_example(0, 0)], (1, 400, 400), layer_seed("lora_unet_y")),
        "step": mask_of(0.3, [of_example(1, 0)], (1, 400, 400)),
        "example": mask_of(0.3, [of_example(0, 1)], (1, 400, 400)),
        "row": here.roll(1, 1),
        "neighbour": here.roll(1, 2),
    }
    for what, other in others.items():
        assert (here == other).double().mean().item() == pytest.approx(0.09 + 0.49, abs=0.01), what


@pytest.mark.parametrize("shape", [(5,), (7, 5), (3, 5, 7)])
def test_an_example_is_dropped_the_same_in_any_batch(shape):
    examples = [of_example(3, position) for position in range(4)]
    whole = mask_of(0.4, examples, (4, *shape))
    assert torch.equal(whole[1:3], mask_of(0.4, examples[1:3], (2, *shape)))
    assert torch.equal(whole[::2], mask_of(0.4, examples[::2], (2, *shape)))
    assert torch.equal(whole, mask_of(0.4, examples, (4, *shape)))
    # Where an example has several rows, they follow each other.
    assert torch.equal(mask_of(0.4, examples, (8, *shape))[2:6], mask_of(0.4, examples[1:3], (4, *shape)))


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    mask_of(0.4, [1, 2], (2, 30))
    assert torch.equal(before, torch.get_rng_state())


def linear(inputs=6, outputs=10):
    torch.manual_seed(1)
    return nn.Linear(inputs, outputs).requires_grad_(False), "linear"


def convolution(**shape):
    torch.manual_seed(1)
    return nn.Conv2d(6, 10, **shape).requires_grad_(False), "conv"


LAYERS = {
    "linear": (linear, {}, (3, 4, 6)),
    "linear without tokens": (linear, {}, (3, 6)),
    "1x1": (convolution, {"kernel_size": 1}, (3, 6, 9, 8)),
    "3x3": (convolution, {"kernel_size": 3, "padding": 1, "stride": 2}, (3, 6, 9, 8)),
}


@pytest.mark.parametrize(("make", "options", "shape"), LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_layer_is_the_formula(make, options, shape, plain, channels_last):
    """W x + s · up · down (m ∘ x) / (1 - p), in float64, with its gradients; fused and over another forward."""
    module, kind = make(**options)
    adapter = Adapter([Target(module, "lora_unet_x", "x", "unet", kind)], 3, 2.0, dropout=0.5)
    with torch.no_grad():
        adapter.weights.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    if channels_last and len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    wide = x.detach().double().requires_grad_()
    down, up = (
        w.double().requires_grad_() for w in vars(adapter.layers()["lora_unet_x"]).values() if hasattr(w, "dim")
    )
    frozen = copy.deepcopy(module).double()
    visible = wide * mask_of(0.5, [7, 8, 9], shape).double() / 0.5
    if kind == "linear":
        added = nn.functional.linear(nn.functional.linear(visible, down), up)
    else:
        added = nn.functional.conv2d(nn.functional.conv2d(visible, down, None, module.stride, module.padding), up)
    expected = frozen(wide) + 2.0 / 3 * added
    if not plain:
        module.forward = module.forward
    with adapter.attached(), adapter.dropping([7, 8, 9]):
        y = module(x)
        y.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad.double(), wide.grad, rtol=1e-5, atol=1e-4)
    for tensor, reference in zip(adapter.tensors()["unet"], (down, up), strict=True):
        torch.testing.assert_close(tensor.grad.double(), reference.grad.flatten(1), rtol=1e-5, atol=1e-4)


def test_nothing_is_dropped_outside_of_the_context():
    module, kind = linear()
    adapter = Adapter([Target(module, "lora_unet_x", "x", "unet", kind)], 3, dropout=0.5)
    with torch.no_grad():
        adapter.weights.normal_(generator=torch.Generator().manual_seed(2))
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(3))
    with adapter.attached():
        plain = module(x)
        with adapter.dropping([1, 2, 3]):
            assert not torch.allclose(module(x), plain)
        assert torch.equal(module(x), plain)


def gradient(checkpointed):
    unet = copy.deepcopy(built("sd1").unet)
    adapter = Adapter(select(unet_targets(unet, "sd1"), "full", False), 3, dropout=0.3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        adapter.weights.normal_(std=0.1, generator=generator)
    noisy, context = torch.randn(2, 4, 8, 8, generator=generator), torch.randn(2, 7, TEXT_WIDTH, generator=generator)
    blocks = [one for one in unet.modules() if type(one).__name__ in ("ResnetBlock2D", "BasicTransformerBlock")]
    assert len(blocks) > 3
    with adapter.attached(), recompute.checkpointed(blocks, enabled=checkpointed), adapter.dropping([11, 12]):
        unet(noisy, torch.tensor([11, 900]), context).sample.square().mean().backward()
    return adapter.weights.grad


def test_a_checkpointed_block_drops_the_same():
    torch.manual_seed(0)
    once = gradient(False)
    torch.manual_seed(1)
    assert torch.equal(gradient(True), once)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_never_waits():
    device = torch.device("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        mask = Dropout(0.25, [1, 2], device).mask(torch.Size((2, 50, 333)), LAYER)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert mask.double().mean().item() == pytest.approx(0.75, abs=0.02)
