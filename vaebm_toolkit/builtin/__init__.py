"""The parts that come with the toolkit, declared through the public hook."""

from collections.abc import Iterable

from vaebm_toolkit import Component, hookimpl


@hookimpl
def vaebm_components() -> Iterable[Component]:
    from vaebm_toolkit.builtin import datasets, metrics, networks, trainers

    yield from networks.COMPONENTS
    yield from trainers.COMPONENTS
    yield from datasets.COMPONENTS
    yield from metrics.COMPONENTS
