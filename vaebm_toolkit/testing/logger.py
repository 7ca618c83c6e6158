"""Claims about loggers: plugins that implement `vaebm_step_end`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vaebm_toolkit.errors import RecipeError
from vaebm_toolkit.recipe import resolve
from vaebm_toolkit.registry import installed
from vaebm_toolkit.testing.claims import Claims, ContractError, Fault, Skip, Verdict, judge
from vaebm_toolkit.testing.component import imported
from vaebm_toolkit.training.rundir import RunDirectory

HOOK = "vaebm_step_end"
CLAIMS = Claims()
RECIPE: dict[str, dict[str, Any]] = {
    "dataset": {"name": "gaussians25"},
    "generator": {"name": "mlp"},
    "pretrain": {"name": "vae", "steps": 20},
    "trainer": {"name": "none"},
}
FIGURES = {
    "pretrain": {"elbo": -3.5, "kl": 1.25, "generator_loss": 3.5, "seconds_per_step": 0.01},
    "train": {"energy_gap": -0.5, "energy_loss": -0.5, "energy_grad_norm": 2.0, "seconds_per_step": 0.01},
}


class Logger:
    """The hook of one plugin."""

    def __init__(self, plugin: str) -> None:
        registry = installed()
        self.plugin, self.source = plugin, registry.sources.get(plugin)
        self.module: Any = registry.hooks.get_plugin(plugin)
        (self.hook,) = [
            h for h in registry.hooks.hook.vaebm_step_end.get_hookimpls() if h.plugin_name == plugin
        ]

    def tell(self, run: Any, stage: str, step: int, figures: dict[str, float]) -> Any:
        """What the hook returns, called as the training loop does."""
        run.stage = stage
        given = {"run": run, "step": step, "metrics": figures}
        return self.hook.function(**{k: given[k] for k in self.hook.argnames})


@contextmanager
def new_run() -> Iterator[RunDirectory]:
    """A run directory that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder), resolve(RECIPE, installed()))
        try:
            yield run
        finally:
            run.close()


@CLAIMS.add
def returns_nothing_or_a_reason(s: Logger) -> str | None:
    """Both stages of a run, three logged steps each: a step gives None, or the text that stops the stage."""
    reasons = []
    with new_run() as run:
        for stage, figures in FIGURES.items():
            for step in (10, 20, 30):
                said = s.tell(run, stage, step, dict(figures))
                if said is not None and not isinstance(said, str):
                    raise Fault(
                        f"it returns {said!r}", "None, or a reason to stop as a text", "End with: return None"
                    )
                reasons += [said] if said else []
            run.close()
    return f"a reason to stop: {reasons[0]}" if reasons else None


@CLAIMS.add
def leaves_the_figures_alone(s: Logger) -> str | None:
    """The next logger sees the figures that this one saw."""
    with new_run() as run:
        figures = dict(FIGURES["train"])
        s.tell(run, "train", 10, figures)
    if figures != FIGURES["train"]:
        raise Fault("it changes the figures", "the mapping as it was", "Work on a copy: dict(metrics).")
    return None


@CLAIMS.add
def bears_other_figures(s: Logger) -> str | None:
    """Trainers of other plugins log other figures, and fewer."""
    with new_run() as run:
        for step, figures in ((1, {}), (2, {"my own figure": 1e30}), (3, {"energy_gap": 0.0})):
            s.tell(run, "train", step, figures)
    return None


@CLAIMS.add
def goes_on_after_a_break(s: Logger) -> str | None:
    """A run that is resumed logs steps again that it had logged before it was stopped."""
    with new_run() as run:
        for step in (10, 20):
            s.tell(run, "train", step, dict(FIGURES["train"]))
        run.close()
        for step in (20, 30):
            s.tell(run, "train", step, dict(FIGURES["train"]))
    return None


@CLAIMS.add
def imports_lightly(s: Logger) -> str | None:
    """Importing the entry module imports no torch or numpy and prints nothing: every command does it."""
    if s.source is None or s.source.file:
        raise Skip("It is a single file.")
    new, printed, seconds = imported(s.module.__name__, True)
    if printed or "torch" in new or "numpy" in new:
        what = f"prints {printed[:60]!r}" if printed else "imports torch or numpy"
        raise Fault(f"importing {s.module.__name__} {what}", "neither", "Do it inside of the hook.")
    return f"{seconds:.2f} s of CPU time"


def logs(plugin: str) -> bool:
    """Whether the plugin implements the hook."""
    return any(h.plugin_name == plugin for h in installed().hooks.hook.vaebm_step_end.get_hookimpls())


def verdicts(plugin: str) -> list[Verdict]:
    return judge(CLAIMS, Logger(plugin))


def check(plugin: str) -> None:
    """ContractError unless every claim holds."""
    if not logs(plugin):
        raise RecipeError(
            f'There is no plugin called "{plugin}" with the hook {HOOK}.',
            f"Install its package: pip install -e .{installed().absent()}",
        )
    judged = verdicts(plugin)
    if any(v.status == "failed" for v in judged):
        raise ContractError(f"logger {plugin}", judged)
