"""Train the built-in CLIP on scenes and what may be said of them.

``python -m training.clip --out FOLDER``, after ``training.captioner`` and ``training.denoiser`` into the same folder:
it begins with the captioner's eyes and the denoiser's text encoder. The loss is CLIP's (Radford et al. 2021), but for
one thing: of tiny scenes much is true of several in a batch; so all texts that are true of a picture are right answers,
and share the probability.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax
from transformers import (
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextModel,
    CLIPTokenizer,
)

from operators.models.builtin.scenes import HELD_OUT_SERIES, SIZE, Scene, captions
from training import common, language

WIDTH = 128
EMBEDDING = 64

_PARTS = ("q_proj", "k_proj", "v_proj")
_NOT_OF_THE_NETWORK = frozenset({"_name_or_path", "architectures", "dtype", "transformers_version"})

_TOLD = {
    ("shape", "colour", "background"): 0.55,
    ("shape", "colour", "background", "place"): 0.15,
    ("shape", "colour"): 0.1,
    ("shape", "background"): 0.07,
    ("shape",): 0.07,
    ("background",): 0.06,
}
"""What a text tells of a scene, and how often."""


@dataclass(frozen=True)
class Told:
    """A text about a scene, and the attributes that it tells."""

    text: str
    claims: dict[str, str]

    def holds(self, item: Scene) -> bool:
        """Whether it is true of a scene."""
        return all(getattr(item, name) == value for name, value in self.claims.items())


def told(item: Scene, rng: random.Random) -> Told:
    """One of the things that may be said of a scene."""
    names = rng.choices(list(_TOLD), list(_TOLD.values()))[0]
    thing = f"a {item.colour} {item.shape}" if "colour" in names else f"a {item.shape}" * ("shape" in names)
    place = f"at the {item.place}" * ("place" in names)
    ground = ("on " * bool(thing) + f"a {item.background} background") * ("background" in names)
    said = " ".join(filter(None, [rng.choice(language.CAPTION_PREFIXES), thing, place, ground]))
    return Told(said, {name: getattr(item, name) for name in names})


def processor() -> CLIPImageProcessorPil:
    """Pictures to 64 x 64 in -1..1."""
    half = [0.5, 0.5, 0.5]
    return CLIPImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_mean=half, image_std=half
    )


def seeing(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a captioner's vision model under the names that CLIP's has."""
    found = {name.replace("projection", "out_proj"): weight for name, weight in state.items()}
    for name in [name for name in found if "qkv" in name]:
        parts = found.pop(name).chunk(3)
        found |= {name.replace("qkv", part): piece for part, piece in zip(_PARTS, parts, strict=True)}
    # CLIP's patches have no bias of their own: it goes into that of their places.
    places = found.pop("embeddings.position_embedding")[0].clone()
    places[1:] += found.pop("embeddings.patch_embedding.bias")
    first = found.pop("embeddings.class_embedding").flatten()
    return found | {"embeddings.class_embedding": first, "embeddings.position_embedding.weight": places}


def build(folder: Path) -> CLIPModel:
    """A CLIP that sees as the captioner of a folder does, and reads as its denoiser does."""
    reader = CLIPTextModel.from_pretrained(folder / "stable-diffusion" / "text_encoder", dtype=torch.float32)
    eyes = BlipForConditionalGeneration.from_pretrained(folder / "blip", dtype=torch.float32).vision_model
    told = {name: value for name, value in reader.config.to_dict().items() if name not in _NOT_OF_THE_NETWORK}
    config = CLIPConfig(
        text_config=told | {"projection_dim": EMBEDDING},
        vision_config={
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "projection_dim": EMBEDDING,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": 8,
            "hidden_act": "gelu",
        },
        projection_dim=EMBEDDING,
    )
    model = CLIPModel(config)
    model.text_model.load_state_dict(reader.state_dict())
    model.vision_model.load_state_dict(model.vision_model.state_dict() | seeing(eyes.state_dict()))
    # CLIP scales what goes into the first layer; so that it gets what it is used to, to the size that it had.
    with torch.no_grad():
        tokens = model.vision_model.embeddings(common.pixels(common.scenes(0, 64), torch.device("cpu")))
        model.vision_model.pre_layrnorm.weight.fill_(tokens.std(-1).mean())
    return model


def shared_loss(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy of rows of logits ``(n, m)`` against all that is right ``(n, m)``, in equal shares."""
    wanted = right.float() / right.sum(1, keepdim=True)
    return -(wanted * log_softmax(logits, 1)).sum(1).mean()


def ranked_first(model: CLIPModel, tokens: CLIPTokenizer, count: int = 256) -> float:
    """Share of held-out scenes whose caption is nearest among all captions that there are."""
    items = common.scenes(0, count, HELD_OUT_SERIES)
    texts = captions()
    device = model.device
    ids = tokens(texts, padding="max_length", return_tensors="pt").to(device)
    with torch.no_grad():
        near = model(**ids, pixel_values=common.pixels(items, device)).logits_per_image.argmax(1).tolist()
    return sum(texts[at] == item.caption for at, item in zip(near, items, strict=True)) / count


def main() -> None:
    """Train on pictures with a little noise; each save counts held-out captions that come first of all."""
    plan = common.settings(steps=400, batch=64, learning_rate=1e-3)
    tokens = language.prompt_tokenizer()
    model = build(plan.out).to(plan.device)

    def loss(step: int) -> Tensor:
        rng = random.Random(plan.seed * 1_000_003 + step)
        items = common.scenes(step * plan.batch, plan.batch)
        texts = [told(item, rng) for item in items]
        right = torch.tensor([[text.holds(item) for text in texts] for item in items], device=plan.device)
        ids = tokens([text.text for text in texts], padding="max_length", truncation=True, return_tensors="pt")
        pictures = common.pixels(items, plan.device)
        deviation = 0.1 * torch.rand(len(items), 1, 1, 1, device=plan.device)
        pictures = pictures + deviation * torch.randn_like(pictures)
        with torch.autocast(plan.device.type, torch.bfloat16):
            logits = model(**ids.to(plan.device), pixel_values=pictures).logits_per_image
        logits = logits.float()
        return (shared_loss(logits, right) + shared_loss(logits.T, right.T)) / 2

    def save(averaged: dict[str, nn.Module]) -> None:
        clip = averaged["clip"]
        print(f"held-out captions first of 336 {ranked_first(clip, tokens):.3f}", flush=True)
        clip.half().save_pretrained(plan.out / "clip")
        common.amend(plan.out / "clip" / "config.json", dtype="float32")
        clip.float()
        tokens.save_pretrained(plan.out / "clip")
        processor().save_pretrained(plan.out / "clip")

    common.train("clip", {"clip": model}, loss, plan, save)


if __name__ == "__main__":
    main()
