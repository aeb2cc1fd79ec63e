"""CLIP's image tower as LLaVA uses it: the patch tokens of an inner layer, then the language model's projector.

Facts: haotian-liu/LLaVA and lanxiang1017/GEM, llava/model/multimodal_encoder/clip_encoder.py: hidden state
`mm_vision_select_layer` (-2) of `CLIPVisionModel`, its class token dropped. The module is transformers' own. Width,
depth, patch and image size come from the tensors' shapes. Shapes do not tell the heads, the activation and epsilon:
those are of all CLIP towers by OpenAI, 64 numbers a head, quick GELU and 1e-5.

In: image (1,3,336,336), scaled as CLIPImageProcessor does. Out: (1,576,4096) embeddings for the language model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from uniecg_device.errors import InputError
from uniecg_export.families.parts import MOST_LAYERS, Fields, text
from uniecg_export.onnx_graphs import Arrays, Source
from uniecg_export.weights import Shapes, needed_shape
from uniecg_runtime.manifest import Picture

T = TypeVar("T")
HEAD = 64
# openai/clip-vit-large-patch14-336, preprocessor_config.json; the same for all of OpenAI's towers.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WHOLE = ("ori", "square")  # of image_aspect_ratio: one image, its shortest edge resized and its centre kept
MOST_PIXELS = 2048


@dataclass(frozen=True)
class ClipVisionConfig:
    """A tower's geometry, pixels for `patch` and `image`. layers: all of them; used: those up to the state taken."""

    width: int
    layers: int
    feed_forward: int
    patch: int
    image: int
    used: int


class ImageEncoder(nn.Module):
    """Tower and projector in one: (1,3,image,image) -> (1,patches,hidden) soft tokens."""

    def __init__(self, config: ClipVisionConfig, projector: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.vision_tower = tower(config)
        self.mm_projector = projector

    def forward(self, image: Tensor) -> Tensor:
        held = self.vision_tower
        states = held.pre_layrnorm(held.embeddings(image))
        for layer in held.encoder.layers[: self.config.used]:
            states = layer(states, None)
        tokens: Tensor = self.mm_projector(states[:, 1:])
        return tokens


def tower(config: ClipVisionConfig) -> Any:
    """transformers' module, under names without `vision_model.`, whether its release still has that level or not."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    model = CLIPVisionModel._from_config(
        CLIPVisionConfig(
            hidden_size=config.width,
            intermediate_size=config.feed_forward,
            num_hidden_layers=config.layers,
            num_attention_heads=config.width // HEAD,
            image_size=config.image,
            patch_size=config.patch,
        ),
        attn_implementation="eager",  # plain products and softmax, which every precision here knows
    )
    return getattr(model, "vision_model", model)


def own_names(held: Mapping[str, T]) -> dict[str, T]:
    """As `tower` names them; old releases also stored the numbers of the positions."""
    named = {name.removeprefix("vision_model."): value for name, value in held.items()}
    return {name: value for name, value in named.items() if not name.endswith("position_ids")}


def config_from(fields: Fields, held: Shapes) -> ClipVisionConfig:
    """Read config.json's fields and the tower's shapes, by `own_names`.

    Raises InputError for a checkpoint without a tower, one whose images are tiled or padded, and a field or tensor that
    cannot be.
    """
    if not held:
        named = fields.get("mm_vision_tower")
        raise InputError(
            f"expected the images' tower (model.vision_tower.vision_tower.*) in the shards, found none (config.json "
            f"names {named!r}); save the checkpoint with it, or export without --with-image."
        )
    aspect, feature = text(fields, "image_aspect_ratio", "square"), text(fields, "mm_vision_select_feature", "patch")
    if aspect not in WHOLE or feature != "patch":
        raise InputError(
            f"expected an image_aspect_ratio of {' or '.join(WHOLE)} and the feature 'patch' in config.json, found "
            f"{aspect!r} and {feature!r}; images of such a model cannot be exported, leave out --with-image."
        )
    width, _, patch, across = needed_shape(held, "embeddings.patch_embedding.weight", 4)
    positions, _ = needed_shape(held, "embeddings.position_embedding.weight", 2)
    feed_forward, _ = needed_shape(held, "encoder.layers.0.mlp.fc1.weight", 2)
    numbers = {name.split(".")[2] for name in held if name.startswith("encoder.layers.")}
    layers, side = len(numbers), math.isqrt(positions - 1)
    if width % HEAD or patch != across or side * side != positions - 1 or side < 1 or side * patch > MOST_PIXELS:
        raise InputError(
            f"expected a CLIP tower of square images with {HEAD} numbers a head, found a width of {width}, patches of "
            f"{patch} by {across} and {positions} positions; export without --with-image."
        )
    taken = fields.get("mm_vision_select_layer", -2)
    if type(taken) is not int or not -layers - 1 <= taken <= layers or layers > MOST_LAYERS:
        raise InputError(
            f"expected 'mm_vision_select_layer' in config.json as a state of {layers} layers, found "
            f"{taken!r}; take the config.json that belongs to the checkpoint."
        )
    return ClipVisionConfig(width, layers, feed_forward, patch, side * patch, taken % (layers + 1))


def source(encoder: ImageEncoder) -> Source:
    """The fused image encoder; batch 1, float32."""
    size = encoder.config.image

    def draw(rng: np.random.Generator) -> Arrays:
        return {"image": rng.standard_normal((1, 3, size, size), np.float32)}

    return Source("image_encoder", encoder, draw, ("tokens",))


def without_unused(encoder: ImageEncoder) -> ImageEncoder:
    """Drop the layers behind the state that is taken, once they were found in the checkpoint."""
    held = encoder.vision_tower
    held.encoder.layers = held.encoder.layers[: encoder.config.used]
    held.post_layernorm = nn.Identity()
    return encoder


def picture(config: ClipVisionConfig) -> Picture:
    """The page that GEM's pictures show, and how CLIP takes it."""
    return Picture(size=config.image, mean=MEAN, std=STD)
