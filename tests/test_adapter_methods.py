"""LoRA's fast path against its reference, and adapters on layers and methods that have no fast path."""

import pytest
import torch
from torch import nn

from lora_scripts_ext.adapters.adapter import Adapter
from lora_scripts_ext.adapters.methods.lora import Lora
from lora_scripts_ext.adapters.methods.method import Frozen, Matrices
from lora_scripts_ext.adapters.targets import select
from lora_scripts_ext.contract import Target
from lora_scripts_ext.models.layer import widened
from lora_scripts_ext.models.targets import unet_targets
from lora_scripts_ext.training import recompute

from .test_adapter_maths import fresh_parts, loss_of, randomised, unet_inputs

RANK = 3
MODULES = {
    "linear": (lambda: nn.Linear(6, 10), (2, 5, 6)),
    "1x1": (lambda: nn.Conv2d(6, 10, 1), (2, 6, 9, 8)),
    "3x3": (lambda: nn.Conv2d(6, 10, 3, padding=1), (2, 6, 9, 8)),
    "3x3 stride 2": (lambda: nn.Conv2d(6, 10, 3, stride=2, padding=1, bias=False), (2, 6, 9, 8)),
    "3x3 dilated": (lambda: nn.Conv2d(6, 10, 3, padding=2, dilation=2), (2, 6, 9, 8)),
}


class Reference(Lora):
    """LoRA without its fast path."""

    def fast(self, target):
        return None


def target_of(module):
    return Target(module, "lora_unet_x", "x", "unet", "conv" if isinstance(module, nn.Conv2d) else "linear")


def random_tensor(shape, seed, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize(("make", "shape"), MODULES.values(), ids=MODULES)
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("dropout", [False, True])
@pytest.mark.parametrize("eight_bits", [False, True])
def test_the_fast_path_is_the_reference(make, shape, seed, dtype, error, dropout, eight_bits):
    """Output, and the gradients of the input and of both matrices, by norm against the reference in float64."""
    torch.manual_seed(seed)
    module = make().to(dtype).requires_grad_(False)
    target, method, scale = target_of(module), Lora(), 0.7
    weight, row_scale = module.weight, None
    if eight_bits:
        weight = (weight / 2).to(torch.float8_e4m3fn)
        row_scale = random_tensor((10, *[1] * (weight.dim() - 1)), seed, dtype)
    mask = torch.randint(2, shape, dtype=torch.uint8) if dropout else None
    x = random_tensor(shape, seed + 10, dtype).requires_grad_()
    weights = [random_tensor(one, seed + 20, dtype) for one in method.shapes(target, RANK)]

    grads = tuple(torch.zeros(one.shape) for one in weights)
    frozen = Frozen(weight, module.bias, row_scale)
    leaf = torch.zeros(1, requires_grad=True)
    output = method.fast(target)(x, frozen, Matrices(tuple(weights), grads), scale, leaf, mask)
    output.backward(grad := random_tensor(output.shape, seed + 30, dtype))

    wide_x, *wide_weights = (one.detach().double().requires_grad_() for one in (x, *weights))
    module = make().double().requires_grad_(False)
    module.weight.data = widened(weight, row_scale, dtype).double()
    if module.bias is not None:
        module.bias.data = frozen.bias.double()
    masked_x = wide_x if mask is None else wide_x * mask
    expected = method.forward(target, masked_x, module(wide_x), wide_weights, scale)
    expected.backward(grad.double())

    for mine, theirs in zip(
        (output, x.grad, *grads), (expected, wide_x.grad, *(one.grad for one in wide_weights)), strict=True
    ):
        assert (mine - theirs).norm() <= error * theirs.norm()


@pytest.mark.parametrize(("make", "shape"), MODULES.values(), ids=MODULES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fast_path_over_an_output_is_the_reference(make, shape, dtype):
    """Where the frozen layer computes by itself, as quantised ones do, and autograd carries its gradient."""
    module = make().to(dtype).requires_grad_(False)
    target, method = target_of(module), Lora()
    weights = [random_tensor(one, 2, dtype) for one in method.shapes(target, RANK)]
    grads = tuple(torch.zeros(one.shape) for one in weights)
    leaf, x = torch.zeros(1, requires_grad=True), random_tensor(shape, 1, dtype).requires_grad_()
    output = method.fast(target)(x, Frozen(output=module(x)), Matrices(tuple(weights), grads), 0.7, leaf, None)
    output.sum().backward()
    leaves = [one.requires_grad_() for one in weights]
    own_x = x.detach().requires_grad_()
    expected = method.forward(target, own_x, module(own_x), leaves, 0.7)
    expected.sum().backward()
    tolerance = {"rtol": 1e-5, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 0.05, "atol": 0.25}
    torch.testing.assert_close(output, expected, **tolerance)
    torch.testing.assert_close(x.grad, own_x.grad, **tolerance)
    for grad, one in zip(grads, leaves, strict=True):
        assert (grad - one.grad.float()).norm() <= 0.02 * one.grad.float().norm()


def unet_gradient(method, dtype, checkpointed=False):
    """Prediction, and the adapter's flat gradient after two backward passes."""
    unet = fresh_parts("sd1").unet.to(dtype)
    targets = select(unet_targets(unet, "sd1"), "full", False)
    adapter = randomised(Adapter(targets, RANK, 2.0, dropout=0.25, dtype=dtype, method=method))
    blocks = [one for one in unet.modules() if type(one).__name__ in ("ResnetBlock2D", "BasicTransformerBlock")]
    with adapter.attached(), recompute.checkpointed(blocks, enabled=checkpointed):
        for seeds in ([4, 5], [6, 7]):
            with adapter.dropping(seeds):
                prediction, loss = loss_of(unet, unet_inputs(dtype=dtype))
                loss.backward()
    return prediction.detach(), adapter.weights.grad


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_an_adapter_without_a_fast_path_computes_the_same(dtype, error, checkpointed):
    """Gradients of the reference reach the flat buffer, and add up there in float32."""
    expected = unet_gradient(Lora(), dtype)
    output = unet_gradient(Reference(), dtype, checkpointed)
    for mine, theirs in zip(output, expected, strict=True):
        assert mine.dtype == theirs.dtype
        assert (mine - theirs).norm() <= error * theirs.norm()


@pytest.mark.parametrize("options", [{"groups": 2}, {"padding_mode": "circular"}])
def test_convolutions_that_the_fast_path_cannot_compute_use_the_reference(options):
    torch.manual_seed(1)
    module = nn.Conv2d(6, 10, 3, padding=1, **options).requires_grad_(False)
    assert Lora().fast(target_of(module)) is None
    adapter = randomised(Adapter([target_of(module)], RANK, 2.0))
    down, up = (one.detach().clone().requires_grad_() for one in adapter.layers()["lora_unet_x"].tensors().values())
    x = random_tensor((2, 6, 9, 8), 1)
    added = nn.functional.conv2d(nn.functional.conv2d(x, down, padding=1), up)
    expected = module(x) + 2.0 / RANK * added
    expected.square().sum().backward()
    with adapter.attached():
        output = module(x)
        output.square().sum().backward()
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(adapter.tensors()["unet"], (down, up), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad.flatten(1), rtol=1e-5, atol=1e-3)
