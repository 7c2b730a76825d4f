"""Reward-model training: the packed tree learns what expanded pairs learn, and what is saved is what is served."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranked_groups import one_by_one, ragged_groups
from rewardplane.trainer.config import parse_config
from rewardplane.trainer.data import BadData, RankedAnswers, read_ranked
from rewardplane.trainer.progress import read_metrics
from rewardplane.trainer.reward.config import RewardConfig
from rewardplane.trainer.reward.evaluate import evaluate, group_scores
from rewardplane.trainer.reward.groups import Group, encode_groups, shuffle_ranks
from rewardplane.trainer.reward.head import load_backbone, padding_token
from rewardplane.trainer.reward.train import epoch_batches, run_reward
from rewardplane.trainer.sharding import Trained
from tiny_encoders import save_encoder
from tiny_models import FAMILIES, make_model, make_tokenizer, save_tiny
from torch.testing import assert_close
from transformers import AutoModelForSequenceClassification

from rewardplane.modeling.models import load_causal_model, load_reward_model, prepare, score, score_head
from rewardplane.wire import TextPair

GOOD, BAD = ["good", "see it again", "hoped"], ["long", "end", "not"]
ANSWERS = [f"The film was {word}{mark}" for word in [*GOOD, *BAD] for mark in (".", "!", ", and so on")]


def test_groups_are_never_split_between_steps() -> None:
    groups = ragged_groups([[0, 1]] * 10)
    config = ranked_config(Path(), batch_questions=4)
    for epoch in range(2):
        batches = epoch_batches(groups, config, epoch)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert {id(group) for batch in batches for group in batch} == {id(group) for group in groups}
    assert epoch_batches(groups, config, 0) == epoch_batches(groups, config, 0) != epoch_batches(groups, config, 1)


def test_new_head_is_normal_with_the_papers_spread(tmp_path: Path) -> None:
    # 1 / sqrt(4095 + 1) = 1/64. The spread of 4,095 draws is off by 1/sqrt(2 * 4095) = 1.1 % (one sigma).
    save_tiny(
        tmp_path / "sft", "sft",
        hidden_size=4095, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        head_dim=8,
    )  # fmt: skip
    head = score_head(load_backbone(tmp_path / "sft", torch.device("cpu"), seed=0).model)
    assert head.weight.dtype == torch.float32
    assert head.weight.std().item() == pytest.approx(1 / 64, rel=0.05)
    assert abs(head.weight.mean().item()) < 4 / 64 / 64


@pytest.mark.parametrize("family", [*FAMILIES])
def test_trunk_is_the_sft_models_and_the_seed_decides_the_head(tmp_path: Path, family: str) -> None:
    save_tiny(tmp_path / "sft", "sft", family)
    causal = load_causal_model(tmp_path / "sft", torch.float32)
    first, again, other = (load_backbone(tmp_path / "sft", torch.device("cpu"), seed=seed).model for seed in (1, 1, 2))
    for name, weight in causal.model.base_model.state_dict().items():
        assert torch.equal(first.base_model.state_dict()[name], weight), name
    assert torch.equal(score_head(first).weight, score_head(again).weight)
    assert not torch.equal(score_head(first).weight, score_head(other).weight)


def test_training_a_reward_model_again_keeps_its_head(tmp_path: Path) -> None:
    save_tiny(tmp_path / "reward", "reward", seed=4)
    loaded = load_backbone(tmp_path / "reward", torch.device("cpu"), seed=0)
    trained = load_reward_model(tmp_path / "reward", torch.float32)
    assert torch.equal(score_head(loaded.model).weight, score_head(trained.model).weight)


def test_padding_token_is_never_a_stop_token() -> None:
    tokenizer = make_tokenizer()  # <s> 0, </s> 1, <pad> 2
    assert padding_token(tokenizer, (1,)) == 2
    tokenizer.pad_token = "</s>"
    assert padding_token(tokenizer, (1,)) == 0
    assert padding_token(tokenizer, (0, 1)) == 2


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def film_rows(n: int, seed: int) -> list[dict[str, Any]]:
    """Rankings that one word decides."""
    rng = np.random.default_rng(seed)
    drawn = [[ANSWERS[i] for i in rng.choice(len(ANSWERS), 4, replace=False)] for _ in range(n)]
    return [
        {"question": "Was it good?", "answers": own, "ratings": [float(any(w in a for w in GOOD)) for a in own]}
        for own in drawn
    ]


def ranked_config(directory: Path, **changes: Any) -> RewardConfig:
    settings: dict[str, Any] = {
        "output": str(directory / "run"),
        "model": {"path": str(directory / "sft")},
        "data": {"train": str(directory / "train.jsonl"), "heldout": str(directory / "heldout.jsonl")},
        "optimizer": {"learning_rate": 3e-3},
        "batch_questions": 8,
        "micro_batch_tokens": 512,
    }
    return parse_config({**settings, **changes}, RewardConfig, "test")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A directory with an SFT model and rankings."""
    save_tiny(tmp_path / "sft", "sft", initializer_range=0.02)
    write_rows(tmp_path / "train.jsonl", film_rows(96, seed=0))
    write_rows(tmp_path / "heldout.jsonl", film_rows(24, seed=1))
    return tmp_path


