"""Samples to files in batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vaebm_toolkit import RunError
from vaebm_toolkit.evaluation.writing import writer
from vaebm_toolkit.report import pictures


def test_an_npz_written_in_batches_holds_what_numpy_would_write(tmp_path: Path) -> None:
    x = torch.rand(7, 3, 4, 5)
    with writer(tmp_path / "x.npz", len(x)) as write:
        for batch in x.split(3):
            write(batch)
    with np.load(tmp_path / "x.npz") as found:
        assert found.files == ["images"]
        assert np.array_equal(found["images"], pictures.to_uint8(x))


def test_vectors_keep_their_precision(tmp_path: Path) -> None:
    x = torch.randn(5, 2)
    with writer(tmp_path / "x.npz", len(x)) as write:
        for batch in x.split(2):
            write(batch)
    with np.load(tmp_path / "x.npz") as found:
        assert np.array_equal(found["vectors"], x.numpy())


def test_what_is_cut_off_leaves_no_file(tmp_path: Path) -> None:
    def cut_off() -> None:
        with writer(tmp_path / "x.npz", 4) as write:
            write(torch.rand(2, 1, 4, 4))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_off()
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_found_before_the_first_sample(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="Cannot write"), writer(tmp_path / "file" / "x.npz", 4):
        raise AssertionError("nothing is sampled")
