"""Images are normalised as the weights want them: every entry against timm's configuration of the weights it names."""

import pytest
import timm
import torch
from torch import Tensor

from gkdbench.errors import UsageError
from gkdbench.models.encoder import Encoder
from gkdbench.spec.catalogue import ModelSource, find_model, models
from gkdbench.spec.model import ModelEntry, Weights

# Entries whose weights are not timm's: those of the embedded benchmark and of a release that feeds (x - 127) / 128.
OWN = {
    "streets-teacher": (0.45, 0.25),
    "streets-foundation": (0.45, 0.25),
    "streets-local": (0.45, 0.25),
    "efficientnet-lite0": (127 / 255, 128 / 255),
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def normalisation(entry: ModelEntry) -> tuple[Tensor, Tensor]:
    shallow = {} if entry.patch is None else {"depth": 1}  # the same statistics in a fraction of the time
    encoder = Encoder(entry.model_copy(update={"arguments": {**entry.arguments, **shallow}}))
    return encoder.mean.flatten(), encoder.std.flatten()


def stated(model: str) -> tuple[Tensor, Tensor]:
    """What timm says of a model by architecture and tag."""
    settings = timm.get_pretrained_cfg(model, allow_unregistered=False)
    return torch.tensor(settings.mean), torch.tensor(settings.std)


@pytest.mark.parametrize("source", list(models()), ids=lambda s: s.name)
def test_every_entry_normalises_as_its_weights_want(source: ModelSource) -> None:
    weights = source.entry.weights
    if source.name in OWN:
        mean, std = (torch.full((3,), value) for value in OWN[source.name])
    elif weights is None:
        mean, std = stated(source.entry.timm)
    else:
        assert weights.hub is not None, "say in OWN what its weights want"
        mean, std = stated(weights.hub.removeprefix("timm/"))
    found = normalisation(source.entry)
    # the release's 0.49804 has five digits
    assert torch.allclose(found[0], mean, atol=5e-6) and torch.allclose(found[1], std, atol=5e-6)


@pytest.mark.parametrize(
    "name", ["vit_small_patch16_224.dino", "vit_base_patch16_clip_224.openai", "vit_tiny_patch16_224"]
)
def test_a_model_without_an_entry_normalises_as_its_tag_says(name: str) -> None:
    found, wanted = normalisation(find_model(f"timm/{name}").entry), stated(name)
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])


def entry(**fields: object) -> ModelEntry:
    weights = Weights(hub="timm/vit_small_patch16_224.dino")
    content = {"description": "-", "role": "local", "timm": "vit_small_patch16_224", "patch": 16, "licence": "-"}
    return ModelEntry.model_validate({**content, "weights": weights, **fields})


def test_statistics_of_other_weights_of_the_architecture_are_refused() -> None:
    told = (
        r"model of 'vit_small_patch16_224': the weights 'timm/vit_small_patch16_224.dino' have mean "
        r"\[0.485, 0.456, 0.406\], and by default \[0.5, 0.5, 0.5\]; its entry in models.yaml must state its mean"
    )
    with pytest.raises(UsageError, match=told):
        Encoder(entry())
    with pytest.raises(UsageError, match="must state its std"):
        Encoder(entry(mean=IMAGENET[0]))
    mean, std = normalisation(entry(mean=IMAGENET[0], std=IMAGENET[1]))
    assert torch.equal(mean, torch.tensor(IMAGENET[0])) and torch.equal(std, torch.tensor(IMAGENET[1]))


@pytest.mark.parametrize("hub", ["timm/vit_small_patch16_224.no_such_tag", "timm/no_such_model.tag", "me/mine"])
def test_weights_that_timm_does_not_know_take_the_architectures_statistics(hub: str) -> None:
    found, wanted = normalisation(entry(weights=Weights(hub=hub))), stated("vit_small_patch16_224")
    assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
