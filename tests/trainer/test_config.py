"""Configuration files: what is read, and what a user is told of what cannot be."""

from pathlib import Path
from typing import Literal

import pytest
from pydantic import PositiveFloat, PositiveInt, ValidationError
from rewardplane.trainer.config import ConfigError, Section, load_config


class InnerConfig(Section):
    learning_rate: PositiveFloat = 0.1
    """How far a step goes."""
    schedule: Literal["constant", "cosine"] = "cosine"
    betas: tuple[float, float] = (0.9, 0.95)


class RunConfig(Section):
    output: Path
    """Directory of the run."""
    epochs: PositiveInt = 1
    optimizer: InnerConfig = InnerConfig()
    teacher: InnerConfig | None = None


def write(directory: Path, text: str) -> Path:
    path = directory / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, RunConfig, overrides)
    return str(caught.value)


def test_reads_toml_into_sections(tmp_path: Path) -> None:
    path = write(tmp_path, 'output = "runs/a"\n[optimizer]\nlearning_rate = 1\nbetas = [0.8, 0.9]\n')
    config = load_config(path, RunConfig)
    assert config.output == Path("runs/a")
    assert config.optimizer.learning_rate == 1.0
    assert config.optimizer.betas == (0.8, 0.9)
    assert config.epochs == 1


def test_overrides_set_nested_keys_and_win(tmp_path: Path) -> None:
    path = write(tmp_path, 'output = "a"\nepochs = 3\n')
    overrides = ["epochs=5", "optimizer.learning_rate = 2e-3", "teacher.schedule=constant", "output=b"]
    config = load_config(path, RunConfig, overrides)
    assert (config.epochs, config.optimizer.learning_rate, config.output) == (5, 2e-3, Path("b"))
    assert config.teacher is not None
    assert config.teacher.schedule == "constant"


def test_unknown_key_is_an_error_that_names_the_nearest_known_one(tmp_path: Path) -> None:
    path = write(tmp_path, 'output = "a"\n[optimizer]\nlerning_rate = 1.0\n')
    message = complaint(path)
    assert str(path) in message
    assert "unknown key optimizer.lerning_rate" in message
    assert "did you mean learning_rate?" in message
    assert "schedule" in message


def test_unknown_key_below_an_optional_section_is_found_too(tmp_path: Path) -> None:
    assert "did you mean schedule?" in complaint(write(tmp_path, 'output = "a"\n[teacher]\nshedule = "x"\n'))


def test_unknown_key_of_an_override_is_an_error(tmp_path: Path) -> None:
    assert "unknown key epoch; did you mean epochs?" in complaint(write(tmp_path, 'output = "a"'), "epoch=2")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("epochs = 0", "epochs = 0: input should be greater than 0"),
        ("epochs = -3", "epochs = -3"),
        ('epochs = "2"', 'epochs = "2": input should be a valid integer'),
        ("epochs = true", "epochs = true: input should be a valid integer"),
        ("epochs = 1.5", "epochs = 1.5"),
        ("optimizer.learning_rate = nan", "optimizer.learning_rate = NaN: input should be a finite number"),
        ("optimizer.learning_rate = inf", "optimizer.learning_rate = Infinity"),
        ("optimizer.betas = [0.9]", "optimizer.betas"),
        ('optimizer.schedule = "step"', "input should be 'constant' or 'cosine'"),
        ("optimizer = 3", "optimizer = 3"),
    ],
)
def test_bad_value_is_named_with_what_is_allowed(tmp_path: Path, given: str, told: str) -> None:
    path = write(tmp_path, f'output = "a"\n{given}\n')
    message = complaint(path)
    assert message.startswith(f"{path}: ")
    assert told in message


def test_docstring_of_the_field_explains_the_value(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, 'output = "a"\noptimizer.learning_rate = -1.0\n'))
    assert "optimizer.learning_rate = -1.0: input should be greater than 0 (How far a step goes.)" in message


def test_missing_key_is_named_and_explained(tmp_path: Path) -> None:
    assert "output is missing (Directory of the run.)" in complaint(write(tmp_path, "epochs = 2\n"))


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, "epochs = 0\nspeed = 3\n"))
    assert len(message.splitlines()) == 3
    assert "output is missing" in message


def test_missing_and_malformed_files_are_named(tmp_path: Path) -> None:
    assert "nothing.toml does not exist" in complaint(tmp_path / "nothing.toml")
    assert "no readable TOML file" in complaint(write(tmp_path, "output = [\n"))
    assert "no readable TOML file" in complaint(tmp_path)


@pytest.mark.parametrize("override", ["epochs", "=3", "optimizer..x=3", "epochs.x=3"])
def test_malformed_override_is_an_error(tmp_path: Path, override: str) -> None:
    assert f"--set {override}" in complaint(write(tmp_path, 'output = "a"\nepochs = 1\n'), override)


def test_sections_cannot_be_changed() -> None:
    section = InnerConfig()
    with pytest.raises(ValidationError, match="frozen"):
        section.learning_rate = 0.2
