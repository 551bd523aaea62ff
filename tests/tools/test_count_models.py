"""The table of model sizes is what torch's counter says, and listing reads it without torch."""

import csv
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gkdbench.cli.main import app
from gkdbench.spec.catalogue import find_model, model_sizes, models
from gkdbench.spec.decoder import decoder_names

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from count_models import FILE, count  # noqa: E402


def test_every_entry_is_counted_with_every_decoder_of_segmentation():
    ours = [source.name for source in models() if source.folder == FILE.parent]
    rows = list(csv.DictReader(FILE.read_text().splitlines()))
    decoders = decoder_names("segmentation")
    assert [(row["model"], row["decoder"]) for row in rows] == [(name, one) for name in ours for one in decoders]


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("streets-local", "context"),
        ("efficientnet-lite0", "semfpn"),
        ("deit-ti", "linear"),
        ("dinov2-s", "mask2former"),
    ],
)
def test_the_table_is_what_is_counted(name, decoder):
    made = count(find_model(name), decoder)
    rows = {(row["model"], row["decoder"]): row for row in csv.DictReader(FILE.read_text().splitlines())}
    row = rows[name, decoder]
    assert {key: str(value) for key, value in made.items()} == row


def test_listing_shows_sizes():
    done = CliRunner().invoke(app, ["list", "models", "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    text = json.dumps(told)
    assert "dinov2-l" in text and "324764884" in text
    sizes = model_sizes()["dinov2-s"]["mask2former"]
    assert sizes["tokens"] == 1024 and sizes["params"] == 41903060 and sizes["gflops"] > sizes["encoder_gflops"] > 60
