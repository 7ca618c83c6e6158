"""Starting from a file: all of the network but its last layer, or an error that names tensors."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models import mobilenet_v3_small

from vaebm_backbones.energy import BackboneEnergy, build_timm, build_torchvision
from vaebm_backbones.options import BackboneOptions
from vaebm_toolkit import RecipeError

SHAPE = (3, 32, 32)


def build(path, model: str = "mobilenet_v3_small", **options: str) -> BackboneEnergy:
    return build_torchvision(BackboneOptions(model=model, weights=str(path), **options), SHAPE)


@pytest.fixture
def trained() -> dict[str, Tensor]:
    """A classifier of ten classes that has seen data: its statistics are not those of a new one."""
    network = mobilenet_v3_small(num_classes=10)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.1)
    network.train()(torch.randn(8, *SHAPE))
    return network.state_dict()


@pytest.mark.parametrize("ending", [".safetensors", ".pt", ".pth"])
def test_all_but_the_last_layer_is_taken(trained, tmp_path, ending):
    path = tmp_path / f"weights{ending}"
    (save_file if ending == ".safetensors" else torch.save)(trained, path)
    energy = build(path, norm="frozen", activation="keep")
    own = energy.network.state_dict()
    assert own["classifier.3.weight"].shape[0] == 1
    assert [k for k in own if not torch.equal(own[k], trained[k])] == [
        "classifier.3.weight", "classifier.3.bias",
    ]  # fmt: skip
    energy.initialise(torch.rand(8, *SHAPE))
    assert torch.equal(
        energy.network.state_dict()["features.0.1.running_mean"], own["features.0.1.running_mean"]
    )


def test_the_last_layer_is_taken_where_it_fits(trained, tmp_path):
    trained["classifier.3.weight"] = trained["classifier.3.weight"][:1].clone()
    trained["classifier.3.bias"] = trained["classifier.3.bias"][:1].clone()
    save_file(trained, tmp_path / "w.safetensors")
    own = build(tmp_path / "w.safetensors", norm="keep").network.state_dict()
    assert torch.equal(own["classifier.3.weight"], trained["classifier.3.weight"])


def test_a_file_without_the_last_layer_or_counters_will_do(trained, tmp_path):
    kept = {k: v for k, v in trained.items() if "classifier.3" not in k and "num_batches" not in k}
    save_file(kept, tmp_path / "w.safetensors")
    own = build(tmp_path / "w.safetensors", norm="keep").network.state_dict()
    assert all(torch.equal(own[k], v) for k, v in kept.items())


def test_groups_have_the_scales_and_offsets_of_the_file(trained, tmp_path):
    save_file(trained, tmp_path / "w.safetensors")
    own = build(tmp_path / "w.safetensors").network.state_dict()
    assert torch.equal(own["features.0.1.weight"], trained["features.0.1.weight"])
    assert not any("running" in k for k in own)


def test_timm_networks_take_theirs(tmp_path):
    timm = pytest.importorskip("timm", reason="an optional dependency")
    trained = timm.create_model("test_resnet", pretrained=False, num_classes=7).state_dict()
    save_file(trained, tmp_path / "w.safetensors")
    options = BackboneOptions(model="test_resnet", weights=str(tmp_path / "w.safetensors"), norm="keep")
    own = build_timm(options, SHAPE).network.state_dict()
    assert [k for k in own if not torch.equal(own[k], trained[k])] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_what_does_not_fit_is_named_before_anything_is_built(trained, tmp_path, device):
    """On the meta device too, where a run is checked before anything of it is written."""
    del trained["features.0.0.weight"]
    trained["features.0.1.weight"] = torch.zeros(3)
    trained |= {f"extra.{i}": torch.zeros(1) for i in range(7)}
    save_file(trained, tmp_path / "w.safetensors")
    with torch.device(device), pytest.raises(RecipeError) as error:
        build(tmp_path / "w.safetensors")
    assert error.value.message == (
        f"energy.weights: {tmp_path / 'w.safetensors'} is of another network. missing: features.0.0.weight; "
        "unexpected: extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more; "
        "of another shape: features.0.1.weight."
    )


def test_nothing_is_copied_to_the_meta_device(trained, tmp_path, recwarn):
    save_file(trained, tmp_path / "w.safetensors")
    with torch.device("meta"):
        assert all(p.is_meta for p in build(tmp_path / "w.safetensors").parameters())
    assert not recwarn.list


def test_weights_of_another_network_are_refused(trained, tmp_path):
    save_file(trained, tmp_path / "w.safetensors")
    with pytest.raises(RecipeError, match=r"is of another network. missing: bn1.bias, .* and \d+ more"):
        build(tmp_path / "w.safetensors", "resnet18")


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("gone.pth", None, 'there is no file .*\n.*weights = "none"'),
        ("w.bin", b"", "neither .safetensors nor .pt nor .pth"),
        ("w.safetensors", b"rubbish", "cannot be read"),
        ("w.pt", b"rubbish", "cannot be read"),
        ("w.pth", {"state_dict": {}, "epoch": 3}, "no state dict, but holds state_dict, epoch"),
        ("w.pth", [torch.zeros(1)], "no state dict, but holds list"),
        ("w.pth", {"x": Trap()}, "cannot be read"),
    ],
)
def test_files_that_are_no_weights(tmp_path, monkeypatch, name, content, words):
    monkeypatch.chdir(tmp_path)
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / name)
    with pytest.raises(RecipeError, match=words):
        build(name)
    assert not (tmp_path / "sprung").exists(), "nothing in the file is run"
