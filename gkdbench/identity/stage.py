"""What a stage is: the digest that its artefact has. Equal digests mean equal weights."""

import dataclasses
import functools
import hashlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gkdbench.contract import Pair, Stage
from gkdbench.errors import GkdbenchError
from gkdbench.identity.code import USER_METHOD, code_digest
from gkdbench.identity.digest import DECODER, ENGINE, digest
from gkdbench.identity.run import DataDigests, model_identity
from gkdbench.models.build import grid_at
from gkdbench.spec.methods import MethodSource
from gkdbench.spec.recipe import StageRecipe
from gkdbench.spec.selection import RunSpec

LIBRARIES = frozenset({"gkdbench", "torch", "torchvision", "timm", "builtins", "abc", "typing"})


def stage_digest(
    spec: RunSpec,
    pair: Pair,
    stage: Stage,
    recipe: StageRecipe,
    data: DataDigests,
    parent: str | None,
    head_parent: str | None,
    teacher_head: str | None,
) -> str:
    """Return what identifies a stage's weights: what they depend on and nothing else.

    Digests of other stages: `parent` left the encoder and `head_parent` the head that this one starts from,
    `teacher_head` is the shared teacher's last one.
    """
    trained = spec.teacher if stage.model == "teacher" else spec.student
    # what has no patches to mask is hierarchical: a CNN or Swin
    hierarchical = not (pair.teacher if stage.model == "teacher" else pair.student).can_mask
    content: dict[str, Any] = {
        "engine": ENGINE,
        "code": stage_code(stage, spec.method),
        "stage": stage_identity(stage),
        "recipe": {
            key: value
            for key, value in recipe.model_dump(mode="json").items()
            # a mean over the labelled pixels of a micro-batch is not the mean over the whole batch, and the
            # BatchNorm of a CNN (a model without patches) sees one micro-batch at a time
            if key != "micro_batch" or stage.task or stage.mixes_batch or hierarchical
        },
        "data": [data.training(name, labelled=stage.task or stage.labels) for name in stage.streams()],
        "start": parent or model_identity(trained),
        "seed": spec.seed,
    }
    if stage.teacher is not None:
        content["teacher"] = model_identity(spec.teacher)
        if stage.teacher == "full":
            content["teacher_head"] = teacher_head
        elif spec.teacher.entry.weights is None and spec.teacher.explicit is None:
            content["teacher_seed"] = spec.teacher_seed
    if stage.labels:
        content["ignore"] = spec.benchmark.ignore
    if stage.uses_head():
        content["head"] = [DECODER, spec.benchmark.decoder, len(spec.benchmark.classes), head_parent]
        content["ignore"] = spec.benchmark.ignore
        if stage.model == "teacher" and hierarchical:
            # its tokens are laid out on the student's grid, so its head depends on that
            content["grid"] = grid_at(spec.student, recipe.sight)
    return digest(content)


def stage_code(stage: nn.Module, source: MethodSource) -> str | list[str]:
    """Return the digest of the code that a stage is made of.

    The files of its class, of its submodules' classes and of those they inherit from, libraries and gkdbench apart,
    each with what it imports of its own distribution. What the factory or a combinator adds stands in the stage's
    attributes. So two methods that return the same stage share its artefact. For a class that no installed module
    holds the method's own digest stands.
    """
    digests = []
    kinds = {kind for module in stage.modules() for kind in type(module).__mro__}
    for kind in sorted(kinds, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if kind.__module__.partition(".")[0] in LIBRARIES:
            continue
        module = sys.modules.get(kind.__module__)
        file = getattr(module, "__file__", None)
        if file is None or kind.__module__.startswith(USER_METHOD):
            return source.code_digest
        digests.append(code_digest(Path(file), kind.__module__))
    distinct = sorted(set(digests))
    return distinct[0] if len(distinct) == 1 else distinct or source.code_digest


def stage_identity(stage: Stage) -> list[Any]:
    """Return all of a stage that its result depends on: options, initial parameters and buffers.

    Every module inside counts with its class and public attributes, every tensor with its bytes: an option may
    live on a submodule, and a buffer may be an option.
    """
    modules = [
        [name, _reference(type(module)), _public(module)] for name, module in stage.named_modules()
    ]
    tensors = [
        [name, list(tensor.shape), hashlib.sha256(_bytes_of(tensor)).hexdigest()]
        for name, tensor in stage.state_dict().items()
    ]
    return [modules, tensors]


def _public(module: nn.Module) -> dict[str, Any]:
    """Return a module's public attributes but its tensors, submodules and notes.

    Of a stage, those of its class as well; the classes of torch's own layers say all they have in instances.
    """
    names = set(vars(module))
    if isinstance(module, Stage):
        names |= {name for name in dir(type(module)) if not hasattr(nn.Module, name)}
    found = {}
    for name in sorted(names):
        if name.startswith("_") or name in ("training", "notes", "labels"):
            continue
        value = getattr(module, name)
        if name in vars(module) and inspect.isfunction(value) and hasattr(type(module), name):
            raise GkdbenchError(
                f"{type(module).__name__}.{name} was replaced on the instance, which cannot enter the stage's digest; "
                "write a class that has it"
            )
        if inspect.ismethod(value) or (inspect.isfunction(value) and hasattr(type(module), name)):
            continue  # the code itself is in the digest already
        found[name] = _plain(value, f"{type(module).__name__}.{name}")
    return found


def _plain(value: Any, where: str) -> Any:
    """Reduce an attribute to what a digest can hold, the same in every process."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(_bytes_of(value)).hexdigest()
    if isinstance(value, frozenset | set):
        return sorted(str(_plain(item, where)) for item in value)
    if isinstance(value, tuple | list):
        return [_plain(item, where) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item, where) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, where)
    if isinstance(value, functools.partial):
        return [_plain(part, where) for part in (value.func, value.args, value.keywords)]
    if hasattr(value, "__qualname__") and "<" not in value.__qualname__:
        return _reference(value)
    if "<" in getattr(value, "__qualname__", "") or f"at {id(value):#x}" in repr(value):
        raise GkdbenchError(
            f"{where} is a {type(value).__name__}, which cannot enter the stage's digest; start its name with "
            "'_' if it changes no result, or make it a dataclass"
        )
    return repr(value)


def _reference(thing: Any) -> str:
    return f"{getattr(thing, '__module__', '')}.{thing.__qualname__}".removeprefix("builtins.")


def _bytes_of(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
