"""A trained network from a local folder: the same network, or an error, and nothing from elsewhere."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vaebm_diffusers.options import AutoencoderOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import standard_normal, stream

pytest.importorskip("diffusers", reason="an optional dependency")

from diffusers import AutoencoderKL

from vaebm_diffusers.build import CONFIG, WEIGHTS, build

SHAPE = (3, 8, 8)


def save(folder: Path, **config: object) -> AutoencoderKL:
    network = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        latent_channels=2,
        **config,
    )
    network.save_pretrained(folder)
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "net")
    return tmp_path / "net"


def read(path: Path, shape: tuple[int, ...] = SHAPE, **options: object):
    return build(AutoencoderOptions(path=str(path), **options), shape)


@pytest.mark.parametrize("shift", [None, 0.4])
def test_a_folder_gives_the_network_that_was_saved(tmp_path, shift):
    """x = (decoder(ε / factor + shift) + 1) / 2, as pipelines of diffusers decode."""
    network = save(tmp_path, scaling_factor=0.25, shift_factor=shift)
    model = read(tmp_path, sigma=0.05)
    eps = standard_normal(model.groups, 2, stream(0))
    expected = (network.decode(eps["z0"] / 0.25 + (shift or 0.0)).sample + 1) / 2 + 0.05 * eps["x"]
    torch.testing.assert_close(model.decode(eps).x, expected, rtol=1e-12, atol=1e-12)
    assert all(p.dtype == torch.get_default_dtype() for p in model.parameters())
    assert float(model.latent_std.unique()) == 4.0


def test_mean_and_spread_of_each_channel_are_taken_where_they_are_given(tmp_path):
    """z = ε · spread / factor + mean, the inverse of (z − mean) · factor / spread."""
    save(tmp_path, scaling_factor=0.5, latents_mean=[0.1, 0.2], latents_std=[1.0, 3.0])
    model = read(tmp_path)
    assert model.latent_mean.flatten().tolist() == pytest.approx([0.1, 0.2])
    assert model.latent_std.flatten().tolist() == pytest.approx([2.0, 6.0])


def test_single_precision_files_become_the_precision_of_the_run(folder):
    save_file({k: v.half() for k, v in load_file(folder / WEIGHTS).items()}, folder / WEIGHTS)
    assert {p.dtype for p in read(folder).parameters()} == {torch.get_default_dtype()}


def test_nothing_is_fetched(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert read(folder).groups["z0"] == (2, 4, 4)
    with pytest.raises(RecipeError, match="nothing is downloaded"):
        read(Path("stabilityai/sd-vae-ft-mse"))


def test_on_the_meta_device_it_is_read_and_forgotten(folder):
    with torch.device("meta"):
        assert all(p.is_meta for p in read(folder).parameters())
    stored = load_file(folder / WEIGHTS)
    del stored["decoder.conv_in.bias"]
    save_file(stored, folder / WEIGHTS)
    with torch.device("meta"), pytest.raises(RecipeError, match=r"missing: decoder.conv_in.bias"):
        read(folder)


def test_a_pipelines_folder_is_shown_the_way(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "pipeline" / "vae")
    with pytest.raises(RecipeError, match=r"--generator.path .*/pipeline/vae"):
        read(tmp_path / "pipeline")


def test_other_tensors_and_other_shapes_are_named(folder):
    stored = load_file(folder / WEIGHTS)
    save_file({**stored, "extra": torch.zeros(1)}, folder / WEIGHTS)
    with pytest.raises(RecipeError, match="unexpected: extra"):
        read(folder)
    save_file({**stored, "decoder.conv_in.bias": torch.zeros(3)}, folder / WEIGHTS)
    with pytest.raises(RecipeError, match=r"cannot be read: .* size mismatch for decoder.conv_in.bias"):
        read(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: (d / WEIGHTS).unlink(), f"there is no .*{WEIGHTS}"),
        (lambda d: (d / WEIGHTS).rename(d / "diffusion_pytorch_model.bin"), "from safetensors alone"),
        (lambda d: (d / WEIGHTS).write_bytes(b"rubbish"), "cannot be read"),
        (lambda d: (d / CONFIG).unlink(), f"there is no .*{CONFIG}"),
        (lambda d: (d / CONFIG).write_text("rubbish"), "describes no network"),
        (lambda d: (d / CONFIG).write_text("[]"), "describes no network"),
        (
            lambda d: (d / CONFIG).write_text(json.dumps({"_class_name": "AutoencoderTiny"})),
            "of the kind AutoencoderTiny, not AutoencoderKL",
        ),
    ],
)
def test_folders_that_hold_no_network(folder, change, words):
    change(folder)
    with pytest.raises(RecipeError, match=words):
        read(folder)


def test_images_of_other_channels_are_refused(folder):
    with pytest.raises(RecipeError, match="is for images of 3 channels; these have 1"):
        read(folder, (1, 8, 8))
