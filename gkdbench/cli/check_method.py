"""`gkdbench check method`: whether a method keeps the contract, on toy pairs, before time is spent on it."""

from typing import Annotated

import typer

from gkdbench.cli.console import command, print_json, say
from gkdbench.errors import UsageError


@command
def check_method(
    method: Annotated[str, typer.Argument(help="Method by name, PATH.py:NAME, or a combinator around either.")],
    option: Annotated[
        list[str] | None, typer.Option("-o", "--option", help="NAME=VALUE of the method; may be repeated.")
    ] = None,
    ranks: Annotated[
        bool, typer.Option("--ranks/--no-ranks", help="Also compare two processes with one (seconds more).")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Train a method on toy models in every way that tends to break one; name the line to look at."""
    from gkdbench.spec.methods import find_method

    options = {}
    for given in option or ():
        name, equals, value = given.partition("=")
        if not equals:
            raise UsageError(f"-o {given}: say NAME=VALUE")
        options[name] = value
    find_method(method, "check method").parse_options(options, "-o")  # before torch is imported, which takes seconds
    say(f"checking {method} on toy models")
    from gkdbench.conformance import check

    verdicts = check(method, options=options, ranks=ranks)
    if as_json:
        print_json(verdicts.as_json())
    else:
        print(verdicts.table())
    if not verdicts.ok:
        raise typer.Exit(1)
