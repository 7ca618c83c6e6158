"""The Python block of the page on the likelihood of h runs, and its bounds enclose what is known."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from ..math.test_density import OFFSET, Linear, Quadratic, tilted
from ..math.test_product import Points, encoded

PAGE = Path(__file__).parents[2] / "docs/likelihood-of-h.md"


def test_the_block_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    model, energy = Linear(), Quadratic()
    h, log_z = tilted(model, energy)
    torch.manual_seed(1)
    names = {
        "generator": model, "energy": energy, "like": OFFSET, "starts": encoded(model, h.sample((100,))),
        "split": Points(h.sample((100,))), "device": torch.device("cpu"),
    }  # fmt: skip
    exec(block, names)
    low, high = names["log_z"].within(0.01)
    assert low < log_z < high
    assert abs(names["naive"].value - log_z) < 4 * names["naive"].error
    assert names["likelihood"].upper.examples == 100
