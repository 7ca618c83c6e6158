"""Streams: reproducible, independent of each other and of the batch size."""

from __future__ import annotations

import torch

from vaebm_toolkit.core import RowStreams, data_noise, rand, randn, randn_like, stream


def row_streams(n: int) -> RowStreams:
    return RowStreams([stream(0, "sample", i) for i in range(n)])


def test_same_path_same_numbers():
    assert torch.equal(randn((50,), stream(3, "chain", 7)), randn((50,), stream(3, "chain", 7)))


def test_streams_of_different_paths_are_independent():
    """Correlation 0 within 4 standard errors, 1/√n, for neighbouring seeds, names and steps."""
    n = 40_000
    noise = [
        randn((n,), stream(*path))
        for path in [(0, "a", 1), (0, "a", 2), (1, "a", 1), (0, "b", 1), (0, "a/1")]
    ]
    correlation = torch.corrcoef(torch.stack(noise[:4])) - torch.eye(4)
    assert correlation.abs().max() < 4 * n**-0.5
    for x in noise:
        assert abs(x.mean().item()) < 4 * n**-0.5
        assert abs(x.var().item() - 1) < 4 * (2 / n) ** 0.5


def test_noise_of_a_row_does_not_depend_on_the_batch():
    """Successive draws of every row, whether it runs with 2 others or with 7."""
    small, large = row_streams(3), row_streams(8)
    for shape in [(4,), (2, 3, 3), (5,)]:
        assert torch.equal(randn((3, *shape), small), randn((8, *shape), large)[:3])


def test_a_shorter_batch_uses_the_first_rows():
    rows = row_streams(4)
    assert torch.equal(randn((2, 3), rows), randn((4, 3), row_streams(4))[:2])


def test_noise_takes_shape_and_type_from_its_model(device):
    like = torch.zeros(2, 3, dtype=torch.float32, device=device)
    noise = randn_like(like, stream(0, "x"))
    assert (noise.shape, noise.dtype, noise.device.type) == (like.shape, like.dtype, like.device.type)


def test_uniform_noise_is_uniform_row_by_row():
    """Mean ½ and variance 1/12 within 4 standard errors; a row's does not depend on the batch."""
    x = rand((50, 800), row_streams(50))
    assert 0 <= x.min() < x.max() < 1
    assert abs(x.mean() - 0.5) < 4 * (1 / 12 / x.numel()) ** 0.5
    assert abs(x.var() - 1 / 12) < 4 * (1 / 180 / x.numel()) ** 0.5
    assert torch.equal(rand((3, 800), row_streams(3)), x[:3])


def test_noise_in_data_space_keeps_to_the_bounds():
    x = data_noise((3, 8, 8), (-2.0, 0.5), 20, row_streams(20))["x"]
    assert x.shape == (20, 3, 8, 8)
    assert torch.equal(x, -2 + 2.5 * rand((20, 3, 8, 8), row_streams(20)))
    assert torch.equal(data_noise((2,), None, 4, row_streams(4))["x"], randn((4, 2), row_streams(4)))
