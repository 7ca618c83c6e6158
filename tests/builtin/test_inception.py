"""The feature space `inception`: clean-fid's features of the PNG files that the images become.

The weights are no part of this project. A small network of the same structure stands in for the TorchScript
file, and random weights for the state dict; every other byte on the way is clean-fid's.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from attrs import evolve
from torch import Tensor, nn

from vaebm_toolkit.builtin.inception import Inception, resized
from vaebm_toolkit.builtin.metrics import InceptionOptions
from vaebm_toolkit.core import stream
from vaebm_toolkit.errors import DataError, RecipeError
from vaebm_toolkit.evaluation import inception_weights
from vaebm_toolkit.evaluation.inception_score import inception_score
from vaebm_toolkit.evaluation.inception_weights import WeightsFile
from vaebm_toolkit.evaluation.writing import writer
from vaebm_toolkit.registry import installed
from vaebm_toolkit.testing import check_features
from vaebm_toolkit.testing.tiny import TinyDataset

pytest.importorskip("cleanfid", reason="pip install clean-fid")
MODES = ["clean", "legacy_tensorflow", "legacy_pytorch"]


@pytest.fixture
def dtype() -> torch.dtype:
    return torch.float32  # clean-fid's own readers know no other


class StandIn(nn.Module):
    """The structure of the TorchScript file: `layers`, `output`, and what its call returns."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 32, 7, stride=4), nn.Tanh(), nn.AdaptiveAvgPool2d(8))
        self.output = nn.Linear(2048, 1008)

    def forward(
        self,
        img: Tensor,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ) -> Tensor:
        x = nn.functional.interpolate(img.float(), (299, 299), mode="bilinear", align_corners=False)
        features = self.layers((x - 128) / 128).reshape(-1, 2048)
        if return_features:
            return features
        logits = self.output(features)
        if no_output_bias:
            logits = nn.functional.linear(features, self.output.weight)
        return logits.softmax(1)


