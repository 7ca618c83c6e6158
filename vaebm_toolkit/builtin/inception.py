"""The feature space `inception`: that of FID, KID and the inception score, computed as clean-fid does."""

from __future__ import annotations

import functools
import importlib.util
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from vaebm_toolkit.builtin.metrics import InceptionOptions
from vaebm_toolkit.core import Dataset, Features
from vaebm_toolkit.errors import DataError, RecipeError
from vaebm_toolkit.evaluation import inception_weights
from vaebm_toolkit.report.pictures import to_uint8
from vaebm_toolkit.training.device import choose_device


class Network(NamedTuple):
    features: Callable[[Tensor], Tensor]
    """(B, 3, H, W) float32 in [0, 255] -> (B, 2048)"""
    output: Tensor
    """(1008, 2048), the weights of the layer that makes logits of features"""


class Inception(Features):
    """The last pooling layer of the Inception network of 2015, (B, 2048) (Heusel et al., 2017).

    Images become the bytes of their PNG files first, grey ones in three equal channels. Then, by mode,
    as clean-fid 0.1.35 reads such files (Parmar et al., 2022); tests compare with it:

    - clean: PIL's antialiased bicubic, each channel in float, not rounded again; the TorchScript network.
    - legacy_tensorflow: the network's own bilinear resizing, without antialiasing, as that of the TensorFlow
      code behind most published figures. The same file.
    - legacy_pytorch: torch's bilinear, without antialiasing; pytorch-fid's network.

    `logits` are W f without the bias, 1008 of them: what the published inception score takes the softmax of.
    clean-fid has no scores. That the state dict has W as `fc.weight`, 1008 × 2048, follows from its source.
    That the TorchScript file has it as `output.weight`, and with `no_output_bias=True` returns the softmax of
    W f, is how public code that uses the file (StyleGAN2-ADA's metrics for one) calls and prints it; tests
    have a stand-in of that structure, not the file.
    """

    slow = True

    def __init__(self, options: InceptionOptions, dataset: Dataset) -> None:
        if len(dataset.shape) != 3 or dataset.shape[0] not in (1, 3):
            raise DataError(
                "The features of inception are those of grey and RGB images, and these data have shape "
                f"{tuple(dataset.shape)}.",
                "Choose others: --features pixels",
            )
        if importlib.util.find_spec("cleanfid") is None:
            raise RecipeError(
                "The features of inception are computed with clean-fid, which is not installed.",
                "Install it: pip install clean-fid",
            )
        self.options = options
        wanted = inception_weights.weights_of(options.mode)
        self.file = inception_weights.found(wanted, options.weights)
        self.about = {"features": "inception", "mode": options.mode, "weights": wanted.sha256[:12]}

    @functools.cached_property
    def device(self) -> torch.device:
        return choose_device(self.options.device)

    @functools.cached_property
    def network(self) -> Network:
        if self.options.mode == "legacy_pytorch":
            return from_state(self.file, self.device)
        return from_script(self.file, self.device, resizes=self.options.mode == "legacy_tensorflow")

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        parts = x.split(self.options.batch_size)
        found = [self.network.features(resized(part, self.options.mode).to(self.device)) for part in parts]
        return torch.cat(found).float().cpu()

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        return features @ self.network.output.to(features).T


def resized(x: Tensor, mode: str) -> Tensor:
    """Images (B, C, H, W) in [0, 1] as the network of a mode is given them, (B, 3, …) float32 in [0, 255]."""
    from cleanfid.resize import build_resizer

    pixels = to_uint8(x).repeat(3 // x.shape[1], axis=-1)  # (B, H, W, 3)
    with warnings.catch_warnings():  # one of its resizers silences all that follow
        resize = build_resizer(mode)
        return torch.stack([torch.from_numpy(resize(image)).permute(2, 0, 1).float() for image in pixels])


def from_script(file: Path, device: torch.device, resizes: bool) -> Network:
    """The TorchScript network; one that resizes takes images of any size, the other 299 × 299."""
    from cleanfid.inception_torchscript import InceptionV3W

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's, of TorchScript's end
        # clean-fid is given a folder, and names the file itself
        Path(folder, "inception-2015-12-05.pt").symlink_to(file.resolve())
        net = InceptionV3W(folder, download=False, resize_inside=resizes).eval().to(device)
    return Network(net, net.base.output.weight.detach())


def from_state(file: Path, device: torch.device) -> Network:
    """pytorch-fid's network, which takes images of 299 × 299."""
    from cleanfid import inception_pytorch

    state = torch.load(file, map_location="cpu", weights_only=True)

    def loaded(*given: Any, **more: Any) -> dict[str, Tensor]:
        return dict(state)

    # clean-fid builds it from what it downloads alone; its first weights are drawn and thrown away
    with (
        mock.patch.object(inception_pytorch, "load_state_dict_from_url", loaded),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        net = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).float().eval().to(device)
    return Network(lambda x: net(x / 255)[0].flatten(1), state["fc.weight"])
