"""Tokenizers that are made here, offline."""

from __future__ import annotations

import string

from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase, Qwen2Tokenizer, T5Tokenizer, XLMRobertaTokenizer

from training import language

TOKENS = 32
_SPACE = "\u2581"
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def clip() -> PreTrainedTokenizerBase:
    return language.prompt_tokenizer()


def t5() -> T5Tokenizer:
    """SentencePiece's unigrams: whole words, or else letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    return T5Tokenizer(vocab=[*special, *_pieces()], extra_ids=0, model_max_length=TOKENS)


def xlm_roberta() -> XLMRobertaTokenizer:
    special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    return XLMRobertaTokenizer(vocab=[*special, *_pieces(), ("<mask>", 0.0)], model_max_length=TOKENS)


def qwen() -> Qwen2Tokenizer:
    """Bytes, each a token of its own, and the words that Qwen's chats are made of."""
    alphabet = sorted(ByteLevel.alphabet())
    special = [
        *("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        *("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"),
    ]
    vocabulary = {token: number for number, token in enumerate([*alphabet, *special])}
    tokens = Qwen2Tokenizer(vocab=vocabulary, merges=[], model_max_length=2048)
    tokens.add_special_tokens({"additional_special_tokens": special[1:]})
    tokens.chat_template = _CHAT
    return tokens


def _pieces() -> list[tuple[str, float]]:
    words = [(f"{_SPACE}{word}", -1.0) for word in dict.fromkeys(language.WORDS) if len(word) > 1]
    letters = [_SPACE, *string.ascii_letters, *string.digits, *string.punctuation]
    return [*words, *((letter, -9.0) for letter in letters)]
