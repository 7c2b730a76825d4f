"""report.html and the tables: complete, self-contained, and unmoved by what a model may write."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rewardplane.trainer.demo.judge import Judgement
from rewardplane.trainer.demo.table import (
    JudgedRun,
    accuracy_table,
    judged_table,
    markdown_tables,
    terminal_tables,
)
from rewardplane.trainer.demo.yardsticks import PairwiseAccuracy
from rewardplane.trainer.report.contents import Curves, Judged, MetricLog, Report, ResultTable, Sample
from rewardplane.trainer.report.panels import PPO_PANELS, REWARD_PANELS, SFT_PANELS
from rewardplane.trainer.report.writer import write_report
from rewardplane.trainer.versions import collect_versions
from rich.console import Console

PPO_KEYS = (
    "score", "reward", "kl_nats", "kl_coef", "entropy", "judge", "policy_loss", "value_loss", "ptx_loss",
    "ratio_max", "clip_ratio", "answer_tokens", "ended_ratio", "explained_variance", "eval_score",
    "eval_kl_nats", "eval_judge", "eval_distinct_bigrams_ratio", "seconds_sample", "seconds_measure",
    "seconds_judge", "seconds_update",
)  # fmt: skip
HOSTILE = "</p></style><script>alert(1)</script><img src=//a.example onerror=a(2)> \x00\x1b[2J\udfff&amp;"
REFERRING = {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}


class Page(HTMLParser):
    """Gathers what a browser would act upon."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in REFERRING or name.startswith("on"):
                self.references.append(f"{name}={value}")
            if name == "id":
                self.ids.append(str(value))

    def handle_data(self, data: str) -> None:
        self.text += data


def write_run(directory: Path, rows: Sequence[Mapping[str, float | None]]) -> Path:
    directory.mkdir()
    lines = [json.dumps(row) + "\n" for row in rows]
    (directory / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Report:
    tmp_path = tmp_path_factory.mktemp("metrics")
    updates = [{"update": float(u)} | {key: u * (i + 1) / 7 for i, key in enumerate(PPO_KEYS)} for u in range(1, 11)]
    steps = [{"update": s, "loss": 5 / s, "heldout_loss": 6 / s, "accuracy": 0.6} for s in range(1, 5)]
    ppo = write_run(tmp_path / "ppo", updates)
    falling: list[dict[str, float | None]] = [
        {"update": 1, "score": -1.0}, {"update": 2, "score": -2.0, "kl_nats": None}, {"update": 3},
    ]  # fmt: skip
    control = write_run(tmp_path / "control", falling)
    training = write_run(tmp_path / "training", steps)
    rows = (("first | <b>", "0.5"), ("second", "1.5"))
    return Report(
        title="demo <1>",
        summary="What was found & how.",
        tables=(ResultTable("numbers", ("name", "value"), rows, "a note"),),
        sections=(
            ("PPO", (Curves(PPO_PANELS, (MetricLog("PPO", ppo), MetricLog("control", control))),)),
            (
                "models",
                (
                    Curves(SFT_PANELS, (MetricLog("fine-tuning", training),)),
                    Curves(REWARD_PANELS, (MetricLog("reward model", training),)),
                ),
            ),
        ),
        samples=(Sample("How is it?", Judged(HOSTILE, -0.5), Judged("", 0.0)),),
        judge="lexicon",
        sides=("before", "after"),
        configuration=(("ppo", "kl_coef = 0.1  # </pre><script>"),),
        versions=collect_versions(),
    )


@pytest.fixture(scope="module")
def source(result: Report, tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report(result, tmp_path_factory.mktemp("report") / "report.html").read_text(encoding="utf-8")


def test_hostile_text_stays_text(source: str) -> None:
    page = Page(source)

    assert not {"script", "img", "iframe", "link", "object"} & set(page.tags)
    # Unprintable characters are shown as U+FFFD, one each; everything else as it was.
    assert re.sub(r"[\x00\x1b\udfff]", "\ufffd", HOSTILE) in page.text
    assert "first | <b>" in page.text
    assert "</pre><script>" in page.text
    assert "(no words)" in page.text


def test_the_page_fetches_nothing(source: str) -> None:

    assert Page(source).references  # matplotlib's tick marks point inside the page
    assert all(re.fullmatch(r"xlink:href=#\w+", reference) for reference in Page(source).references)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)", source))
    assert "@import" not in source
    assert "default-src 'none'" in source


def test_every_curve_is_drawn_and_the_control_laid_over_it(source: str) -> None:
    page = Page(source)

    expected = {f"{key}:PPO" for key in PPO_KEYS} | {"score:control"}
    expected |= {"loss:fine-tuning", "heldout_loss:fine-tuning", "loss:reward model", "accuracy:reward model"}
    assert expected <= set(page.ids)
    assert "kl_nats:control" not in page.ids  # null is no value
    assert {key for panel in PPO_PANELS for key, _ in panel.keys} == set(PPO_KEYS)
    for panel in PPO_PANELS:
        assert panel.title in page.text
        assert panel.unit in page.text
    # Ids of one picture must not capture another's marks and clip paths.
    marks = [i for i in page.ids if re.fullmatch(r"[mp][0-9a-f]{10}", i)]
    assert marks
    assert len(marks) == len(set(marks))


def test_a_curve_has_one_point_for_each_update(source: str) -> None:
    path = re.search(r'id="score:control">\s*<path d="([^"]*)"', source)
    assert path is not None
    points = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path[1])]
    # From -1 at update 1 to -2 at update 2: to the right and down, where SVG's y grows.
    assert len(points) == 2
    assert points[0][0] < points[1][0]
    assert points[0][1] < points[1][1]


