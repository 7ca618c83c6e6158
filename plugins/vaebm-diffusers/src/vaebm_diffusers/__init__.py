"""diffusers' AutoencoderKL as a plugin. Torch-free: diffusers is imported when one is built."""

from collections.abc import Iterable

from vaebm_diffusers.options import AutoencoderOptions
from vaebm_toolkit import Component, hookimpl

vaebm_api = 1

ROMBACH = """@inproceedings{rombach2022latent,
  title     = {High-Resolution Image Synthesis with Latent Diffusion Models},
  author    = {Rombach, Robin and Blattmann, Andreas and Lorenz, Dominik and Esser, Patrick and Ommer, Bj{\\"o}rn},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2022},
  eprint    = {2112.10752},
  archiveprefix = {arXiv}
}"""  # noqa: E501
DIFFUSERS = """@misc{vonplaten2022diffusers,
  title  = {Diffusers: State-of-the-art diffusion models},
  author = {von Platen, Patrick and others},
  year   = {2022},
  url    = {https://github.com/huggingface/diffusers}
}"""
KINGMA = """@inproceedings{kingma2014vae,
  title     = {Auto-Encoding Variational {Bayes}},
  author    = {Kingma, Diederik P. and Welling, Max},
  booktitle = {International Conference on Learning Representations},
  year      = {2014},
  eprint    = {1312.6114},
  archiveprefix = {arXiv}
}"""


@hookimpl
def vaebm_components() -> Iterable[Component]:
    yield Component(
        kind="generator",
        name="autoencoder-kl",
        factory="vaebm_diffusers.build:build",
        options=AutoencoderOptions,
        summary="diffusers' AutoencoderKL, from a local folder or new",
        example={"channels": (4, 4), "norm_groups": 2, "latent": 2},
        cite="Rombach et al., CVPR 2022, arXiv 2112.10752; von Platen et al., diffusers, 2022",
        bibtex=f"{ROMBACH}\n\n{DIFFUSERS}\n\n{KINGMA}",
    )
