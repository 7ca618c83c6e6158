"""What trainers that move the generator share."""

from __future__ import annotations

from torch.optim import Optimizer

from vaebm_toolkit import RecipeError
from vaebm_toolkit.core import Generator, Horizon, set_lr, warmup_cosine


def ready_to_move(generator: Generator, trainer: str) -> Generator:
    """The generator in eval mode: statistics of BatchNorm are held, so that T is one function of ε.

    RecipeError unless x = T(ε) is differentiable in weights that may learn.
    """
    generator.check_reparametrised()
    generator.eval()
    weights = [p for p in generator.parameters() if p.requires_grad]
    if weights:
        eps = {name: weights[0].new_zeros(1, *shape) for name, shape in generator.groups.items()}
        if generator.decode(eps).x.requires_grad:
            return generator
    raise RecipeError(
        f"generator: the trainer {trainer} moves the generator, but no weight that this one decodes with "
        "can learn.",
        "Choose another, e.g. --generator nvae, or keep it as it is: --trainer vaebm",
    )


def follow_cosine(optimizer: Optimizer, step: int, horizon: Horizon, peak: float, floor: float) -> None:
    """The learning rate at `step` of a half cosine from `peak` to `floor` over the stage."""
    set_lr(optimizer, warmup_cosine(step, peak=peak, floor=floor, warmup=0, total=horizon.steps))
