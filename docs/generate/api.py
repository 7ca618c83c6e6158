"""Hooks, classes and functions, from their source: signatures as written, docstrings as Markdown."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType

from markdown import code, docstring, escaped, fenced, page, table

from vaebm_toolkit import hookspecs

Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign
MARKS = {"abstractmethod", "property", "cached_property", "staticmethod", "classmethod"}
HOOKS = """\
The functions that a plugin's entry module may implement; [writing a plugin](../plugins.md) shows them at
work. There are no others."""
DECLARING = """\
What a plugin's entry module imports to declare its parts, beside the [hooks](hooks.md). None of it
imports torch."""
USING = """\
What `import vaebm_toolkit as vt` offers beside the plugin contract, imported when first used. With examples:
[from Python](../python.md)."""
TESTING = """\
What a plugin's own tests call; `vaebm plugins check NAME` does the same."""
COMPUTING = """\
What computes: the contracts that parts fulfil, and the functions they share. What each contract promises,
and how it is measured: [writing a plugin](../plugins.md#what-each-kind-promises)."""


def hooks() -> str:
    """The hooks and the declaration of a part."""
    names = [n for n in vars(hookspecs) if n.startswith("vaebm_")]
    constants = ["API", "OLDEST_API", "KINDS"]
    source = definitions(hookspecs)
    rows = [[code(n), code(literal(source[n])), escaped(comment_of(hookspecs, n))] for n in constants]
    return page(
        "Hooks",
        docstring(hookspecs.__doc__),
        HOOKS,
        "## What may be implemented",
        *(b for n in names for b in entry(n, hookspecs)),
        "## What a part declares",
        *entry("Component", hookspecs),
        *entry("hookimpl", hookspecs),
        "## Numbers",
        table(["name", "value", "meaning"], rows),
    )


def module_page(title: str, name: str, words: str, defined_in: str = "", but: str = "-") -> str:
    """The public names of a module that modules `defined_in` a package define, `but` one aside."""
    module = importlib.import_module(name)
    blocks = [words]
    for source, names in by_source(module).items():
        where = source.__name__
        if source is hookspecs or not where.startswith(defined_in) or where.startswith(but):
            continue  # on pages of their own
        heading, _, rest = (source.__doc__ or where).strip().partition("\n")
        blocks += [f"## {escaped(heading.rstrip('.'))}", docstring(rest)]
        for n in names:
            blocks += entry(n, source, module.__all__)
    return page(title, *blocks)


def by_source(module: ModuleType) -> dict[ModuleType, list[str]]:
    """Module -> the names of `__all__` that it defines: the contracts first, then as they are imported.

    What the module defines itself stands before all.
    """
    tree = ast.parse(inspect.getsource(module))
    origin = {
        alias.asname or alias.name: statement.module
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and statement.module
        for alias in statement.names
    }
    found: dict[ModuleType, list[str]] = {}
    order = list(dict.fromkeys(origin.values()))
    order.sort(key=lambda m: not m.endswith((".interfaces", ".hookspecs")))
    for source in order:
        names = [n for n in module.__all__ if origin.get(n) == source]
        if names:
            home = importlib.import_module(source)
            place = list(definitions(home))
            found[home] = sorted(names, key=lambda n: place.index(n) if n in place else len(place))
    rest = [n for n in definitions(module) if n in module.__all__ and n not in origin]
    if lost := set(module.__all__) - set(origin) - set(rest):
        raise LookupError(f"{module.__name__} does not import {', '.join(sorted(lost))} by name")
    return {module: rest, **found} if rest else found


def entry(name: str, module: ModuleType, public: Sequence[str] = ()) -> list[str]:
    """Heading, signature, words and members of one name; `public` are those with an entry of their own."""
    node = definitions(module).get(name)
    blocks = [f"### `{name}`"]
    if node is None:
        return [*blocks, f"`{module.__name__}.{name}`, unchanged."]
    if isinstance(node, ast.FunctionDef):
        return [*blocks, fenced(head(node, module), "python"), docstring(ast.get_docstring(node))]
    if isinstance(node, ast.ClassDef):
        return [*blocks, *class_blocks(node, module, public)]
    return [*blocks, fenced(ast.unparse(node), "python"), docstring(comment_of(module, name))]


