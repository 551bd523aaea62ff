"""Commands run inside an empty folder, with a cache of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gkdbench.cli.main import app


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs a command inside an empty folder."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.delenv("GKDBENCH_DATA", raising=False)
    monkeypatch.setenv("GKDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # `run` sets it; so it is put back
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])
