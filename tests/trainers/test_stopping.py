"""After Ctrl-C nothing more is scored, and what is left is said with the command that scores it."""

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from vr1bench.trainers.callback import ScoreCheckpoints
from vr1bench.trainers.scoring import Scoring


@pytest.mark.parametrize("mode", ["inline", "after"])
def test_nothing_is_scored_after_ctrl_c(tmp_path, capfd, mode):
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "trainer_state.json").write_text("{}")
    args, control = TrainingArguments(output_dir=str(tmp_path), use_cpu=True), TrainerControl()
    state = TrainerState(global_step=1, is_world_process_zero=True)
    scoring = Scoring(mode=mode, suite="demo/coco", engine="hf", output=str(tmp_path / "results"))
    callback = ScoreCheckpoints(scoring, lambda: True)
    callback.on_train_begin(args, state, control)
    callback.on_save(args, state, control)
    callback.on_train_end(args, state, control)
    said = capfd.readouterr().err
    assert f"not scored: checkpoint-1; to score them: vr1bench train watch {tmp_path}" in said
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "scores.jsonl").exists()
