"""Supervised fine-tuning: the loss is transformers' own, and how a batch is cut changes nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from rewardplane.trainer.config import ConfigError, parse_config
from rewardplane.trainer.data import BadData
from rewardplane.trainer.progress import read_metrics
from rewardplane.trainer.sft.config import FromScratchConfig, SftConfig
from rewardplane.trainer.sft.from_scratch import new_model, train_tokenizer
from rewardplane.trainer.sft.train import accumulate, run_sft
from rewardplane.trainer.sharding import Trained
from rewardplane.trainer.truncation import fit
from tiny_models import FAMILIES, make_model, save_tiny
from torch.testing import assert_close

from rewardplane.modeling.checkpoint import read_manifest
from rewardplane.modeling.encoding import PairEncoder
from rewardplane.modeling.models import load_causal_model, prepare
from rewardplane.wire import TokenPair

TEXTS = ["the film was good", "the film was bad and long", "a good film", "what a bad day", "a long and good day"]


def random_ids(rng: np.random.Generator, shortest: int, longest: int) -> NDArray[np.int32]:
    return rng.integers(3, 300, rng.integers(shortest, longest + 1), np.int32)


def ids(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def ragged_pairs(n: int = 12, seed: int = 3) -> list[TokenPair]:
    """Questions of 1 to 8 tokens and answers of 1 to 20; every third shares its question's ids."""
    rng = np.random.default_rng(seed)
    questions = [random_ids(rng, 1, 8) for _ in range(n)]
    return [TokenPair(questions[i - i % 3], random_ids(rng, 1, 20)) for i in range(n)]


def padded_loss(model: Any, pairs: list[TokenPair]) -> torch.Tensor:
    """transformers' own loss on a right-padded batch with questions and padding masked out."""
    width = max(len(p.question_ids) + len(p.answer_ids) for p in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.int64)
    attention_mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, pair in enumerate(pairs):
        whole = torch.from_numpy(np.concatenate([pair.question_ids, pair.answer_ids]).astype(np.int64))
        ids[row, : len(whole)] = whole
        attention_mask[row, : len(whole)] = 1
        labels[row, len(pair.question_ids) : len(whole)] = whole[len(pair.question_ids) :]
    loss: torch.Tensor = model(input_ids=ids, attention_mask=attention_mask, labels=labels).loss
    return loss


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("family", [*FAMILIES])
def test_packed_loss_and_gradient_equal_transformers_padded_batch(family: str) -> None:
    pairs = ragged_pairs()
    model = make_model("sft", family)
    expected = padded_loss(model, pairs)
    expected.backward()
    expected_gradients = gradients(model)
    prepare(model)
    loss = accumulate(Trained(model), pairs, 10_000, "float32")
    assert loss == pytest.approx(expected.item(), abs=1e-6)
    ours = gradients(model)
    assert ours.keys() == expected_gradients.keys()
    for name, gradient in ours.items():
        assert_close(gradient, expected_gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("micro_batch_tokens", [1, 40, 90])
def test_micro_batches_of_any_size_give_the_gradient_of_the_batch(micro_batch_tokens: int) -> None:
    pairs = ragged_pairs()
    model = make_model("sft").double()
    prepare(model)
    whole = accumulate(Trained(model), pairs, 10_000, "float32")
    expected = gradients(model)
    assert accumulate(Trained(model), pairs, micro_batch_tokens, "float32") == pytest.approx(whole, rel=1e-12)
    for name, gradient in gradients(model).items():
        assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12)


def test_bfloat16_keeps_float32_weights_and_is_close() -> None:
    model = make_model("sft")
    prepare(model)
    exact = accumulate(Trained(model), ragged_pairs(), 10_000, "float32")
    model.zero_grad()
    rounded = accumulate(Trained(model), ragged_pairs(), 10_000, "bfloat16")
    assert rounded != exact
    assert rounded == pytest.approx(exact, rel=0.02)
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


