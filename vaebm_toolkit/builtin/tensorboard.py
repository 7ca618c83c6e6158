"""TensorBoard event files, one scalar per logged figure. The writer is imported when first used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaebm_toolkit.errors import ToolkitError, quoted


def record(run: Any, step: int, metrics: Mapping[str, float]) -> None:
    """Write the step's figures under RUN/tensorboard, tagged stage/name."""
    if "tensorboard" not in run.services:
        run.services["tensorboard"] = writer(run, step)
    for name, value in metrics.items():
        run.services["tensorboard"].add_scalar(f"{run.stage}/{name}", value, step)


def writer(run: Any, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as e:
        raise ToolkitError(
            "log.tensorboard: TensorBoard is not installed.",
            f"Install it: pip install tensorboard, then: vaebm run --resume {quoted(run.path)}",
        ) from e
    # events of steps that were lost in a kill are hidden once the stage goes on before them
    return SummaryWriter(run.path / "tensorboard", purge_step=step)
