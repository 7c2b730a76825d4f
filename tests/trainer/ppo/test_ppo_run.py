"""A whole run against judges in other processes: its figures, its checkpoints, and what its seed decides."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import pytest
import torch
from conftest import Configure
from ppo_runs import QUESTIONS, Models, digests, figures, write_lines
from rewardplane.trainer.ppo.config import PpoRunConfig
from rewardplane.trainer.ppo.train import PpoResult, run_ppo
from rewardplane.trainer.progress import read_metrics
from safetensors.torch import load_file
from servers import served
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from rewardplane import Client

OF_AN_UPDATE = {
    "score", "score_std", "normalised_score", "reward", "kl_nats", "kl_k3_nats", "entropy", "value",
    "explained_variance", "answer_tokens", "ended_ratio", "kl_coef", "first_ratio_deviation", "learning_rate",
    "policy_loss", "value_loss", "clip_ratio", "approx_kl", "ptx_loss", "policy_grad_norm", "value_grad_norm",
    "judge_retries", "judge_outage_seconds", "episodes", "tokens",
    "seconds_sample", "seconds_measure", "seconds_judge", "seconds_update", "seconds_total",
}  # fmt: skip
OF_AN_EVALUATION = {
    "eval_score", "eval_kl_nats", "eval_ended_ratio", "eval_answer_tokens", "eval_distinct_bigrams_ratio",
    "seconds_evaluate",
}  # fmt: skip


def run_of(config: PpoRunConfig) -> Path:
    return config.output.directory


def test_every_update_reports_every_figure_and_all_are_finite(undisturbed: PpoRunConfig) -> None:
    rows = read_metrics(run_of(undisturbed))
    assert [row["update"] for row in rows] == [0, 1, 2, 3, 4, 5]
    for row in rows[:5]:
        evaluated = OF_AN_EVALUATION if row["update"] % 2 == 0 else set()
        assert row.keys() == {"update"} | OF_AN_UPDATE | evaluated
    assert rows[5].keys() == {"update"} | OF_AN_EVALUATION  # of the policy that the run ends with
    for row in rows:
        assert all(value is not None and math.isfinite(value) for value in row.values()), row


def test_at_the_start_kl_is_exactly_0(undisturbed: PpoRunConfig) -> None:
    first, second, *_ = read_metrics(run_of(undisturbed))
    assert first["kl_nats"] == first["kl_k3_nats"] == first["eval_kl_nats"] == 0.0
    assert second["kl_k3_nats"] > 0.0  # and later it is measured, not constant


def test_first_minibatch_of_every_update_has_ratio_exactly_1(undisturbed: PpoRunConfig) -> None:
    assert [row["first_ratio_deviation"] for row in read_metrics(run_of(undisturbed))[:5]] == [0.0] * 5


def test_kl_controller_is_fed_nats_an_answer(tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig) -> None:
    """Ziegler (arXiv:1909.08593) 2.2, with a horizon of 100 and 8 answers an update."""
    kl_nats = read_metrics(run_of(undisturbed))[1]["kl_nats"]  # of an answer of several tokens
    run_ppo(configure(tmp_path, {"updates": 3, "kl.target_nats": kl_nats / 1.1, "evaluation.prompts": None}))
    rows = read_metrics(tmp_path / "run")
    assert rows[1]["kl_nats"] == kl_nats
    assert rows[1]["kl_coef"] == pytest.approx(
        rows[0]["kl_coef"] * (1 - 0.2 * 8 / 100), rel=1e-12
    )  # after no KL at all
    assert rows[2]["kl_coef"] == pytest.approx(rows[1]["kl_coef"] * (1 + 0.1 * 8 / 100), rel=1e-12)


def test_samples_are_written_at_every_evaluation(undisturbed: PpoRunConfig) -> None:
    lines = (run_of(undisturbed) / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    samples = [json.loads(line) for line in lines]
    # 2 held-out questions with 2 answers each, after updates 0, 2, 4 and at the end.
    assert [(s["update"], s["question"]) for s in samples] == [
        (update, question) for update in (0, 2, 4, 5) for question in QUESTIONS[:2] for _ in range(2)
    ]
    scores = [row["eval_score"] for row in read_metrics(run_of(undisturbed)) if "eval_score" in row]
    for n, score in enumerate(scores):
        assert sum(s["score"] for s in samples[4 * n : 4 * n + 4]) / 4 == pytest.approx(score, rel=1e-5)


def test_published_checkpoints_name_their_updates_and_every_byte(undisturbed: PpoRunConfig) -> None:
    published = run_of(undisturbed) / "checkpoints"
    assert sorted(p.name for p in published.iterdir()) == ["policy-000002", "policy-000004", "policy-000005"]
    for directory in published.iterdir():
        manifest = json.loads((directory / "manifest.json").read_text())
        assert manifest["policy_version"] == int(directory.name.rpartition("-")[2])
        assert manifest["kind"] == "policy"
        for name, digest in manifest["files"].items():
            assert hashlib.sha256((directory / name).read_bytes()).hexdigest() == digest
    assert len(set(digests(run_of(undisturbed)).values())) == 3


def test_policy_server_serves_the_checkpoint_as_transformers_reads_it(undisturbed: PpoRunConfig) -> None:
    directory = run_of(undisturbed) / "checkpoints" / "policy-000005"
    model = AutoModelForCausalLM.from_pretrained(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    question, answer = tokenizer("What did you think of it?")["input_ids"], tokenizer(" It was long.")["input_ids"][1:]
    with torch.no_grad():
        logprobs = model(torch.tensor([[*question, *answer, 1]])).logits[0, len(question) - 1 : -1].log_softmax(-1)
    expected = [float(logprobs[t, token]) for t, token in enumerate([*answer, 1])]
    with served("policy", directory) as server, Client(server.target) as client:
        info = client.info()
        reply = client.logprobs([("What did you think of it?", " It was long.")])
    assert (info.model_version.model_name, info.model_version.policy_version) == ("policy", 5)
    assert info.stop_token_ids == (1, *range(40, 80))  # the SFT model's, all of them
    assert info.model_version.checkpoint_digest == digests(run_of(undisturbed))["policy-000005"]
    assert reply.values[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_result_names_the_last_checkpoint(undisturbed: PpoRunConfig) -> None:
    again: PpoResult = run_ppo(undisturbed)  # nothing is left to do
    assert again.checkpoint == run_of(undisturbed) / "checkpoints" / "policy-000005"
    assert again.manifest.digest == digests(run_of(undisturbed))["policy-000005"]
    assert again.updates == 5
    assert again.metrics == run_of(undisturbed) / "metrics.jsonl"


def test_a_seed_repeats_to_the_bit_and_another_gives_another_run(
    tmp_path: Path, configure: Configure, undisturbed: PpoRunConfig
) -> None:
    (tmp_path / "same").mkdir()
    (tmp_path / "other").mkdir()
    same, other = (
        run_ppo(configure(tmp_path / name, {"updates": 2, "seed": seed})) for name, seed in (("same", 0), ("other", 1))
    )
    assert same.manifest.digest == digests(run_of(undisturbed))["policy-000002"]
    assert figures(tmp_path / "same/run")[:2] == figures(run_of(undisturbed))[:2]
    assert other.manifest.digest != same.manifest.digest
    assert figures(tmp_path / "other/run")[0]["score"] != figures(tmp_path / "same/run")[0]["score"]


def test_run_stops_and_publishes_when_the_policy_is_too_far_from_the_reference(
    tmp_path: Path, configure: Configure
) -> None:
    # Before update 0 the KL is 0; the answers to update 1 are over any limit this small.
    result = run_ppo(configure(tmp_path, {"kl.stop_nats": 0.001, "output.publish_every": 0}))
    assert result.updates == 2
    assert result.checkpoint.name == "policy-000002"
    assert [row["update"] for row in read_metrics(tmp_path / "run")] == [0, 1, 2]


def change(config: PpoRunConfig, models: Models) -> Tensor:
    """What one update adds to the policy's weights."""
    result = run_ppo(config)
    before, after = (load_file(d / "model.safetensors") for d in (models.sft, result.checkpoint))
    return torch.cat([(after[name] - before[name]).flatten() for name in sorted(before)])


