"""Every method's loss against numbers recorded from its authors' code: values and gradients at 1e-5.

Each file of `vectors/` says in its options which method it belongs to and is replayed through that method's own code;
another case is tested by putting its file there.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import replays
import torch
from recorded import VECTORS, assert_close

from gkdbench.spec.methods import offers

REPLAYS: dict[str, Callable[[replays.Case], dict[str, torch.Tensor]]] = {
    "afdcd": replays.af_dcd,
    "cirkd": replays.cirkd,
    "cwd": replays.cwd,
    "dist": replays.dist,
    "fitnet_mse": replays.fitnet_mse,
    "g2sd": replays.g2sd,
    "gkd": replays.gkd,
    "gkd_qsd": replays.qsd,
    "proteus": replays.proteus,
    "tinymim": replays.tinymim,
    "vanilla_kd": replays.vanilla_kd,
    "vitkd": replays.vitkd,
}
TO_COME = {"adv_style", "daformer", "hrda", "shade", "tldr"}
"""Methods that have recorded cases and are not ours yet."""


def files() -> list[Path]:
    folders = [VECTORS]
    if "GKDBENCH_SHARED" in os.environ:
        folders.append(Path(os.environ["GKDBENCH_SHARED"]) / "methods" / "vectors")
    return list({file.name: file for folder in folders for file in sorted(folder.glob("*.npz"))}.values())


def read(file: Path) -> replays.Case:
    with np.load(file, allow_pickle=False) as arrays:
        options: dict[str, Any] = json.loads(str(arrays["options"]))
        tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].dtype.kind in "fib"}
    return replays.Case(options, tensors)


@pytest.mark.parametrize("file", files(), ids=lambda file: file.stem)
def test_a_recorded_case_is_reproduced(file: Path) -> None:
    case = read(file)
    if case.options["method"] in TO_COME:
        assert case.options["method"] not in offers()
        pytest.skip("a case of a method that is to come")
    found = REPLAYS[case.options["method"]](case)
    recorded = {key for key in case.tensors if key.startswith(("out.", "grad."))}
    # what an original returned and we do not compute would be a case that tests nothing
    assert recorded <= set(found), f"not replayed: {sorted(recorded - set(found))}"
    largest = max(float(case.tensors[key].abs().max()) for key in recorded if key.startswith("grad."))
    for key in sorted(found):
        expected = case.tensors[key]
        if key.startswith("grad.w."):
            # of weight gradients a few are rounding alone, such as a bias that a softmax cancels
            assert (found[key] - expected).abs().max() <= 1e-5 * largest, key
        else:
            assert_close(found[key].to(expected.dtype), expected, what=key)


def test_the_cases_of_every_method_are_there() -> None:
    assert len(list(VECTORS.glob("*.npz"))) >= 16
    assert {read(file).options["method"] for file in VECTORS.glob("*.npz")} == set(REPLAYS)
