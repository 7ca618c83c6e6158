"""The one training loop."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from vaebm_toolkit.core import Horizon, Trainer, ranks, stream
from vaebm_toolkit.core.batch_norm import synchronised
from vaebm_toolkit.errors import RunError, ToolkitError, quoted
from vaebm_toolkit.recipe import StageOptions
from vaebm_toolkit.registry import Registry
from vaebm_toolkit.training.checkpoint import Checkpoints
from vaebm_toolkit.training.compiling import Compiling
from vaebm_toolkit.training.device import autocast
from vaebm_toolkit.training.health import complaint, non_finite_weights
from vaebm_toolkit.training.rundir import RunDirectory

Precision = Callable[[], AbstractContextManager[Any]]
"""What the forward pass is computed in."""


class Reporter(Protocol):
    """Who is told about progress; the command line shows it, tests ignore it."""

    def stage(self, name: str, start: int, steps: int) -> None: ...
    def step(self, step: int) -> None: ...
    def metrics(self, step: int, metrics: Mapping[str, float]) -> None: ...
    def note(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...


class Interrupted(RunError):
    """The user stopped the run; a checkpoint of the last whole step is written."""

    exit_code = 130


class Outcome(NamedTuple):
    step: int
    """the step whose networks are kept"""
    stopped: str | None
    """why the stage ended early; None if it ran to its end"""
    diverged: bool
    """whether it ended early because it was unhealthy, and went back"""


def horizon_of(settings: StageOptions, steps_per_epoch: int, seed: int, table: str) -> Horizon:
    """The stage's length in steps, from its `steps` or its `epochs`."""
    if (settings.steps is None) == (settings.epochs is None):
        raise RunError(f"[{table}] needs one of steps and epochs.", f"Give one, e.g. --{table}.steps 1000")
    steps = settings.steps if settings.steps is not None else (settings.epochs or 0) * steps_per_epoch
    return Horizon(steps, steps_per_epoch, settings.batch_size, seed)


def fit(
    run: RunDirectory,
    stage: str,
    trainer: Trainer,
    batches: Callable[[int], Tensor],
    horizon: Horizon,
    settings: StageOptions,
    registry: Registry,
    reporter: Reporter,
    device: torch.device,
    stop: threading.Event | None = None,
) -> Outcome:
    """Train one stage to its end, from its newest whole checkpoint if there is one.

    batches: step -> (B, *data shape).
    Step k draws its batch and its noise from streams named after k, so a resumed stage
    repeats an uninterrupted one bit for bit on the CPU.

    On several ranks all call it: each computes the losses of its own rows, gradients are averaged
    (`core.ranks` says why by hand), and rank 0 alone reads and writes the run. What decides where the
    stage ends is the same everywhere: figures are means over the ranks, and any rank may ask to stop.
    """
    seed, precision = run.recipe.run.seed, partial(autocast, device, run.recipe.run.precision)
    checkpoints = run.checkpoints(stage)
    step = resume(checkpoints, trainer, reporter)
    if step is None:

        def first() -> Iterator[Tensor]:
            yield from (batches(k).to(device) for k in range(horizon.steps_per_epoch))

        with ranks.alone():  # each rank sees whole batches, and so all find what one process finds
            trainer.prepare(first(), stream(seed, stage, "prepare", device=device))
        ranks.share_weights([*trainer.players.values(), *trainer.networks().values()])
        step = 0
        save(checkpoints, step, trainer)
    leads = ranks.rank() == 0
    if leads:
        run.start_log(stage, step)
    reporter.stage(stage, step, horizon.steps)
    asked: str | None = None  # a logger's reason to stop: the stage ends where it is
    reason: str | None = None  # a sign of divergence: the stage goes back
    clock, clock_step = time.perf_counter(), step
    compiling = Compiling(run.recipe.run.compile, run.path / stage / "compile.json", trainer, reporter)
    with synchronised(trainer.players.values()):
        while step < horizon.steps and reason is None and asked is None:
            last = step + 1 == horizon.steps
            logged = (step + 1) % settings.log_every == 0 or last
            kept = (step + 1) % settings.checkpoint_every == 0 or last
            compiling.begin(step)
            x = batches(step).to(device, non_blocking=True)
            rng = stream(seed, stage, "noise", step, *ranks.path(), device=device)
            found = take_step(trainer, x, step, rng, precision, logged or kept)
            step += 1
            reporter.step(step)
            if logged or kept:
                metrics = mean_metrics({k: float(v) for k, v in found.items()})
                reason = complaint(metrics, run.recipe.health)
                if logged:
                    now = time.perf_counter()
                    metrics["seconds_per_step"] = (now - clock) / (step - clock_step)
                    clock, clock_step = now, step
                    compiling.consider(step, horizon.steps, metrics["seconds_per_step"])
                    if leads:
                        run.log(step, metrics)
                    reporter.metrics(step, metrics)
                    asked = ranks.from_first(partial(first_reason, registry, run, step, metrics, reporter))
            interrupted = ranks.any_of(stop is not None and stop.is_set()) and step < horizon.steps
            if (kept or asked or interrupted) and reason is None:
                reason = non_finite_weights(trainer.players)
                if reason is None:
                    save(checkpoints, step, trainer)
            if interrupted and reason is None:
                raise Interrupted(
                    f"Stopped at step {step} of stage {stage}; nothing is lost.",
                    f"Continue: vaebm run --resume {quoted(run.path)}{on_devices()}",
                )
    if reason is not None:
        at = step
        back = resume(checkpoints, trainer, reporter)
        step = 0 if back is None else back
        reason = f"{reason} at step {at}; went back to the healthy checkpoint of step {step}"
    elif asked is not None:
        asked = f"{asked} at step {step}"
    stopped = reason or asked
    if stopped is not None:
        reporter.warn(f"stage {stage} stopped: {stopped}.")
    with ranks.alone():  # the same stream on every rank
        trainer.finish(stream(seed, stage, "finish", device=device))
    if leads:
        run.finish(
            stage,
            {name: module.state_dict() for name, module in trainer.networks().items()},
            {"step": step, "steps": horizon.steps, "stopped": stopped, "diverged": reason is not None},
        )
    run.close()
    return Outcome(step, stopped, reason is not None)


