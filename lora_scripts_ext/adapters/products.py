"""Products of frozen weights with activations, by the library that is fastest on their device.

On a CPU torch hands float32 products to MKL, and to oneDNN those of convolutions, whose weights oneDNN re-orders
on every call. oneDNN multiplies the weights of a Linear as they lie; and where a convolution has few positions, it is
cheaper to lay its input out for a product (im2col; Chellapilla et al. 2006) than to re-order the weights. Nothing
is cached between calls. On other devices all of this is torch's own.

No function here records gradients: they are called inside of autograd functions. Weights come in the dtype of the
activations.
Letters in shapes: I inputs, O outputs, R rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A convolution is laid out for a product where its output has at most a quarter as many positions as channels: there
# moving the weights outweighs writing every input nine times.
_CHANNELS_PER_POSITION = 4


@dataclass(frozen=True)
class Geometry:
    """How a convolution moves over its input; the arguments of ``F.conv2d``, each down and across."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]

    @classmethod
    def of(cls, module: nn.Conv2d) -> Geometry | None:
        """That of a convolution with one group and zero padding; None for others."""
        if module.groups != 1 or module.padding_mode != "zeros" or isinstance(module.padding, str):
            return None
        return cls(module.stride, module.padding, module.dilation)


def uses_onednn(x: Tensor) -> bool:
    """Whether the product with ``x`` is oneDNN's here, where torch itself would choose MKL."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and _ONEDNN


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x`` [rows, I] times ``weight`` [O, I] transposed, plus ``bias``: [rows, O]. Both may be transposed views."""
    bias = _cast(bias, x)
    if uses_onednn(x):
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """``F.conv2d`` with one group: ``x`` [batch, I, height, width], ``weight`` [O, I, …], in the layout of ``x``."""
    bias = _cast(bias, x)
    height, width = _output(x.shape, weight, geometry)
    if not (uses_onednn(x) and x.is_contiguous() and _as_product(len(x) * height * width, weight, geometry)):
        return F.conv2d(x, weight, bias, **vars(geometry))
    columns = x.flatten(2) if is_pointwise(weight, geometry) else F.unfold(x, weight.shape[2:], **vars(geometry))
    products = [linear(weight.flatten(1), one.t()) for one in columns]
    y = torch.stack(products) if len(products) > 1 else products[0]
    if bias is not None:
        y += bias[:, None]
    return y.view(len(x), -1, height, width)


def conv_input_grad(
    grad: Tensor, shape: torch.Size, layout: torch.memory_format, weight: Tensor, geometry: Geometry
) -> Tensor:
    """The gradient of ``conv`` to its input, which has this shape and layout; ``grad`` [batch, O, height, width]."""
    positions = grad.numel() // grad.shape[1]
    if not (uses_onednn(grad) and layout == torch.contiguous_format and _as_product(positions, weight, geometry)):
        # Only its shape and layout are read.
        x = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=layout)
        return _convolution_backward(grad, x, weight, geometry, (True, False, False))[0]
    rows = grad.permute(0, 2, 3, 1).reshape(-1, grad.shape[1])
    columns = linear(rows, weight.flatten(1).t()).view(len(grad), -1, weight[0].numel()).transpose(1, 2)
    if is_pointwise(weight, geometry):
        return columns.reshape(shape)
    return F.fold(columns, shape[2:], weight.shape[2:], **vars(geometry))


def conv_kernel_grad(grad: Tensor, x: Tensor, kernel: Tensor, geometry: Geometry) -> Tensor:
    """The gradient of ``F.conv2d(x, kernel)`` to its kernel."""
    return _convolution_backward(grad, x, kernel, geometry, (False, True, False))[1]


def conv_grads(grad: Tensor, x: Tensor, kernel: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Gradients of ``F.conv2d(x, kernel)`` to its input and to its kernel."""
    to_input, to_kernel, _ = _convolution_backward(grad, x, kernel, geometry, (True, True, False))
    return to_input, to_kernel


def _convolution_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, geometry: Geometry, required: tuple[bool, bool, bool]
) -> tuple[Any, Any, Any]:
    """torch's gradients to input, kernel and bias, each a tensor if it is ``required``, else None."""
    stride, padding, dilation = geometry.stride, geometry.padding, geometry.dilation
    return torch.ops.aten.convolution_backward(
        grad, x, kernel, None, stride, padding, dilation, False, (0, 0), 1, required
    )


def arranged(x: Tensor, weight: Tensor) -> Tensor:
    """A convolution's input in the memory layout of its weights, on a CPU.

    Otherwise torch re-orders the weights, which are larger, in every call; and so in every convolution after it, as
    the output has the layout of the input.
    """
    return x.contiguous() if x.device.type == "cpu" and weight.is_contiguous() else x


def layout(image: Tensor) -> torch.memory_format:
    """Channels-last or contiguous: of a convolution's output and of the gradient of its input."""
    channels_last = image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous()
    return torch.channels_last if channels_last else torch.contiguous_format


def is_pointwise(kernel: Tensor, geometry: Geometry) -> bool:
    """Whether a convolution is 1x1 with stride 1 and no padding: a product over channels."""
    return kernel.shape[2:] == (1, 1) and geometry.stride == (1, 1) and geometry.padding == (0, 0)


def _has_onednn() -> bool:
    """Whether torch has oneDNN's product, on a kind of processor on which it was measured to be faster."""
    avx = torch.backends.cpu.get_cpu_capability().startswith("AVX")
    return avx and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


_ONEDNN = _has_onednn()


def _cast(bias: Tensor | None, x: Tensor) -> Tensor | None:
    """In the dtype of the activations, for layers stored in 8 bits."""
    return None if bias is None else bias.to(x.dtype)


def _as_product(positions: int, weight: Tensor, geometry: Geometry) -> bool:
    return is_pointwise(weight, geometry) or positions * _CHANNELS_PER_POSITION <= len(weight)


def _output(shape: torch.Size, weight: Tensor, geometry: Geometry) -> tuple[int, int]:
    """Height and width of a convolution's output."""
    sides = zip(shape[2:], weight.shape[2:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
    height, width = ((side + 2 * pad - wide * (kernel - 1) - 1) // step + 1 for side, kernel, step, pad, wide in sides)
    return height, width
