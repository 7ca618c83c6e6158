"""Exact shortening of chains of constant layers.

An op of a cell is written as a list of primitive steps, and three rules shorten the list:

* a per-channel affine map (BatchNorm with its running statistics) after a convolution, or
  before one without padding, becomes part of that convolution;
* nearest-neighbour doubling moves behind pointwise steps, which then see a quarter of the
  pixels;
* weight norm is evaluated once.
"""

from __future__ import annotations

import itertools
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_nvae.ops import BatchNormSwishConv, Double, InvertedBottleneck
from vaebm_toolkit.core import WeightNormConv2d

LAYOUT = torch.channels_last


def constant(value: Tensor) -> nn.Parameter:
    """A copy that nobody trains."""
    return nn.Parameter(value.detach().clone(), requires_grad=False)


class ConstantConv2d(torch.autograd.Function):
    """conv2d with stride 1 that is differentiated in its input only.

    Its adjoint needs the weight alone. Autograd's own convolution also keeps its input,
    which in a decoder without trained weights is half of what a chain step stores.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor, padding: int, groups: int) -> Tensor:
        return F.conv2d(x, weight, bias, padding=padding, groups=groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, weight, _, ctx.padding, ctx.groups = inputs
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        grad_x = F.conv_transpose2d(grad, weight.to(grad.dtype), padding=ctx.padding, groups=ctx.groups)
        return grad_x, None, None, None, None


class Convolution(nn.Module):
    """A convolution with stride 1 and constant weights."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int = 0, groups: int = 1) -> None:
        super().__init__()
        self.weight, self.bias = constant(weight.contiguous(memory_format=LAYOUT)), constant(bias)
        self.padding, self.groups = padding, groups

    def forward(self, x: Tensor) -> Tensor:
        return ConstantConv2d.apply(x, self.weight, self.bias, self.padding, self.groups)


class Affine(nn.Module):
    """scale · x + shift per channel."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = constant(scale), constant(shift)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift[:, None, None], x, self.scale[:, None, None])


def as_affine(norm: nn.modules.batchnorm._BatchNorm) -> Affine:
    """BatchNorm with its running statistics."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return Affine(scale, norm.bias - norm.running_mean * scale)


def as_convolution(conv: nn.Conv2d) -> Convolution:
    weight = conv.normalised_weight() if isinstance(conv, WeightNormConv2d) else conv.weight
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias
    return Convolution(weight, bias, conv.padding[0], conv.groups)


@singledispatch
def steps(op: nn.Module) -> list[nn.Module]:
    """The primitive steps of an op of a decoder cell, in order."""
    raise TypeError(f"no folding rule for {type(op).__name__}")


@steps.register
def _(op: BatchNormSwishConv) -> list[nn.Module]:
    double = [Double()] if op.up else []
    return [as_affine(op.bn_act), nn.SiLU(), *double, as_convolution(op.conv_0)]


@steps.register
def _(op: InvertedBottleneck) -> list[nn.Module]:
    *found, norm, expand, depthwise, project, last = op.conv
    found.append(as_affine(norm.bn))
    for block in (expand, depthwise):
        conv, bn = block.conv
        found += [as_convolution(conv), as_affine(bn), nn.SiLU()]
    return [*found, as_convolution(project), as_affine(last.bn)]


def fold(found: list[nn.Module]) -> list[nn.Module]:
    """An equal, shorter list of steps."""
    for i, (first, second) in enumerate(itertools.pairwise(found)):
        shorter = rewrite(first, second)
        if shorter is not None:
            return fold(found[:i] + shorter + found[i + 2 :])
    return found


def rewrite(first: nn.Module, second: nn.Module) -> list[nn.Module] | None:
    """Steps equal to `first`, then `second`; None where no rule applies."""
    if isinstance(first, Convolution) and isinstance(second, Affine):
        weight = first.weight * second.scale[:, None, None, None]
        bias = first.bias * second.scale + second.shift
        return [Convolution(weight, bias, first.padding, first.groups)]
    if isinstance(first, Affine) and is_pointwise(second, Convolution) and second.groups == 1:
        weight = second.weight * first.scale[:, None, None]
        bias = second.bias + second.weight[:, :, 0, 0] @ first.shift
        return [Convolution(weight, bias)]
    if isinstance(first, Double) and is_pointwise(second, Affine | nn.SiLU | Convolution):
        return [second, first]
    return None


def is_pointwise(step: nn.Module, kinds: Any) -> bool:
    """Whether it is one of `kinds` and maps each pixel by itself."""
    one = isinstance(step, Convolution) and step.weight.shape[2:] == (1, 1) and step.padding == 0
    return isinstance(step, kinds) and (one or not isinstance(step, Convolution))
