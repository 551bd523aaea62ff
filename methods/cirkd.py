"""CIRKD: cross-image relational distillation for segmentation (Yang et al. 2022, arXiv 2204.06986), v1.

    L = kd * KL_pixel + batch * L_batch + pixel * L_pixel + region * L_region, beside the task loss

L_batch: for every ordered pair of images, the cosine similarities of their pixels, student's rows against the
teacher's: KL of row softmax at temperature 0.1, a mean over rows and over the B^2 pairs; no projection, widths may
differ. L_pixel, L_region: cosine similarities of projected student pixels, and of teacher pixels, to vectors sampled
from a memory of teacher pixels and class means; KL of softmax at 0.1, a mean over labelled pixels. Each step pushes,
per image and present class, its mean and up to 16 of its pixels, then samples one shared set of slots,
floor(4096/K)+1 pixels and floor(1024/K)+1 regions per class.

Defaults of the release's v1 scripts (winycg/CIRKD, no licence, re-implemented from its formulas): weights 1, 1, 0.1,
0.1, memories of 20000 pixels and 2000 regions per class, all of them of random direction at first. Its pixel memory
is not aware of classes: a permutation of the class's pixel *count* serves as positions in the whole image. That is
the default, as published numbers have it; `queue="class_aware"` takes pixels of the class. An overflow overwrites the
last slots.

Where there are several devices the release relates the images of each device; here those of all, so one device with
the whole batch is the same. The release's feature is the decoder's last before the classifier; here it is the tokens
after the final norm, of any head; `feature="pixels"` takes the decoder's, averaged to the token grid. Needs a teacher
with a trained head, and labels in the loss. Cost: one pass of each model per image; B (B+1) / 2 similarity maps of
N^2, since S_ij and S_ji share a product.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gkdbench.api import Pair, Stage, Step, Unsupported, View
from gkdbench_methods.vanilla_kd import pixel_kl

PIXELS_PER_CLASS = 16
MOST_GIB = 8.0


def relation_kl(student: Tensor, teacher: Tensor, dim: int) -> Tensor:
    """Return KL of the softmax of similarities along `dim`, teacher against student, summed over everything."""
    log_student, log_teacher = F.log_softmax(student, dim=dim), F.log_softmax(teacher, dim=dim)
    return F.kl_div(log_student, log_teacher, reduction="sum", log_target=True)


def batch_relations(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean KL of similarity rows over all ordered pairs of images; features [B, N, C] of any widths.

    One product serves the pairs (i, j) and (j, i): the rows of one are the columns of the other.
    """
    own, other = F.normalize(student.float(), dim=2), F.normalize(teacher.float(), dim=2)
    images, pixels, _ = own.shape
    total = own.new_zeros(())
    for i in range(images):
        # similarities of image i to images j >= i, [N, B - i, N]
        s, t = (torch.einsum("nc,jmc->njm", side[i] / temperature, side[i:]) for side in (own, other))
        total = total + relation_kl(s, t, dim=2)
        if i + 1 < images:
            total = total + relation_kl(s[:, 1:], t[:, 1:], dim=0)
    return total / (pixels * images**2)


def push(queue: Tensor, pointer: Tensor, vectors: Tensor) -> None:
    """Write vectors [n, C] into a ring [size, C] at its pointer (a scalar tensor, moved on)."""
    size, count = len(queue), len(vectors)
    at = int(pointer)
    if at + count >= size:
        queue[size - count :] = vectors  # as released: the last slots, whatever the pointer
        pointer.zero_()
    else:
        queue[at : at + count] = vectors
        pointer += count


