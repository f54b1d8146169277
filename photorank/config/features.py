"""What `photorank.config` has for each kind of extractor: every option and its default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Decode = Literal["exact", "fast", "device"]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
"""What `torch.manual_seed` takes."""
Fraction = Annotated[float, Field(ge=0, le=1)]


class Strict(BaseModel):
    """Refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ClipConfig(Strict):
    """An open_clip model: the L2-normalised image embedding."""

    kind: Literal["clip"] = "clip"
    model: str = "ViT-B-32"
    """An architecture that open_clip knows, or `hf-hub:organisation/name`."""
    weights: str = "laion2b_s34b_b79k"
    """A pretrained tag of open_clip (none for a model of the hub), a local file, or `random`."""
    tag: str | None = None
    """The pretrained tag that a local file holds the weights of, which tells the activation and the preprocessing; not
    needed for a file that is called `MODEL--TAG`. Without either it is the architecture's activation, and CLIP's usual
    preprocessing."""
    seed: Seed = 0
    """Seed of `random` weights; without meaning for others."""
    precision: Precision = "auto"
    decode: Decode = "exact"
    """`exact`: every pixel is decoded. `fast`: fewer of a JPEG that has four times the rows and columns that the
    model's resizing asks for, or more; at least twice as many are left. `device`: a JPEG in sRGB is decoded, turned and
    resized on the device that runs the model. Any other photo is the same in all of them."""


TORCHVISIONS = ("layer", "preprocessing", "resize", "size", "padding_mean_color")
"""Options of `CnnConfig` that are for torchvision's models only."""


def _default_weights(known: dict[str, Any]) -> str:
    return "pretrained" if known.get("library") == "timm" else "IMAGENET1K_V2"


class CnnConfig(Strict):
    """A torchvision classifier up to a named layer, averaged over the picture's area, or a timm model: the pooled
    features that its classifier sees, after its own preprocessing. From `layer` and `preprocessing` on to
    `padding_mean_color` options are for torchvision's only."""

    kind: Literal["cnn"] = "cnn"
    library: Literal["torchvision", "timm"] = "torchvision"
    """Whose model it is."""
    model: str = "resnet50"
    """A classifier that torchvision knows, or any model that timm knows, with or without a tag: `resnet50.a1_in1k`."""
    layer: str = "layer4"
    """A module's name; for VGG and AlexNet also `fc6` and `fc7`, each after its ReLU."""
    weights: str = Field(default_factory=_default_weights)
    """A local file (.safetensors, or .pt with weights only), `random`, a torchvision weights tag (IMAGENET1K_V2 unless
    given), or for timm `pretrained` (unless given): those of the tag in the model's name, or of timm's first one."""
    seed: Seed = 0
    """Seed of `random` weights; without meaning for others."""
    preprocessing: Literal["standard", "scale_crop", "paper"] = "standard"
    """How a photo becomes a square of `size` pixels, always bilinear and antialiased. `standard`: the shorter side to
    `resize`, the square cut from the centre. `scale_crop`: the shorter side to `size` itself, so that more of the photo
    is seen. `paper`: the longer side to `size`, padded with `padding_mean_color`, so that all of it is seen (Chang et
    al. 2016, Automatic Triage for a Photo Series)."""
    resize: int = Field(default=256, ge=1)
    """Pixels of the shorter side before the cut; only for `standard`."""
    size: int = Field(default=224, ge=1)
    """Pixels of the square that the network sees."""
    padding_mean_color: tuple[Fraction, Fraction, Fraction] = (0.460, 0.450, 0.430)
    """Red, green and blue in [0, 1] of what `paper` pads with, rounded to 8 bits: the mean colour of the training
    photos."""
    precision: Precision = "auto"
    decode: Decode = "exact"
    """As for `clip`."""

    @model_serializer(mode="wrap")
    def _of_its_library(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        others = TORCHVISIONS if self.library == "timm" else ()
        return {option: value for option, value in values.items() if option not in others}


class IqaConfig(Strict):
    """Weightless statistics of the picture, and metrics of pyiqa that need no reference."""

    kind: Literal["iqa"] = "iqa"
    statistics: bool = True
    """The statistics of `photorank.extractors.statistics`."""
    metrics: tuple[str, ...] = ()
    """Names of pyiqa's no-reference metrics (needs `photorank[iqa]`)."""


class E2eFeatureConfig(Strict):
    """The backbone of a Siamese ranker that `photorank e2e` trained."""

    kind: Literal["e2e"] = "e2e"
    run: str
    """The run's folder: relative to the current one."""


class OwnConfig(Strict):
    """An extractor of the user's own: a class called with (height, width, 3) uint8 sRGB, which returns a vector."""

    kind: Literal["own"] = "own"
    extractor: str
    """`module:Class`."""
    role: Literal["visual", "statistic"] = "visual"
    """visual: projected to a common width before fusion; statistic: few numbers with a meaning each, fused late."""
    options: dict[str, JsonValue] = {}
    """What the class is made with: `Class(**options)`."""
    version: str = ""
    """To be changed when the vectors change for a reason that neither the module's file nor the options show."""
    folder: str = Field(default="", validate_default=True)
    """Where the module is looked for before Python's own path: relative to the config file, or the current folder."""

    @field_validator("folder")
    @classmethod
    def _beside_the_file(cls, folder: str, info: ValidationInfo) -> str:
        return str(Path((info.context or {}).get("folder", ""), Path(folder).expanduser()).absolute())


FeatureConfig = Annotated[
    ClipConfig | CnnConfig | IqaConfig | E2eFeatureConfig | OwnConfig, Field(discriminator="kind")
]