def test_learns_rankings_and_saves_what_is_served(run: Path) -> None:
    result = run_reward(ranked_config(run, epochs=2, evaluate_every=6))
    assert result.heldout is not None
    assert result.heldout.accuracy > 0.95
    metrics = read_metrics(run / "run")
    assert next(row["update"] for row in metrics if "heldout_accuracy" in row) == 5
    assert metrics[-1]["heldout_accuracy"] == result.heldout.accuracy
    assert result.manifest.kind == "reward"
    loaded = load_reward_model(result.checkpoint, torch.float32)
    pairs = [loaded.encoder.encode(TextPair("Was it good?", answer)) for answer in ANSWERS]
    own, theirs = score(loaded, pairs), one_by_one(loaded.model, pairs)
    # What transformers gives is the raw score, and the constant between the two is documented.
    assert_close(theirs - own, torch.full_like(own, result.reward_offset))


def test_reference_answers_average_0_when_served(run: Path) -> None:
    answers = [row["answers"][0] for row in film_rows(40, seed=2)]
    rows = [{"question": "Was it good?", "answer": answer} for answer in answers]
    reference = write_rows(run / "reference.jsonl", rows)
    config = ranked_config(run, data={"train": str(run / "train.jsonl"), "reference": str(reference)})
    result = run_reward(config)
    loaded = load_reward_model(result.checkpoint, torch.float32)
    served = score(loaded, [loaded.encoder.encode(TextPair("Was it good?", answer)) for answer in answers])
    assert abs(served.mean().item()) < 1e-5
    assert result.reward_offset != 0.0
    assert loaded.model.config.reward_offset == result.reward_offset


def test_without_references_the_ranked_answers_average_0(run: Path) -> None:
    result = run_reward(ranked_config(run))
    loaded = load_reward_model(result.checkpoint, torch.float32)
    ranked = read_ranked(run / "train.jsonl")
    groups, _ = encode_groups(ranked, loaded.encoder, loaded.max_pair_tokens)
    served = score(loaded, [pair for group in groups for pair in group.pairs])
    assert abs(served.mean().item()) < 1e-5


def test_padded_batches_of_transformers_agree_with_served_scores(run: Path) -> None:
    result = run_reward(ranked_config(run))
    loaded = load_reward_model(result.checkpoint, torch.float32)
    pairs = [loaded.encoder.encode(TextPair("Was it?", answer)) for answer in ANSWERS]
    rows = [torch.from_numpy(np.concatenate([p.question_ids, p.answer_ids]).astype(np.int64)) for p in pairs]
    pad = loaded.model.config.pad_token_id
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad)
    theirs = loaded.model(input_ids=ids, attention_mask=(ids != pad).long()).logits[:, 0]
    assert_close(theirs - result.reward_offset, score(loaded, pairs), rtol=1e-4, atol=1e-5)


def test_stop_tokens_of_the_generation_config_stay(tmp_path: Path, run: Path) -> None:
    path = run / "sft" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [2, 1]}))
    (run / "sft" / "manifest.json").unlink()
    result = run_reward(ranked_config(run))
    assert load_reward_model(result.checkpoint, torch.float32).encoder.stop_token_ids == (2, 1)