def test_control_run_goes_the_opposite_way(tmp_path: Path, configure: Configure, models: Models) -> None:
    # Scores and the value model that predicts them change sign, so advantages do, and at ratio 1 and KL 0 the
    # gradient does; from zero moments one AdamW step is then exactly the opposite one.
    overrides = {
        "updates": 1,
        "ppo.epochs": 1,
        "ppo.minibatches": 1,
        "ppo.ptx_coef": 0.0,
        "score.missing_eos_score": "keep",
        "evaluation.every": 0,
    }
    directions = []
    for sign in (1, -1):
        (tmp_path / str(sign)).mkdir()
        config = configure(tmp_path / str(sign), {**overrides, "score.sign": sign})
        directions.append(change(config, models))
    assert directions[0].norm() > 0.01
    assert float(torch.cosine_similarity(directions[0], -directions[1], dim=0)) > 0.999


def test_judge_mean_rises_and_that_of_the_control_run_falls(tmp_path: Path, configure: Configure) -> None:
    held_out = write_lines(tmp_path / "many.jsonl", "question", QUESTIONS * 4)  # with 4 answers each: 128
    overrides = {
        "evaluation.prompts": str(held_out),
        "sampling.questions_per_update": 16,
        "sampling.batch_questions": 32,
        "sampling.answers_per_question": 4,
        "sampling.max_answer_tokens": 4,
        "score.missing_eos_score": "keep",
        "score.normalise_answers": 64,
        "kl.controller": "fixed",
        "kl.coef": 0.0,
        "ppo.ptx_coef": 0.0,
        "ppo.micro_batch_tokens": 2048,
        "policy_optimizer.learning_rate": 2e-2,
        "evaluation.every": 0,
    }
    for sign in (1, -1):
        (tmp_path / str(sign)).mkdir()
        run_ppo(configure(tmp_path / str(sign), {**overrides, "score.sign": sign}))
        rows = figures(tmp_path / str(sign) / "run")
        assert sign * (rows[-1]["eval_score"] - rows[0]["eval_score"]) > 0.05
