"""The whole loop on one machine: SFT, reward model, judges as servers, PPO, a served policy, a report."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from ..ppo.train import PpoResult, run_ppo
from ..report.contents import Curves, Judged, MetricLog, Report, ResultTable, Sample
from ..report.panels import PPO_PANELS, REWARD_PANELS, SFT_PANELS
from ..report.writer import write_report
from ..reward.train import run_reward
from ..sft.train import run_sft
from ..versions import collect_versions
from .answers import Answered, ask_checkpoint, judged, judged_best
from .judge import compound_scores, judge_figures
from .prepare import PrepareConfig, PreparedData, prepare
from .query import query_policy
from .ranking import ranking_accuracies
from .servers import serving
from .settings import Recipe, ppo_settings, reward_settings, sft_settings
from .table import JudgedRun, accuracy_table, judged_table, markdown_tables, terminal_tables
from .vader_data import RatedText, load_rated_texts, split_texts
from .yardsticks import PairwiseAccuracy

YARDSTICK_ANSWERS = 4


@dataclass(frozen=True)
class DemoOptions:
    directory: Path
    cache: Path
    recipe: Recipe
    updates: int
    seed: int
    control: bool


@dataclass
class Loop:
    """The stages share what they have made so far."""

    options: DemoOptions
    console: Console
    settings: list[tuple[str, str]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    """What the tables show, as numbers."""
    seconds: list[tuple[str, float]] = field(default_factory=list)

    def stage(self, name: str) -> Callable[[], None]:
        """Announces a stage; call what it gives when the stage is done."""
        began = time.perf_counter()
        self.console.rule(f"[bold]{name}", align="left")
        return lambda: self.seconds.append((name, time.perf_counter() - began))

    def run(self) -> Report:
        options = self.options
        done = self.stage("Human ratings: film, product and tweet texts (vaderSentiment 3.3.2)")
        texts = load_rated_texts(options.cache)
        config = PrepareConfig(sft_texts=options.recipe.sft_texts, seed=options.seed)
        data = prepare(texts, options.directory / "data", config)
        self.console.print(f"{data.training_texts:,} texts to train on, {data.heldout_texts:,} held out")
        done()
        sft, reward = self._train_models(data)
        done = self.stage("Judges: reward model and frozen reference as processes")
        logs = options.directory / "servers"
        with serving("reward", reward, logs) as reward_at, serving("reference", sft, logs) as reference_at:
            self.console.print(f"reward at {reward_at}, reference at {reference_at}")
            done()
            judges = (reward_at, reference_at)
            policy = self._train_policy(data, sft, reward, judges, sign=1)
            control = self._train_policy(data, sft, reward, judges, sign=-1) if options.control else None
            result = self._compare(texts, data, sft, judges, policy, control)
        if options.control:
            self._train_on_shuffled(data, sft)
        self.figures |= {"seed": options.seed, "seconds": sum(seconds for _, seconds in self.seconds)}
        (options.directory / "figures.json").write_text(json.dumps(self.figures, indent=1) + "\n")
        return result

    def _train_models(self, data: PreparedData) -> tuple[Path, Path]:
        options = self.options
        recipe = options.recipe
        done = self.stage("Supervised fine-tuning" if recipe.language_model else "Language model from scratch")
        sft_config = sft_settings(data, options.directory / "sft", recipe, options.seed)
        sft = run_sft(sft_config)
        self.settings.append(("sft", sft_config.model_dump_json(indent=1)))
        done()
        done = self.stage("Reward model: groups of K = 9 texts ranked by people")
        reward_config = reward_settings(data, options.directory / "reward", sft.checkpoint, recipe, options.seed)
        reward = run_reward(reward_config)
        self.settings.append(("reward", reward_config.model_dump_json(indent=1)))
        done()
        return sft.checkpoint, reward.checkpoint

    def _train_on_shuffled(self, data: PreparedData, sft: Path) -> None:
        done = self.stage("Control: a reward model of shuffled rankings")
        options = self.options
        output = options.directory / "shuffled"
        shuffled = run_reward(reward_settings(data, output, sft, options.recipe, options.seed, shuffle_labels=True))
        if shuffled.heldout is not None:
            self.figures["shuffled_accuracy"] = shuffled.heldout.accuracy
            self.console.print(f"{shuffled.heldout.accuracy:.3f} of held-out pairs right; chance is 0.5")
        done()

    def _train_policy(
        self, data: PreparedData, sft: Path, reward: Path, judges: tuple[str, str], sign: int
    ) -> PpoResult:
        name = "ppo" if sign > 0 else "control"
        title = "PPO, both judges over gRPC" if sign > 0 else "Control: PPO with the reward's sign flipped"
        done = self.stage(title)
        options = self.options
        config = ppo_settings(
            data, options.directory / name, options.recipe, sft=sft, reward=reward, judges=judges,
            updates=options.updates, seed=options.seed, sign=sign,
        )  # fmt: skip
        result = run_ppo(config, judge_figures)
        self.settings.append((name, config.model_dump_json(indent=1)))
        done()
        return result

    def _compare(
        self, texts: tuple[RatedText, ...], data: PreparedData, sft: Path,
        judges: tuple[str, str], policy: PpoResult, control: PpoResult | None,
    ) -> Report:  # fmt: skip
        options = self.options
        done = self.stage("The policy as a service")
        questions = [json.loads(line)["question"] for line in data.prompts_heldout.read_text().splitlines()]
        logs = options.directory / "servers"

        def answers(checkpoint: Path, n: int) -> Answered:
            return ask_checkpoint(checkpoint, logs, judges, questions, n, options.seed)

        before, after = answers(sft, YARDSTICK_ANSWERS), answers(policy.checkpoint, 1)
        runs = [
            judged("reference (before PPO)", questions, before),
            judged_best(f"reference, best of {YARDSTICK_ANSWERS}", questions, before),
            judged(f"policy, {policy.updates} updates", questions, after),
        ]
        if control is not None:
            runs.append(judged("control: sign flipped", questions, answers(control.checkpoint, 1)))
        self._show_queries(policy.checkpoint, logs, list(zip(questions[:3], after.texts()[:3], strict=True)))
        training, held_out = split_texts(texts)
        accuracies = ranking_accuracies(training, held_out, judges[0])
        self._note(runs, accuracies)
        done()
        result = self._result((accuracy_table(accuracies), judged_table(runs)), questions, before, after, control)
        for table in terminal_tables(result.tables):
            self.console.print(table)
        (options.directory / "table.md").write_text(markdown_tables(result.tables))
        report = write_report(result, options.directory / "report.html")
        self.console.print(f"Curves and samples: [bold]{report}[/bold]")
        self.console.print(f"Serve the policy:   [bold]rewardplane serve policy --model {policy.checkpoint}[/bold]")
        return result

    def _note(self, runs: list[JudgedRun], accuracies: Mapping[str, PairwiseAccuracy]) -> None:
        names = ("before", "best_of_n", "after", "control")
        for name, run in zip(names, runs, strict=False):
            self.figures[f"{name}_judge"] = run.judgement.mean_compound
            self.figures[f"{name}_distinct_bigrams_ratio"] = run.judgement.distinct_bigrams_ratio
            self.figures[f"{name}_kl_nats"] = run.kl_nats or 0.0
            self.figures[f"{name}_score"] = run.score or 0.0
        self.figures["reward_accuracy"] = accuracies["reward model"].ratio

    def _show_queries(self, checkpoint: Path, logs: Path, pairs: list[tuple[str, str]]) -> None:
        with serving("policy", checkpoint, logs) as address:
            for (question, answer), (ours, kserve) in zip(pairs, query_policy(address, pairs), strict=True):
                text = f"{ours:8.2f} (KServe v2 {kserve:8.2f})  {question}|{answer}"
                self.console.print(text, markup=False, highlight=False)

    def _result(
        self,
        tables: tuple[ResultTable, ...],
        questions: list[str],
        before: Answered,
        after: Answered,
        control: PpoResult | None,
    ) -> Report:
        directory = self.options.directory
        ppo_logs = [MetricLog("PPO", directory / "ppo")]
        if control is not None:
            ppo_logs.append(MetricLog("control", directory / "control"))
        texts_before, texts_after = before.texts(), after.texts()
        compounds = [
            compound_scores([q + a for q, a in zip(questions, answers, strict=True)])
            for answers in (texts_before, texts_after)
        ]
        samples = tuple(
            Sample(q, Judged(a, float(x)), Judged(b, float(y)))
            for q, a, b, x, y in list(zip(questions, texts_before, texts_after, *compounds, strict=True))[:12]
        )
        return Report(
            title="rewardplane demo",
            summary="A language model, a reward model of people's rankings, and PPO against it over gRPC; "
            "judged by a lexicon that never saw the reward model.",
            tables=tables,
            sections=(
                ("PPO", (Curves(PPO_PANELS, tuple(ppo_logs)),)),
                (
                    "Fine-tuning and reward model",
                    (
                        Curves(SFT_PANELS, (MetricLog("SFT", directory / "sft"),)),
                        Curves(REWARD_PANELS, (MetricLog("reward model", directory / "reward"),)),
                    ),
                ),
            ),
            samples=samples,
            judge="lexicon",
            sides=("before PPO", "after PPO"),
            configuration=tuple(self.settings),
            versions=collect_versions(),
        )
