"""NVAE: bottom-up encoder, top-down decoder, and one pass down the decoder for every use.

Module names are those of published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaebm_nvae import towers
from vaebm_nvae.cells import DecoderCombiner, EncoderCombiner
from vaebm_nvae.distributions import Normal
from vaebm_nvae.frozen import FrozenNVAE
from vaebm_nvae.heads import GaussianHead
from vaebm_nvae.hierarchy import Hierarchy, Latent
from vaebm_nvae.ops import arranged
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import Autoencoder, Elbo, Generator, State, WeightNormConv2d, randn


class Inference(NamedTuple):
    """One pass through encoder and decoder; lists are per group, in generation order."""

    head: GaussianHead
    priors: list[Normal]
    posteriors: list[Normal]
    values: list[Tensor]


def build(options: NVAEOptions, shape: tuple[int, ...]) -> NVAE:
    """The network for images of `shape` (C, H, W)."""
    check_shape(options, shape)
    return NVAE(options, shape)


def check_shape(options: NVAEOptions, shape: tuple[int, ...]) -> None:
    """RecipeError unless `shape` is that of images that can be halved as often as asked."""
    if len(shape) != 3:
        raise RecipeError(
            f"generator nvae makes images (C, H, W), but the data have shape {tuple(shape)}.",
            "For vectors use --generator mlp.",
        )
    before, after = options.preprocess_blocks, options.postprocess_blocks
    if before != after:
        raise RecipeError(
            f"{after} postprocess blocks do not give back the size that {before} preprocess blocks take.",
            f"Use --generator.postprocess-blocks {before}.",
        )
    _, height, width = shape
    multiple = options.image_multiple
    if height % multiple or width % multiple or min(height, width) < 2 * multiple:
        fitting = max(-(-max(height, width) // multiple), 2) * multiple
        raise RecipeError(
            f"images of {height} x {width} do not fit: {options.scales} scales and {before} preprocess "
            f"blocks need a height and a width that are multiples of {multiple} and at least {2 * multiple}.",
            "Use fewer --generator.scales or --generator.preprocess-blocks, or larger images: "
            f"--dataset.size {fitting} or --dataset.pad.",
        )


class NVAE(Hierarchy, Autoencoder):
    """p(x, z) = Π_g N(z_g; μ_g(z_<g), σ_g(z_<g)²) · p(x | z) (NVAE, section 3).

    Noise groups: "z0", "z1", … in generation order, each (L, H_s, W_s) for its scale s,
    then "x", (C, H, W). Densities of images are those of 2x − 1 ∈ [−1, 1], in nats.
    BatchNorm follows the module's mode: chains and bounds are meant for eval mode.
    """

    groups: Mapping[str, tuple[int, ...]]

    def __init__(self, options: NVAEOptions, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.options = options
        c_enc = options.channels
        c_dec = options.channels_dec or c_enc
        colours, height, width = shape
        top = options.image_multiple
        # Per group in generation order: the factor by which its resolution is reduced.
        reduction = [top // 2**s for s, n in enumerate(reversed(options.groups_per_scale)) for _ in range(n)]
        self.groups = {
            **{f"z{g}": (options.latent, height // m, width // m) for g, m in enumerate(reduction)},
            "x": (colours, height, width),
        }
        raw = 2 * options.latent
        self.prior_ftr0 = nn.Parameter(torch.rand(c_dec * top, height // top, width // top))
        self.stem = WeightNormConv2d(colours, c_enc, 3, padding=1)
        self.pre_process = towers.pre_process(options)
        vanilla = len(reduction) == 1
        self.enc_tower = nn.ModuleList() if vanilla else towers.enc_tower(options, c_dec)
        self.enc0 = nn.Sequential(nn.ELU(), WeightNormConv2d(c_enc * top, c_enc * top, 1), nn.ELU())
        self.enc_sampler = nn.ModuleList(WeightNormConv2d(c_enc * m, raw, 3, padding=1) for m in reduction)
        self.dec_sampler = nn.ModuleList(
            nn.Sequential(nn.ELU(), WeightNormConv2d(c_dec * m, raw, 1)) for m in reduction[1:]
        )
        self.dec_tower = nn.ModuleList() if vanilla else towers.dec_tower(options, c_dec)
        self.stem_decoder = WeightNormConv2d(options.latent, c_dec * top, 1) if vanilla else None
        self.post_process = towers.post_process(options, c_dec)
        self.image_conditional = nn.Sequential(
            nn.ELU(), WeightNormConv2d(c_dec, GaussianHead.channels(colours), 3, padding=1)
        )

    def bottom_up(self, x: Tensor) -> tuple[Tensor, list[tuple[EncoderCombiner, Tensor]]]:
        """What group 0's posterior sees, and per later group its combiner and encoder feature."""
        h = self.stem(arranged(2 * x - 1))
        for layer in self.pre_process:
            h = layer(h)
        features = []
        for layer in self.enc_tower:
            if isinstance(layer, EncoderCombiner):
                features.append((layer, h))
            else:
                h = layer(h)
        return self.enc0(h), features[::-1]

    def top_down(self, batch: int, latent: Latent) -> GaussianHead:
        depth, *size = self.groups["z0"]
        z = latent(0, arranged(self.prior_ftr0.new_zeros(batch, 2 * depth, *size)), None)
        if self.stem_decoder is not None:
            h = self.stem_decoder(z)
        else:
            h = arranged(self.prior_ftr0.expand(batch, -1, -1, -1))
        group = 0
        for layer in self.dec_tower:
            if not isinstance(layer, DecoderCombiner):
                h = layer(h)
                continue
            if group:
                z = latent(group, self.dec_sampler[group - 1](h), h)
            h = layer(h, z)
            group += 1
        for layer in self.post_process:
            h = layer(h)
        return GaussianHead(self.image_conditional(h))

    def infer(self, x: Tensor, rng: torch.Generator) -> Inference:
        """One posterior sample along q(z | x) = Π_g q(z_g | z_<g, x)."""
        top, features = self.bottom_up(x)
        priors: list[Normal] = []
        posteriors: list[Normal] = []
        values: list[Tensor] = []

        def latent(group: int, raw: Tensor, h: Tensor | None) -> Tensor:
            seen = top
            if h is not None:
                combiner, feature = features[group - 1]
                seen = combiner(feature, h)
            offset = self.enc_sampler[group](seen)
            priors.append(Normal.from_raw(raw))
            posteriors.append(Normal.from_raw(raw + offset if self.options.residual else offset))
            noise = arranged(randn(posteriors[-1].mu.shape, rng, like=offset))
            values.append(posteriors[-1].sample(noise))
            return values[-1]

        head = self.top_down(len(x), latent)
        return Inference(head, priors, posteriors, values)

    def frozen(self) -> Generator:
        """The folded decoder (`frozen`): the same x, log_det and gradients, several times faster."""
        return FrozenNVAE(self)

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        """log p(x | z) at one posterior sample, KL(q(z_g | ·) ‖ p(z_g | ·)) in closed form per group."""
        head, priors, posteriors, _ = self.infer(x, rng)
        kl = [q.kl(p) for q, p in zip(posteriors, priors, strict=True)]
        return Elbo(head.log_prob(x), torch.stack(kl, dim=1))

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        head, priors, posteriors, values = self.infer(x, rng)
        terms = zip(posteriors, priors, values, strict=True)
        ratio = [p.log_prob(z) - q.log_prob(z) for q, p, z in terms]
        return head.log_prob(x) + torch.stack(ratio).sum(0)

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        head, priors, _, values = self.infer(x, rng)
        eps = {f"z{g}": p.noise(z) for g, (p, z) in enumerate(zip(priors, values, strict=True))}
        return {**eps, "x": head.noise(x)}

    @torch.no_grad()
    def recalibrate(self, passes: int, batch_size: int, rng: torch.Generator) -> None:
        """Run `passes` batches of ancestral samples in training mode (NVAE, section 3.2).

        BatchNorm statistics along the decoder's path move towards those of the model's own
        samples, by the momentum 0.05 per pass; the encoder's stay.
        """
        training = self.training
        self.train()
        for _ in range(passes):
            self.ancestral(
                {
                    name: randn((batch_size, *shape), rng, like=self.prior_ftr0)
                    for name, shape in self.groups.items()
                    if name != "x"
                }
            )
        self.train(training)
