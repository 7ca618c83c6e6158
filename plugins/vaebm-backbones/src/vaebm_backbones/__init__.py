"""Energies from classification networks as a plugin. Torch-free: they are imported when built."""

from collections.abc import Iterable

from vaebm_backbones.options import BackboneOptions
from vaebm_toolkit import Component, hookimpl

vaebm_api = 1

JEM = """@inproceedings{grathwohl2020jem,
  title     = {Your Classifier is Secretly an Energy Based Model and You Should Treat it Like One},
  author    = {Grathwohl, Will and Wang, Kuan-Chieh and Jacobsen, J{\\"o}rn-Henrik and Duvenaud, David and Norouzi, Mohammad and Swersky, Kevin},
  booktitle = {International Conference on Learning Representations},
  year      = {2020},
  eprint    = {1912.03263},
  archiveprefix = {arXiv}
}"""  # noqa: E501
TORCHVISION = """@software{torchvision2016,
  title  = {{TorchVision}: {PyTorch}'s Computer Vision library},
  author = {{TorchVision maintainers and contributors}},
  year   = {2016},
  url    = {https://github.com/pytorch/vision}
}"""
TIMM = """@misc{wightman2019timm,
  title  = {{PyTorch} Image Models},
  author = {Wightman, Ross},
  year   = {2019},
  url    = {https://github.com/huggingface/pytorch-image-models},
  doi    = {10.5281/zenodo.4414861}
}"""


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="energy",
        name="torchvision",
        factory="vaebm_backbones.energy:build_torchvision",
        options=BackboneOptions,
        summary="any of torchvision's classification networks, with one output",
        cite="TorchVision maintainers and contributors, 2016; classifiers as energies: Grathwohl et al., "
        "ICLR 2020, arXiv 1912.03263",
        bibtex=f"{TORCHVISION}\n\n{JEM}",
    )
    yield Component(
        kind="energy",
        name="timm",
        factory="vaebm_backbones.energy:build_timm",
        options=BackboneOptions,
        summary="any of timm's classification networks, with one output (needs timm)",
        cite="Wightman, PyTorch Image Models, 2019; classifiers as energies: Grathwohl et al., ICLR 2020, "
        "arXiv 1912.03263",
        bibtex=f"{TIMM}\n\n{JEM}",
    )
