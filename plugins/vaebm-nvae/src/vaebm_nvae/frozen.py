"""The decoder as a constant: the same function of ε in fewer, larger steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_nvae.cells import BRANCH_SCALE, Cell, DecoderCombiner, SqueezeExcite
from vaebm_nvae.folding import Affine, Branch, Convolution, as_convolution, constant, fold, steps
from vaebm_nvae.hierarchy import Hierarchy, Latent
from vaebm_nvae.ops import arranged, unrounded

if TYPE_CHECKING:
    from vaebm_nvae.network import NVAE


class Gate(nn.Module):
    """Squeeze-and-excitation of a branch that carries its factor 0.1 already: (B, C, 1, 1)."""

    def __init__(self, se: SqueezeExcite) -> None:
        super().__init__()
        squeeze, _, excite, _ = se.se
        self.squeeze, self.squeeze_bias = constant(squeeze.weight / BRANCH_SCALE), constant(squeeze.bias)
        self.excite, self.excite_bias = constant(excite.weight), constant(excite.bias)

    def forward(self, branch: Tensor) -> Tensor:
        h = F.relu(F.linear(branch.mean((2, 3)), self.squeeze, self.squeeze_bias))
        return torch.sigmoid(F.linear(h, self.excite, self.excite_bias))[:, :, None, None]


class FrozenCell(nn.Module):
    """skip(x) + gate · branch(x), the factor 0.1 inside the branch's last convolution."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        found = [step for op in cell._ops for step in steps(op)]
        like = next(cell.parameters())
        tenth = Affine(like.new_full((cell.c_out,), BRANCH_SCALE), like.new_zeros(cell.c_out))
        self.branch = Branch(fold([*found, tenth]))
        self.gate = None if cell.se is None else Gate(cell.se)
        self.skip = None
        if isinstance(cell.skip, nn.Sequential):
            # The 1x1 convolution commutes with interpolation and halves the channels: it goes first.
            double, conv = cell.skip
            self.skip = nn.Sequential(as_convolution(conv), double)

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.skip is None else self.skip(x)
        branch = self.branch(x)
        return skip + branch if self.gate is None else torch.addcmul(skip, branch, self.gate(branch))


class FrozenNVAE(Hierarchy):
    """`NVAE.decode` in eval mode with constant weights; it has no encoder.

    BatchNorm and weight norm are folded into the convolutions (`folding`), the learned
    start feature is taken through the first combiner once.
    Differs from the network it was made from by rounding only.
    """

    @torch.no_grad()
    def __init__(self, model: NVAE) -> None:
        super().__init__(model.options, model.head.colours)
        self.temperatures, self.head_temperature = model.temperatures, model.head_temperature
        self.groups = dict(model.groups)
        depth = self.groups["z0"][0]
        if model.stem_decoder is not None:
            self.stem, self.start = as_convolution(model.stem_decoder), None
        else:
            # conv([h, z]) = conv_h(h) + conv_z(z), and here h is the same for every sample.
            combiner = as_convolution(model.dec_tower[0].conv)
            start = F.conv2d(model.prior_ftr0[None], combiner.weight[:, :-depth], combiner.bias)
            self.start = constant(start)
            self.stem = Convolution(combiner.weight[:, -depth:], torch.zeros_like(combiner.bias))
        self.samplers = nn.ModuleList(as_convolution(conv) for _, conv in model.dec_sampler)
        self.layers = nn.ModuleList(
            as_convolution(layer.conv) if isinstance(layer, DecoderCombiner) else FrozenCell(layer)
            for layer in [*model.dec_tower[1:], *model.post_process]
        )
        self.image_conditional = as_convolution(model.image_conditional[1])
        self.eval()

    def features(self, batch: int, latent: Latent) -> Tensor:
        depth, *size = self.groups["z0"]
        z = latent(0, arranged(self.stem.weight.new_zeros(batch, 2 * depth, *size)), None)
        h = self.stem(z)
        if self.start is not None:
            h = h + self.start
        group = 0
        for layer in self.layers:
            if isinstance(layer, Convolution):
                group += 1
                z = latent(group, self.samplers[group - 1](F.elu(h)), h)
                h = layer(torch.cat([h, z], dim=1))
            else:
                h = self.through(layer, h)
        return unrounded(self.image_conditional, F.elu(h), self.image_conditional.weight)
