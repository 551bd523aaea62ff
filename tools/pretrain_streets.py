"""Train, from nothing, the three encoders that ship with the embedded benchmark.

The stand-ins for foundation models learn a dense pretext on scenes drawn as training goes: fine
*part* labels, depth, and which parts are in the picture, through one linear head that is thrown
away. The teacher and the foundation student see street and object scenes in the style `wide`; the
local student sees canonical object scenes only. No target domain and no source image is involved.

    python tools/pretrain_streets.py --out DIR [--role teacher|foundation_student|local_student]

Started again with the same DIR it continues from the last checkpoint.
"""

import argparse
import hashlib
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import timm.layers
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from gkdbench_benchmarks.streets.parts import PARTS
from gkdbench_benchmarks.streets.render import RENDERER, SIZE, render

PATCH_PX = 8
MEAN, DEVIATION = 0.45, 0.25
TRAIN_SEED, VALIDATION_SEED = 20_240_001, 20_240_002  # far from any seed of the benchmark
CELLS = PATCH_PX // 2  # dense predictions per patch side: half resolution
CHECKPOINT_S = 300.0
INTERRUPTED = 130


@dataclass(frozen=True)
class Role:
    """What one encoder is and how long it is trained; the steps are the numbers of the release."""

    kind: str  # of the scenes it is trained on
    width: int
    depth: int
    heads: int
    steps: int
    peak_lr: float
    permuted: float  # share of images whose colour channels are permuted


ROLES: dict[str, Role] = {
    "teacher": Role("proxy", 96, 6, 3, 27_000, 1.5e-3, 0.05),
    "foundation_student": Role("proxy", 64, 4, 2, 14_000, 2e-3, 0.05),
    "local_student": Role("canonical_objects", 64, 4, 2, 7_500, 2e-3, 0.0),
}


@dataclass(frozen=True)
class Schedule:
    """The parts of the recipe that all roles share."""

    batch: int = 16
    fresh: int = 8  # new images per step
    window: int = 2048  # images from which a batch is drawn
    warmup: int = 200
    weight_decay: float = 0.05
    clip: float = 1.0
    validation_every: int = 2000
    validation_images: int = 512
    log_every: int = 50

    def rate(self, step: int, steps: int, peak: float) -> float:
        """Learning rate at a step: linear warm-up, then one cosine down to 0.5 % of the peak."""
        warm = min(1.0, (step + 1) / self.warmup)
        return peak * warm * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * step / steps)))


class SceneWindow:
    """A sliding window over an endless split: at step s the images [fresh * s, fresh * s + window).

    The window, and so every batch, is a function of the step alone; a resumed run renders it again.
    """

    def __init__(self, kind: str, seed: int, size: int, fresh: int) -> None:
        self._kind, self._seed, self._size, self._fresh = kind, seed, size, fresh
        self.images = np.zeros((size, *SIZE, 3), np.uint8)
        self.parts = np.zeros((size, *SIZE), np.uint8)
        self.depth = np.zeros((size, *SIZE), np.float16)
        self._end = 0

    def move_to(self, step: int) -> None:
        """Render what the window of this step holds and the last one did not."""
        end = step * self._fresh + self._size
        for index in range(max(self._end, end - self._size), end):
            rendered = render(self._kind, self._seed, index)
            slot = index % self._size
            self.images[slot] = rendered.image
            self.parts[slot] = rendered.parts
            self.depth[slot] = rendered.depth
        self._end = end


class Pretext(nn.Module):
    """An encoder with the linear heads of the pretext."""

    def __init__(self, role: Role) -> None:
        super().__init__()
        # On CPU the explicit attention is twice as fast in bf16 as the fused one.
        timm.layers.set_fused_attn(False)
        self.encoder = VisionTransformer(
            img_size=SIZE,
            patch_size=PATCH_PX,
            embed_dim=role.width,
            depth=role.depth,
            num_heads=role.heads,
            num_classes=0,
        )
        self.dense = nn.Linear(role.width, CELLS * CELLS * (len(PARTS) + 1))
        self.presence = nn.Linear(role.width, len(PARTS))

    def losses(self, images: Tensor, parts: Tensor, depth: Tensor) -> Tensor:
        """Return the part, depth and presence losses  # [3]."""
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens = self.encoder.forward_features(images)
            presence = self.presence(tokens[:, 0])
            dense = self.dense(tokens[:, 1:])
        present = torch.zeros(len(images), len(PARTS)).scatter_(1, parts.flatten(1), 1)
        # The targets are brought into the order of the tokens: cheaper than moving the logits.
        part_logits = dense[..., : CELLS * CELLS * len(PARTS)].reshape(-1, len(PARTS))
        part = functional.cross_entropy(part_logits.float(), by_token(parts).flatten())
        log_depth = torch.log(by_token(depth)) / 3
        far = functional.smooth_l1_loss(dense[..., -CELLS * CELLS :].float(), log_depth, beta=0.1)
        which = functional.binary_cross_entropy_with_logits(presence.float(), present)
        return torch.stack((part, far, which))


