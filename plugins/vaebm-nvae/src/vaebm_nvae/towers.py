"""The four stacks of cells. `mult` is the number of channels relative to full resolution.

Layers of a tower with N cells, C combiners, D down and U up cells, for two scales of two
groups with one cell each: encoder N C N C D N C N, decoder C N C U N C N C.
"""

from __future__ import annotations

from torch import nn

from vaebm_nvae.cells import ARCHS, Cell, DecoderCombiner, EncoderCombiner
from vaebm_nvae.options import NVAEOptions


def cell(options: NVAEOptions, part: str, c_in: int, c_out: int | None = None, stride: int = 1) -> Cell:
    return Cell(ARCHS[options.cells][part], c_in, c_out or c_in, stride, options.se)


def pre_process(options: NVAEOptions) -> nn.ModuleList:
    """Blocks that end in a down cell."""
    layers: list[nn.Module] = []
    for block in range(options.preprocess_blocks):
        width = options.channels * 2**block
        layers += [cell(options, "pre", width) for _ in range(options.preprocess_cells - 1)]
        layers.append(cell(options, "pre", width, 2 * width, stride=2))
    return nn.ModuleList(layers)


def enc_tower(options: NVAEOptions, c_dec: int) -> nn.ModuleList:
    """Largest resolution first; a combiner after each group's cells except the very last group's."""
    layers: list[nn.Module] = []
    last = options.scales - 1
    for scale, groups in enumerate(options.groups_per_scale):
        mult = 2 ** (options.preprocess_blocks + scale)
        width = options.channels * mult
        for group in range(groups):
            layers += [cell(options, "enc", width) for _ in range(options.cells_per_group_enc)]
            if scale != last or group != groups - 1:
                layers.append(EncoderCombiner(width, c_dec * mult))
        if scale != last:
            layers.append(cell(options, "enc", width, 2 * width, stride=2))
    return nn.ModuleList(layers)


def dec_tower(options: NVAEOptions, c_dec: int) -> nn.ModuleList:
    """Smallest resolution first; a group's cells, except the very first group's, then its combiner."""
    layers: list[nn.Module] = []
    last = options.scales - 1
    for scale, groups in enumerate(reversed(options.groups_per_scale)):
        width = c_dec * 2 ** (options.preprocess_blocks + last - scale)
        for group in range(groups):
            if scale or group:
                layers += [cell(options, "dec", width) for _ in range(options.cells_per_group_dec)]
            layers.append(DecoderCombiner(width, options.latent))
        if scale != last:
            layers.append(cell(options, "dec", width, width // 2, stride=-1))
    return nn.ModuleList(layers)


def post_process(options: NVAEOptions, c_dec: int) -> nn.ModuleList:
    """Blocks that begin with an up cell."""
    layers: list[nn.Module] = []
    for block in range(options.postprocess_blocks):
        width = c_dec * 2 ** (options.postprocess_blocks - block)
        layers.append(cell(options, "post", width, width // 2, stride=-1))
        layers += [cell(options, "post", width // 2) for _ in range(options.postprocess_cells - 1)]
    return nn.ModuleList(layers)
