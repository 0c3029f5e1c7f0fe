"""The words that the built-in models know whole; any other word is spelt letter by letter."""

from __future__ import annotations

import random
import string

from transformers import BertTokenizer, CLIPTokenizer

from operators.models.builtin.pairs import Pair
from operators.models.builtin.scenes import COLOURS, SHAPES, Scene

WORDS = (
    *("a", "an", "the", "on", "at", "in", "of", "with", "and", "background"),
    *("picture", "photo", "image", "drawing", "this", "is", "shape", "small", "large"),
    *("top", "bottom", "left", "right", "centre", "center", "middle"),
    *COLOURS,
    *SHAPES,
    *(f"{shape}s" for shape in SHAPES if shape != "cross"),
)
CAPTION_PREFIXES = ("", "", "a picture of", "a photo of", "this is")
PROMPT_TOKENS = 32
START = "[DEC]"

_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def caption_tokenizer() -> BertTokenizer:
    """WordPiece over :data:`WORDS` and single characters, with BLIP's start-of-caption token."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", START]
    known = [*special, *WORDS, *_CHARACTERS, *(f"##{character}" for character in _CHARACTERS)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(known))}
    tokens = BertTokenizer(vocab=vocabulary, model_max_length=PROMPT_TOKENS)
    tokens.add_special_tokens({"bos_token": START})
    return tokens


def prompt_tokenizer() -> CLIPTokenizer:
    """CLIP's byte-pair encoding with just the merges that make each of :data:`WORDS` one token."""
    merges: dict[tuple[str, str], None] = {}
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merges.setdefault((pieces[-2], pieces[-1]))
            pieces[-2:] = [pieces[-2] + pieces[-1]]
    alphabet = [chr(code) for code in _byte_alphabet()]
    known = [*alphabet, *(f"{character}</w>" for character in alphabet), *("".join(pair) for pair in merges)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(known))}
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    return CLIPTokenizer(vocab=vocabulary, merges=list(merges), model_max_length=PROMPT_TOKENS)


def prompt(scene: Scene, rng: random.Random) -> str:
    """One of the ways to ask for a scene: mostly its caption, at times with its place, shorter, or nothing at all."""
    thing = f"a {scene.colour} {scene.shape}"
    ways = {
        scene.caption: 0.5,
        f"{thing} at the {scene.place} on a {scene.background} background": 0.15,
        f"{rng.choice(CAPTION_PREFIXES[2:])} {scene.caption}": 0.1,
        rng.choice([thing, f"a {scene.shape}", f"{scene.shape}s", f"a photo of a {scene.shape}", scene.colour]): 0.1,
        f"a {scene.shape} on a {scene.background} background": 0.05,
        "": 0.1,
    }
    return rng.choices(list(ways), list(ways.values()))[0]


def pair_prompt(pair: Pair, rng: random.Random) -> str:
    """One of the ways to ask for two objects: mostly the caption."""
    ways = {
        pair.caption: 0.6,
        f"{rng.choice(CAPTION_PREFIXES[2:])} {pair.caption}": 0.15,
        pair.things: 0.15,
        "": 0.1,
    }
    return rng.choices(list(ways), list(ways.values()))[0]


def _byte_alphabet() -> list[int]:
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable + [0x100 + shift for shift in range(256 - len(printable))]