def by_token(pixels: Tensor) -> Tensor:
    """Halve a map and gather it by token: [B, H, W] to [B, tokens, CELLS * CELLS]."""
    rows, columns = SIZE[0] // PATCH_PX, SIZE[1] // PATCH_PX
    half = pixels[:, 1::2, 1::2].reshape(-1, rows, CELLS, columns, CELLS)
    return half.permute(0, 1, 3, 2, 4).reshape(-1, rows * columns, CELLS * CELLS)


def total(losses: Tensor) -> Tensor:
    """Weigh the three losses of the pretext."""
    return losses[0] + losses[1] + 0.5 * losses[2]


def tensors(
    images: NDArray[np.uint8], parts: NDArray[np.uint8], depth: NDArray[np.float16]
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise images and bring all three into the shapes the pretext takes."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    normalised = (pixels / 255 - MEAN) / DEVIATION
    return normalised, torch.from_numpy(parts).long(), torch.from_numpy(depth).float()


def draw_batch(
    window: SceneWindow, role: Role, schedule: Schedule, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw and augment the batch of a step."""
    window.move_to(step)
    rng = np.random.default_rng([TRAIN_SEED, step])
    chosen = rng.integers(0, schedule.window, schedule.batch)
    images, parts, depth = window.images[chosen], window.parts[chosen], window.depth[chosen]
    for i in np.flatnonzero(rng.random(schedule.batch) < 0.5).tolist():
        images[i], parts[i], depth[i] = images[i, :, ::-1], parts[i, :, ::-1], depth[i, :, ::-1]
    for i in np.flatnonzero(rng.random(schedule.batch) < role.permuted).tolist():
        images[i] = images[i][..., rng.permutation(3)]
    return tensors(images, parts, depth)


class Training:
    """One role's run: model, optimiser, step, and the files it writes."""

    def __init__(self, name: str, role: Role, schedule: Schedule, out: Path) -> None:
        self.name, self.role, self.schedule, self.out = name, role, schedule, out
        torch.manual_seed(TRAIN_SEED)
        self.model = Pretext(role)
        weights = list(self.model.parameters())
        groups = [
            {
                "params": [p for p in weights if p.ndim > 1],
                "weight_decay": schedule.weight_decay,
            },
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=role.peak_lr, fused=True)
        self.window = SceneWindow(role.kind, TRAIN_SEED, schedule.window, schedule.fresh)
        self.step = 0
        self.cpu_s = 0.0
        self.last: dict[str, Any] = {}
        self._recent: list[Tensor] = []
        self._validation: tuple[Tensor, Tensor, Tensor] | None = None

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.out / f"{self.name}.pt"

    def identity(self) -> dict[str, Any]:
        """What must agree for a checkpoint to be continued."""
        return {"renderer": RENDERER, **vars(self.role), **vars(self.schedule)}

    def save(self) -> None:
        """Write the state atomically."""
        state = {
            "identity": self.identity(),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "cpu_s": self.cpu_s,
            "last": self.last,
            "recent": [losses.tolist() for losses in self._recent],
        }
        partial = self.checkpoint.with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.checkpoint)

    def load(self) -> None:
        """Continue from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True)
        if state["identity"] != self.identity():
            raise SystemExit(
                f"{self.checkpoint} belongs to another recipe: {state['identity']}, "
                f"now {self.identity()}; choose another --out"
            )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.cpu_s, self.last = state["step"], state["cpu_s"], state["last"]
        self._recent = [torch.tensor(losses) for losses in state["recent"]]

    def record(self, **fields: Any) -> None:
        """Append a line to the log of the run."""
        line = json.dumps({"role": self.name, "step": self.step, **fields})
        with (self.out / f"{self.name}.jsonl").open("a") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def advance(self) -> None:
        """Make one optimiser step."""
        rate = self.schedule.rate(self.step, self.role.steps, self.role.peak_lr)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        batch = draw_batch(self.window, self.role, self.schedule, self.step)
        losses = self.model.losses(*batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss = total(losses)
        if not bool(torch.isfinite(loss)):
            raise SystemExit(f"{self.name}: the loss is {loss.item()} at step {self.step}")
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.schedule.clip)
        self.optimiser.step()
        self._recent.append(losses.detach())
        self.step += 1

    def mean_losses(self) -> dict[str, float]:
        """Average and forget the losses since the last call."""
        part, depth, presence = torch.stack(self._recent).mean(0).tolist()
        self._recent = []
        return {"part": round(part, 4), "depth": round(depth, 4), "presence": round(presence, 4)}

    def validate(self) -> dict[str, float]:
        """Return the losses on images of the same kind that are never trained on."""
        if self._validation is None:
            split = SceneWindow(self.role.kind, VALIDATION_SEED, self.schedule.validation_images, 0)
            split.move_to(0)
            self._validation = tensors(split.images, split.parts, split.depth)
        self.model.eval()
        with torch.inference_mode():
            pieces = [torch.split(t, self.schedule.batch) for t in self._validation]
            losses = [self.model.losses(*piece) for piece in zip(*pieces, strict=True)]
        self.model.train()
        part, depth, presence = torch.stack(losses).mean(0).tolist()
        return {
            "val_part": round(part, 4),
            "val_depth": round(depth, 4),
            "val_presence": round(presence, 4),
        }

    def run(self, stopped: Callable[[], bool]) -> bool:
        """Train to the end; return False when stopped before it, with the state saved."""
        self.load()
        started_s, saved_s = time.process_time() - self.cpu_s, time.monotonic()
        while self.step < self.role.steps:
            self.advance()
            self.cpu_s = time.process_time() - started_s
            at_end = self.step == self.role.steps
            if self.step % self.schedule.log_every == 0 or at_end:
                fields = self.mean_losses()
                self.last |= fields
                self.record(**fields, cpu_s=round(self.cpu_s, 1))
            if self.step % self.schedule.validation_every == 0 or at_end:
                fields = self.validate()
                self.last |= fields
                self.record(**fields)
            if stopped() and not at_end:
                self.save()
                return False
            if time.monotonic() - saved_s > CHECKPOINT_S or at_end:
                self.save()
                saved_s = time.monotonic()
        self.export()
        return True

    def export(self) -> None:
        """Write the encoder in half precision, and what the model card says about it."""
        target = self.out / f"streets_{self.name}.safetensors"
        partial = target.with_suffix(".partial")
        state = self.model.encoder.state_dict()
        save_file({key: value.half().contiguous() for key, value in state.items()}, partial)
        partial.replace(target)
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        images = self.role.steps * self.schedule.fresh + self.schedule.window - self.schedule.fresh
        card = {
            "role": self.name,
            **self.identity(),
            "sha256": digest,
            "images_rendered": images,
            "cpu_s": round(self.cpu_s),
            "losses": self.last,
        }
        target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
        print(f"{digest}  {target.name}", flush=True)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn SIGTERM and SIGINT into a flag that is asked for between steps."""
    received: list[int] = []
    previous = {
        number: signal.signal(number, lambda caught, _frame: received.append(caught))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main() -> int:
    """Train the roles asked for, one after the other."""
    parser = argparse.ArgumentParser(description="Train the encoders of the embedded benchmark.")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and state")
    parser.add_argument("--role", choices=sorted(ROLES), nargs="+", default=list(ROLES))
    parser.add_argument("--steps", type=int, help="train for fewer steps (a trial, not a release)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    with stop_signals() as stopped:
        for name in options.role:
            role = ROLES[name]
            if options.steps is not None:
                role = Role(**{**vars(role), "steps": options.steps})
            if not Training(name, role, Schedule(), options.out).run(stopped):
                return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