def write_rows(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def scratch_config(directory: Path, **changes: Any) -> SftConfig:
    rows = [{"question": "", "answer": text} for text in TEXTS * 20]
    settings: dict[str, Any] = {
        "output": str(directory / "run"),
        "from_scratch": {
            "vocabulary_size": 300,
            "hidden_size": 32,
            "intermediate_size": 64,
            "layers": 2,
            "heads": 2,
            "max_pair_tokens": 64,
        },
        "data": {
            "train": str(write_rows(directory / "train.jsonl", rows)),
            "heldout": str(write_rows(directory / "heldout.jsonl", rows[:5])),
        },
        "optimizer": {"learning_rate": 1e-2, "warmup_updates": 2},
        "epochs": 10,
        "batch_tokens": 128,
    }
    return parse_config({**settings, **changes}, SftConfig, "test")


def test_training_from_scratch_learns_its_texts_and_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    result = run_sft(scratch_config(tmp_path))
    metrics = read_metrics(tmp_path / "run")
    assert result.heldout_loss == metrics[-1]["heldout_loss"]
    assert result.heldout_loss is not None
    # ln 300 = 5.7 nats before training. What is left is which text comes: about ln 5 = 1.6 nats a text.
    assert metrics[0]["loss"] == pytest.approx(5.7, abs=0.2)
    assert result.heldout_loss < 1.0
    manifest = read_manifest(result.checkpoint)
    assert (manifest.kind, manifest.model_name) == ("sft", "sft")
    assert manifest.digest == result.manifest.digest
    loaded = load_causal_model(result.checkpoint, torch.float32)
    start, end = loaded.encoder.tokenizer.bos_token_id, loaded.encoder.tokenizer.eos_token_id
    assert loaded.encoder.stop_token_ids == (end,)
    assert loaded.encoder.encode_question("").tolist() == [start]
    assert loaded.encoder.encode_answer("the day")[-1] == end
    assert loaded.max_pair_tokens == 64


def test_one_seed_repeats_and_another_differs(tmp_path: Path) -> None:
    digests = []
    for run, seed in enumerate([1, 1, 2]):
        config = scratch_config(tmp_path, output=str(tmp_path / str(run)), seed=seed, epochs=1)
        digests.append(run_sft(config).manifest.digest)
    assert digests[0] == digests[1] != digests[2]


def test_fine_tuning_goes_on_from_a_checkpoint_without_dropout(tmp_path: Path) -> None:
    save_tiny(tmp_path / "base", "sft", "gpt2", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    rows = [{"question": "How was it?", "answer": text} for text in TEXTS]
    config = parse_config(
        {
            "output": str(tmp_path / "run"),
            "model": {"path": str(tmp_path / "base")},
            "data": {"train": str(write_rows(tmp_path / "train.jsonl", rows))},
            "optimizer": {"learning_rate": 1e-2},
            "epochs": 20,
        },
        SftConfig,
        "test",
    )
    result = run_sft(config)
    losses = [row["loss"] or 0.0 for row in read_metrics(tmp_path / "run")]
    assert losses[-1] < losses[0] / 2
    saved = json.loads((result.checkpoint / "config.json").read_text())
    assert [saved[name] for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop")] == [0.0, 0.0, 0.0]


def test_nothing_is_written_when_the_data_is_bad(tmp_path: Path) -> None:
    config = scratch_config(tmp_path)
    (tmp_path / "heldout.jsonl").write_text('{"question": "", "answer": ""}\n')
    with pytest.raises(BadData, match=r"heldout.jsonl:1: answer is empty"):
        run_sft(config)
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds a checkpoint already"):
        run_sft(scratch_config(tmp_path))


@pytest.mark.parametrize("both", [True, False])
def test_weights_come_from_one_place(tmp_path: Path, both: bool) -> None:
    given: dict[str, Any] = {"model": {"path": "m"}} if both else {"from_scratch": None}
    with pytest.raises(ConfigError, match="either \\[model\\] with a path, or \\[from_scratch\\]"):
        scratch_config(tmp_path, **given)


def test_every_text_survives_the_tokenizer() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    for text in ["the film", " leading blank", "naïve 日本 🙂", "two  blanks\n\tand a tab"]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_a_text_cut_at_a_blank_has_the_tokens_of_the_whole() -> None:
    tokenizer = train_tokenizer(TEXTS, 300)
    encoder = PairEncoder(tokenizer, [tokenizer.eos_token_id], len(tokenizer))
    question, answer = encoder.encode_question("the film"), encoder.encode_answer(" was good")
    assert [*question, *answer] == [*encoder.encode_question("the film was good"), tokenizer.eos_token_id]


def test_tokenizer_and_weights_are_the_same_in_every_process() -> None:
    """Python's sets have another order in every process; token ids must not."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests / "trainer")])}
    program = "from test_sft import scratch_fingerprint; print(scratch_fingerprint())"
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == scratch_fingerprint()


def scratch_fingerprint() -> str:
    tokenizer = train_tokenizer(TEXTS, 300)
    model = new_model(FromScratchConfig(hidden_size=32, heads=2), tokenizer, seed=5)
    encoder = PairEncoder(tokenizer, [tokenizer.eos_token_id], len(tokenizer))
    return f"{encoder.fingerprint} {model.model.embed_tokens.weight.double().sum().item():.12f}"


def test_a_pair_that_is_too_long_loses_the_oldest_tokens_of_its_question() -> None:
    pair = TokenPair(ids(0, 10, 11, 12, 13), ids(20, 21, 1))
    assert fit(pair, 8, 0).question_ids.tolist() == [0, 10, 11, 12, 13]
    assert fit(pair, 6, 0).question_ids.tolist() == [0, 12, 13]  # the start token stays
    assert fit(pair, 6, None).question_ids.tolist() == [11, 12, 13]
    assert fit(pair, 6, 0).answer_ids.tolist() == [20, 21, 1]


def test_an_answer_that_is_too_long_loses_its_end() -> None:
    fitted = fit(TokenPair(ids(0, 10, 11), ids(*range(20, 30))), 6, start_token_id=0)
    assert (fitted.question_ids.tolist(), fitted.answer_ids.tolist()) == ([0, 11], [20, 21, 22, 23])
