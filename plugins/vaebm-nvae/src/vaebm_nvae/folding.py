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
from abc import ABC, abstractmethod
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_nvae.ops import (
    BatchNormEluConv,
    BatchNormSwishConv,
    Convolving,
    EluConv,
    InvertedBottleneck,
    doubled,
)
from vaebm_toolkit.core import WeightNormConv2d


def constant(value: Tensor) -> nn.Parameter:
    """A copy that nobody trains."""
    return nn.Parameter(value.detach().clone(), requires_grad=False)


class Step(nn.Module, ABC):
    """A constant map of feature maps and its derivative, for use in a `Branch`."""

    keeps_input = False
    """Whether the derivative depends on the input; if not, nothing is stored."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...

    @abstractmethod
    def pull(self, grad: Tensor, x: Tensor | None) -> Tensor:
        """The gradient in the input, from that in the output. May overwrite `grad`."""


class Convolution(Step):
    """A convolution with stride 1."""

    def __init__(
        self, weight: Tensor, bias: Tensor, padding: int = 0, groups: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.weight, self.bias = constant(weight), constant(bias)
        self.padding, self.groups, self.dilation = padding, groups, dilation

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(
            x, self.weight, self.bias, padding=self.padding, dilation=self.dilation, groups=self.groups
        )

    def pull(self, grad: Tensor, x: Tensor | None) -> Tensor:
        # The adjoint is again a convolution, which the CPU runs faster than conv_transpose2d.
        swapped = self.weight.unflatten(0, (self.groups, -1)).transpose(1, 2).flatten(0, 1)
        padding = self.dilation * (self.weight.shape[-1] - 1) - self.padding
        return F.conv2d(
            grad, swapped.flip(2, 3).to(grad.dtype),
            padding=padding, dilation=self.dilation, groups=self.groups,
        )  # fmt: skip


class Affine(Step):
    """scale · x + shift per channel."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = constant(scale), constant(shift)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift[:, None, None], x, self.scale[:, None, None])

    def pull(self, grad: Tensor, x: Tensor | None) -> Tensor:
        return grad * self.scale[:, None, None].to(grad.dtype)


class Swish(Step):
    keeps_input = True

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)

    def pull(self, grad: Tensor, x: Tensor | None) -> Tensor:
        return torch.ops.aten.silu_backward.grad_input(grad, x, grad_input=grad)


class Elu(Step):
    keeps_input = True

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(x)

    def pull(self, grad: Tensor, x: Tensor | None) -> Tensor:
        return torch.ops.aten.elu_backward(grad, 1.0, 1.0, 1.0, False, x)


class Double(Step):
    """Nearest-neighbour doubling of height and width."""

    def forward(self, x: Tensor) -> Tensor:
        return doubled(x)

    def pull(self, grad: Tensor, x: Tensor | None) -> Tensor:
        return F.avg_pool2d(grad, 2, divisor_override=1)


class Branch(nn.ModuleList):
    """Steps in order, the last of them a convolution.

    Differentiated in the input only. Autograd's own convolutions would also keep their
    inputs, half of what a chain step stores.
    """

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return self.plain(x)
        return Constant.apply(x, self)

    def plain(self, x: Tensor) -> Tensor:
        for step in self:
            x = step(x)
        return x


class Constant(torch.autograd.Function):
    """A branch and its derivative, step by step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, branch: Branch) -> Tensor:
        h, kept = x, []
        for step in branch:
            if step.keeps_input:
                kept.append(h)
            h = step(h)
        ctx.branch = branch
        ctx.save_for_backward(x, *kept)
        return h

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, *kept = ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted: autograd must see each step
            return torch.autograd.grad(ctx.branch.plain(x), x, grad, create_graph=True)[0], None
        for step in reversed(ctx.branch):
            grad = step.pull(grad, kept.pop() if step.keeps_input else None)
        return grad, None


def as_affine(norm: nn.modules.batchnorm._BatchNorm) -> Affine:
    """BatchNorm with its running statistics."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return Affine(scale, norm.bias - norm.running_mean * scale)


def as_convolution(conv: nn.Conv2d) -> Convolution:
    weight = conv.normalised_weight() if isinstance(conv, WeightNormConv2d) else conv.weight
    bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias
    return Convolution(weight, bias, conv.padding[0], conv.groups, conv.dilation[0])


@singledispatch
def steps(op: nn.Module) -> list[Step]:
    """The primitive steps of an op of a decoder cell, in order."""
    raise TypeError(f"no folding rule for {type(op).__name__}")


@steps.register
def _(op: BatchNormSwishConv) -> list[Step]:
    return [as_affine(op.bn_act), Swish(), *convolving(op)]


@steps.register
def _(op: BatchNormEluConv) -> list[Step]:
    return [as_affine(op.bn.bn), Elu(), *convolving(op)]


@steps.register
def _(op: EluConv) -> list[Step]:
    return [Elu(), *convolving(op)]


def convolving(op: Convolving) -> list[Step]:
    return [*([Double()] if op.up else []), as_convolution(op.conv_0)]


@steps.register
def _(op: InvertedBottleneck) -> list[Step]:
    norm, expand, depthwise, project, last = op.conv[-5:]
    found = [*([Double()] if op.up else []), as_affine(norm.bn)]
    for block in (expand, depthwise):
        conv, bn = block.conv
        found += [as_convolution(conv), as_affine(bn), Swish()]
    return [*found, as_convolution(project), as_affine(last.bn)]


def fold(found: list[Step]) -> list[Step]:
    """An equal, shorter list of steps."""
    for i, (first, second) in enumerate(itertools.pairwise(found)):
        shorter = rewrite(first, second)
        if shorter is not None:
            return fold(found[:i] + shorter + found[i + 2 :])
    return found


def rewrite(first: Step, second: Step) -> list[Step] | None:
    """Steps equal to `first`, then `second`; None where no rule applies."""
    if isinstance(first, Convolution) and isinstance(second, Affine):
        weight = first.weight * second.scale[:, None, None, None]
        bias = first.bias * second.scale + second.shift
        return [Convolution(weight, bias, first.padding, first.groups, first.dilation)]
    if isinstance(first, Affine) and is_pointwise(second, Convolution) and second.groups == 1:
        weight = second.weight * first.scale[:, None, None]
        bias = second.bias + second.weight[:, :, 0, 0] @ first.shift
        return [Convolution(weight, bias)]
    if isinstance(first, Double) and is_pointwise(second, Affine | Swish | Elu | Convolution):
        return [second, first]
    return None


def is_pointwise(step: Step, kinds: Any) -> bool:
    """Whether it is one of `kinds` and maps each pixel by itself."""
    one = isinstance(step, Convolution) and step.weight.shape[2:] == (1, 1) and step.padding == 0
    return isinstance(step, kinds) and (one or not isinstance(step, Convolution))
