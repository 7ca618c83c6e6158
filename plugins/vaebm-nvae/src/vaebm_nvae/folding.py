"""The decoder as a constant: the same function of ε in fewer and larger steps.

A cell's branch is written as a list of primitive steps, which three exact rules shorten:

* a per-channel affine map (BatchNorm in eval mode) before an unpadded convolution, or
  after any convolution, becomes part of that convolution;
* nearest-neighbour doubling moves behind pointwise steps, which then see a quarter of the pixels;
* the branch's factor 0.1 is one more affine map at its end.

Weight norm is evaluated once, the encoder is dropped, tensors are channels-last.
"""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_nvae.cells import BRANCH_SCALE, Cell, DecoderCombiner, SqueezeExcite
from vaebm_nvae.distributions import Normal
from vaebm_nvae.heads import GaussianHead
from vaebm_nvae.hierarchy import Hierarchy, Latent
from vaebm_nvae.ops import BatchNormSwishConv, Double, InvertedBottleneck
from vaebm_toolkit.core import State, WeightNormConv2d

if TYPE_CHECKING:
    from vaebm_nvae.network import NVAE

LAYOUT = torch.channels_last


class Affine(nn.Module):
    """x ↦ scale · x + shift per channel."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = constant(scale), constant(shift)

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift.view(-1, 1, 1), x, self.scale.view(-1, 1, 1))


class Convolution(nn.Module):
    """A convolution with constant weights."""

    def __init__(self, weight: Tensor, bias: Tensor, padding: int, groups: int) -> None:
        super().__init__()
        self.weight, self.bias = constant(weight.contiguous(memory_format=LAYOUT)), constant(bias)
        self.padding, self.groups = padding, groups

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.padding, groups=self.groups)

    @property
    def pointwise(self) -> bool:
        return self.weight.shape[2:] == (1, 1) and self.padding == 0


def constant(value: Tensor) -> nn.Parameter:
    return nn.Parameter(value.detach().clone(memory_format=torch.preserve_format), requires_grad=False)


def as_affine(norm: nn.BatchNorm2d) -> Affine:
    """BatchNorm with its running statistics."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return Affine(scale, norm.bias - norm.running_mean * scale)


def as_convolution(conv: nn.Conv2d) -> Convolution:
    weight = conv.normalised_weight() if isinstance(conv, WeightNormConv2d) else conv.weight
    bias = conv.bias if conv.bias is not None else weight.new_zeros(len(weight))
    return Convolution(weight, bias, conv.padding[0], conv.groups)


@singledispatch
def steps(module: nn.Module) -> list[nn.Module]:
    """The primitive steps of an op, in order."""
    raise TypeError(f"no folding rule for {type(module).__name__}")


@steps.register
def _(op: BatchNormSwishConv) -> list[nn.Module]:
    double = [Double()] if op.up else []
    return [as_affine(op.bn_act), nn.SiLU(), *double, as_convolution(op.conv_0)]


@steps.register
def _(op: InvertedBottleneck) -> list[nn.Module]:
    *double, norm, expand, depthwise, project, last = op.conv
    found = [*double, as_affine(norm.bn)]
    for block in (expand, depthwise):
        found += [as_convolution(block.conv[0]), as_affine(block.conv[1]), nn.SiLU()]
    return [*found, as_convolution(project), as_affine(last.bn)]


def fold(found: list[nn.Module]) -> list[nn.Module]:
    """An equal, shorter list of steps."""
    for i, pair in enumerate(zip(found, found[1:], strict=False)):
        shorter = rewrite(*pair)
        if shorter is not None:
            return fold(found[:i] + shorter + found[i + 2 :])
    return found


def rewrite(first: nn.Module, second: nn.Module) -> list[nn.Module] | None:
    """Steps equal to `first` then `second`, or None if no rule applies."""
    if isinstance(first, Convolution) and isinstance(second, Affine):
        weight = first.weight * second.scale.view(-1, 1, 1, 1)
        return [Convolution(weight, first.bias * second.scale + second.shift, first.padding, first.groups)]
    if isinstance(first, Affine) and isinstance(second, Convolution):
        if second.padding or second.groups != 1:
            return None
        weight = second.weight * first.scale.view(1, -1, 1, 1)
        bias = second.bias + torch.einsum("oikl,i->o", second.weight, first.shift)
        return [Convolution(weight, bias, second.padding, second.groups)]
    if isinstance(first, Double) and (
        isinstance(second, (Affine, nn.SiLU)) or (isinstance(second, Convolution) and second.pointwise)
    ):
        return [second, first]
    return None