def class_blocks(node: ast.ClassDef, module: ModuleType, public: Sequence[str]) -> Iterator[str]:
    yield fenced(head(node, module), "python")
    words = ast.get_docstring(node) or ""
    yield docstring(words)
    yield "\n".join(attributes(node, words))
    told: set[str] = set()
    cls = getattr(module, node.name)
    for owner, home in [(node, module), *hidden_bases(cls, public)]:
        for member in owner.body:
            if isinstance(member, ast.FunctionDef) and is_public(member) and member.name not in told:
                told.add(member.name)
                yield method(member, home, cls)


def hidden_bases(cls: type, public: Sequence[str]) -> Iterator[tuple[ast.ClassDef, ModuleType]]:
    """The bases of our own that have no entry of their own: what they give belongs to the class."""
    for base in cls.__mro__[1:]:
        if base.__module__.startswith("vaebm_toolkit") and base.__name__ not in public:
            home = importlib.import_module(base.__module__)
            node = definitions(home)[base.__name__]
            assert isinstance(node, ast.ClassDef)
            yield node, home


def attributes(node: ast.ClassDef, words: str) -> Iterator[str]:
    """Annotated fields and their words; those that the class's docstring lists are not repeated."""
    told = set(re.findall(r"^(\w+)  +\S", words, flags=re.MULTILINE))
    for i, member in enumerate(node.body):
        if not isinstance(member, ast.AnnAssign) or not isinstance(member.target, ast.Name):
            continue
        if member.target.id.startswith("_") or member.target.id in told:
            continue
        default = f" = {ast.unparse(member.value)}" if member.value is not None else ""
        said = string_at(node.body, i + 1)
        shown = code(f"{member.target.id}: {ast.unparse(member.annotation)}{default}")
        yield f"- {shown}" + (f": {escaped(' '.join(said.split()))}" if said else "")


def method(node: ast.FunctionDef, module: ModuleType, cls: type) -> str:
    marks = sorted({ast.unparse(d) for d in node.decorator_list} & MARKS)
    shown = "".join(f"@{mark}\n" for mark in marks) + head(node, module)
    return f"{fenced(shown, 'python')}\n\n{docstring(words_of(node.name, cls))}".rstrip()


def words_of(name: str, cls: type) -> str | None:
    """The docstring of a member, or of what it overrides in a base of our own."""
    for base in cls.__mro__:
        member = vars(base).get(name)
        if base.__module__.startswith("vaebm_toolkit") and member is not None and member.__doc__:
            return str(member.__doc__)
    return None


def is_public(node: ast.FunctionDef) -> bool:
    return not node.name.startswith("_") or node.name in ("__call__", "__len__")


def head(node: ast.FunctionDef | ast.ClassDef, module: ModuleType) -> str:
    """`def …` or `class …` as it is written, without the colon, its comments and its body."""
    first = node.body[0]
    lines = inspect.getsource(module).splitlines()[node.lineno - 1 : first.lineno]
    lines[-1] = lines[-1].encode()[: first.col_offset].decode()
    return inspect.cleandoc("\n" + "\n".join(re.sub(r"\s*#.*", "", line) for line in lines)).rstrip(": \n")


@functools.cache
def definitions(module: ModuleType) -> dict[str, Definition]:
    """Name -> what defines it at the top of the module, in order."""
    found: dict[str, Definition] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        for name in defined(node):
            found[name] = node  # type: ignore[assignment]
    return found


def defined(node: ast.stmt) -> Iterable[str]:
    """The names that a statement gives something to."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    targets = getattr(node, "targets", None) or [getattr(node, "target", None)]
    return [t.id for t in targets if isinstance(t, ast.Name)]


def comment_of(module: ModuleType, name: str) -> str:
    """The string below an assignment."""
    body = ast.parse(inspect.getsource(module)).body
    place = next(i for i, node in enumerate(body) if name in defined(node))
    return string_at(body, place + 1)


def string_at(body: list[ast.stmt], i: int) -> str:
    if i < len(body):
        node = body[i]
        if (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            return inspect.cleandoc(node.value.value)
    return ""


def literal(node: Definition) -> str:
    """The value of a constant."""
    value = ast.literal_eval(getattr(node, "value"))  # noqa: B009  only assignments have one
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
