"""Whether a recipe fits a device, and what is said where it does not."""

from __future__ import annotations

import pytest
import torch

from vaebm_toolkit import RecipeError
from vaebm_toolkit import recipe as recipes
from vaebm_toolkit.building import build_buffer, build_dataset
from vaebm_toolkit.registry import installed
from vaebm_toolkit.training.autocasting import meta_autocast
from vaebm_toolkit.training.batches import Batches
from vaebm_toolkit.training.cost import Estimator
from vaebm_toolkit.training.estimate import describe
from vaebm_toolkit.training.fits import SHARE, Room, advice, parsed, physical_memory, switches
from vaebm_toolkit.training.metering import Meter

MIB = 2**20
SMALL = {
    "dataset": {"name": "digits"},
    "generator": {"name": "nvae", "channels": 8, "groups": 1, "latent": 2},
    "pretrain": {"name": "vae", "steps": 1, "batch_size": 256},
    "trainer": {"name": "none"},
}
SECOND = {
    "energy": {"name": "resnet", "width": 4},
    "trainer": {"name": "vaebm", "steps": 1, "batch_size": 8},
    "sampler": {"name": "latent-ld", "steps": 2},
}


@pytest.fixture
def dtype():
    return torch.float32


def resolved(over=None):
    return recipes.resolve(recipes.merge(SMALL, over or {}), installed())


BOTH = {"run": {"precision": "bf16"}, "generator": {"recompute": True}}


@pytest.fixture
def estimator():
    return Estimator(resolved())


@pytest.fixture
def whole(estimator):
    return estimator.cost("pretrain")


def advised(estimator, whole, part, cpu=False):
    """Lines for a device of which `part` of what the stage takes can be used."""
    room = Room(int(part * whole.memory / SHARE) + 1, "a device", cpu)
    return room, advice(estimator, "pretrain", whole, room)


def test_what_fits_is_said_and_nothing_else(estimator, whole):
    assert advised(estimator, whole, 1)[1] == [f"  fits a device of {whole.memory / SHARE / MIB:.1f} MiB"]


def test_each_suggestion_holds(estimator, whole):
    """A flag with its memory: the recipe with that flag has that memory."""
    room, lines = advised(estimator, whole, 0.3)
    assert "does not fit" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[2:5]] == [
        "--precision bf16", "--generator.recompute true", "--pretrain.batch-size 128",
    ]  # fmt: skip
    both = Estimator(resolved(BOTH))
    assert f"recompute true: {both.cost('pretrain').memory / MIB:.1f} MiB" in lines[3]
    smaller = both.cost("pretrain", batch_size=128)
    assert lines[4].endswith(f"128: {smaller.memory / MIB:.1f} MiB, fits")
    assert room.fits(smaller)
    assert not room.fits(both.cost("pretrain"))
    assert "--devices 4" in lines[6]
    assert room.fits(estimator.cost("pretrain", batch_size=64))
    assert not room.fits(estimator.cost("pretrain", batch_size=128))


def test_a_cpu_recomputes_before_it_rounds(estimator):
    room = Room(1, "this machine", cpu=True)
    assert [flag for flag, _ in switches(estimator.recipe, room)] == [
        "--generator.recompute true", "--precision bf16",
    ]  # fmt: skip
    assert switches(resolved(BOTH), room) == []


def test_weights_that_do_not_fit(estimator, whole):
    lines = advice(estimator, "pretrain", whole, Room(whole.weights, "a device"))
    assert "(FSDP), which is not offered" in lines[2]
    assert "--" not in "".join(lines)


def test_kept_chains_are_counted():
    """capacity chains of every group, in float32."""
    recipe = resolved({**SECOND, "buffer": {"name": "replay", "capacity": 1000}})
    estimator = Estimator(recipe)
    with torch.device("meta"):
        groups = estimator.parts(recipe)["generator"].groups
    numbers = sum(torch.Size(s).numel() for s in groups.values())
    assert estimator.cost("trainer").buffer == 1000 * 4 * numbers


def test_each_device_has_its_rows_and_its_share_of_the_chains(monkeypatch):
    """As `Batches` and `Buffer.shard` give them: of 8 rows and 1000 chains, a half on two."""
    recipe = resolved({**SECOND, "buffer": {"name": "replay", "capacity": 1000}})
    whole, half = Estimator(recipe), Estimator(recipe, devices=2)
    cost = half.cost("trainer")
    assert cost.buffer == whole.cost("trainer").buffer / 2
    monkeypatch.setattr("vaebm_toolkit.core.ranks.world", lambda: 2)
    monkeypatch.setattr("vaebm_toolkit.core.ranks.rank", lambda: 0)
    rows = len(Batches(build_dataset(recipe).train, 8, 0, "train")(0))
    shard = build_buffer(recipe).shard(0, 2)
    monkeypatch.undo()
    assert (rows, shard.capacity) == (4, 500)
    assert cost._replace(buffer=0) == whole.cost("trainer", batch_size=rows)._replace(buffer=0)
    assert "GFLOP per step on each of 2 devices" in describe(recipe, devices=2)


def test_advice_for_two_devices_is_for_each_of_them():
    """Batches and numbers of devices that are named are those of all devices together."""
    estimator = Estimator(resolved(BOTH), devices=2)
    whole = estimator.cost("pretrain")
    room, lines = advised(estimator, whole, 0.7)
    assert "--pretrain.batch-size 128: " in lines[2]
    assert "--devices 4: " in lines[4]
    assert "for 64 examples" in lines[4]
    assert room.fits(estimator.cost("pretrain", batch_size=128))


def test_chains_that_cannot_be_shared_are_refused():
    recipe = resolved({**SECOND, "buffer": {"name": "replay", "capacity": 1001}})
    with pytest.raises(RecipeError, match="cannot be shared evenly by 2"):
        describe(recipe, devices=2)


@pytest.mark.parametrize("recompute", [False, True])
def test_bf16_on_the_meta_device_is_that_of_autocast(recompute):
    """What is alive in a forward pass, against `torch.autocast` itself on the CPU, within 5 %."""

    def kept(device, cast):
        from vaebm_nvae.network import build
        from vaebm_nvae.options import NVAEOptions
        from vaebm_toolkit.core import stream

        with torch.device(device):
            model = build(
                NVAEOptions(channels=8, groups=2, latent=4, recompute=recompute), (3, 16, 16)
            ).train()
            with Meter(weights=model.parameters()) as meter, cast():
                elbo = model.elbo(torch.empty(16, 3, 16, 16).fill_(0.5), stream(0))
                (elbo.kl.sum() - elbo.log_px.sum()).backward()
        return meter.peak

    real = kept("cpu", lambda: torch.autocast("cpu", torch.bfloat16))
    assert kept("meta", meta_autocast) == pytest.approx(real, rel=0.05)
    assert torch.nn.functional.conv2d.__module__ != "vaebm_toolkit.training.autocasting"


def test_sizes():
    assert parsed("16GiB") == 16 * 2**30
    assert parsed("80 gb") == 80 * 10**9
    for wrong in ("much", "0GiB", "-1GiB", "16 parsec"):
        with pytest.raises(RecipeError, match="is not a size"):
            parsed(wrong)


def test_a_container_bounds_memory(tmp_path):
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "bound").write_text("4096\n")
    assert physical_memory(tmp_path / "bound") == 4096
    assert physical_memory(tmp_path / "max") == physical_memory(tmp_path / "none") > 2**28