class Gate(nn.Module):
    """Squeeze-and-excitation of a branch that is already scaled by 0.1: the gates, (B, C, 1, 1)."""

    def __init__(self, se: SqueezeExcite) -> None:
        super().__init__()
        squeeze, _, excite, _ = se.se
        self.squeeze, self.squeeze_bias = constant(squeeze.weight / BRANCH_SCALE), constant(squeeze.bias)
        self.excite, self.excite_bias = constant(excite.weight), constant(excite.bias)

    def forward(self, branch: Tensor) -> Tensor:
        h = F.relu(F.linear(branch.mean((2, 3)), self.squeeze, self.squeeze_bias))
        return torch.sigmoid(F.linear(h, self.excite, self.excite_bias))[:, :, None, None]


class FoldedCell(nn.Module):
    """skip(x) + gate · branch(x)"""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        found = [step for op in cell._ops for step in steps(op)]
        last = found[-1].scale if isinstance(found[-1], Affine) else found[-1].bias
        found.append(Affine(torch.full_like(last, BRANCH_SCALE), torch.zeros_like(last)))
        self.branch = nn.Sequential(*fold(found))
        self.gate = None if cell.se is None else Gate(cell.se)
        self.skip = None
        if isinstance(cell.skip, nn.Sequential):
            # The 1x1 convolution first: it halves the channels and commutes with interpolation.
            double, conv = cell.skip
            self.skip = nn.Sequential(as_convolution(conv), double)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.skip is None else self.skip(x)
        branch = self.branch(x)
        return skip + branch if self.gate is None else torch.addcmul(skip, branch, self.gate(branch))


class FrozenNVAE(Hierarchy):
    """`NVAE.decode` in eval mode with constant weights, folded; it cannot encode."""

    def __init__(self, model: NVAE) -> None:
        super().__init__()
        self.groups = dict(model.groups)
        self.samplers = nn.ModuleList(as_convolution(s[1]) for s in model.dec_sampler)
        self.layers = nn.ModuleList()
        latent = self.groups["z0"][0]
        if model.stem_decoder is not None:
            self.stem, self.start = as_convolution(model.stem_decoder), None
        else:
            # The first combiner sees a constant feature: only its part for z0 is a convolution.
            stem = as_convolution(model.dec_tower[0].conv)
            weight = stem.weight
            start = F.conv2d(model.prior_ftr0.detach()[None], weight[:, :-latent], stem.bias)
            self.stem = Convolution(weight[:, -latent:], torch.zeros_like(stem.bias), 0, 1)
            self.start = constant(start.contiguous(memory_format=LAYOUT))
        for layer in [*model.dec_tower[1:], *model.post_process]:
            is_combiner = isinstance(layer, DecoderCombiner)
            self.layers.append(as_convolution(layer.conv) if is_combiner else FoldedCell(layer))
        self.image_conditional = as_convolution(model.image_conditional[1])
        self.eval()

    def top_down(self, batch: int, latent: Latent) -> GaussianHead:
        depth, *size = self.groups["z0"]
        z = latent(0, self.image_conditional.weight.new_zeros(batch, 2 * depth, *size), None)
        h = self.stem(z)
        if self.start is not None:
            h = h + self.start
        group = 0
        for layer in self.layers:
            if isinstance(layer, Convolution):
                z = latent(group + 1, self.samplers[group](F.elu(h)), h)
                h = torch.cat([h, z], dim=1)
                group += 1
            h = layer(h)
        return GaussianHead(self.image_conditional(F.elu(h)))

    def ancestral(self, eps: State) -> tuple[GaussianHead, list[Normal]]:
        return super().ancestral({k: v.contiguous(memory_format=LAYOUT) for k, v in eps.items()})