def test_both_colour_schemes_are_given_and_pictures_follow(source: str) -> None:
    assert "prefers-color-scheme: dark" in source
    assert "width=device-width" in source
    pictures = "".join(re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) == set()  # no fixed colour
    assert "var(--series-1)" in pictures
    assert "currentColor" in pictures


def test_empty_metrics_leave_their_panels_out(result: Report, tmp_path: Path) -> None:
    empty = MetricLog("nothing", write_run(tmp_path / "empty", []))
    bare = replace(result, sections=(("nothing", (Curves(PPO_PANELS, (empty,)),)),), samples=())
    page = Page(write_report(bare, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "svg" not in page.tags
    assert "What was found & how." in page.text
    missing = replace(bare, sections=(("gone", (Curves(PPO_PANELS, (MetricLog("gone", tmp_path / "gone"),)),)),))
    with pytest.raises(FileNotFoundError, match="gone holds no metrics"):
        write_report(missing, tmp_path / "report.html")


def test_tables_say_the_same_in_terminal_and_markdown(result: Report) -> None:
    terminal = io.StringIO()
    console = Console(width=80, file=terminal)
    for table in terminal_tables(result.tables):
        console.print(table)
    shown = terminal.getvalue()
    assert "first | <b>" in shown
    assert "a note" in shown

    assert markdown_tables(result.tables).splitlines() == [
        "**numbers**", "",
        "| name | value |", "|---|---:|", "| first \\| <b> | 0.5 |", "| second | 1.5 |", "",
        "a note",
    ]  # fmt: skip


def test_result_tables_format_what_was_measured() -> None:
    accuracies = {
        "lexicon": PairwiseAccuracy(0.6446, 0.627, 0.662, 500, 100),
        "model": PairwiseAccuracy(0.7123, 0.69, 0.735, 500, 100),
    }
    assert accuracy_table(accuracies).rows == (
        ("model", "0.712", "0.690–0.735"),
        ("lexicon", "0.645", "0.627–0.662"),
    )
    run = JudgedRun("before", Judgement(0.1284, 0.37, 0.934, 256), None, 0.0)
    assert judged_table([run]).rows == (("before", "+0.128", "0.37", "–", "0.0", "0.93"),)
    with pytest.raises(ValueError, match="has 2 columns"):
        ResultTable("t", ("a", "b"), (("only one",),))
