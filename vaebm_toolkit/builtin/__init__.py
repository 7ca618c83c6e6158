"""The parts that come with the toolkit, declared through the public hook."""

from collections.abc import Iterable, Mapping
from typing import Any

from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    from vaebm_toolkit.builtin import datasets, metrics, moving_options, networks, trainers

    yield from networks.COMPONENTS
    yield from trainers.COMPONENTS
    yield from moving_options.COMPONENTS
    yield from datasets.COMPONENTS
    yield from metrics.COMPONENTS


@hookimpl
def vaebm_step_end(run: Any, step: int, metrics: Mapping[str, float]) -> str | None:
    if run.recipe.log.tensorboard:
        from vaebm_toolkit.builtin import tensorboard

        tensorboard.record(run, step, metrics)
    return None
