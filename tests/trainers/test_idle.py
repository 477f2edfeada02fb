"""The warning of groups that teach nothing."""

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from vr1bench.trainers.idle import IDLE, SHARE, STEPS, IdleWatch


@pytest.fixture
def logged(tmp_path):
    """Logs shares, one a step, and tells how often it was warned."""
    watch, arguments = IdleWatch(), TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")

    def log(*shares, main=True):
        for share in shares:
            watch.on_log(arguments, TrainerState(is_world_process_zero=main), TrainerControl(), {IDLE: share})

    return log


def test_it_warns_once_and_only_after_whole_stretch(logged, capsys):
    logged(*[1.0] * (STEPS - 1))
    assert capsys.readouterr().err == ""
    logged(1.0)
    assert "in the last 10 steps 100 % of the groups taught nothing" in capsys.readouterr().err
    logged(*[1.0] * STEPS)
    assert capsys.readouterr().err == ""


def test_a_stretch_below_the_share_passes_and_later_ones_count(logged, capsys):
    logged(*[SHARE - 0.01] * STEPS)
    assert capsys.readouterr().err == ""
    logged(*[SHARE + 0.01] * STEPS)
    assert "WARNING" in capsys.readouterr().err


def test_other_processes_and_other_logs_say_nothing(logged, capsys, tmp_path):
    logged(*[1.0] * STEPS, main=False)
    watch, arguments = IdleWatch(), TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    for logs in [None, {"loss": 1.0}] * STEPS:
        watch.on_log(arguments, TrainerState(is_world_process_zero=True), TrainerControl(), logs)
    assert capsys.readouterr().err == ""
