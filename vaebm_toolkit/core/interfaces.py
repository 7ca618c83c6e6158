"""The contracts: what a generator, an energy, a sampler, a buffer and a trainer are.

B is the batch, G the number of latent groups. Images are float in [0, 1], NCHW, at every
boundary between components; a network that wants [-1, 1] converts inside. Randomness is
always an argument; nothing seeds the global generator.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Tensor]
"""Group name -> (B, *group shape): one row per chain."""

LogDensity = Callable[[State], Tensor]
"""A log density up to an additive constant, (B,)."""

Bounds = tuple[float, float] | None
"""Between which values data lie; None where they are free."""


class Decoded(NamedTuple):
    """What a generator makes of noise."""

    x: Tensor
    """(B, *data shape)"""
    log_det: Tensor | None
    """(B,), log |d(z, x)/dε| = Σ log σ, before any clamp; None if there is no closed form."""


class Generator(nn.Module, ABC):
    """x = T(ε), ε ~ N(0, I) (VAEBM, section 3.1)."""

    groups: Mapping[str, tuple[int, ...]]
    """Noise groups and their shapes without B, coarse to fine; the data noise "x" is last."""

    @abstractmethod
    def decode(self, eps: State) -> Decoded:
        """T(ε). With ε_x = 0, x is the decoder's mean."""

    def mean(self, eps: State) -> Tensor:
        """The decoder's mean at the latents of ε, (B, *data shape). Default: decode at ε_x = 0."""
        return self.decode({**eps, "x": torch.zeros_like(eps["x"])}).x

    def check_reparametrised(self) -> None:
        """Raises what the user should read where T is not differentiable in ε. Default: it is."""

    def tempered(self, latent: Sequence[float], head: float) -> Generator:
        """The generator whose group g draws with latent[g] · σ (or latent[0] for all), x with head · σ."""
        from vaebm_toolkit.core.tempered import Tempered

        return Tempered(self, latent, head)

    def official_log_joint(
        self, eps: State, clamp: tuple[float, float] | None = None
    ) -> tuple[Tensor, Tensor]:
        """x = T(ε) within `clamp` and log p(x, z) there, (B,), as the released VAEBM chain has them.

        The change of variables gives log N(ε; 0, I) − Σ log σ up to a constant. A generator
        whose released code deviates from that (floors, the clamped x) overrides this.
        """
        x, log_det = self.decode(eps)
        if clamp is not None:
            x = x.clamp(*clamp)
        if log_det is None:
            raise ValueError(f"{type(self).__name__} has no log-determinant; use the exact target.")
        return x, -0.5 * square_norm(eps) - log_det

    def values(self, eps: State) -> State:
        """The (z, x) that ε stands for, under the names of its groups."""
        raise NotImplementedError(f"{type(self).__name__} has no values: it names no latents z.")

    def noise(self, values: State) -> tuple[State, Tensor]:
        """The ε that stands for (z, x), and log |d(z, x)/dε| there, (B,): the inverse of `values`.

        log p(z, x) = log N(ε; 0, I) − log |d(z, x)/dε|.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inverse: it names no latents z.")

    @property
    def invertible(self) -> bool:
        """Whether `values` and `noise` are there, as a sampler of (z, x) needs them."""
        return type(self).noise is not Generator.noise

    def frozen(self) -> Generator:
        """The same map for use as a constant, possibly rearranged to run faster.

        Shares nothing that a caller may train. Default: a copy in eval mode without gradients.
        """
        return copy.deepcopy(self).eval().requires_grad_(False)


class Elbo(NamedTuple):
    """log p(x) >= log_px - kl.sum(1), for one posterior sample."""

    log_px: Tensor
    """(B,) nats, log p(x|z)"""
    kl: Tensor
    """(B, G) nats per group; warm-up and balancing are the trainer's business"""


