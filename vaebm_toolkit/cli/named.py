"""Parts by what users call them: name, kind/name or distribution:name."""

from __future__ import annotations

from vaebm_toolkit.errors import RecipeError, nearest
from vaebm_toolkit.registry import Registered, Registry


def matching(registry: Registry, name: str) -> list[Registered]:
    kind, _, bare = name.rpartition("/")
    found = [r for (k, n), r in registry.parts.items() if n == bare and kind in ("", k)]
    found = found or [r for (k, n), r in registry.shadowed.items() if n == bare and kind in ("", k)]
    if not found:
        known = sorted({n for _, n in registry.parts})
        raise RecipeError(
            f'There is no part called "{name}".', f"{nearest(name, known)} List them: vaebm plugins list"
        )
    return found