class CIRKD(Stage):
    """Task loss plus pixel KL, relations within the batch and relations to the class memory."""

    mixes_batch = True
    labels = True
    pixel_queue: Tensor
    region_queue: Tensor
    pixel_queue_ptr: Tensor
    region_queue_ptr: Tensor

    def __init__(
        self, pair: Pair, *, kd: float, batch: float, pixel: float, region: float, temperature: float,
        queue: Literal["as_released", "class_aware"], feature: Literal["tokens", "pixels"], pixel_memory: int,
        region_memory: int
    ) -> None:
        super().__init__()
        self.kd, self.batch, self.pixel, self.region = kd, batch, pixel, region
        self.temperature, self.queue, self.feature = temperature, queue, feature
        self.classes, self.ignore = pair.num_classes, pair.ignore_index
        self.pixel_sample = min(4096 // self.classes + 1, pixel_memory)
        self.region_sample = min(1024 // self.classes + 1, region_memory)
        student, teacher = (
            side.width if feature == "tokens" else side.pixel_dim for side in (pair.student, pair.teacher)
        )
        self.project_head = nn.Sequential(
            nn.Conv2d(student, teacher, 1, bias=False), nn.BatchNorm2d(teacher), nn.ReLU(),
            nn.Conv2d(teacher, teacher, 1, bias=False)
        )
        for name, size in (("pixel", pixel_memory), ("region", region_memory)):
            entries = F.normalize(torch.randn(self.classes, size, teacher), dim=2)
            self.register_buffer(f"{name}_queue", entries)
            self.register_buffer(f"{name}_queue_ptr", torch.zeros(self.classes, dtype=torch.long))

    def loss(self, step: Step) -> dict[str, Tensor]:
        """Return the weighted terms `kl`, `batch`, `pixel` and `region`."""
        student, teacher = step.student(), step.teacher()
        assert step.labels is not None
        own, wanted = self.features(student), self.features(teacher)
        labels = F.interpolate(step.labels[:, None].float(), size=student.grid, mode="nearest").flatten(1).long()
        self.enqueue(step, step.gather(wanted), step.gather(labels))
        pixel, region = self.memory_relations(step, own, wanted, labels)
        return {
            "kl": self.kd * pixel_kl(student.logits, teacher.logits, 1.0, "pixel"),
            "batch": self.batch * batch_relations(step.gather(own), step.gather(wanted), self.temperature),
            "pixel": self.pixel * pixel,
            "region": self.region * region,
        }

    def features(self, view: View) -> Tensor:
        """Return the distilled features of a view on the token grid, [B, N, C]."""
        if self.feature == "tokens":
            return view.tokens
        return F.adaptive_avg_pool2d(view.pixels, view.grid).flatten(2).transpose(1, 2)

    def permute(self, step: Step, count: int) -> Tensor:
        """Return a random permutation, the same on every rank."""
        return torch.randperm(count, generator=step.rng)

    @torch.no_grad()
    def enqueue(self, step: Step, features: Tensor, labels: Tensor) -> None:
        """Push class means and pixels of teacher features [B, N, C] with labels [B, N] into the memory."""
        features = F.normalize(features.float(), dim=2)
        for image, truth in zip(features, labels, strict=True):
            for label in truth.unique().tolist():
                if label == self.ignore:
                    continue
                places = (truth == label).nonzero()[:, 0]
                mean = F.normalize(image[places].mean(dim=0, keepdim=True), dim=1)
                push(self.region_queue[label], self.region_queue_ptr[label], mean)
                chosen = self.permute(step, len(places))[:PIXELS_PER_CLASS].to(places.device)
                pixels = image[chosen if self.queue == "as_released" else places[chosen]]
                push(self.pixel_queue[label], self.pixel_queue_ptr[label], pixels)

    def memory_relations(
        self, step: Step, student: Tensor, teacher: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return L_pixel and L_region, unweighted, of features [B, N, C] and labels [B, N]."""
        layout = student.transpose(1, 2).reshape(len(student), -1, *step.student().grid)  # [B, C_s, h, w]
        projected = self.project_head(layout).flatten(2).transpose(1, 2)
        valid = labels != self.ignore
        own = F.normalize(projected[valid], dim=1) / self.temperature  # [M, C_t]
        wanted = F.normalize(teacher[valid].float(), dim=1) / self.temperature
        terms = []
        for queue, count in ((self.pixel_queue, self.pixel_sample), (self.region_queue, self.region_sample)):
            slots = self.permute(step, queue.shape[1])[:count].to(queue.device)
            entries = queue[:, slots].flatten(0, 1)  # [K * count, C_t]
            # no labelled pixel: nothing to sum, and the term is 0
            terms.append(relation_kl(own @ entries.T, wanted @ entries.T, dim=1) / max(len(own), 1))
        return terms[0], terms[1]


def cirkd(
    pair: Pair, *, kd: float = 1.0, batch: float = 1.0, pixel: float = 0.1, region: float = 0.1,
    temperature: float = 0.1, queue: Literal["as_released", "class_aware"] = "as_released",
    feature: Literal["tokens", "pixels"] = "tokens", pixel_memory: int = 20000, region_memory: int = 2000
) -> list[Stage]:
    """Task loss plus pixel KL and cosine relations between pixels of the batch and to a class memory."""
    if not pair.teacher.has_head:
        raise Unsupported("needs a teacher with a trained head")
    if pixel_memory < PIXELS_PER_CLASS or region_memory < 1:
        raise Unsupported(f"a memory takes at least {PIXELS_PER_CLASS} pixels and 1 region per class")
    width = pair.teacher.width if feature == "tokens" else pair.teacher.pixel_dim
    gibibytes = pair.num_classes * (pixel_memory + region_memory) * width * 4 / 2**30
    if gibibytes > MOST_GIB:
        raise Unsupported(f"its class memory would take {gibibytes:.1f} GiB; -o pixel_memory=N makes it smaller")
    return [
        CIRKD(
            pair, kd=kd, batch=batch, pixel=pixel, region=region, temperature=temperature, queue=queue,
            feature=feature, pixel_memory=pixel_memory, region_memory=region_memory
        )
    ]
