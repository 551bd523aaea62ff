"""The `gkdbench` command. Nothing heavy is imported here: help and listings start without torch."""

from typing import Annotated

import typer

from gkdbench import __version__
from gkdbench.cli.check import check
from gkdbench.cli.compare import compare
from gkdbench.cli.console import print_in_any_encoding
from gkdbench.cli.listing import listing
from gkdbench.cli.new import new
from gkdbench.cli.report import report
from gkdbench.cli.run import run
from gkdbench.cli.use import export, predict

app = typer.Typer(
    name="gkdbench",
    help="Compare knowledge-distillation methods for dense prediction under domain shift.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gkdbench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Compare knowledge-distillation methods for dense prediction under domain shift."""


app.command("run")(run)
app.command("report")(report)
app.command("compare")(compare)
app.command("list")(listing)
app.command("predict")(predict)
app.command("export")(export)
app.add_typer(check, name="check")
app.add_typer(new, name="new")


def main() -> None:
    """Run the command line."""
    print_in_any_encoding()
    app()
