"""A table that shows itself wherever Python shows values: prompt, notebook, rich. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from rich.table import Table

V = TypeVar("V")


class Listing:
    """Rows of texts below a head.

    >>> Listing(["recipe", "what"], [["digits", "8 x 8 images"], ["mnist", "28 x 28"]])
    recipe  what
    digits  8 x 8 images
    mnist   28 x 28
    """

    def __init__(self, head: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
        self.head, self.rows, self.title = head, rows, title

    def __repr__(self) -> str:
        lines = [self.head, *self.rows] if any(self.head) else list(self.rows)
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))] if lines else []
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([*([self.title] if self.title else []), *text])

    def _repr_html_(self) -> str:
        def row(tag: str, cells: Sequence[str]) -> str:
            style = 'style="text-align: left; vertical-align: top"'
            return "<tr>" + "".join(f"<{tag} {style}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

        title = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        head = f"<thead>{row('th', self.head)}</thead>" if any(self.head) else ""
        return f"<table>{title}{head}<tbody>{''.join(row('td', r) for r in self.rows)}</tbody></table>"

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        shown = Table(title=Text(self.title) if self.title else None, title_justify="left")
        shown.show_header = any(self.head)
        for name in self.head:
            shown.add_column(Text(name), overflow="fold")
        for r in self.rows:
            shown.add_row(*map(Text, r))
        return shown


class Entries(Mapping[str, V], Generic[V]):
    """What there is, by name, with a table that says so."""

    def __init__(self, entries: Mapping[str, V], listing: Listing) -> None:
        self.entries, self.listing = entries, listing

    def __getitem__(self, name: str) -> V:
        return self.entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return repr(self.listing)

    def _repr_html_(self) -> str:
        return self.listing._repr_html_()

    def __rich__(self) -> Table:
        return self.listing.__rich__()
