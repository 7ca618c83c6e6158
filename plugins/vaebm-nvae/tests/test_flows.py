"""The normalising flow preserves volume, and each latent depends on the ones before it."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.functional import jacobian

from vaebm_nvae.flows import AutoregressiveCell, MaskedConv2d, PairedCell, channel_mask
from vaebm_toolkit.core import stream

SHAPE = (2, 3, 3)


def pronounced(cell):
    """The cell far from the identity it starts near."""
    with torch.no_grad():
        for module in cell.modules():
            if isinstance(module, MaskedConv2d):
                module.log_weight_norm.add_(2.0)
    return cell


def dense(cell):
    """d cell(z) / dz as a matrix, at a random z."""
    z = torch.randn(1, *SHAPE, generator=stream(1))
    size = z.numel()
    return jacobian(cell, z).reshape(size, size)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_latent_depends_on_earlier_ones_only(mirror):
    """In raster order, channels within a pixel in order, the Jacobian is unit lower triangular."""
    matrix = dense(pronounced(AutoregressiveCell(2, mirror)))
    channels, height, width = SHAPE
    place = torch.arange(height * width).view(height, width)
    place = place.flip(0, 1) if mirror else place
    # the mirror turns space around and leaves the order of channels
    order = (place[None] * channels + torch.arange(channels)[:, None, None]).flatten().argsort()
    sorted_ = matrix[order][:, order]
    assert torch.equal(sorted_.triu(1), torch.zeros_like(sorted_))
    assert torch.equal(sorted_.diagonal(), torch.ones(len(order)))
    assert (sorted_.tril(-1) != 0).float().mean() > 0.2


def test_the_log_determinant_is_zero():
    found = torch.linalg.slogdet(dense(pronounced(PairedCell(2))))
    assert abs(found.logabsdet) < 1e-12
    assert found.sign == 1


def test_every_latent_moves_in_one_of_the_two_directions():
    z = torch.randn(1, *SHAPE, generator=stream(2))
    assert ((pronounced(PairedCell(2))(z) - z).abs() > 1e-3).all()


@pytest.mark.parametrize(("c_in", "c_out"), [(2, 6), (6, 2), (4, 4)])
def test_channel_masks(c_in, c_out):
    """An output block sees the input blocks before it, and itself unless the diagonal is zero."""
    blocks, open_, closed = min(c_in, c_out), *(channel_mask(c_in, c_out, zero) for zero in (False, True))
    for o in range(c_out):
        for i in range(c_in):
            block_o, block_i = o * blocks // c_out, i * blocks // c_in
            assert open_[o, i] == (block_i <= block_o)
            assert closed[o, i] == (block_i < block_o)


def test_names_are_those_of_released_checkpoints():
    assert {k.rpartition(".")[0] for k in PairedCell(2).state_dict()} == {
        f"cell{n}.{part}" for n in (1, 2) for part in ("conv.convz.0", "conv.convz.2", "mu.conv_0")
    }
    assert "cell1.mu.conv_0.bias" in PairedCell(2).state_dict()
    assert "cell1.conv.convz.0.bias" not in PairedCell(2).state_dict()
