"""`rewardplane train`: exit statuses and what is said on the way out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rewardplane.trainer.__main__ import train

SFT = """
output = "{directory}/run"
epochs = 2
[from_scratch]
vocabulary_size = 300
hidden_size = 16
layers = 1
heads = 1
[data]
train = "{directory}/train.jsonl"
heldout = "{directory}/train.jsonl"
[optimizer]
learning_rate = 1e-2
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    row = json.dumps({"question": "How was it?", "answer": "Good, and long."})
    (tmp_path / "train.jsonl").write_text(f"{row}\n" * 8, encoding="utf-8")
    path = tmp_path / "sft.toml"
    path.write_text(SFT.format(directory=tmp_path), encoding="utf-8")
    return path


def test_trains_and_says_where_the_model_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["sft", "--config", str(config), "--set", "epochs=1", "--set", "name=tiny"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"{config.parent}/run/checkpoint, held-out loss ")
    assert json.loads((config.parent / "run/checkpoint/manifest.json").read_text())["model_name"] == "tiny"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("epoch=1", "unknown key epoch; did you mean epochs?"),
        ("epochs=0", "epochs = 0: input should be greater than 0"),
        ("data.train=/nowhere.jsonl", "/nowhere.jsonl does not exist"),
        ("model.path=elsewhere", "give either [model] with a path, or [from_scratch]"),
        ("from_scratch.heads=3", "hidden_size = 16 is no even multiple of heads = 3"),
    ],
)
def test_bad_settings_are_explained_without_a_traceback(
    config: Path, capsys: pytest.CaptureFixture[str], override: str, told: str
) -> None:
    assert train(["sft", "--config", str(config), "--set", override]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert told in said
    assert "Traceback" not in said
    assert not (config.parent / "run").exists()


def test_a_directory_that_holds_no_model_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"question": "Q", "answers": ["a", "b"], "ranks": [0, 1]}
    (tmp_path / "ranked.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    path = tmp_path / "reward.toml"
    path.write_text(
        f'output = "{tmp_path}/run"\nmodel.path = "{tmp_path}/none"\ndata.train = "{tmp_path}/ranked.jsonl"\n',
        encoding="utf-8",
    )
    assert train(["reward", "--config", str(path)]) == 1
    assert f"model.path = {tmp_path}/none: no Hugging Face model directory" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["sft"], ["dpo", "--config", "x"], ["sft", "--confg", "x"]])
def test_wrong_flags_give_status_2(arguments: list[str]) -> None:
    assert train(arguments) == 2


def test_help_does_not_wait_for_torch() -> None:
    program = (
        "import sys; from rewardplane.trainer.__main__ import train\n"
        "assert train(['--help']) == 0 and train(['ppo', '--help']) == 0\n"
        "assert not {'torch', 'transformers', 'grpc'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
