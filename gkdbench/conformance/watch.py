"""Watching a method at work: which of its lines drew from a global generator or wrote into what it was given."""

import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gkdbench.conformance.subject import Subject, owns, place
from gkdbench.data.stream import Batch
from gkdbench.engine.passes import LiveStep, Moment, StageModule
from gkdbench.engine.view import LazyView
from gkdbench.models.decoders.head import Output
from gkdbench.models.encoder import Features

Probe = Callable[[], Mapping[str, Any]]
"""Reads a state as named values that can be compared."""


@dataclass
class Watch:
    """The first change of every probed value, with the line that made it."""

    subject: Subject
    probe: Probe
    found: dict[str, str] = field(default_factory=dict)
    """Name of the value -> file:line of the method's own code, or empty where the change came from elsewhere."""
    _known: dict[str, Any] = field(default_factory=dict)
    _last: str = ""

    @contextmanager
    def running(self) -> Iterator["Watch"]:
        """Follow the method's own lines inside a with block; not to be nested with another tracer."""
        self._known = dict(self.probe())
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield self
        finally:
            sys.settrace(before)
            self._look()

    def _enter(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any] | None:
        if not owns(self.subject, frame.f_code.co_filename):
            return None
        self._look()
        self._last = place(frame.f_code.co_filename, frame.f_lineno)
        return self._follow

    def _follow(self, frame: FrameType, event: str, _argument: Any) -> Callable[..., Any]:
        self._look()  # a line's event comes before the line, so what has changed is the last one's doing
        shown: FrameType | None = frame
        if event == "return":
            shown = frame.f_back
            while shown is not None and not owns(self.subject, shown.f_code.co_filename):
                shown = shown.f_back
        self._last = place(shown.f_code.co_filename, shown.f_lineno) if shown else self._last
        return self._follow

    def _look(self) -> None:
        for name, value in self.probe().items():
            # a value that turns up later was good when it did: False where it says whether something is wrong
            if value != self._known.get(name, False if isinstance(value, bool) else value):
                self.found.setdefault(name, self._last)
            self._known[name] = value


def generators() -> dict[str, Any]:
    """Return the states of the global generators by name."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "random": random.getstate(),
    }


@contextmanager
def generators_kept(seed: int) -> Iterator[None]:
    """Seed the global generators for a with block and put them back afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def fingerprint(tensor: Tensor) -> bytes:
    """Return a tensor's bytes."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


@dataclass
class Handed:
    """Tensors that were handed to a method, as they were when it first saw them."""

    tensors: dict[str, tuple[Tensor, int, bytes]] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """Note a tensor, or all tensors of a list."""
        if isinstance(value, Tensor):
            self.tensors.setdefault(name, (value, value._version, fingerprint(value)))
        elif isinstance(value, list | tuple):
            for number, item in enumerate(value):
                self.add(f"{name}[{number}]", item)

    def probe(self) -> dict[str, bool]:
        """Return for every tensor handed out so far whether it was written to."""
        return {
            name: tensor._version != version or fingerprint(tensor) != content
            for name, (tensor, version, content) in self.tensors.items()
        }


class WatchedView(LazyView):
    """A view that notes what is taken from it."""

    _offered = frozenset({"tokens", "cls", "blocks", "qkv", "logits", "pixels", "features", "decoded"})

    def __init__(self, view: LazyView, name: str, watch: "WatchedStep") -> None:
        def decode(_features: Features) -> Output:
            return view.decoded

        super().__init__(
            lambda: view.features, decode, grid=view.grid, blocks=view._blocks, qkv=view._qkv, whole=view._whole
        )
        self._name, self._watch = name, watch

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        if name in WatchedView._offered:
            watch = super().__getattribute__("_watch")
            watch.hand_out(f"{super().__getattribute__('_name')}.{name}", value)
        return value


class WatchedStep(LiveStep):
    """A step that notes every tensor it hands out."""

    def __init__(self, module: StageModule, batch: Batch, moment: Moment, name: str = "step") -> None:
        super().__init__(module, batch, moment)
        self.handed = Handed()
        self._own_views: dict[int, tuple[LazyView, LazyView]] = {}
        self._name = name
        for attribute in ("images", "clean", "labels", "position"):
            self.handed.add(f"{name}.{attribute}", getattr(self, attribute))
        self.extra = {
            stream: WatchedStep(module, other, moment, f"{name}.extra[{stream!r}]")
            for stream, other in batch.extra.items()
        }

    def hand_out(self, name: str, value: Any) -> None:
        """Note what a view gives."""
        if isinstance(value, Features):
            inside: list[tuple[str, Any]] = [("tokens", value.tokens), ("cls", value.cls)]
            inside += [(f"blocks[{number}]", block) for number, block in value.blocks.items()]
            inside += [(f"qkv[{number}]", qkv) for number, qkv in value.qkv.items()]
        elif isinstance(value, Output):
            inside = list(vars(value).items())
        else:
            inside = [("", value)]
        for part, tensor in inside:
            self.handed.add(f"{name}.{part}" if part else name, tensor)

    def _watched(self, view: LazyView, call: str) -> LazyView:
        if id(view) not in self._own_views:
            name = f"{self._name}.{call}"
            if not call.endswith("()"):
                name += f" no. {len(self._own_views)}"
            self._own_views[id(view)] = (view, WatchedView(view, name, self))
        return self._own_views[id(view)][1]

    def student(self, *arguments: Any, **named: Any) -> LazyView:
        """Return the student's pass, watched."""
        return self._watched(super().student(*arguments, **named), _call("student", arguments, named))

    def teacher(self, *arguments: Any, **named: Any) -> LazyView:
        """Return the teacher's pass, watched."""
        return self._watched(super().teacher(*arguments, **named), _call("teacher", arguments, named))

    def probe(self) -> dict[str, Any]:
        """Return for all that was handed out whether it was written to, further streams included."""
        found: dict[str, Any] = dict(self.handed.probe())
        for other in self.extra.values():
            assert isinstance(other, WatchedStep)
            found |= other.probe()
        return found


def _call(model: str, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    given = [*("images" for _ in arguments), *(name for name, value in named.items() if value is not None)]
    return f"{model}({', '.join(given)})"
