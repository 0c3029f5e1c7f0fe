"""Texts with weights, blends and any length, encoded by compel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyparsing
import torch
from compel import Compel, ReturnedEmbeddingsType
from compel.prompt_parser import Blend, Conjunction, FlattenedPrompt, PromptParser

from operators.diffusion.prompts import Prompts
from operators.errors import ValueInvalidError
from operators.models.kept import Kept

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

# Without it, every further parenthesis within others makes the parser four times slower: seven take 16 seconds.
pyparsing.ParserElement.enable_packrat(None)

_SYNTAX = (pyparsing.ParseBaseException, PromptParser.ParsingException, ValueError)
_PARSED = 256
_PARENTHESES = re.compile(r"\\.|\(|\)|:\s*(?P<weight>\d*\.?\d+)\s*\)(?P<joined>(?=\w))?")


class Weighting:
    """Encodes texts that may say how much their parts count.

    Args:
        family: whose tokenizers and text encoders are used, as they are when a text is encoded.
        long: read what is beyond the text encoder's tokens too, in further chunks; else it is left out.
    """

    def __init__(self, family: StableDiffusion, long: bool) -> None:
        self._family, self._long = family, long
        self._parser = PromptParser()
        self._kept: Kept[str, Conjunction] = Kept(_PARSED)

    def chunks(self, text: str) -> int:
        """How often the text encoder's tokens a text needs.

        Raises:
            ValueInvalidError: its syntax is broken, or asks for what can't be had here.
        """
        parsed = self._parsed(text)
        return sum(
            max(self._chunks(one) for one in part.prompts) if isinstance(part, Blend) else self._chunks(part)
            for part in parsed.prompts
        )

    def encode(self, texts: Sequence[str], chunks: int) -> Prompts:
        """Embeddings of ``n`` texts, each filled up with those of nothing to ``chunks`` times the encoder's tokens.

        Raises:
            ValueInvalidError: a text needs more.
        """
        compels = self._compels()
        return Prompts.joined([self._encoded(compels, text, chunks) for text in texts])

    def left_out(self, text: str) -> str:
        """What is not read of a text."""
        if self._long:
            return ""
        compel = self._compels()[0]
        provider, tokenizer = compel.conditioning_provider, compel.conditioning_provider.tokenizer
        beyond = []
        for prompt in _flat(self._parsed(text)):
            fragments = [part.text for part in prompt.children]
            ids = provider.get_token_ids(fragments, include_start_and_end_markers=False, truncation_override=False)
            beyond += [token for part in ids for token in part][tokenizer.model_max_length - 2 :]
        return str(tokenizer.decode(beyond)) if beyond else ""

    def _encoded(self, compels: list[Compel], text: str, chunks: int) -> Prompts:
        parsed, hidden, pooled = self._parsed(text), [], None
        for compel in compels:
            embedded, _ = compel.build_conditioning_tensor_for_conjunction(parsed)
            provider = compel.conditioning_provider
            missing = chunks - embedded.shape[1] // provider.max_token_count
            if missing < 0:
                shown = self._family.vocabulary.shown(text)
                raise ValueInvalidError(f"{shown!r} takes more of the text encoder's tokens than the row's other texts")
            hidden.append(torch.cat([embedded, *[provider.empty_z] * missing], 1).to(self._family.dtype))
            if len(compels) > 1:
                pooled = provider.get_pooled_embeddings([translated(text)]).to(self._family.dtype)
        return Prompts(torch.cat(hidden, -1), pooled)

    def _compels(self) -> list[Compel]:
        encoders = self._family.text_encoders
        kinds = ReturnedEmbeddingsType
        kind = (
            kinds.LAST_HIDDEN_STATES_NORMALIZED
            if len(encoders) == 1
            else kinds.PENULTIMATE_HIDDEN_STATES_NON_NORMALIZED
        )
        return [
            Compel(tokenizer, encoder, truncate_long_prompts=not self._long, returned_embeddings_type=kind)
            for tokenizer, encoder in encoders
        ]

    def _parsed(self, text: str) -> Conjunction:
        shown = self._family.vocabulary.shown(text)
        try:
            parsed: Conjunction = self._kept.get(text, lambda: self._parser.parse_conjunction(translated(text)))
        except _SYNTAX as error:
            raise ValueInvalidError(f"{shown!r} is not understood: {_first_line(error)}") from None
        except RecursionError:
            raise ValueInvalidError(f"{shown!r} is not understood: too many parentheses within others") from None
        if not parsed.prompts:
            raise ValueInvalidError(f"{shown!r} is not understood: it weights nothing")
        if parsed.lora_weights:
            raise ValueInvalidError(f"{shown!r} asks for a LoRA; give it as the control `lora`")
        if any(prompt.wants_cross_attention_control for prompt in _flat(parsed)):
            raise ValueInvalidError(f"{shown!r} asks for a swap of words, which has no effect here")
        return parsed

    def _chunks(self, prompt: FlattenedPrompt) -> int:
        provider = self._compels()[0].conditioning_provider
        fragments, weights = [part.text for part in prompt.children], [part.weight for part in prompt.children]
        tokens, _, _ = provider.get_token_ids_and_expand_weights(fragments, weights, device="cpu")
        return len(tokens) // int(provider.max_token_count)


def translated(text: str) -> str:
    """A text with ``(word:1.3)`` in the form that compel knows, ``(word)1.3``."""
    depth = 0

    def one(found: re.Match[str]) -> str:
        nonlocal depth
        if found[0].startswith("\\"):
            return found[0]
        depth += 1 if found[0] == "(" else -1
        if found["weight"] is None or depth < 0:
            depth = max(depth, 0)
            return found[0]
        return f"){found['weight']}{'' if found['joined'] is None else ' '}"

    return _PARENTHESES.sub(one, text)


def _flat(parsed: Conjunction) -> Iterator[Any]:
    for part in parsed.prompts:
        yield from part.prompts if isinstance(part, Blend) else [part]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
