"""Figures as CSV, one to a row; after a kill, steps that are repeated stand there twice."""

import csv
import os
from collections.abc import Mapping
from typing import Any

from vaebm_toolkit.options import fields, from_text, parse

from . import NAME, Options


def record(run: Any, step: int, metrics: Mapping[str, float]) -> str | None:
    """Append the figures of a logged step to RUN/NAME.csv; the text that is returned is a reason to stop.

    `run.path` is the run's folder, `run.stage` is pretrain or train.
    """
    with open(run.path / f"{NAME}.csv", "a", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        if file.tell() == 0:
            table.writerow(["stage", "step", "figure", "value"])
        table.writerows([run.stage, step, figure, value] for figure, value in metrics.items())
    o = options()
    value = metrics.get(o.watch, 0.0)
    return f"|{o.watch}| = {abs(value):.4g} exceeds {o.limit:g}" if o.limit and abs(value) > o.limit else None


def options() -> Options:
    """From the environment, since a logger stands in no recipe: VAEBM_NAME_LIMIT=50 vaebm run …"""
    table = {}
    for key, field in fields(Options).items():
        variable = f"VAEBM_{NAME}_{key}".upper().replace("-", "_")
        if text := os.environ.get(variable):
            table[key] = from_text(text, field.type, variable)
    return parse(Options, table, f"VAEBM_{NAME}")
