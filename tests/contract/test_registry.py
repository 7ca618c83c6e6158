"""Discovery: whatever one plugin does wrong, everything else keeps working."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from vaebm_toolkit.errors import RecipeError, ToolkitError
from vaebm_toolkit.hookspecs import GROUP
from vaebm_toolkit.registry import Registry, discover, load_factory

GOOD = """
from vaebm_toolkit import Component, hookimpl

@hookimpl
def vaebm_components():
    return [Component(kind="energy", name="{name}", factory="{module}:build")]

def build(options, shape):
    return "built"
"""

BROKEN = {
    "import-error": ("import no_such_module", "No module named 'no_such_module'"),
    "syntax-error": ("def (:", "SyntaxError"),
    "exits": ("import sys\nsys.exit(3)", "SystemExit"),
    "misspelt-hook": (
        "from vaebm_toolkit import hookimpl\n@hookimpl\ndef vaebm_component():\n    return []",
        "vaebm_component, which does not exist",
    ),
    "hook-without-mark": ("def vaebm_comands(cli):\n    pass", "vaebm_comands, which does not exist"),
    "hook-raises": (
        "from vaebm_toolkit import hookimpl\n@hookimpl\ndef vaebm_components():\n    raise KeyError('x')",
        "KeyError",
    ),
    "wrong-argument": (
        "from vaebm_toolkit import hookimpl\n@hookimpl\ndef vaebm_commands(group):\n    pass",
        "group",
    ),
    "not-a-component": (
        "from vaebm_toolkit import hookimpl\n@hookimpl\ndef vaebm_components():\n    return ['resnet']",
        "not a Component",
    ),
    "unknown-kind": (
        GOOD.replace('kind="energy"', 'kind="enery"').format(name="e", module="m"),
        'unknown kind "enery"',
    ),
    "bad-options": (
        GOOD.replace("factory=", "options=int, factory=").format(name="e", module="m"),
        "not an attrs class",
    ),
    "bad-factory": (GOOD.replace("{module}:build", "build").format(name="e"), 'not "module:callable"'),
}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """plugin("acme", source) -> an entry point to a module with that source."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(distribution: str, source: str, module: str | None = None) -> EntryPoint:
        module = module or f"plugin_{distribution.replace('-', '_')}"
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / f"{module}.py").write_text(source)
        return EntryPoint(name=distribution, value=module, group=GROUP)

    return make


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_reported_and_the_others_live(plugin, kind: str) -> None:
    source, words = BROKEN[kind]
    healthy = plugin("zeta", GOOD.format(name="zeta", module="plugin_zeta"))
    registry = discover([plugin(f"broken-{kind}", source), healthy])
    (problem,) = registry.problems
    assert problem.distribution == f"broken-{kind}"
    assert words in problem.message
    assert problem.fix
    assert registry.names("energy") == ["zeta"]


def test_first_taker_keeps_the_name_and_the_other_stays_reachable(plugin) -> None:
    a = plugin("aaa", GOOD.format(name="same", module="plugin_aaa"))
    b = plugin("bbb", GOOD.format(name="same", module="plugin_bbb"))
    registry = discover([b, a])
    assert registry.find("energy", "same").distribution == "aaa"
    assert registry.find("energy", "bbb:same").distribution == "bbb"
    (problem,) = registry.problems
    assert "aaa already uses" in problem.message
    assert "--energy bbb:same" in problem.fix


def test_our_names_cannot_be_taken(plugin) -> None:
    stranger = plugin("aaa", GOOD.format(name="resnet", module="plugin_aaa"))
    ours = EntryPoint(name="vaebm-igebm", value="vaebm_igebm", group=GROUP)
    assert discover([stranger, ours]).find("energy", "resnet").distribution == "vaebm-igebm"


def test_unknown_names_suggest(plugin) -> None:
    registry = discover([plugin("aaa", GOOD.format(name="resnet", module="plugin_aaa"))])
    with pytest.raises(RecipeError, match="resnet"):
        registry.find("energy", "resnt")
    with pytest.raises(RecipeError, match="None are installed"):
        Registry().find("energy", "resnet")


def test_a_factory_that_cannot_be_imported(plugin) -> None:
    registry = discover([plugin("aaa", GOOD.format(name="x", module="gone"))])
    with pytest.raises(ToolkitError, match='energy "x" of aaa cannot be loaded'):
        load_factory(registry.find("energy", "x"))


def test_built_ins_use_the_public_door() -> None:
    registry = discover()
    assert not [p for p in registry.problems if p.distribution.startswith("vaebm-")]
    for kind, name in (("generator", "nvae"), ("energy", "resnet"), ("sampler", "latent-ld"),
                       ("buffer", "replay"), ("trainer", "vaebm"), ("dataset", "digits"),
                       ("metric", "frechet")):  # fmt: skip
        registered = registry.find(kind, name)
        assert registered.component.summary
        assert callable(load_factory(registered))


def install(folder: Path, distribution: str, source: str) -> None:
    """What pip leaves behind, without pip."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{distribution} = {module}\n")


def test_the_command_line_lives_with_broken_plugins(tmp_path: Path) -> None:
    install(tmp_path, "acme-broken", "import no_such_module")
    install(tmp_path, "acme-twin", GOOD.format(name="resnet", module="acme_twin"))
    install(tmp_path, "acme-command", """
        import click
        from vaebm_toolkit import hookimpl

        @hookimpl
        def vaebm_commands(cli):
            @cli.command()
            def hello():
                "Say hello."
                click.echo("hello from a plugin")
        """)  # fmt: skip

    def vaebm(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c",
             f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['vaebm', *{args!r}]\n"
             "from vaebm_toolkit.cli import main; main()"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    listing = vaebm("plugins", "list")
    assert listing.returncode == 0
    assert "acme-broken: it fails to load: ModuleNotFoundError" in listing.stderr
    assert "pip uninstall acme-broken" in listing.stderr
    assert "--energy acme-twin:resnet" in listing.stderr
    assert "Traceback" not in listing.stderr
    assert vaebm("hello").stdout == "hello from a plugin\n"
    assert "hello" in vaebm("--help").stdout
    dry = vaebm("run", "--dry-run")
    assert dry.returncode == 0
    assert [line for line in dry.stderr.splitlines() if "acme-broken" in line]
