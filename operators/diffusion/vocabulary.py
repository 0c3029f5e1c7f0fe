"""Words that text encoders were not trained with: vectors of their own for what stands in a prompt."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from tokenizers import AddedToken
from torch import Tensor

from operators.diffusion.weights import swapped

if TYPE_CHECKING:
    from operators.diffusion.family import StableDiffusion

_NAME = re.compile(r"<\|[0-9a-f]{32}\|>")
_READ = re.compile(r"(<\|[0-9a-f]{32})(?:_\d+)?\|>(?: ?\1_\d+\|>)*")
_MOST = 1024


@dataclass(frozen=True, eq=False)
class Embedding:
    """Vectors that stand for a word.

    Attributes:
        word: that they stand for in a prompt.
        vectors: ``(k, width)`` for every text encoder.
    """

    word: str
    vectors: tuple[Tensor, ...]

    @cached_property
    def name(self) -> str:
        """What stands for the vectors in a text on its way to the encoders; no other vectors have it."""
        digest = hashlib.blake2b(self.word.encode(), digest_size=16)
        for vectors in self.vectors:
            digest.update(vectors.float().contiguous().numpy().tobytes())
        return f"<|{digest.hexdigest()}|>"

    @cached_property
    def tokens(self) -> list[str]:
        """A token for every vector."""
        stem = self.name.removesuffix("|>")
        return [self.name, *(f"{stem}_{at}|>" for at in range(1, len(self.vectors[0])))]

    def named(self, text: str) -> str:
        """A text with the name in the place of the word, wherever it stands by itself."""
        return self._word.sub(self.name, text)

    @cached_property
    def _word(self) -> re.Pattern[str]:
        before = r"(?<!\w)" if self.word[0].isalnum() else ""
        after = r"(?!\w)" if self.word[-1].isalnum() else ""
        return re.compile(before + re.escape(self.word) + after)


class Vocabulary:
    """Tokenizers and text encoders that can read texts with names of embeddings.

    Nothing of the model is changed but while :meth:`reading` lasts. Tokenizers are copied when the first name is read.
    """

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Embedding] = WeakValueDictionary()
        self._forget()

    def learn(self, embedding: Embedding) -> Embedding:
        """Know an embedding's name for as long as the embedding, or the one given back for it, is there."""
        return self._known.setdefault(embedding.name, embedding)

    @contextmanager
    def reading(self, family: StableDiffusion, texts: Sequence[str]) -> Iterator[list[str]]:
        """The texts as the family's tokenizers and text encoders read them while this lasts."""
        wanted = {name: self._known[name] for text in texts for name in _NAME.findall(text)}
        if not wanted:
            yield list(texts)
            return
        self._extend(family, wanted.values())
        read = [_NAME.sub(lambda found: " ".join(wanted[found[0]].tokens), text) for text in texts]
        with ExitStack() as stack:
            stack.enter_context(swapped(self._tables(family)))
            for tokenizer, encoder in family.text_encoders:
                stack.enter_context(_pooling_at(encoder, tokenizer.eos_token_id))
            stack.enter_context(family.tokenizing(self._tokenizers))
            yield read

    def named(self, text: str, there: str) -> str:
        """A text with the names that are there in another one, in the place of their words."""
        return reduce(lambda told, name: self._known[name].named(told), _NAME.findall(there), text)

    def shown(self, text: str) -> str:
        """A text with words again in the place of names and tokens."""
        if not _READ.search(text):
            return text
        # A copied tokenizer's decoder leaves the ends of words as they are, and puts no space after further tokens.
        worded = _READ.sub(lambda found: f" {self._known[f'{found[1]}|>'].word} ", text.replace("</w>", " "))
        return " ".join(worded.split())

    def _forget(self) -> None:
        self._tokenizers: list[Any] = []
        self._vectors: dict[str, tuple[Tensor, ...]] = {}
        self._of: list[Tensor] = []
        self._made: list[Tensor] = []

    def _extend(self, family: StableDiffusion, wanted: Any) -> None:
        new = {
            token: vectors
            for embedding in wanted
            for token, *vectors in zip(embedding.tokens, *embedding.vectors, strict=True)
            if token not in self._vectors
        }
        if new and len(self._vectors) + len(new) > _MOST:
            self._forget()
            self._extend(family, wanted)
            return
        if not self._tokenizers:
            self._tokenizers = [copy.deepcopy(tokenizer) for tokenizer, _ in family.text_encoders]
        for tokenizer in self._tokenizers:
            tokenizer.add_tokens([AddedToken(token, normalized=False) for token in new])
        if new:
            self._vectors.update({token: tuple(vectors) for token, vectors in new.items()})
            self._of = []

    def _tables(self, family: StableDiffusion) -> list[tuple[Tensor, Tensor]]:
        """Every encoder's embeddings, and the same with those of further tokens."""
        own = [encoder.get_input_embeddings().weight for _, encoder in family.text_encoders]
        if [weight.data_ptr() for weight in own] != [data.data_ptr() for data in self._of]:
            self._of = [weight.data for weight in own]
            self._made = [self._table(at, data) for at, data in enumerate(self._of)]
        return list(zip(own, self._made, strict=True))

    def _table(self, at: int, own: Tensor) -> Tensor:
        places = torch.tensor(self._tokenizers[at].convert_tokens_to_ids(list(self._vectors)))
        table = own.new_zeros(max(len(own), int(places.max()) + 1), own.shape[1])
        table[: len(own)] = own
        table[places.to(own.device)] = torch.stack([vectors[at] for vectors in self._vectors.values()]).to(own)
        return table


@contextmanager
def _pooling_at(encoder: Any, end: int) -> Iterator[None]:
    """Let the pooled embedding be the one at the end of the text, also where the highest token was taken for that."""
    owners = [module for module in encoder.modules() if hasattr(module, "eos_token_id")]
    before = [module.eos_token_id for module in owners]
    try:
        for module in owners:
            module.eos_token_id = end
        yield
    finally:
        for module, own in zip(owners, before, strict=True):
            module.eos_token_id = own
