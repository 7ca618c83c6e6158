"""Colour, size, bits and padding, for any image."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vaebm_toolkit.builtin.data import npz, pixels
from vaebm_toolkit.builtin.data.memory import MemorySplit
from vaebm_toolkit.builtin.datasets import NpzOptions

SIDE = st.integers(1, 40)


def random_images(count: int, channels: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    return torch.randint(256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


@settings(deadline=None)
@given(
    height=SIDE,
    width=SIDE,
    channels=st.sampled_from([1, 3]),
    size=st.none() | SIDE,
    pad=st.integers(0, 5),
    bits=st.integers(5, 8),
    colour=st.sampled_from(["data", "grey", "rgb"]),
)
def test_shape_is_the_declared_one_and_values_are_levels(
    height: int, width: int, channels: int, size: int | None, pad: int, bits: int, colour: str
) -> None:
    options = NpzOptions(size=size, pad=pad, bits=bits, channels=colour)  # type: ignore[arg-type]
    split = (random_images(3, channels, height, width), None)
    data = npz.from_tensors(split, split, options)
    x = data.train.batch(torch.tensor([2, 0, 2]))
    assert x.dtype == torch.float32
    assert x.shape[1:] == data.shape == options.shape_of(channels, height, width)
    if options.data_shape is not None:
        assert options.data_shape == data.shape
    assert torch.equal(x[0], x[2])
    levels = x.double() * data.levels
    assert (levels - levels.round()).abs().max() < 1e-4
    assert x.min() >= 0
    assert x.max() <= 1
    if pad:
        assert x.sum(dtype=torch.float64) == x[:, :, pad:-pad, pad:-pad].sum(dtype=torch.float64)


@given(value=st.integers(0, 255), bits=st.integers(5, 8))
def test_bits_are_nvaes_formula(value: int, bits: int) -> None:
    """x = floor(255 x / 2^(8 − b)) / (2^b − 1) for x = value / 255."""
    options = NpzOptions(bits=bits)
    image = pixels.finished(torch.full((1, 1, 1, 1), value, dtype=torch.uint8), options)
    x = MemorySplit(image, levels=pixels.levels(options)).batch(torch.tensor([0])).item()
    expected = math.floor(value / 2 ** (8 - bits)) / (2**bits - 1)
    assert x == np.float32(expected)


@given(height=SIDE, width=SIDE)
def test_grey_is_pils(height: int, width: int) -> None:
    images = random_images(1, 3, height, width)
    theirs = np.asarray(Image.fromarray(images[0].permute(1, 2, 0).numpy()).convert("L"))
    assert np.array_equal(pixels.with_channels(images, "grey")[0, 0].numpy(), theirs)


@settings(deadline=None)
@given(height=SIDE, width=SIDE, size=SIDE)
def test_size_agrees_with_torchvision(height: int, width: int, size: int) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize

    image = Image.fromarray(random_images(1, 1, height, width)[0, 0].numpy())
    theirs = Compose([Resize(size), CenterCrop(size)])(image)
    assert np.array_equal(np.asarray(pixels.fit(image, size)), np.asarray(theirs))
