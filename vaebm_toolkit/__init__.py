"""vaebm_toolkit: VAE-EBM generative models from plugins.

What a plugin's entry module imports, and what notebooks use:

    import vaebm_toolkit as vt

    model = vt.load("runs/0001-digits")
    model.sample(16)

Nothing here imports torch before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from vaebm_toolkit.errors import DataError, RecipeError, RunError, ToolkitError
from vaebm_toolkit.hookspecs import Component, hookimpl
from vaebm_toolkit.options import Check, between, derived, ge, gt, opt, slot

if TYPE_CHECKING:
    from vaebm_toolkit.notebook.choosing import parts, recipes, resolve
    from vaebm_toolkit.notebook.model import Model
    from vaebm_toolkit.notebook.opening import load, resume, run, untrained
    from vaebm_toolkit.notebook.samples import Samples

__version__ = "0.1.0"

__all__ = [
    "Check",
    "Component",
    "DataError",
    "Model",
    "RecipeError",
    "RunError",
    "Samples",
    "ToolkitError",
    "between",
    "derived",
    "frozen",
    "ge",
    "gt",
    "hookimpl",
    "load",
    "opt",
    "parts",
    "recipes",
    "resolve",
    "resume",
    "run",
    "slot",
    "untrained",
]

if not TYPE_CHECKING:  # type checkers see the imports above, and no names beside them
    NOTEBOOK = {
        "Model": "model", "Samples": "samples", "load": "opening", "parts": "choosing", "recipes": "choosing",
        "resolve": "choosing", "resume": "opening", "run": "opening", "untrained": "opening",
    }  # fmt: skip

    def __getattr__(name: str) -> Any:
        """What notebooks use, imported when first asked for."""
        if name not in NOTEBOOK:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"vaebm_toolkit.notebook.{NOTEBOOK[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *NOTEBOOK})
