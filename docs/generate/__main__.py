"""The generated pages of the documentation: `python docs/generate`, or `--check` to compare only.

They show the first-party parts alone, whatever else is installed.
"""

from __future__ import annotations

import difflib
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path

os.environ["VAEBM_DISABLE_PLUGINS"] = "all"
os.environ.pop("VAEBM_PLUGINS", None)

from vaebm_toolkit.hookspecs import GROUP
from vaebm_toolkit.registry import OWN, installed

DOCS = Path(__file__).resolve().parents[1]
COMMAND = "python docs/generate"
INSTALL = "pip install -r requirements.txt -r requirements-dev.txt"
BEGIN, END = "<!-- generated: shipped recipes -->", "<!-- end -->"
NOTEBOOK = "vaebm_toolkit.notebook"
NOTE = f"<!-- Generated from the code by: {COMMAND} -->\n"


def pages() -> dict[Path, str]:
    """File -> what it has to hold."""
    import api
    from claims import claims
    from commands import commands
    from parts import parts, recipe_tables, shipped

    reference = {
        "commands": commands(),
        "parts": parts(),
        "recipes": recipe_tables(),
        "hooks": api.hooks(),
        "toolkit": api.module_page("Declaring parts", "vaebm_toolkit", api.DECLARING, but=NOTEBOOK),
        "contracts": api.module_page("Contracts", "vaebm_toolkit.core", api.COMPUTING),
        "testing": api.module_page("Contract tests", "vaebm_toolkit.testing", api.TESTING),
        "claims": claims(),
        "notebook": api.module_page("Python", "vaebm_toolkit", api.USING, NOTEBOOK),
    }
    found = {DOCS / "reference" / f"{name}.md": NOTE + text for name, text in reference.items()}
    recipes = DOCS / "recipes.md"
    before, _, rest = recipes.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    found[recipes] = f"{before}{BEGIN}\n\n{shipped()}\n\n{END}{after}"
    return found


def missing() -> list[str]:
    """First-party distributions that this environment lacks, or whose loading fails."""
    there = {p.name for p in entry_points(group=GROUP)} & set(installed().sources)
    return [name for name in OWN if name not in there]


def main(check: bool) -> int:
    if lacking := missing():
        print(f"Not installed: {', '.join(lacking)}. Install them: {INSTALL}")
        return 2
    stale = 0
    for file, text in pages().items():
        old = file.read_text(encoding="utf-8") if file.is_file() else ""
        if old == text:
            continue
        stale += 1
        if check:
            name = str(file.relative_to(DOCS.parent))
            lines = difflib.unified_diff(
                old.splitlines(), text.splitlines(), name, "the code", lineterm="", n=1
            )
            print("\n".join(lines))
        else:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
            print(file.relative_to(DOCS.parent))
    if check and stale:
        print(f"\n{stale} generated pages are not what the code says. Make them anew: {COMMAND}")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
