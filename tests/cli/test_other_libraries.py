"""Whole runs with parts from other libraries: torchvision, timm, torchebm, diffusers."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from .conftest import Vaebm

SHORT = [
    "--trainer.steps", "4", "--trainer.batch-size", "16", "--trainer.log-every", "2",
    "--trainer.checkpoint-every", "2", "--sampler.steps", "2", "--sampling.steps", "2",
    "--evaluate.samples", "20", "--dataset.limit", "200", "--log.report", "false", "--quiet", "--out", "r",
]  # fmt: skip
NVAE = [
    "--generator.channels", "4", "--generator.groups", "1", "--generator.latent", "2",
    "--pretrain.epochs", "1", "--pretrain.bn-passes", "1",
]  # fmt: skip
RESNET = ["--energy.width", "4"]


def figures(run: str) -> dict[str, dict[str, float]]:
    return json.loads((Path(run) / "metrics.json").read_text())["figures"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("energy", "model", "needed"),
    [("torchvision", "mobilenet_v3_small", "torchvision"), ("timm", "test_resnet", "timm")],
)
def test_energies_from_classification_networks(vaebm: Vaebm, energy: str, model: str, needed: str) -> None:
    pytest.importorskip("vaebm_backbones", reason="an optional plugin")
    pytest.importorskip(needed, reason="an optional dependency")
    called = vaebm("run", *SHORT, *NVAE, "--energy", energy, "--energy.model", model)
    assert called.code == 0, called.err
    assert figures("r").keys() == {"generator", "vaebm"}
    assert vaebm("sample", "r", "-n", "2").code == 0
    assert vaebm("run", "--energy-from", "r", "--trainer.steps", "2", "--quiet", "--out", "on").code == 0
    cited = vaebm("cite", "r").out
    assert "grathwohl2020jem" in cited
    assert f"energy {energy} (vaebm-backbones" in cited


def test_an_energy_that_cannot_be_is_refused_before_anything_is_written(vaebm: Vaebm) -> None:
    pytest.importorskip("vaebm_backbones", reason="an optional plugin")
    called = vaebm("run", *SHORT, *NVAE, "--energy", "torchvision", "--energy.model", "resnet81")
    assert called.code == 2
    assert "Did you mean resnet18" in called.err
    called = vaebm("run", *SHORT, *NVAE, "--energy", "torchvision", "--energy.model", "alexnet")
    assert called.code == 2
    assert "alexnet of torchvision does not take images of 8×8" in called.err
    assert not Path("r").exists()


@pytest.mark.parametrize("sampler", ["torchebm-ld", "torchebm-hmc"])
def test_samplers_of_torchebm(vaebm: Vaebm, sampler: str) -> None:
    """A sample does not depend on the batch that it is made in."""
    pytest.importorskip("vaebm_torchebm", reason="an optional plugin")
    pytest.importorskip("torchebm", reason="an optional dependency")
    called = vaebm("run", *SHORT, *NVAE, *RESNET, "--sampler", sampler, "--sampler.step-size", "0.05")
    assert called.code == 0, called.err
    log = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    assert {"chain_log_prob"} <= set(log[-1])
    for size in ("1", "4"):
        made = vaebm("sample", "r", "-n", "4", "--batch-size", size, "--out", f"{size}.npz")
        assert made.code == 0, made.err
    import numpy as np

    alone, together = (np.load(f"{size}.npz") for size in ("1", "4"))
    for name in alone.files:
        np.testing.assert_allclose(alone[name].astype(float), together[name].astype(float), atol=1)


SMALL = ["--generator", "autoencoder-kl", "--generator.channels", "8,8,8", "--generator.latent", "2"]


def test_a_new_autoencoder_of_diffusers(vaebm: Vaebm) -> None:
    pytest.importorskip("vaebm_diffusers", reason="an optional plugin")
    pytest.importorskip("diffusers", reason="an optional dependency")
    stage = ["--pretrain.lr", "5e-3", "--pretrain.epochs", "8", "--pretrain.log-every", "2"]
    called = vaebm("run", *SHORT, *RESNET, *SMALL, *stage)
    assert called.code == 0, called.err
    log = [json.loads(line) for line in Path("r/log.jsonl").read_text().splitlines()]
    elbo = [r["elbo"] for r in log if r["stage"] == "pretrain"]
    assert elbo[-1] > elbo[0] + 10
    for command in ("likelihood r --importance 2", "latents reconstruct r --out x.png", "sample r -n 2"):
        done = vaebm(*command.split())
        assert done.code == 0, done.err


def test_a_trained_autoencoder_from_a_folder_is_taken_as_it_is(vaebm: Vaebm) -> None:
    pytest.importorskip("vaebm_diffusers", reason="an optional plugin")
    diffusers = pytest.importorskip("diffusers", reason="an optional dependency")
    from safetensors.torch import load_file

    diffusers.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8),
        norm_num_groups=4,
    ).save_pretrained("net")
    chosen = ["--generator", "autoencoder-kl", "--generator.path", "net", "--generator.calibrate", "true"]
    called = vaebm("run", *SHORT, *RESNET, *chosen, "--pretrain.steps", "0")
    assert called.code == 0, called.err
    kept = load_file("r/pretrain/networks.safetensors")
    stored = load_file("net/diffusion_pytorch_model.safetensors")
    assert all((kept[f"generator/network.{k}"] == v).all() for k, v in stored.items())
    assert kept["generator/latent_std"].unique().numel() == 4, "measured for each channel"
    assert tomllib.loads(Path("r/recipe.toml").read_text())["generator"]["path"] == "net"
    assert vaebm("sample", "r", "-n", "2").code == 0