def taken_as(file: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with its size and checksum in the place of the real one's."""
    wanted: WeightsFile = getattr(inception_weights, name)
    with file.open("rb") as f:
        sha256 = inception_weights.hashlib.file_digest(f, "sha256").hexdigest()
    monkeypatch.setattr(inception_weights, name, evolve(wanted, size=file.stat().st_size, sha256=sha256))
    return file


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("script") / "inception-2015-12-05.pt"
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        torch.jit.script(StandIn().float().eval()).save(str(file))
    return file


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict with the names and shapes that clean-fid asks for, with random weights."""
    from torchvision.models import inception_v3

    file: Path = tmp_path_factory.mktemp("state") / "pt_inception-2015-12-05-6726825d.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = inception_v3(num_classes=1008, aux_logits=False, init_weights=False).float()
    torch.save(network.state_dict(), file)
    return file


@pytest.fixture
def weights(script: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """mode -> option `weights`"""
    taken_as(script, "SCRIPT", monkeypatch)
    taken_as(state, "STATE", monkeypatch)
    return {mode: str(state if mode == "legacy_pytorch" else script) for mode in MODES}


def images(count: int, channels: int = 3, size: int = 16) -> Tensor:
    """Smooth, with some values outside [0, 1], and no multiples of 1/255."""
    x = torch.rand(count, channels, size // 2, size // 2, generator=stream(0, "images"))
    return 1.1 * nn.functional.interpolate(x, scale_factor=2, mode="bilinear") - 0.05


def space(shape: tuple[int, ...] = (3, 16, 16), **options: Any) -> Inception:
    return Inception(InceptionOptions(**options), TinyDataset(shape))


def theirs(x: Tensor, mode: str, file: str, folder: Path) -> tuple[Tensor, Tensor]:
    """clean-fid's tensors and features of the PNG files of x, read by its data set."""
    from cleanfid import inception_pytorch
    from cleanfid.fid import get_batch_features
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.utils import ResizeDataset

    with writer(folder, len(x)) as write:
        write(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = ResizeDataset(sorted(folder.glob("*.png")), mode=mode)
        tensors = torch.stack([read[i] for i in range(len(x))])
        if mode == "legacy_pytorch":
            with pytest.MonkeyPatch.context() as m:
                loaded = torch.load(file, weights_only=True)
                m.setattr(inception_pytorch, "load_state_dict_from_url", lambda *a, **k: loaded)
                net = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).eval()
            features = net(tensors / 255)[0].squeeze(-1).squeeze(-1)
        else:
            net = InceptionV3W(str(Path(file).parent), download=False, resize_inside=mode != "clean").eval()
            features = torch.from_numpy(get_batch_features(tensors, net, torch.device("cpu")))
    return tensors, features.detach()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", MODES)
def test_the_features_of_png_files(mode: str, channels: int, weights: dict[str, str], tmp_path: Path) -> None:
    x = images(3, channels)
    tensors, features = theirs(x, mode, weights[mode], tmp_path / "png")
    assert tensors.shape[1:] == ((3, 16, 16) if mode == "legacy_tensorflow" else (3, 299, 299))
    torch.testing.assert_close(resized(x, mode), tensors, rtol=1e-6, atol=0)
    ours = space((channels, 16, 16), mode=mode, weights=weights[mode])(x)
    assert ours.shape == (3, 2048)
    assert float((ours - features).norm() / features.norm()) < 1e-6


@pytest.mark.parametrize("mode", MODES)
def test_clean_fids_resizers(mode: str) -> None:
    """Of images larger and smaller than 299, tensor by tensor, bit by bit."""
    from cleanfid.resize import build_resizer

    for size in (8, 320):
        pixels = torch.randint(0, 256, (2, 3, size, size), generator=stream(0, "pixels"))
        with warnings.catch_warnings():
            resize = build_resizer(mode)
            expected = [resize(p.permute(1, 2, 0).numpy().astype("uint8")) for p in pixels]
        found = resized(pixels / 255, mode)
        for ours, image in zip(found, expected, strict=True):
            assert torch.equal(ours.permute(1, 2, 0), torch.from_numpy(image).float())


def test_warnings_are_heard_after_it() -> None:
    before = list(warnings.filters)
    resized(images(1), "legacy_pytorch")
    assert warnings.filters == before


def test_grey_images_are_three_equal_channels(weights: dict[str, str]) -> None:
    x = images(2, channels=1)
    grey = space((1, 16, 16), weights=weights["clean"])(x)
    assert torch.equal(grey, space(weights=weights["clean"])(x.expand(-1, 3, -1, -1)))


def test_an_images_features_are_its_own(weights: dict[str, str]) -> None:
    x = images(5)
    together = space(weights=weights["clean"])(x)
    for size in (1, 2):
        parts = space(weights=weights["clean"], batch_size=size)(x)
        torch.testing.assert_close(parts, together, rtol=1e-6, atol=1e-6)
    alone = space(weights=weights["clean"])(x[3:4])
    torch.testing.assert_close(alone, together[3:4], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("mode", ["clean", "legacy_tensorflow"])
def test_logits_are_without_bias(mode: str, weights: dict[str, str]) -> None:
    """Their softmax is what the file itself returns with no_output_bias=True."""
    x, features = images(4), space(mode=mode, weights=weights[mode])
    assert features.has_classes
    logits = features.logits(features(x))
    assert logits.shape == (4, 1008)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = torch.jit.load(weights[mode])
    if mode == "legacy_tensorflow":
        expected = net(resized(x, mode), no_output_bias=True)
        torch.testing.assert_close(logits.softmax(1), expected)
    expected = features(x) @ net.output.weight.detach().T
    torch.testing.assert_close(logits, expected)
    assert 1 <= inception_score(logits, splits=2).value <= 1008


def test_logits_of_the_state_dict(weights: dict[str, str]) -> None:
    features = space(mode="legacy_pytorch", weights=weights["legacy_pytorch"])
    f = torch.randn(3, 2048, generator=stream(0, "f"))
    weight = torch.load(weights["legacy_pytorch"], weights_only=True)["fc.weight"]
    torch.testing.assert_close(features.logits(f), f @ weight.T)


def test_it_says_what_it_is(weights: dict[str, str]) -> None:
    found = space(weights=weights["clean"])
    assert found.slow
    assert found.about == {
        "features": "inception", "mode": "clean", "weights": inception_weights.SCRIPT.sha256[:12],
    }  # fmt: skip
    other = space(mode="legacy_pytorch", weights=weights["legacy_pytorch"]).about
    assert other["weights"] == inception_weights.STATE.sha256[:12]


def test_a_file_of_another_mode_is_refused(weights: dict[str, str]) -> None:
    with pytest.raises(DataError, match=r"is not inception-2015-12-05\.pt"):
        space(weights=weights["legacy_pytorch"])
    with pytest.raises(DataError, match=r"is not pt_inception-2015-12-05-6726825d\.pth"):
        space(mode="legacy_pytorch", weights=weights["clean"])


@pytest.mark.parametrize("shape", [(2,), (2, 16, 16), (4, 16, 16)])
def test_what_is_no_grey_or_rgb_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="grey and RGB images"):
        space(shape)


def test_without_clean_fid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="pip install clean-fid"):
        space()


@pytest.mark.slow
def test_it_keeps_the_contract(weights: dict[str, str]) -> None:
    check_features(installed().parts["features", "inception"], options={"weights": weights["clean"]})
