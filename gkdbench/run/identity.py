"""What a stage is, in a form that a digest can hold: equal identities train equally."""

import dataclasses
import functools
import hashlib
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from gkdbench.contract import Stage
from gkdbench.errors import GkdbenchError


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
