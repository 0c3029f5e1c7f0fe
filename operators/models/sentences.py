"""Sentences about a word, written by a language model, the same ones every time."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from operators.models.loading import ModelFiles, pick_dtype, without_progress_bars
from operators.models.sampling import row_sampling

_AT_ONCE = 32


class SentenceWriter:
    """A language model that is asked about words.

    Args:
        files: of a transformers model for text.
        device: where it runs.
        instruction: what it is asked; ``{}`` stands for the word.
        count: sentences for each word.
        temperature: above 1 for more variety.
        max_new_tokens: tokens of a sentence, at the most.

    Raises:
        ModelError: the folder holds no language model.
    """

    def __init__(
        self,
        files: ModelFiles,
        device: torch.device,
        instruction: str,
        count: int,
        temperature: float,
        max_new_tokens: int,
    ) -> None:
        self._instruction, self._count = instruction, count
        self._temperature, self._max_new_tokens = temperature, max_new_tokens
        self._files, self._device = files, device
        try:
            config = AutoConfig.from_pretrained(files.folder)
            self._answers_apart = bool(config.is_encoder_decoder)
            kind: Any = AutoModelForSeq2SeqLM if self._answers_apart else AutoModelForCausalLM
            self._tokenizer: Any = AutoTokenizer.from_pretrained(files.folder)
            with without_progress_bars():
                model = kind.from_pretrained(
                    files.folder, dtype=pick_dtype(device), use_safetensors=files.use_safetensors
                )
        except ValueError as error:
            raise files.refuse(f"is no language model: {(str(error).splitlines() or [''])[0]}") from None
        self._model = model.to(device).eval().requires_grad_(False)
        self._written: dict[str, tuple[str, ...]] = {}

    @property
    def digest(self) -> str:
        """SHA-256 of the model's weights."""
        return self._files.digest

    def about(self, word: str) -> tuple[str, ...]:
        """Sentences about a word; those that come out empty are left out, and if all do, the word stands alone."""
        if word not in self._written:
            self._written[word] = self._write(word)
        return self._written[word]

    def _write(self, word: str) -> tuple[str, ...]:
        asked = self._tokenizer(self._instruction.format(word), return_tensors="pt").to(self._device)
        given = asked.input_ids.shape[1]
        digest = hashlib.sha256(word.encode()).digest()
        seeds = [int.from_bytes(digest[:6], "big") + number for number in range(self._count)]
        sentences: list[str] = []
        for first in range(0, self._count, _AT_ONCE):
            some = seeds[first : first + _AT_ONCE]
            with torch.no_grad():
                said = self._model.generate(
                    input_ids=asked.input_ids.expand(len(some), -1),
                    attention_mask=asked.attention_mask.expand(len(some), -1),
                    do_sample=False,
                    num_beams=1,
                    max_new_tokens=self._max_new_tokens,
                    logits_processor=row_sampling(some, self._temperature),
                    pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id,
                )
            answers = said if self._answers_apart else said[:, given:]
            sentences += self._tokenizer.batch_decode(answers, skip_special_tokens=True)
        return tuple(filter(None, map(str.strip, sentences))) or (word,)
