"""`python -m gkdbench` is the `gkdbench` command."""

from gkdbench.cli.main import main

main()