class Autoencoder(Generator):
    """A generator that is trained by its ELBO and can encode."""

    density: str = "density of x"
    """What log p(x) is the logarithm of, in words: its figures mean nothing without them."""

    @abstractmethod
    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo:
        """Both terms of the ELBO at one posterior sample of each x (B, *data shape)."""

    @abstractmethod
    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        """A posterior sample as ε: decode(encode(x)).x is x again (ε_x carries the residual)."""

    @abstractmethod
    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """log p(x, z) − log q(z|x) for one posterior sample, (B,) nats.

        logmeanexp over K of them is the importance-weighted bound (Burda et al., 2016).
        """

    def kl_units(self, x: Tensor, rng: torch.Generator) -> Mapping[str, Tensor]:
        """Group -> KL of each of its units (channels, or dimensions), mean over x, (L,) nats.

        A unit with next to none is not used by the model. Default: unknown, {}.
        """
        return {}

    def reconstruct(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """The decoder's mean at a posterior sample of x, (B, *data shape)."""
        return self.mean(self.encode(x, rng))

    def interpolate(self, a: Tensor, b: Tensor, steps: int, rng: torch.Generator) -> Tensor:
        """Decoder's means between posterior samples of a and b, (B, steps, *data shape), ends included.

        Along great circles of ε, group by group, so that every point is as likely under the prior
        as the ends are.
        """
        start, end = self.encode(a, rng), self.encode(b, rng)
        path = [self.mean(spherical(start, end, i / max(steps - 1, 1))) for i in range(steps)]
        return torch.stack(path, dim=1)

    def check_data(self, x: Tensor) -> None:
        """Raises what the user should read where x (B, *data shape) has no likelihood. Default: it has."""

    def initialise(self, x: Tensor) -> None:
        """Data-dependent initialisation, before the first step. Default: nothing."""

    def recalibrate(
        self, passes: int, batch_size: int, rng: torch.Generator, temperature: float = 1.0
    ) -> None:
        """Re-estimate normalisation statistics under the model's own samples. Default: nothing."""


class EnergyFunction(nn.Module, ABC):
    """E in p(x) ∝ exp(−E(x)): low energy means likely."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, *data shape) -> (B,)"""

    def initialise(self, x: Tensor) -> None:
        """Data-dependent initialisation, before the first step. Default: nothing."""


class Sampler(ABC):
    """A Markov kernel on a state, for any log density. It never holds a model."""

    space: ClassVar[Literal["latent", "data", "joint"]]
    """Which density the trainer hands it: of ε, of x, or of (z, x) without reparametrisation."""
    steps: int
    """Kernel applications per chain."""
    target: Literal["exact", "official"] = "exact"
    """Which latent density is meant: the paper's, or the one of the released code."""
    bounds: tuple[float, float] | None = None
    """A range of data to respect. Latent: T(ε) is clamped to it before E. Data: x is projected."""
    reversible: bool = False
    """A claim: the kernel is in detailed balance with the density, as Metropolis–Hastings kernels are."""

    def init(self, position: State) -> State:
        """The state a chain starts from at `position`: its groups, and what the kernel keeps beside them."""
        return {k: v.detach() for k, v in position.items()}

    def position(self, state: State) -> State:
        """The groups of a state, without what the kernel keeps beside them. Default: all of it."""
        return state

    def stationary_variance(self, precision: float) -> float | None:
        """A claim: the variance of each coordinate of a long chain on U = precision · v² / 2.

        None, the default: nothing is claimed.
        """
        return None

    @abstractmethod
    def step(
        self, state: State, log_density: LogDensity, rng: torch.Generator
    ) -> tuple[State, Mapping[str, Tensor]]:
        """The new state, and diagnostics as 0-d tensors (never synchronised here)."""


class Buffer(ABC):
    """Chain starts that survive between training steps."""

    @abstractmethod
    def draw(self, fresh: State, step: int, rng: torch.Generator) -> State:
        """`fresh` with some rows replaced by stored ones."""

    @abstractmethod
    def push(self, state: State) -> None:
        """Store chain ends, in the row order of the last `draw`."""

    def metrics(self) -> Mapping[str, float]:
        """What is worth logging, e.g. the share of reused rows."""
        return {}

    @abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def shard(self, rank: int, world: int) -> Buffer:
        """The part of this buffer, holding nothing yet, that one of `world` ranks keeps.

        Raises what the user should read where it cannot be divided. Default: itself, so that each rank
        has a whole one.
        """
        return self

    def redistributed(self, states: Sequence[Mapping[str, Any]], world: int) -> list[dict[str, Any]]:
        """The states of all shards, as those of `world` shards that hold the same chains.

        A run is resumed on another number of ranks by it. Default: not defined.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be divided among another number of ranks")


class Update(NamedTuple):
    """One loss, the player whose weights it moves, and what to log."""

    player: str
    loss: Tensor
    metrics: Mapping[str, Tensor]


class Horizon(NamedTuple):
    """How long a stage lasts: what schedules are functions of."""

    steps: int
    steps_per_epoch: int
    batch_size: int
    seed: int = 0


class Trainer(ABC):
    """One stage: who learns, which losses, in which order."""

    players: Mapping[str, nn.Module]

    @abstractmethod
    def optimizers(self) -> Mapping[str, Optimizer]:
        """One per player, the same objects at every call."""

    @abstractmethod
    def updates(self, x: Tensor, step: int, rng: torch.Generator) -> Iterator[Update]:
        """The step's losses. The loop steps each one before it asks for the next."""

    def compile(self) -> bool:
        """Called before a step: let torch.compile have what steps spend their time in, from now on.

        Returns whether there is such a part. Default: no.
        """
        return False

    def prepare(self, batches: Iterator[Tensor], rng: torch.Generator) -> None:
        """Once, before step 0 of a new stage: data-dependent initialisation. Default: nothing."""

    def finish(self, rng: torch.Generator) -> None:
        """Once, after the last step. Default: nothing."""

    def networks(self) -> Mapping[str, nn.Module]:
        """The networks to sample with. Default: the players; a moving average goes here."""
        return self.players

    def extra_state(self) -> dict[str, Any]:
        """State beyond players and optimisers: buffers, averages, power-iteration vectors.

        On several ranks all call it, and what rank 0 returns is kept for all of them: what differs
        between ranks belongs into a `Buffer`, or is brought together here (`core.ranks`).
        """
        return {}

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        """Undo `extra_state`."""

    def state_dict(self) -> dict[str, Any]:
        """All that continuing needs: nested dicts and lists of tensors, numbers and texts."""
        return {
            "players": {k: m.state_dict() for k, m in self.players.items()},
            "optimizers": {k: o.state_dict() for k, o in self.optimizers().items()},
            "extra": self.extra_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, module in self.players.items():
            module.load_state_dict(state["players"][name])
        for name, optimizer in self.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.load_extra_state(state["extra"])


class Split(ABC):
    """The examples of one split, by index."""

    slow: bool = False
    """Whether batches take long to make, as where files are decoded: training then makes them ahead, in a
    thread of its own."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """(B, *shape), float32. With `rng`, randomly augmented as for training."""

    def labels(self) -> Tensor | None:
        """(N,) int64, or None where there are none."""
        return None


class Dataset(ABC):
    """Examples to learn from: images in [0, 1], or vectors."""

    shape: tuple[int, ...]
    """(C, H, W) for images, (D,) for vectors"""
    bounds: tuple[float, float] | None
    """The range of every value, (0, 1) for images; None for unbounded vectors"""
    train: Split
    test: Split


class ModalDataset(Dataset):
    """Data that fall into countable modes: a generative model is asked how many of them it covers."""

    modes: int
    """How many there are, equally likely."""

    @abstractmethod
    def mode_of(self, x: Tensor) -> Tensor:
        """(B, *shape) -> (B,) int64: the mode of each example from 0, or −1 where it is in none."""

    def about_modes(self) -> Mapping[str, Any]:
        """What must stand beside a count of modes, e.g. the accuracy of a classifier. Default: nothing."""
        return {}


class Features(ABC):
    """A space in which sets of examples are compared, made for one data set."""

    about: Mapping[str, Any]
    """What must stand beside a figure in this space, e.g. a classifier's accuracy."""
    slow: bool = False
    """Whether features take long to compute, and are better kept on disk."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """(B, *data shape) -> (B, d), float32 or float64, row by row and without gradient."""

    def logits(self, features: Tensor) -> Tensor:
        """Class scores of features (B, d) of this space, (B, classes), for scores that need classes.

        Raises what the user should read where there are none, which is the default.
        """
        raise NotImplementedError(f"{type(self).__name__} has no classes.")

    @property
    def has_classes(self) -> bool:
        """Whether `logits` is there."""
        return type(self).logits is not Features.logits


class Fitted(NamedTuple):
    """The networks that samples come from: p(x) ∝ p_θ(x) exp(−E(x)), or one factor alone."""

    generator: Generator | None
    """p_θ; None where the density is the energy's alone"""
    energy: EnergyFunction | None


class Model(NamedTuple):
    """What samples come from. Without energy and sampler: the generator alone.

    A sampler in data space starts from the generator's samples, or without one from noise.
    """

    generator: Generator | None
    energy: EnergyFunction | None
    sampler: Sampler | None
    shape: tuple[int, ...]
    """of one example: (C, H, W) or (D,)"""
    bounds: Bounds
    mean: bool
    """x is the decoder's mean at the final ε, as the released code saves it, or its sample"""
    stretch: bool = False
    """each sample is stretched to its own minimum and maximum, as the released code saves images"""
    with_encoder: Callable[[], Autoencoder] | None = None
    """Gives the same p_θ with its encoder, where `generator` is arranged to run fast and has none."""

    def autoencoder(self) -> Autoencoder | None:
        """p_θ with its encoder; None where there is no generator or none that can encode."""
        if isinstance(self.generator, Autoencoder):
            return self.generator
        return None if self.with_encoder is None else self.with_encoder()

    @property
    def fitted(self) -> Fitted:
        """The factors of the density; where chains run on data, the generator is only where they start."""
        if self.energy is None or self.sampler is None:
            return Fitted(self.generator, None)
        return Fitted(None if self.in_data_space else self.generator, self.energy)

    @property
    def like(self) -> Tensor:
        """A tensor on the device and in the dtype of the chains."""
        module = self.generator if self.generator is not None else self.energy
        assert module is not None, "a model is a generator, an energy, or both"
        return next(module.parameters())

    @property
    def in_data_space(self) -> bool:
        """Whether its chains run on data, and not on noise or values of a generator."""
        return self.sampler is not None and self.sampler.space == "data"


class Metric(ABC):
    """A figure that compares samples with held-out data."""

    def check(self, dataset: Dataset) -> None:
        """Raises, before training, what the user should read where `dataset` has no such figure."""

    def see(self, model: Model) -> None:
        """Called before `compute` with what the samples come from. Default: nothing."""

    @abstractmethod
    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        """Named figures, `core.Figure` where they have an interval; `samples` are batches (B, *data shape).

        `core.as_stream(samples)` can be read more than once, and knows their features. No figures at all
        where this model has none of the kind: a generator without an energy, for a metric of energies.
        """

    protocol: Mapping[str, Any]
    """What must stand beside the figure: split, number, feature space. Under "found" what was found besides,
    which is no condition: figures compare that differ in it.
    """
    pictures: Mapping[str, Tensor] = MappingProxyType({})
    """After `compute`: what to look at beside the figures. Name -> (rows, columns, *image shape), kept in
    the run and shown in its report."""


def square_norm(state: State) -> Tensor:
    """‖ε‖² over all groups, (B,)."""
    return torch.stack([v.flatten(1).square().sum(1) for v in state.values()]).sum(0)


def spherical(a: State, b: State, t: float) -> State:
    """From a (t = 0) to b (t = 1) along the great circle between them, row by row and group by group.

    sin((1 − t)ω) / sin ω · a + sin(tω) / sin ω · b, ω the angle between a and b (Shoemake, 1985).
    """
    return {name: _spherical(a[name], b[name], t) for name in a}


def _spherical(a: Tensor, b: Tensor, t: float) -> Tensor:
    flat_a, flat_b = a.flatten(1), b.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(flat_a, flat_b, dim=1).clamp(-1, 1)
    angle = torch.acos(cosine)[:, None]
    straight = angle.sin() < 1e-6  # parallel: the chord is the arc
    sine = torch.where(straight, torch.ones_like(angle), angle.sin())
    weight_a = torch.where(straight, torch.full_like(angle, 1 - t), ((1 - t) * angle).sin() / sine)
    weight_b = torch.where(straight, torch.full_like(angle, t), (t * angle).sin() / sine)
    return (weight_a * flat_a + weight_b * flat_b).view_as(a)
