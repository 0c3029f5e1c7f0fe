"""Train the built-in CLIP on scenes and what may be said of them.

``python -m training.clip --out FOLDER``, after ``training.captioner`` and ``training.denoiser`` into the same folder.
It sees with the captioner's eyes and reads with the denoiser's text encoder, which stay as they are but for their last
layers (after Zhai et al. 2022): those learn to sum up a picture and a text in one embedding. So what the others make of
a pool of scenes is computed once. The loss is CLIP's (Radford et al. 2021), but for one thing: of tiny scenes much is
true of several in a batch; so all texts that are true of a picture are right answers, and share the probability.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize, scaled_dot_product_attention
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
POOL = 16384

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
    """A CLIP that sees as the captioner of a folder does, and reads as its denoiser does; what sums up is to learn."""
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
    model.requires_grad_(False)
    model.logit_scale.requires_grad_()
    for tower, norm in ((model.vision_model, "post_layernorm"), (model.text_model, "final_layer_norm")):
        for part in (tower.encoder.layers[-1], getattr(tower, norm)):
            part.requires_grad_()
    for projection in (model.visual_projection, model.text_projection):
        projection.requires_grad_()
    return model


def summed_up(layer: nn.Module, tokens: Tensor, at: Tensor) -> Tensor:
    """What a last layer makes ``(n, d)`` of the tokens ``at`` of ``(n, t, d)``, from all that come up to them, or all.

    Args:
        layer: of CLIP, for pictures or texts.
        tokens: that go into it.
        at: ``(n,)``, places of the tokens that sum up; 0 for pictures, whose tokens all see each other.
    """
    rows, attention = torch.arange(len(tokens)), layer.self_attn
    heard = (torch.arange(tokens.shape[1]) <= at[:, None]) | (at == 0)[:, None]

    def by_head(values: Tensor) -> Tensor:
        return values.unflatten(2, (attention.num_heads, -1)).transpose(1, 2)

    normed, one = layer.layer_norm1(tokens), tokens[rows, at][:, None]
    asked = by_head(attention.q_proj(normed[rows, at][:, None]))
    keys, values = by_head(attention.k_proj(normed)), by_head(attention.v_proj(normed))
    mixed = scaled_dot_product_attention(asked, keys, values, heard[:, None, None])
    one = one + attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return (one + layer.mlp(layer.layer_norm2(one)))[:, 0]


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
    """Train on a pool of pictures with a little noise; each save counts held-out captions that come first of all."""
    plan = common.settings(steps=4000, batch=64, learning_rate=4e-3)
    tokens = language.prompt_tokenizer()
    model = build(plan.out)
    rng = random.Random(plan.seed)
    items = common.scenes(0, POOL)
    texts = [told(item, rng) for item in items]
    ids = tokens([text.text for text in texts], padding="max_length", truncation=True, return_tensors="pt").input_ids
    ends = (ids == tokens.eos_token_id).int().argmax(1)
    with torch.no_grad():
        pictures = common.pixels(items, torch.device("cpu"))
        pictures = pictures + 0.1 * torch.rand(POOL, 1, 1, 1) * torch.randn_like(pictures)
        seen = [model.vision_model(some, output_hidden_states=True).hidden_states[-2] for some in pictures.split(64)]
        read = [model.text_model(some, output_hidden_states=True).hidden_states[-2] for some in ids.split(64)]
    seen, read = torch.cat(seen), torch.cat(read)

    def loss(_: int) -> Tensor:
        rows = torch.randint(POOL, (plan.batch,))
        right = torch.tensor([[texts[text].holds(items[item]) for text in rows] for item in rows])
        summed = summed_up(model.vision_model.encoder.layers[-1], seen[rows], torch.zeros_like(rows))
        picture = normalize(model.visual_projection(model.vision_model.post_layernorm(summed)))
        summed = summed_up(model.text_model.encoder.layers[-1], read[rows], ends[rows])
        text = normalize(model.text_projection(model.text_model.final_layer_norm(summed)))
        logits = model.logit_scale.exp() * picture @ text.T
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
