"""Entries of models.yaml: which encoder, where its weights come from, and what they are."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from gkdbench.spec.documents import Strict

Resampling = Literal["timm", "study", "study_scaled"]
"""How a transformer comes to another patch and image size; see models/patches.py."""


class Weights(Strict):
    """Where a model's weights are found and what a load must bring."""

    packaged: str | None = None
    """File shipped beside models.yaml."""
    files: list[str] = []
    """File names, such as those of the official release, looked up in the folder that GKDBENCH_WEIGHTS names and in
    torch.hub's cache."""
    package: str | None = None
    """`distribution:path`: a file inside an installed Python package."""
    hub: str | None = None
    """Repository of the Hugging Face hub whose model.safetensors it is; downloaded only when asked."""
    tensors: Annotated[int, Field(gt=0)] | None = None
    """Tensors of the encoder that a load fills; an architecture of another number is not the one meant."""
    sha256: dict[str, str] = {}
    """Expected digest per file name, or its first digits where no more is published; another file is refused."""
    may_be_unused: list[str] = []
    """Prefixes of tensors in the file that the encoder has no place for (an ImageNet classifier)."""
    may_be_missing: list[str] = []
    """Patterns (`*`, `?`) of tensors of the encoder that the file need not have; they keep their initial values."""
    drops_distillation_token: bool = False
    """The file is of a distilled DeiT, whose distillation token and its position the plain architecture lacks."""

    @model_validator(mode="after")
    def _somewhere(self) -> "Weights":
        if not (self.packaged or self.files or self.package or self.hub):
            raise ValueError("say where the weights are: packaged, files, package or hub")
        return self


class ModelEntry(Strict):
    """One encoder: a timm architecture with its weights."""

    description: str
    role: Literal["foundation", "local"]
    timm: str
    """Architecture name in timm."""
    arguments: dict[str, Any] = {}
    """Keyword arguments of timm.create_model."""
    weights: Weights | None
    """None: random weights, which the record says."""
    licence: str
    patch: int | None = None
    """Side of a patch in pixels; None for an encoder without patches (a CNN)."""
    resampling: Resampling | None = None
    """How kernels and position embeddings come to another size; None: as timm does, at the architecture's patch."""
    mean: tuple[float, float, float] | None = None
    """Normalisation of images in [0, 1]; None: what timm states for the architecture, where that is also what it states
    for the weights that `hub` names."""
    std: tuple[float, float, float] | None = None


class ModelTable(Strict):
    """The content of a models.yaml file."""

    models: dict[str, ModelEntry] = Field(min_length=1)
