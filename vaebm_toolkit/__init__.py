"""vaebm_toolkit: VAE-EBM generative models from plugins.

What a plugin's entry module imports. Nothing here imports torch.
"""

from attrs import frozen

from vaebm_toolkit.errors import DataError, RecipeError, RunError, ToolkitError
from vaebm_toolkit.hookspecs import Component, hookimpl
from vaebm_toolkit.options import Check, between, derived, ge, gt, opt, slot

__version__ = "0.1.0"

__all__ = [
    "Check",
    "Component",
    "DataError",
    "RecipeError",
    "RunError",
    "ToolkitError",
    "between",
    "derived",
    "frozen",
    "ge",
    "gt",
    "hookimpl",
    "opt",
    "slot",
]