def take_step(
    trainer: Trainer, x: Tensor, step: int, rng: torch.Generator, precision: Precision, measured: bool
) -> dict[str, Tensor]:
    """Move each player by each of the step's losses, in their order; with `measured`, what to log."""
    optimizers = trainer.optimizers()
    found: dict[str, Tensor] = {}
    updates = trainer.updates(x, step, rng)
    while True:
        with precision():
            update = next(updates, None)
        if update is None:
            return found
        weights = list(trainer.players[update.player].parameters())
        optimizers[update.player].zero_grad(set_to_none=True)
        update.loss.backward()
        ranks.average_gradients(weights)
        if measured:
            grads = [p.grad for p in weights if p.grad is not None]
            found[f"{update.player}_grad_norm"] = torch.nn.utils.get_total_norm(grads)
            found[f"{update.player}_loss"] = update.loss.detach()
            found.update({k: v.detach() for k, v in update.metrics.items()})
        optimizers[update.player].step()


def resume(checkpoints: Checkpoints, trainer: Trainer, reporter: Reporter) -> int | None:
    """Load the newest whole checkpoint into the trainer; its step, or None if there is none."""
    found = ranks.from_first(checkpoints.load)
    if found is None:
        return None
    step, state, warnings = found
    for warning in warnings:
        reporter.warn(warning)
    trainer.load_state_dict(state)
    return int(step)


def save(checkpoints: Checkpoints, step: int, trainer: Trainer) -> None:
    """Write the checkpoint of `step`, once, of what all ranks hold."""
    state = trainer.state_dict()
    if ranks.rank() == 0:
        checkpoints.save(step, state)


def on_devices() -> str:
    """The flag for as many processes as there are now."""
    return f" --devices {ranks.world()}" if ranks.world() > 1 else ""


def mean_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """The mean over the ranks of each figure, over those that have it."""
    if ranks.world() == 1:
        return metrics
    found: dict[str, list[float]] = {}
    for part in ranks.gathered(metrics):
        for name, value in part.items():
            found.setdefault(name, []).append(value)
    return {name: math.fsum(values) / len(values) for name, values in found.items()}


def first_reason(
    registry: Registry, run: RunDirectory, step: int, metrics: Mapping[str, float], reporter: Reporter
) -> str | None:
    """Tell every logger; the first reason to stop that one returns. A failing logger is let go."""
    hook = registry.hooks.hook.vaebm_step_end
    reason = None
    for implementation in hook.get_hookimpls():
        given = {"run": run, "step": step, "metrics": metrics}
        try:
            said = implementation.function(**{k: given[k] for k in implementation.argnames})
        except ToolkitError:
            raise
        except Exception as e:
            name = implementation.plugin_name
            reporter.warn(f"plugin {name}: its step_end fails and is left out from now on: {e}")
            registry.hooks.unregister(name=name)
            continue
        if said and reason is None:
            reason = str(said)
    return reason
