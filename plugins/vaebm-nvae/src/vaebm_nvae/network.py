"""NVAE: bottom-up encoder, top-down decoder, and one pass down the decoder for every use.

Module names are those of published checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaebm_nvae import towers
from vaebm_nvae.cells import DecoderCombiner, EncoderCombiner
from vaebm_nvae.distributions import Normal
from vaebm_nvae.flows import PairedCell
from vaebm_nvae.frozen import FrozenNVAE
from vaebm_nvae.heads import Head
from vaebm_nvae.hierarchy import Hierarchy, Latent
from vaebm_nvae.ops import EluConv, arranged, unrounded
from vaebm_nvae.options import NVAEOptions
from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import Autoencoder, Elbo, Generator, State, WeightNormConv2d, randn, stream


class Inference(NamedTuple):
    """One pass through encoder and decoder; lists are per group, in generation order."""

    head: Head
    priors: list[Normal]
    posteriors: list[Normal]
    drawn: list[Tensor]
    """z as the posterior gives it"""
    values: list[Tensor]
    """z after the flow, as the decoder sees it; the same where there is none"""


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
    colours, height, width = shape[0], *(side + 2 * options.pad for side in shape[1:])
    multiple = options.image_multiple
    if height % multiple or width % multiple or min(height, width) < 2 * multiple:
        fitting = max(-(-max(height, width) // multiple), 2) * multiple
        raise RecipeError(
            f"images of {height} x {width} (with padding) do not fit: {options.scales} scales and {before} "
            f"preprocess blocks need a height and a width that are multiples of {multiple} and at least "
            f"{2 * multiple}.",
            "Use fewer --generator.scales or --generator.preprocess-blocks, or larger images: "
            f"--dataset.size {fitting}, --generator.pad or --dataset.pad.",
        )
    if options.head == "logistic-mixture" and colours not in (1, 3):
        raise RecipeError(
            f"generator.head: a logistic mixture couples red, green and blue; these images have {colours} "
            "channels.",
            "Use --generator.head logistic, or --dataset.channels rgb.",
        )
    if options.cells == "mbconv_den" and (options.channels % 8 or (options.channels_dec or 8) % 8):
        raise RecipeError(
            "generator.cells: mbconv_den convolves its channels in 8 groups, so their number must be a "
            f"multiple of 8, not {options.channels} (decoder {options.channels_dec or options.channels}).",
            f"Use --generator.channels {max(8, options.channels // 8 * 8)}, or other --generator.cells.",
        )


class NVAE(Hierarchy, Autoencoder):
    """p(x, z) = Π_g N(z_g; μ_g(z_<g), σ_g(z_<g)²) · p(x | z) (NVAE, section 3).

    Noise groups: "z0", "z1", … in generation order, each (L, H_s, W_s) for its scale s,
    then "x", (C, H, W). Densities of images are those of 2x − 1 ∈ [−1, 1], in nats.
    BatchNorm follows the module's mode: chains and bounds are meant for eval mode.
    """

    groups: Mapping[str, tuple[int, ...]]

    def __init__(self, options: NVAEOptions, shape: tuple[int, ...]) -> None:
        super().__init__(options, shape[0])
        c_enc = options.channels
        c_dec = options.channels_dec or c_enc
        colours, height, width = shape[0], *(side + 2 * options.pad for side in shape[1:])
        top = options.image_multiple
        # Per group in generation order: the factor by which its resolution is reduced.
        reduction = [top // 2**s for s, n in enumerate(reversed(options.groups_per_scale)) for _ in range(n)]
        self.groups = {
            **{f"z{g}": (options.latent, height // m, width // m) for g, m in enumerate(reduction)},
            "x": (self.head.noise_channels, *shape[1:]),
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
        self.nf_cells = nn.ModuleList(PairedCell(options.latent) for _ in reduction * options.flows)
        self.dec_tower = nn.ModuleList() if vanilla else towers.dec_tower(options, c_dec)
        self.stem_decoder = WeightNormConv2d(options.latent, c_dec * top, 1) if vanilla else None
        self.post_process = towers.post_process(options, c_dec)
        self.image_conditional = nn.Sequential(
            nn.ELU(), WeightNormConv2d(c_dec, self.head.channels, 3, padding=1)
        )

    @property
    def density(self) -> str:  # type: ignore[override]
        bits = self.options.bits
        return {
            "gaussian": "density of 2x − 1, neither dequantised nor binned",
            "bernoulli": "probability of binary images",
        }.get(self.options.head, f"probability of {bits}-bit images")

    def bottom_up(self, x: Tensor) -> tuple[Tensor, list[tuple[EncoderCombiner, Tensor]]]:
        """What group 0's posterior sees, and per later group its combiner and encoder feature."""
        x = F.pad(x, [self.options.pad] * 4)
        h = self.stem(arranged(2 * x - 1))
        for layer in self.pre_process:
            h = self.through(layer, h)
        features = []
        for layer in self.enc_tower:
            if isinstance(layer, EncoderCombiner):
                features.append((layer, h))
            else:
                h = self.through(layer, h)
        return self.enc0(h), features[::-1]

    def features(self, batch: int, latent: Latent) -> Tensor:
        depth, *size = self.groups["z0"]
        z = latent(0, arranged(self.prior_ftr0.new_zeros(batch, 2 * depth, *size)), None)
        if self.stem_decoder is not None:
            h = self.stem_decoder(z)
        else:
            h = arranged(self.prior_ftr0.expand(batch, -1, -1, -1))
        group = 0
        for layer in self.dec_tower:
            if not isinstance(layer, DecoderCombiner):
                h = self.through(layer, h)
                continue
            if group:
                z = latent(group, self.dec_sampler[group - 1](h), h)
            h = layer(h, z)
            group += 1
        for layer in self.post_process:
            h = self.through(layer, h)
        return unrounded(self.image_conditional, h, self.prior_ftr0)

    def infer(self, x: Tensor, rng: torch.Generator) -> Inference:
        """One posterior sample along q(z | x) = Π_g q(z_g | z_<g, x); x with the model's bits."""
        top, features = self.bottom_up(x)
        priors: list[Normal] = []
        posteriors: list[Normal] = []
        drawn: list[Tensor] = []
        values: list[Tensor] = []

        def latent(group: int, raw: Tensor, h: Tensor | None) -> Tensor:
            seen = top
            if h is not None:
                combiner, feature = features[group - 1]
                seen = combiner(feature, h)
            offset = self.enc_sampler[group](seen)
            priors.append(self.prior(group, raw))
            posteriors.append(Normal.from_raw(raw + offset if self.options.residual else offset))
            noise = arranged(randn(posteriors[-1].mu.shape, rng, like=offset))
            drawn.append(posteriors[-1].sample(noise))
            values.append(self.flow(group, drawn[-1]))
            return values[-1]

        head = self.top_down(len(x), latent)
        return Inference(head, priors, posteriors, drawn, values)

    def flow(self, group: int, z: Tensor) -> Tensor:
        """The group's flow cells in order; each has log-determinant 0."""
        for cell in self.nf_cells[group * self.options.flows : (group + 1) * self.options.flows]:
            z = cell(z)
        return z

    def quantised(self, x: Tensor) -> Tensor:
        """floor(255 x / 2^(8 − bits)) / (2^bits − 1) below 8 bits (NVAE, appendix A); else x itself."""
        bits = self.options.bits
        return x if bits == 8 else torch.floor(x * 255 / 2 ** (8 - bits)) / (2**bits - 1)

    def check_data(self, x: Tensor) -> None:
        """RecipeError where `x` cannot come from the head: a Bernoulli head makes 0 and 1 only."""
        if self.options.head == "bernoulli" and not ((x == 0) | (x == 1)).all():
            raise RecipeError(
                "generator.head: the Bernoulli head is for binary images, but these have other values "
                "than 0 and 1.",
                "Binarise them (--dataset.binarise true, for mnist and fashion_mnist), or choose another "
                "head: --generator.head gaussian",
            )

    def frozen(self) -> Generator:
        """The folded decoder (`frozen`): the same x, log_det and gradients, several times faster."""
        return FrozenNVAE(self)

    def kl(self, found: Inference) -> list[Tensor]:
        """Per group, KL(q ‖ p) of each latent, (B, L, H, W) nats: in closed form, or with flows
        log q(z⁰) − log p(z) at the sample (NVAE, section 3.2)."""
        if not self.options.flows:
            return [q.kl(p) for q, p in zip(found.posteriors, found.priors, strict=True)]
        terms = zip(found.posteriors, found.priors, found.drawn, found.values, strict=True)
        return [q.log_density(z0) - p.log_density(z) for q, p, z0, z in terms]

    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        """log p(x | z) at one posterior sample, and the KL of each group (see `kl`)."""
        x = self.quantised(x)
        found = self.infer(x, rng)
        return Elbo(found.head.log_prob(x), torch.stack([k.flatten(1).sum(1) for k in self.kl(found)], dim=1))

    def kl_units(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Per group, KL of each latent channel: summed over its pixels, mean over x, (L,) nats."""
        kl = self.kl(self.infer(self.quantised(x), rng))
        return {f"z{g}": k.sum((2, 3)).mean(0) for g, k in enumerate(kl)}

    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        x = self.quantised(x)
        found = self.infer(x, rng)
        terms = zip(found.posteriors, found.priors, found.drawn, found.values, strict=True)
        ratio = [p.log_prob(z) - q.log_prob(z0) for q, p, z0, z in terms]
        return found.head.log_prob(x) + torch.stack(ratio).sum(0)

    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        x = self.quantised(x)
        found = self.infer(x, rng)
        eps = {f"z{g}": p.noise(z) for g, (p, z) in enumerate(zip(found.priors, found.values, strict=True))}
        return {**eps, "x": found.head.noise(x, rng)}

    def initialise(self, x: Tensor) -> None:
        """With `res_elu` cells, the scale and bias of their convolutions from x (B, C, H, W).

        Pre-activations then have mean 0 and std 0.2, in forward order. The released code does so at
        its first forward, and again after every loading of a checkpoint.
        """
        if not any(isinstance(m, EluConv) for m in self.modules()):
            return
        convolutions = [m.conv_0 for m in self.modules() if isinstance(m, EluConv)]
        hooks = [c.register_forward_pre_hook(lambda c, inputs: c.initialise(*inputs)) for c in convolutions]
        try:
            with torch.no_grad():
                self.infer(self.quantised(x), stream(0, "initialise", device=x.device))
        finally:
            for hook in hooks:
                hook.remove()

    @torch.no_grad()
    def recalibrate(
        self, passes: int, batch_size: int, rng: torch.Generator, temperature: float = 1.0
    ) -> None:
        """Run `passes` batches of ancestral samples in training mode (NVAE, section 3.2).

        BatchNorm statistics along the decoder's path move towards those of the model's own
        samples, by the momentum 0.05 per pass; the encoder's stay.
        """
        training = self.training
        self.train()
        for _ in range(passes):
            self.ancestral(
                {
                    name: temperature * randn((batch_size, *shape), rng, like=self.prior_ftr0)
                    for name, shape in self.groups.items()
                    if name != "x"
                }
            )
        self.train(training)
