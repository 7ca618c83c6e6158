"""Binary images: frequencies, repeatability, and what does not depend on the batch."""

from __future__ import annotations

import torch

from vaebm_toolkit.builtin.data.binary import BinarySplit
from vaebm_toolkit.builtin.data.memory import MemorySplit
from vaebm_toolkit.core import stream


def split() -> BinarySplit:
    greys = torch.tensor([0, 51, 128, 255], dtype=torch.uint8)
    return BinarySplit(MemorySplit(greys.view(1, 1, 2, 2).expand(3000, -1, -1, -1), torch.arange(3000) % 10))


def test_frequencies_are_the_greys() -> None:
    data = split()
    expected = torch.tensor([0.0, 0.2, 128 / 255, 1.0]).view(1, 2, 2)
    error = 4 * (expected * (1 - expected) / 3000).sqrt()
    for x in (data.batch(torch.arange(3000)), data.batch(torch.arange(3000), stream(1))):
        assert ((x == 0) | (x == 1)).all()
        assert ((x.mean(0) - expected).abs() <= error).all()


def test_drawn_anew_in_training_and_fixed_otherwise() -> None:
    data, index = split(), torch.tensor([5, 2, 9])
    assert torch.equal(data.batch(index), data.batch(index))
    assert torch.equal(data.batch(index)[1:2], data.batch(index[1:2]))
    assert torch.equal(data.batch(index, stream(1)), data.batch(index, stream(1)))
    many = torch.arange(200)
    assert not torch.equal(data.batch(many, stream(1)), data.batch(many, stream(2)))


def test_labels_and_length_are_those_of_the_greys() -> None:
    data = split()
    assert len(data) == 3000
    labels = data.labels()
    assert labels is not None
    assert labels[13] == 3
