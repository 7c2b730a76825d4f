"""Each alert fires when it should and is silent when it should not, as Prometheus itself evaluates them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from alert_cases import CASES, Case, Series
from rules import groups, promtool, rules, write_rules


def annotation(text: str, labels: dict[str, str]) -> str:
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: labels[match[1]], text)


def unit_test(case: Case, series: Series, *, fires: bool) -> dict[str, Any]:
    rule = rules("alert")[case.alert]
    firing = {
        "exp_labels": case.labels | rule["labels"],
        "exp_annotations": {name: annotation(text, case.labels) for name, text in rule["annotations"].items()},
    }
    return {
        "name": f"{case.alert} {'fires' if fires else 'is silent'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"alertname": case.alert, "eval_time": f"{case.at_minute}m", "exp_alerts": [firing] if fires else []}
        ],
    }


def run_tests(directory: Path, tests: list[dict[str, Any]], every: str = "1m") -> None:
    write_rules(directory / "rules.yaml")
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": every,
        "group_eval_order": [group["name"] for group in groups()],  # what is recorded first; promtool's own varies
        "tests": tests,
    }
    (directory / "tests.yaml").write_text(yaml.safe_dump(content))
    promtool("test", "rules", "tests.yaml", cwd=directory)


def test_rules_are_well_formed(tmp_path: Path) -> None:
    promtool("check", "rules", write_rules(tmp_path / "rules.yaml"), cwd=tmp_path)


def test_every_alert_has_cases_of_both_kinds() -> None:
    assert sorted(case.alert for case in CASES) == sorted(rules("alert"))
    assert all(case.fires and case.silent for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_when_it_should_and_only_then(case: Case, tmp_path: Path) -> None:
    tests = [unit_test(case, series, fires=True) for series in case.fires]
    tests += [unit_test(case, series, fires=False) for series in case.silent]
    run_tests(tmp_path, tests, case.every)


def test_a_wrong_expectation_is_found(tmp_path: Path) -> None:
    case = CASES[0]
    with pytest.raises(AssertionError, match=case.alert):
        run_tests(tmp_path, [unit_test(case, case.fires[0], fires=False)])


def test_recorded_ratios_are_what_they_say(tmp_path: Path) -> None:
    """300 tokens saved, 96 computed, 32 filler; scores of +2 and -0.5 in turn, 2 a minute each."""
    of = 'namespace="rlhf",app_kubernetes_io_component="reward",pod="reward-1"'
    series = {
        f'rewardplane_tokens_total{{{of},kind="shared"}}': "0+300x20",
        f'rewardplane_tokens_total{{{of},kind="computed"}}': "0+96x20",
        f'rewardplane_tokens_total{{{of},kind="filler"}}': "0+32x20",
        f'rewardplane_score_points_total{{{of},model_name="rm",sign="positive"}}': "0+4x20",
        f'rewardplane_score_points_total{{{of},model_name="rm",sign="negative"}}': "0+1x20",
        f'rewardplane_scores_count{{{of},model_name="rm"}}': "0+4x20",
    }
    expected = {
        "component:rewardplane_sharing:ratio5m": 300 / 396,
        "component:rewardplane_filler:ratio5m": 0.25,
        "component:rewardplane_score:mean5m": 0.75,  # (2 * 2 - 2 * 0.5) / 4
    }
    samples = [
        {
            "expr": name,
            "eval_time": "15m",
            "exp_samples": [{"labels": f'{name}{{app_kubernetes_io_component="reward"}}', "value": value}],
        }
        for name, value in expected.items()
    ]
    inputs = [{"series": name, "values": values} for name, values in series.items()]
    run_tests(tmp_path, [{"interval": "1m", "input_series": inputs, "promql_expr_test": samples}])