def test_shuffled_labels_teach_nothing(run: Path) -> None:
    result = run_reward(ranked_config(run, shuffle_labels=True))
    assert result.heldout is not None
    # 24 questions of about 3 to 4 pairs, whose answers recur: a spread of about 0.1.
    assert result.heldout.accuracy == pytest.approx(0.5, abs=0.3)
    assert read_metrics(run / "run")[-1]["loss"] == pytest.approx(np.log(2), abs=0.1)


def test_shuffling_deals_out_the_ranks_of_each_question() -> None:
    groups = ragged_groups([[0, 1, 2, 3, 4, 5, 6, 7, None]] * 5)
    shuffled = shuffle_ranks(groups, seed=0)
    assert all(sorted(map(str, g.ranks)) == sorted(map(str, groups[0].ranks)) for g in shuffled)
    assert len({g.ranks for g in shuffled}) == 5
    assert [g.pairs for g in shuffled] == [g.pairs for g in groups]
    assert shuffle_ranks(groups, seed=0) == shuffled != shuffle_ranks(groups, seed=1)


def test_questions_that_teach_nothing_are_skipped_and_counted(run: Path) -> None:
    tied: dict[str, Any] = {"question": "Q", "answers": ["a", "b"], "ranks": [0, 0]}
    write_rows(run / "train.jsonl", [*film_rows(8, seed=0), tied, {**tied, "ranks": [None, 1]}])
    known = sum(len(set(row["ratings"])) > 1 for row in film_rows(8, seed=0))
    result = run_reward(ranked_config(run))
    assert (result.questions, result.skipped_questions) == (known, 2 + 8 - known)


@pytest.mark.parametrize("name", ["train", "heldout"])
def test_a_file_without_any_pair_stops_before_training(run: Path, name: str) -> None:
    write_rows(run / f"{name}.jsonl", [{"question": "Q", "answers": ["a", "b"], "ranks": [0, 0]}])
    with pytest.raises(BadData, match=f"{name}.jsonl: no question has two answers with different ranks"):
        run_reward(ranked_config(run))
    assert not (run / "run").exists()


def test_a_bad_line_stops_before_training(run: Path) -> None:
    with (run / "heldout.jsonl").open("a") as file:
        file.write('{"question": "Q", "answers": ["a", "b"], "ranks": [0]}\n')
    with pytest.raises(BadData, match=r"heldout.jsonl:25: has 1 ranks for 2 answers"):
        run_reward(ranked_config(run))
    assert not (run / "run").exists()


def test_evaluation_counts_pairs_ties_and_questions() -> None:
    model = make_model("reward")
    prepare(model)
    groups = ragged_groups([[0, 1, 2], [0, 0], [0, None, 1]])
    scores = group_scores(Trained(model), groups, 40)
    assert_close(torch.from_numpy(scores[0]), one_by_one(model, groups[0].pairs), rtol=1e-5, atol=1e-5)
    # In the order of the scores all 3 + 1 pairs are right; turned round, none is.
    first, _, third = ([int(rank) for rank in np.argsort(np.argsort(-own))] for own in scores)
    right = [
        replace(groups[0], ranks=tuple(first)),
        groups[1],
        replace(groups[2], ranks=(third[0], None, third[2])),
    ]
    wrong = [replace(g, ranks=tuple(None if r is None else -r for r in g.ranks)) for g in right]
    best, worst = evaluate(Trained(model), right, 10_000), evaluate(Trained(model), wrong, 10_000)
    assert (best.accuracy, best.pairs, best.questions) == (1.0, 4, 2)
    assert worst.accuracy == 0.0
    assert best.mean_score == pytest.approx(np.concatenate(scores).mean(), rel=1e-5)
    same = [Group((groups[0].pairs[0],) * 2, (0, 1), 1)]
    assert evaluate(Trained(model), same, 10_000).accuracy == 0.5


