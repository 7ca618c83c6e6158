"""The command `vaebm`. Commands are imported when used; nothing here imports torch."""

from __future__ import annotations

import importlib
import os
import sys

import click

from vaebm_toolkit import __version__
from vaebm_toolkit.cli.devices import LOST, launched, speaks
from vaebm_toolkit.cli.process import settle
from vaebm_toolkit.discovery import FILES
from vaebm_toolkit.errors import ToolkitError

COMMANDS = {  # name -> (module, one line for --help)
    "run": ("vaebm_toolkit.cli.run", "Train a generator and an energy on your data, sample, compare."),
    "ablate": ("vaebm_toolkit.cli.ablate", "Reproduce the paper's baselines and ablations as one table."),
    "sample": ("vaebm_toolkit.cli.sample", "Draw samples from a run, to PNG files or npz."),
    "import": ("vaebm_toolkit.cli.importing", "Make a run of a checkpoint of NVAE, VAEBM or IGEBM."),
    "latents": ("vaebm_toolkit.cli.latents", "Encode, reconstruct and interpolate with a run's generator."),
    "likelihood": ("vaebm_toolkit.cli.likelihood", "Bounds on log p(x) of a run's generator."),
    "evaluate": ("vaebm_toolkit.cli.evaluate", "Figures of runs or of images, each with its protocol."),
    "report": ("vaebm_toolkit.cli.report", "One HTML page of a run, or of several beside each other."),
    "data": ("vaebm_toolkit.cli.data", "Preview and check a data set before step 0."),
    "recipes": ("vaebm_toolkit.cli.recipes", "List and show the recipes that ship with the toolkit."),
    "plugins": ("vaebm_toolkit.cli.plugins", "List, show, check and write parts."),
    "cite": ("vaebm_toolkit.cli.cite", "BibTeX for exactly the parts that a run used."),
}


PLUGIN_FLAG = "--plugin"
plugin_option = click.option(
    PLUGIN_FLAG,
    metavar="FILE.py",
    multiple=True,
    expose_value=False,
    help="Also use the parts in this file; with any command, as often as you like.",
)


class LazyGroup(click.Group):
    """Subcommands by name; their modules are imported only when one is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *sorted(set(self.commands) - set(COMMANDS))]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in COMMANDS:
            module = importlib.import_module(COMMANDS[name][0])
            command: click.Command = module.command
            return command
        return super().get_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, COMMANDS[name][1]) for name in COMMANDS]
        rows += [
            (n, self.commands[n].get_short_help_str()) for n in sorted(set(self.commands) - set(COMMANDS))
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="vaebm")
@plugin_option
def cli() -> None:
    """VAE-EBM generative models, composed from plugins.

    \b
    Start here, on the digits inside the package:  vaebm run
    On your own images:                            vaebm run --dataset image-folder --dataset.path DIR
    """


def main() -> None:
    """Entry point: messages instead of tracebacks for everything a user can mend."""
    settle(processes=launched())
    if sys.stdout is None:  # closed by the shell
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  for the process's life
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    before = os.environ.get(FILES)
    try:
        args, files = without_plugin_files(sys.argv[1:])
        if files:  # in the environment, so that processes of this one use them too
            os.environ[FILES] = os.pathsep.join([*([before] if before else []), *map(os.path.abspath, files)])
        add_plugin_commands()
        cli.main(args, standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Stopped.", err=True)
        sys.exit(130)
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.ClickException as e:
        if speaks():
            e.show()
        sys.exit(e.exit_code)
    except ToolkitError as e:
        if not speaks():
            sys.exit(LOST)
        click.secho("error: ", fg="red", bold=True, nl=False, err=True)
        click.echo(str(e), err=True)
        sys.exit(e.exit_code)
    except MemoryError:
        click.echo("error: Out of memory.\n  Try smaller sizes or batches; see vaebm run --dry-run", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # the reader of a pipe went away, as in `vaebm plugins list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as e:
        where = f" {e.filename}" if e.filename is not None else ""
        click.echo(
            f"error: The system refuses{where}: {e.strerror or e}.\n  Mend that and try again.", err=True
        )
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  what could not be written is not tried again
        sys.exit(1)
    finally:
        os.environ.pop(FILES, None)
        if before is not None:
            os.environ[FILES] = before


def without_plugin_files(args: list[str]) -> tuple[list[str], list[str]]:
    """The arguments without `--plugin FILE`, which counts before there are commands; and the files.

    >>> without_plugin_files(["run", "--plugin", "a.py", "--plugin=b.py", "--seed", "1"])
    (['run', '--seed', '1'], ['a.py', 'b.py'])
    """
    rest: list[str] = []
    files: list[str] = []
    words = iter(args)
    for word in words:
        name, given, value = word.partition("=")
        file = value if given else next(words, None) if word == PLUGIN_FLAG else None
        if name == PLUGIN_FLAG and file is not None:
            files.append(file)
        else:
            rest.append(word)
    return rest, files


def add_plugin_commands() -> None:
    """Let every healthy plugin add its commands; a failing one costs a warning."""
    from vaebm_toolkit.registry import installed

    registry = installed()
    for implementation in registry.hooks.hook.vaebm_commands.get_hookimpls():
        try:
            implementation.function(cli=cli)
        except Exception as e:
            click.echo(f"warning: plugin {implementation.plugin_name}: its commands fail: {e}", err=True)


def warn_of_problems() -> None:
    """One line per broken plugin, for commands that use parts."""
    from vaebm_toolkit.registry import installed

    for problem in installed().problems:
        if problem.level == "broken":
            click.echo(f"warning: {problem}", err=True)
