"""Frozen layers computed our way against torch's own, in value, gradient, layout and saved tensors."""

import pytest
import torch
from torch import nn

from lora_scripts_ext.adapters import frozen, products
from lora_scripts_ext.adapters.products import Geometry
from lora_scripts_ext.contract import Target

# inputs, outputs, kernel, stride, padding, side, batch; the first four are few positions for their channels
CONVS = [
    (8, 64, 3, 1, 1, 4, 1),
    (8, 128, 3, 2, 1, 5, 2),
    (6, 64, 1, 1, 0, 4, 1),
    (6, 512, 1, 1, 0, 4, 3),
    (6, 4, 1, 2, 0, 5, 1),
    (8, 6, 3, 1, 1, 9, 2),
    (8, 6, 3, 2, 1, 8, 1),
]


def conv(inputs, outputs, kernel, stride, padding, bias=True):
    torch.manual_seed(outputs + kernel)
    module = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias)
    return module.requires_grad_(False)


def target(module):
    return Target(module, "lora_unet_x", "x", "unet", "conv" if isinstance(module, nn.Conv2d) else "linear")


def image(batch, channels, side, layout=torch.contiguous_format):
    noise = torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(3))
    return noise.contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("inputs", "outputs", "kernel", "stride", "padding", "side", "batch"), CONVS)
def test_a_convolution_and_its_gradient_are_torchs(
    inputs, outputs, kernel, stride, padding, side, batch, layout, monkeypatch
):
    module = conv(inputs, outputs, kernel, stride, padding).to(memory_format=layout)
    x = image(batch, inputs, side, layout)
    expected_x, own_x = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = module(expected_x)
    grad = torch.randn_like(expected)
    expected.backward(grad)
    with frozen.efficient_frozen_layers([target(module)]):
        output = module(own_x)
    assert "forward" not in module.__dict__
    for output_grad in (grad, grad.contiguous(), grad.contiguous(memory_format=torch.channels_last)):
        own_x.grad = None
        output.backward(output_grad, retain_graph=True)
        torch.testing.assert_close(own_x.grad, expected_x.grad, rtol=1e-5, atol=1e-5)
        # Another layout would make the layers before it convert.
        assert own_x.grad.is_contiguous(memory_format=layout)
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    # Weights of 1x1 lie either way at once, and so may what comes of them.
    if layout == torch.contiguous_format or not module.weight.is_contiguous():
        assert output.is_contiguous(memory_format=layout)


def test_a_layout_does_not_spread_to_weights_that_lie_otherwise():
    """The spread costs a copy of the weights in every call from there on."""
    x = image(2, 8, 9, torch.channels_last).requires_grad_()
    modules = [conv(8, 8, 1, 1, 0), conv(8, 6, 3, 1, 1)]
    expected = modules[1](modules[0](x))
    expected.square().sum().backward()
    expected_grad, x.grad = x.grad, None
    with frozen.efficient_frozen_layers([target(module) for module in modules]):
        between = modules[0](x)
        output = modules[1](between)
    output.square().sum().backward()
    assert between.is_contiguous()
    assert output.is_contiguous()
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(x.grad, expected_grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 12), (2, 3, 12), (1, 12)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_and_its_gradient_are_torchs(shape, bias):
    module = nn.Linear(12, 7, bias=bias).requires_grad_(False)
    expected_x = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    own_x = expected_x.detach().clone().requires_grad_()
    expected = module(expected_x)
    expected.square().sum().backward()
    with frozen.efficient_frozen_layers([target(module)]):
        output = module(own_x)
        output.square().sum().backward()
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(own_x.grad, expected_x.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_products_of_views_are_torchs(dtype):
    x, weight = torch.randn(9, 5).t().to(dtype), torch.randn(9, 4).t().to(dtype)
    torch.testing.assert_close(products.linear(x, weight), x @ weight.t())


def test_a_frozen_convolution_keeps_no_input():
    module = conv(8, 6, 3, 1, 1)
    kept = []
    with (
        frozen.efficient_frozen_layers([target(module)]),
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(tuple(t.shape)) or t, lambda t: t),
    ):
        module(image(1, 8, 9).requires_grad_())
    assert kept == [tuple(module.weight.shape)]


def test_without_gradients_a_layer_is_computed_as_ever(monkeypatch):
    module, x = conv(8, 64, 3, 1, 1), image(1, 8, 4)
    monkeypatch.setattr(products, "conv", None)
    with frozen.efficient_frozen_layers([target(module)]), torch.no_grad():
        assert torch.equal(module(x), nn.Conv2d.forward(module, x))


def test_what_is_not_plain_is_left_to_its_owner():
    circular = nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular").requires_grad_(False)
    grouped = nn.Conv2d(4, 4, 3, groups=2).requires_grad_(False)
    half = nn.Conv2d(3, 4, 3, dtype=torch.bfloat16).requires_grad_(False)
    half.forward = lambda x: "their own"
    with frozen.efficient_frozen_layers(map(target, (circular, grouped, half))):
        x = image(1, 3, 6).requires_grad_()
        assert torch.equal(circular(x), nn.Conv2d.forward(circular, x))
        assert grouped(image(1, 4, 6)).shape == (1, 4, 4, 4)
        assert half(x) == "their own"
    assert half(x) == "their own"


def test_under_autocast_a_layer_is_computed_as_autocast_does():
    module, x = conv(8, 64, 3, 1, 1), image(1, 8, 4).requires_grad_()
    linear = nn.Linear(4, 6).requires_grad_(False)
    with frozen.efficient_frozen_layers([target(module), target(linear)]), torch.autocast("cpu", torch.bfloat16):
        y, z = module(x), linear(x)
        assert (y.dtype, z.dtype) == (torch.bfloat16, torch.bfloat16)
        assert torch.equal(y, nn.Conv2d.forward(module, x))
        (y.sum() + z.sum()).backward()
    assert x.grad.abs().max() > 0


def test_few_positions_are_a_product_and_many_are_not(monkeypatch):
    if not products.uses_onednn(torch.ones(1)):
        pytest.skip("this torch has no oneDNN")
    calls = []
    monkeypatch.setattr(products, "linear", lambda *arguments: calls.append(arguments) or torch.zeros(4, 16))
    geometry = Geometry((1, 1), (1, 1), (1, 1))
    products.conv(image(1, 8, 4), torch.zeros(64, 8, 3, 3), None, geometry)
    assert len(calls) == 1
    products.conv(image(1, 8, 4), torch.zeros(63, 8, 3, 3), None, geometry)
    assert len(calls) == 1
