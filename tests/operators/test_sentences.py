"""Sentences that language models write about words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from operators import Pix2PixZero, columns
from operators.errors import ModelError
from operators.models.loading import ModelFiles
from operators.models.ref import ModelRef
from operators.models.sentences import SentenceWriter
from operators.tensors import pack
from training.language import WORDS

KINDS = ["t5", "gpt2"]


@pytest.fixture(scope="module")
def text_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    split = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    split.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = PreTrainedTokenizerFast(tokenizer_object=split, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    size = len(vocabulary)
    networks: dict[str, Any] = {
        "t5": T5ForConditionalGeneration(
            T5Config(vocab_size=size, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0)
        ),
        "gpt2": GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=16, n_layer=1, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=1)
        ),
    }
    folders = {kind: tmp_path_factory.mktemp("text") / kind for kind in KINDS}
    for kind, folder in folders.items():
        networks[kind].save_pretrained(folder)
        tokens.save_pretrained(folder)
    return folders


def writer(folder: Path, count: int = 6) -> SentenceWriter:
    files = ModelFiles(ModelRef(str(folder)))
    return SentenceWriter(files, torch.device("cpu"), "a picture of {}", count, 1.0, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_sentences_are_several_and_the_same_every_time(text_models: dict[str, Path], kind: str) -> None:
    written = writer(text_models[kind]).about("circle")
    assert 1 < len(set(written)) <= 6
    assert all(word in (*WORDS, "<unk>") for sentence in written for word in sentence.split())
    assert not any(sentence.startswith("a picture of circle") for sentence in written)
    assert writer(text_models[kind]).about("circle") == written
    assert writer(text_models[kind], 3).about("circle") == written[:3]
    assert writer(text_models[kind]).about("square") != written


def test_a_model_without_language_is_refused(diffusion_folder: Path) -> None:
    with pytest.raises(ModelError, match="is no language model"):
        writer(diffusion_folder / "unet")


def test_pix2pix_zero_edits_along_what_was_written(text_models: dict[str, Path], diffusion_folder: Path) -> None:
    latents = torch.randn((4, 16, 16), generator=torch.Generator().manual_seed(0)).half().numpy()
    table = pa.table({"caption": ["a red circle"], "inverted_latents": pack([latents])})
    made = []
    for text_model in (None, {"model": str(text_models["t5"]), "count": 4, "max_new_tokens": 8}):
        spec = Pix2PixZero(
            model=str(diffusion_folder), from_="circle", to="square", steps=2, guidance_scale=6.0, text_model=text_model
        )
        operator = spec.load()
        result = operator(table)
        assert result[columns.ERROR].to_pylist() == [None]
        assert len(operator.digests()) == len(spec.models()) == (1 if text_model is None else 2)
        made.append(result["edited_image"].to_pylist()[0]["bytes"])
    assert made[0] != made[1]
