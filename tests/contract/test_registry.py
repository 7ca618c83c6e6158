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
    "too-new": ("vaebm_api = 2\nimport no_such_module", "too new: written for contract 2"),
    "too-old": ("vaebm_api: int = 0  # early", "too old: written for contract 0"),
    "api-not-a-number": ("vaebm_api = '1.0'", "'1.0', not a whole number"),
    "api-computed": ("vaebm_api = 1 + 1", "too new: written for contract 2"),
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


def test_the_contract_it_declares(plugin) -> None:
    registry = discover([plugin("now", "vaebm_api = 1\n" + GOOD.format(name="x", module="plugin_now"))])
    assert not registry.problems
    assert registry.sources["now"].api == 1


def test_printing_at_import_is_kept_back_and_noted(plugin, capsys: pytest.CaptureFixture[str]) -> None:
    source = "print('hello world')\n" + GOOD.format(name="x", module="plugin_loud")
    registry = discover([plugin("loud", source)])
    assert capsys.readouterr().out == ""
    (note,) = registry.problems
    assert note.level == "note"
    assert "'hello world'" in note.message
    assert registry.names("energy") == ["x"]


def test_one_plugin_with_two_parts_of_one_name(plugin) -> None:
    source = GOOD.replace("return [", "return 2 * [").format(name="x", module="plugin_twice")
    registry = discover([plugin("twice", source)])
    assert 'offers two energy parts "x"' in registry.problems[0].message
    assert registry.find("energy", "twice:x").component.name == "x"


def test_disabled_plugins(plugin) -> None:
    a = plugin("acme-a", GOOD.format(name="a", module="plugin_acme_a"))
    b = plugin("acme-b", GOOD.format(name="b", module="plugin_acme_b"))
    ours = EntryPoint(name="vaebm-igebm", value="vaebm_igebm", group=GROUP)
    without_a = discover([a, b, ours], {"VAEBM_DISABLE_PLUGINS": "Acme_A, gone"})
    assert without_a.disabled == ["acme-a"]
    assert without_a.names("energy") == ["resnet", "igebm", "b"]
    (note,) = without_a.problems
    assert (note.distribution, note.level) == ("gone", "note")
    with pytest.raises(RecipeError, match="Disabled by VAEBM_DISABLE_PLUGINS: acme-a"):
        without_a.find("energy", "a")
    only_ours = discover([a, b, ours], {"VAEBM_DISABLE_PLUGINS": "all"})
    assert only_ours.names("energy") == ["resnet", "igebm"]


def test_a_missing_part_names_plugins_that_fail(plugin) -> None:
    registry = discover([plugin("sick", "import no_such_module")])
    with pytest.raises(RecipeError, match="Not loaded: sick"):
        registry.find("energy", "x")


def test_a_factory_whose_package_is_missing(plugin) -> None:
    registry = discover([plugin("needy", GOOD.format(name="x", module="plugin_needy.deep"))])
    part = registry.find("energy", "x")
    with pytest.raises(ToolkitError, match="Reinstall it: pip install --force-reinstall needy"):
        load_factory(part)
    plugin("heavy", "import no_such_package.sub", module="plugin_heavy_parts")
    other = discover([plugin("other", GOOD.format(name="y", module="plugin_heavy_parts"))])
    with pytest.raises(ToolkitError, match="pip install no_such_package"):
        load_factory(other.find("energy", "y"))


def install(folder: Path, distribution: str, source: str) -> None:
    """What pip leaves behind, without pip."""
    module = distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.4\nName: {distribution}\nVersion: 1.0\nLicense-Expression: MIT\n"
    )
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

    listing = vaebm("plugins", "list", "--verbose")
    assert listing.returncode == 0
    assert "acme-broken: it fails to load: ModuleNotFoundError" in listing.stderr
    assert "pip uninstall acme-broken" in listing.stderr
    rows = [line.split("\t") for line in listing.stdout.splitlines()]
    assert ["energy", "acme-twin:resnet", "acme-twin"] in [row[:3] for row in rows]
    (twin,) = [row for row in rows if row[0] == "acme-twin"]
    assert twin[1:4] == ["1.0", "1", "MIT"]
    assert twin[5] == str(tmp_path)
    assert "--energy acme-twin:resnet" in listing.stderr
    assert "Traceback" not in listing.stderr
    assert vaebm("hello").stdout == "hello from a plugin\n"
    assert "hello" in vaebm("--help").stdout
    dry = vaebm("run", "--dry-run")
    assert dry.returncode == 0
    assert [line for line in dry.stderr.splitlines() if "acme-broken" in line]
