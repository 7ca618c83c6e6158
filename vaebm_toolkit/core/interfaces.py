"""The contracts: what a generator, an energy, a sampler, a buffer and a trainer are.

B is the batch, G the number of latent groups. Images are float in [0, 1], NCHW, at every
boundary between components; a network that wants [-1, 1] converts inside. Randomness is
always an argument; nothing seeds the global generator.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

State = dict[str, Tensor]
"""Group name -> (B, *group shape): one row per chain."""

LogDensity = Callable[[State], Tensor]
"""A log density up to an additive constant, (B,)."""


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

    def official_log_joint(self, eps: State) -> tuple[Tensor, Tensor]:
        """x and log p(x, z) at T(ε), (B,), as the released VAEBM chain evaluates them.

        The change of variables gives log N(ε; 0, I) − Σ log σ up to a constant. A generator
        whose released code deviates from that (floors, clamps) overrides this.
        """
        x, log_det = self.decode(eps)
        if log_det is None:
            raise ValueError(f"{type(self).__name__} has no log-determinant; use the exact target.")
        return x, -0.5 * square_norm(eps) - log_det

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

    @abstractmethod
    def elbo(self, x: Tensor, rng: torch.Generator) -> Elbo: ...

    @abstractmethod
    def encode(self, x: Tensor, rng: torch.Generator) -> State:
        """A posterior sample as ε: decode(encode(x)).x is x again (ε_x carries the residual)."""

    @abstractmethod
    def log_weight(self, x: Tensor, rng: torch.Generator) -> Tensor:
        """log p(x, z) − log q(z|x) for one posterior sample, (B,) nats.

        logmeanexp over K of them is the importance-weighted bound (Burda et al., 2016).
        """

    def recalibrate(self, passes: int, batch_size: int, rng: torch.Generator) -> None:
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

    space: ClassVar[Literal["latent", "data"]]
    """Which density the trainer hands it."""
    steps: int
    """Kernel applications per chain."""
    target: Literal["exact", "official"] = "exact"
    """Which latent density is meant: the paper's, or the one of the released code."""
    bounds: tuple[float, float] | None = None
    """A range of data to respect. Latent: T(ε) is clamped to it before E. Data: x is projected."""

    def init(self, position: State) -> State:
        """The state a chain starts from at `position`."""
        return {k: v.detach() for k, v in position.items()}

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

    def prepare(self, batches: Iterator[Tensor], rng: torch.Generator) -> None:
        """Once, before step 0 of a new stage: data-dependent initialisation. Default: nothing."""

    def finish(self, rng: torch.Generator) -> None:
        """Once, after the last step. Default: nothing."""

    def networks(self) -> Mapping[str, nn.Module]:
        """The networks to sample with. Default: the players; a moving average goes here."""
        return self.players

    def extra_state(self) -> dict[str, Any]:
        """State beyond players and optimisers: buffers, averages, power-iteration vectors."""
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


class Metric(ABC):
    """A figure that compares samples with held-out data."""

    @abstractmethod
    def compute(self, samples: Iterable[Tensor], dataset: Dataset) -> Mapping[str, float]:
        """Named figures; `samples` are batches (B, *data shape)."""

    protocol: Mapping[str, Any]
    """What must stand beside the figure: split, number, feature space."""


def square_norm(state: State) -> Tensor:
    """‖ε‖² over all groups, (B,)."""
    return torch.stack([v.flatten(1).square().sum(1) for v in state.values()]).sum(0)
