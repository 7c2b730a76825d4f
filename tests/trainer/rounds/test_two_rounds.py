"""Two rounds from end to end: tiny models, real servers, a simulated ranker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fsspec
import pytest
from rewardplane.trainer.data import read_ranked
from rewardplane.trainer.labelling.items import read_items
from rewardplane.trainer.rounds.compare import Checkpoint, compare_rounds, nearest_kl
from rewardplane.trainer.rounds.label import label_round
from rewardplane.trainer.rounds.lineage import lineage_text
from rewardplane.trainer.rounds.place import Round, open_round
from rewardplane.trainer.rounds.record import write_record
from rewardplane.trainer.rounds.sample import sample_round
from rewardplane.trainer.rounds.servers import Serve
from rewardplane.trainer.rounds.start import start_round
from rewardplane.trainer.rounds.status_page import write_page
from rewardplane.trainer.rounds.train import train_policy, train_reward

from rewardplane.modeling.checkpoint import read_manifest

URL = "memory://bucket/rounds/2"


@pytest.fixture(scope="module")
def second_round(first_round: Round, serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Round:
    """Kept at a URL; chosen by disagreement."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        settings = ('sample.choice="disagreement"', "sample.pool=2.0", "sample.heads=3")
        made = start_round(URL, first_round.place, None, settings)
        made = label_round(sample_round(made, serve), simulate=True)
        yield train_policy(train_reward(made), serve)


def test_a_round_descends_from_the_one_before(first_round: Round, second_round: Round) -> None:
    first, second = first_round.record, second_round.record
    assert first.policy is not None
    assert first.reward is not None
    assert second.reward is not None
    assert (second.number, second.policy_digest) == (2, first.policy.digest)
    assert second.reward_digest == second.reward.begun_from == first.reward.digest
    assert second.reward.rounds == (1, 2)
    assert second.sft_digest == first.sft_digest == read_manifest(first.settings.sft).digest
    assert second.reward.last_accuracy is not None
    learnt = len(read_ranked(second_round.directory / "rankings_learnt.jsonl"))
    assert learnt == sum(len(read_ranked(one.directory / "rankings.jsonl")) for one in (first_round, second_round))


def test_no_question_is_asked_twice_and_no_held_out_one_is_learnt(first_round: Round, second_round: Round) -> None:
    asked = [item.question for one in (first_round, second_round) for item in read_items(one.directory)]
    assert len(asked) == len(set(asked)) == 40
    learnt = {row.question for row in read_ranked(second_round.directory / "rankings_learnt.jsonl")}
    heldout = {
        row.question
        for one in (first_round, second_round)
        for row in read_ranked(one.directory / "rankings_heldout.jsonl")
    }
    assert learnt | heldout == set(asked)
    assert not learnt & heldout


def test_the_url_alone_gives_the_round_back(second_round: Round) -> None:
    shutil.rmtree(second_round.directory)
    again = open_round(URL)
    assert again.record == second_round.record
    assert read_manifest(again.trained_policy()).kind == "policy"
    assert read_manifest(again.trained_reward()).kind == "reward"
    assert len(read_items(again.directory)) == 20
    assert again.record == label_round(again).record  # done is done


def test_a_copy_that_fell_behind_goes_on_where_the_url_is(second_round: Round) -> None:
    behind = second_round.record.model_copy(update={"labelled": None, "reward": None, "policy": None})
    write_record(second_round.directory, behind)
    (second_round.directory / "rankings.jsonl").write_text("of another attempt\n")
    again = open_round(URL)
    assert again.record == second_round.record
    assert len(read_ranked(again.directory / "rankings.jsonl")) == again.record.labelled.rankings


def test_a_round_against_itself_wins_half(first_round: Round, serve: Serve) -> None:
    found = compare_rounds(first_round, first_round, serve)
    assert found.win_rate.value == found.win_rate.low == found.win_rate.high == 0.5
    assert found.first == found.second
    assert "simulated" in found.judge


def test_equal_kl_is_looked_for_among_policies_that_went_far() -> None:
    own, others = (
        [Checkpoint(Path(), updates, kl) for updates, kl in enumerate(run, 1)] for run in ([1, 5, 9], [1.05, 4.8, 6])
    )
    # Both reach 6 nats, so 4.5 and more count; 1 and 1.05 would be nearer to each other.
    assert [one.kl_nats for one in nearest_kl(own, others)] == [5, 4.8]


def test_two_rounds_are_compared_on_the_newest_rankings(first_round: Round, second_round: Round, serve: Serve) -> None:
    found = compare_rounds(first_round, second_round, serve, equal_kl=True)
    assert (found.prompts, found.answers_a_prompt, found.win_rate.count) == (4, 4, 16)
    newest = found.reward_accuracy["held-out rankings 2"]
    assert second_round.record.reward is not None
    assert newest == {"RM 1": second_round.record.reward.last_accuracy, "RM 2": second_round.record.reward.accuracy}
    written = json.loads((second_round.directory / "comparison.json").read_text())
    assert written["win_rate"]["value"] == found.win_rate.value


def test_the_lineage_names_every_model_and_the_simulated_ranker(second_round: Round, tmp_path: Path) -> None:
    text = lineage_text(second_round)
    names = ["SFT", "rankings 1", "RM 1", "policy 1", "rankings 2", "RM 2", "policy 2"]
    assert [line.removeprefix("-> ")[:12].strip() for line in text.splitlines() if line[0] != " "][:7] == names
    assert second_round.record.policy is not None
    assert second_round.record.policy.digest[:12] in text
    assert text.count("SIMULATED") == 2
    write_page(second_round, tmp_path / "status.html")
    page = (tmp_path / "status.html").read_text()
    assert all(f"<h2>{name} " in page for name in names)
    assert "<script" not in page


def test_what_is_at_the_url_is_whole(second_round: Round) -> None:
    names = {path.rpartition("/")[2] for path in fsspec.filesystem("memory").ls("/bucket/rounds/2", detail=False)}
    assert {"round.json", "items.jsonl", "labels.sqlite", "rankings.jsonl", "reward", "ppo"} <= names