def test_long_questions_are_cut_and_still_shared_and_long_answers_left_out(tmp_path: Path) -> None:
    save_tiny(tmp_path / "sft", "sft")
    encoder = load_causal_model(tmp_path / "sft", torch.float32).encoder
    ranked = [
        RankedAnswers("word " * 40 + "end?", ("a", "b" * 8, "c " * 200), (2, 1, 0)),
        RankedAnswers("Q", ("a", "b"), (0, 1)),
    ]
    groups, losses = encode_groups(ranked, encoder, 64)
    assert (losses.cut_questions, losses.dropped_answers) == (1, 1)
    first = groups[0]
    assert first.ranks == (2, 1)
    questions = {pair.question_ids.tobytes() for pair in first.pairs}
    assert len(questions) == 1
    question = first.pairs[0].question_ids
    assert question[0] == 0  # the start token stays
    assert encoder.decode(question).endswith("word end?")
    assert max(len(p.question_ids) + len(p.answer_ids) for p in first.pairs) == 64
    assert all(pair.answer_ids[-1] == 1 for pair in first.pairs)


def test_an_encoder_with_its_own_tokenizer_learns_rankings(run: Path) -> None:
    save_encoder(run / "encoder", classifier=False)
    settings = ranked_config(run, epochs=4, model={"path": str(run / "encoder")})
    result = run_reward(settings)
    assert result.heldout is not None
    assert result.heldout.accuracy > 0.9
    loaded = load_reward_model(result.checkpoint, torch.float32)
    # transformers alone reads the checkpoint, and says the same up to the constant.
    peer = AutoModelForSequenceClassification.from_pretrained(result.checkpoint).eval()
    rows = [loaded.encoder.tokenizer("Was it?", a, return_tensors="pt", return_token_type_ids=True) for a in ANSWERS]
    with torch.no_grad():
        raw = [peer(input_ids=r["input_ids"], token_type_ids=r["token_type_ids"]).logits[0, 0] for r in rows]
    own = score(loaded, [loaded.encoder.encode(TextPair("Was it?", answer)) for answer in ANSWERS])
    assert_close(torch.stack(raw) - result.reward_offset, own, rtol=1e-4, atol=1e-5)


def test_an_encoders_new_head_is_a_function_of_the_seed(tmp_path: Path) -> None:
    save_encoder(tmp_path, "roberta", classifier=False)  # its head has two layers
    first, again, other = (load_backbone(tmp_path, torch.device("cpu"), seed=seed).model for seed in (1, 1, 2))
    heads = [{name: p for name, p in m.named_parameters() if "classifier" in name} for m in (first, again, other)]
    assert len(heads[0]) == 4
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])
    for name in ("classifier.dense.weight", "classifier.out_proj.weight"):
        assert not torch.equal(heads[0][name], heads[2][name])
    # N(0, 1/sqrt(d+1)) with d = 32: 32 draws, so within 40 % of it but for one seed in a thousand.
    assert heads[0]["classifier.out_proj.weight"].std().item() == pytest.approx(33**-0.5, rel=0.4)


def test_an_encoders_answers_do_not_share_their_question(tmp_path: Path) -> None:
    loaded = load_backbone(save_encoder(tmp_path), torch.device("cpu"), seed=0)
    row = RankedAnswers("Was it good, or was it not?", ("Yes.", "No.", "So so."), (0, 1, 2))
    groups, _ = encode_groups([row], loaded.encoder, loaded.max_pair_tokens, shared=False)
    assert groups[0].num_tokens == sum(len(p.question_ids) + len(p.answer_ids) for p in groups[0].pairs)


def test_adapters_learn_rankings_and_the_checkpoint_is_plain(run: Path) -> None:
    settings = ranked_config(run, epochs=4, lora={"rank": 4, "alpha": 16}, optimizer={"learning_rate": 2e-2})
    result = run_reward(settings)
    assert result.heldout is not None
    assert result.heldout.accuracy > 0.9
    loaded = load_reward_model(result.checkpoint, torch.float32)
    groups, _ = encode_groups(read_ranked(run / "heldout.jsonl"), loaded.encoder, loaded.max_pair_tokens)
    # What was measured with adapters is measured again on the merged weights.
    assert evaluate(Trained(loaded.model), groups, 512).accuracy == pytest.approx(result.heldout.accuracy, abs=0.01)
    before = load_causal_model(run / "sft", torch.float32).model.get_input_embeddings().weight
    assert torch.equal(loaded.model.get_input_embeddings().weight, before)
