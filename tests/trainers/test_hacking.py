"""The watch over rewards, on Results of real answers, which repeat boxes under labels that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scorings import Scorings, attempt, judged, tied
from transformers import TrainerControl, TrainerState, TrainingArguments

from vr1bench.store import Result
from vr1bench.trainers.attempts import SCORES, Attempt, append
from vr1bench.trainers.checkpoints import Backlog
from vr1bench.trainers.hacking import GAP, HELD_OUT, REWARD, SCORED, WARNINGS, HackingWatch, held_out, judge, moved
from vr1bench.trainers.scoring import Scoring
from vr1bench.trainers.watch import look_for_hacking

PER = 10
"""Steps from one checkpoint to the next."""


@pytest.fixture(scope="module")
def scorings(tmp_path_factory) -> Scorings:
    return Scorings(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def falling(scorings) -> list[Result]:
    return [scorings.result(PER * k, share) for k, share in enumerate((0.1, 0.3, 0.6, 0.95), 1)]


def logs(rewards: list[float], noise: float = 0.03, **more: list[float]) -> list[dict]:
    """A log a step: rewards that run through these values, a checkpoint apart, with noise."""
    rng, steps = np.random.default_rng(0), np.arange(1, PER * len(rewards) + 1)
    known = PER * np.arange(1, len(rewards) + 1) - PER / 2
    columns = {"reward": np.interp(steps, known, rewards) + rng.normal(0, noise, len(steps))}
    columns |= {name: np.interp(steps, known, values) for name, values in more.items()}
    return [
        {"step": int(step)} | {name: float(values[place]) for name, values in columns.items()}
        for place, step in enumerate(steps)
    ]


def scored(results: list[Result]) -> list[tuple[int, dict[str, Result]]]:
    return [(PER * k, {"demo/coco": result}) for k, result in enumerate(results, 1)]


RISING = [0.6, 0.7, 0.8, 0.9]


def test_a_reward_that_rises_while_held_out_falls_is_warned_of(falling):
    counts, steady = [1.1, 1.8, 2.6, 3.4], [40.0] * 4
    history = logs(RISING, **{"monitor/predicted_over_gold": counts, "completions/mean_length": steady})
    found = judge(history, scored(falling))
    assert found is not None
    assert (found.step, found.held_out.metric, found.held_out.n) == (40, "AP_tie", 100)
    assert found.held_out.p_drop < found.level
    assert found.reward.p_rise < found.level == 0.05 / (4 * 3**2)
    assert [one.name for one in found.monitors] == ["monitor/predicted_over_gold"]
    assert "vlm-r1-od-length)" in found.text
    assert "strict" not in found.text
    assert f"FELL {100 * found.held_out.old:.1f} -> {100 * tied(falling[3]):.1f}" in found.text


def test_what_was_lost_before_the_first_checkpoint_shows_against_the_base_model(falling):
    base, lost = {"demo/coco": falling[0]}, {"demo/coco": falling[3]}
    found = judge(logs([0.5, 0.9], noise=0.01), [(0, base), (PER, lost)])
    assert found is not None
    assert (found.step, found.against) == (PER, 0)
    assert found.reward.old == pytest.approx(0.5, abs=0.02), "the first half of the logs up to the first checkpoint"
    assert found.reward.new == pytest.approx(0.62, abs=0.02), "the second half"
    assert "Try, from the base model: " in found.text
    later = judge(logs([0.5, 0.9], noise=0.01), [(0, base), (PER, base), (2 * PER, lost)])
    assert later is not None
    assert later.reward.old == pytest.approx(0.56, abs=0.02), "all up to the first checkpoint"
    assert later.reward.new == pytest.approx(0.86, abs=0.04), "all that was logged since the first checkpoint"
    assert judge(logs([0.5, 0.5], noise=0.01), [(0, base), (PER, lost)]) is None


def test_one_alone_is_no_hacking(falling):
    assert judge(logs([0.8] * 4), scored(falling)) is None
    assert judge(logs(RISING[::-1]), scored(falling)) is None
    assert judge(logs(RISING), scored(falling[::-1])) is None
    assert judge(logs(RISING), scored([falling[0]] * 4)) is None


def test_a_rise_within_the_rewards_own_noise_is_none(falling):
    assert judge(logs(RISING, noise=0.03), scored(falling)) is not None
    assert judge(logs(RISING, noise=0.6), scored(falling)) is None


def test_too_little_to_judge_by(falling):
    assert judge(logs(RISING), scored(falling[:1])) is None
    assert judge([], scored(falling)) is None
    assert judge(logs(RISING)[-1:], scored(falling)) is None
    assert judge(logs(RISING), [(step, {}) for step, _ in scored(falling)]) is None


def test_a_fall_that_the_gate_lets_pass_is_none(falling):
    right = np.arange(4000) < 3000

    def fallen(by: int) -> list[tuple[int, dict[str, Result]]]:
        return scored([judged(falling[0], right, 0)] * 3 + [judged(falling[0], right & (np.arange(4000) >= by), 0)])

    fall = held_out(fallen(16)[0][1], fallen(16)[3][1])
    assert fall is not None
    assert fall.value == pytest.approx(-0.004)
    assert fall.p_drop < 1e-3
    assert judge(logs(RISING), fallen(16)) is None
    assert judge(logs(RISING), fallen(40)) is not None


def test_a_trend_does_not_pass_for_noise():
    history = [{"step": step, "reward": 0.01 * step + 0.001 * (-1) ** step} for step in range(1, 101)]
    found = moved(history, "reward", (0, 50), (50, 100))
    assert found is not None
    assert found.new - found.old == pytest.approx(0.5)
    assert found.sd < 0.005
    few = moved(history[:3], "reward", (0, 1), (1, 3))
    assert few is not None
    assert few.p_rise == 1  # noise cannot be told from so little
    assert moved(history, "reward", (0, 50), (100, 150)) is None
    assert moved(history, "kl", (0, 50), (50, 100)) is None


def test_benchmarks_of_two_metrics_count_alike(falling):
    def twofold(result: Result) -> dict[str, Result]:
        metrics, replicates = result.values.metrics, result.values.replicates
        values = result.values.model_copy(
            update={"primary": "F1", "metrics": {"F1": metrics["AP_tie"]}, "replicates": {"F1": replicates["AP_tie"]}}
        )
        key = result.key.model_copy(update={"benchmark": "other"})
        return {"demo/coco": result, "other": result.model_copy(update={"values": values, "key": key})}

    one = held_out({"demo/coco": falling[0]}, {"demo/coco": falling[3]})
    two = held_out(twofold(falling[0]), twofold(falling[3]))
    assert one is not None
    assert two is not None
    assert (two.metric, two.n) == ("AP_tie/F1", 200)
    assert (two.value, two.sd) == pytest.approx((one.value, one.sd))
    assert held_out({"demo/coco": falling[0]}, {"other": falling[1]}) is None


@pytest.mark.parametrize(
    ("rising", "falls", "hanging", "least", "most"),
    [(0.3, 0.0, 0.0, 0, 5), (0.0, 0.4, 0.0, 0, 5), (0.0, 0.4, 0.6, 0, 5), (0.3, 0.4, 0.0, 80, 100)],
)
def test_false_alarms_stay_below_alpha(falling, rising, falls, hanging, least, most):
    """100 trainings of 6 checkpoints, 100 images each: no more than 5 % are warned of without cause."""
    rng, warned = np.random.default_rng(1), 0
    for training in range(100):
        hard, lucky = rng.beta(2, 1.5, 100), rng.random(100)
        noise = rng.normal(0, 0.04, 61)
        for step in range(1, 61):
            noise[step] = hanging * noise[step - 1] + (1 - hanging**2) ** 0.5 * noise[step]
        history = [{"step": step, "reward": 0.5 + rising * step / 60 + noise[step]} for step in range(1, 61)]
        seen: list[tuple[int, dict[str, Result]]] = []
        for k in range(1, 7):
            luck = np.where(rng.random(100) < 0.6, lucky, rng.random(100))  # neighbours answer much alike
            right = luck < hard - falls * max(0, k - 3) / 3
            seen.append((10 * k, {"b": judged(falling[0], right, training)}))
            if judge(history, seen):
                warned += 1
                break
    assert least <= warned <= most


class Training:
    """What transformers' Trainer does to a callback: a log a step, then at times a checkpoint, which is scored."""

    def __init__(self, folder: Path, results: Path, main: bool = True) -> None:
        self.folder = folder
        self.state = TrainerState(is_world_process_zero=main, log_history=[])
        self.watch = HackingWatch(folder, results)
        self.args, self.control = TrainingArguments(output_dir=str(folder), use_cpu=True), TrainerControl()

    def log(self, entry: dict) -> dict:
        self.state.global_step = entry["step"]
        handed = {name: value for name, value in entry.items() if name != "step"}
        self.state.log_history.append(dict(entry))
        self.watch.on_log(self.args, self.state, self.control, logs=handed)
        return handed

    def save(self, *found: Attempt) -> None:
        for one in found:
            append(self.folder, one)
        self.watch.on_save(self.args, self.state, self.control)

    def run(self, history: list[dict], results: list[Result]) -> None:
        for entry in history:
            self.log(entry)
            k, rest = divmod(entry["step"], PER)
            if not rest:
                self.save(attempt(entry["step"], results[k - 1]))


def test_the_watch_writes_its_curves_and_warns_once_a_checkpoint(tmp_path, scorings, falling, capfd):
    training = Training(tmp_path, scorings.folder / "results")
    training.run(logs(RISING), falling)
    history = training.state.log_history
    own = [entry for entry in history if SCORED in entry]
    assert [entry["step"] for entry in own] == [10, 20, 30, 40]
    assert [entry[HELD_OUT] for entry in own] == [tied(one) for one in falling]
    for entry in own:
        since = [
            one["reward"] for one in history if "reward" in one and entry["step"] - 10 < one["step"] <= entry["step"]
        ]
        assert entry[REWARD] == pytest.approx(np.mean(since))
        assert entry[GAP] == pytest.approx(entry[REWARD] - entry[HELD_OUT])
    during = next(entry for entry in history if entry["step"] == 12 and "reward" in entry)
    assert during[REWARD] == pytest.approx(np.mean([one["reward"] for one in logs(RISING)[10:12]]))
    assert during[HELD_OUT] == tied(falling[0])
    said = [json.loads(line) for line in (tmp_path / WARNINGS).read_text().splitlines()]
    assert [one["step"] for one in said][-1] == 40
    assert said[-1]["held_out"]["low"] < said[-1]["held_out"]["high"] < 0
    assert capfd.readouterr().err.count("REWARD HACKING?") == len(said)

    resumed = Training(tmp_path, scorings.folder / "results")  # its state is from before the last checkpoint was scored
    resumed.state.log_history = [entry for entry in history if "reward" in entry]
    resumed.log({"step": 41, "reward": 0.9})
    assert [entry["step"] for entry in resumed.state.log_history if SCORED in entry] == [10, 20, 30, 40]
    assert len((tmp_path / WARNINGS).read_text().splitlines()) == len(said)
    assert "HACKING" not in capfd.readouterr().err


def test_the_base_model_comes_first_in_the_history(tmp_path, scorings, falling):
    training = Training(tmp_path, scorings.folder / "results")
    append(tmp_path, attempt(0, falling[0]))
    training.watch.on_train_begin(training.args, training.state, training.control)
    assert training.log({"step": 1, "reward": 0.5})[HELD_OUT] == tied(falling[0])
    own, logged = training.state.log_history
    assert (own, logged["step"]) == ({"step": 0, SCORED: 1, HELD_OUT: tied(falling[0])}, 1)


def test_a_watcher_judges_what_the_trainer_no_longer_sees(tmp_path, scorings, falling, capfd):
    """In a queue the last checkpoints are scored when the trainer, and its own watch, have ended."""
    backlog = Backlog(tmp_path, Scoring(mode="queue", suite="demo/coco", output=str(scorings.folder / "results")))
    for k, result in enumerate(falling, 1):
        step, history = PER * k, logs(RISING)[: PER * k]
        (tmp_path / f"checkpoint-{step}").mkdir()
        state = TrainerState(global_step=step, log_history=history, is_world_process_zero=True)
        state.save_to_json(str(tmp_path / f"checkpoint-{step}" / "trainer_state.json"))
        append(tmp_path, attempt(step, result))
        look_for_hacking(backlog, attempt(step, result))
    steps = [json.loads(line)["step"] for line in (tmp_path / WARNINGS).read_text().splitlines()]
    assert steps[-1] == 40
    assert len(steps) == len(set(steps)) == capfd.readouterr().err.count("REWARD HACKING?")
    look_for_hacking(backlog, attempt(50, falling[-1]))  # deleted meanwhile


def test_what_is_logged_is_handed_on(tmp_path, scorings, falling):
    training = Training(tmp_path, scorings.folder / "results")
    assert training.log({"step": 1, "reward": 0.5}) == {"reward": 0.5, REWARD: 0.5}
    training.save(attempt(1, falling[0]))
    handed = training.log({"step": 2, "reward": 0.7})
    assert handed == {"reward": 0.7, REWARD: 0.7, HELD_OUT: tied(falling[0]), GAP: 0.7 - tied(falling[0])}
    assert training.log({"step": 2, "train_loss": 0.1}) == {"train_loss": 0.1}


def test_a_checkpoint_that_was_not_scored_is_passed_over(tmp_path, scorings, falling):
    training = Training(tmp_path, scorings.folder / "results")
    for entry in logs(RISING):
        training.log(entry)
        if entry["step"] == 20:
            training.save(attempt(20, status="failed"))
        elif entry["step"] % PER == 0:
            training.save(attempt(entry["step"], falling[entry["step"] // PER - 1]))
    own = {entry["step"]: entry for entry in training.state.log_history if SCORED in entry}
    assert list(own) == [10, 30, 40]
    assert own[30][REWARD] == pytest.approx(np.mean([one["reward"] for one in logs(RISING)[10:30]]))


def test_scores_of_later_steps_are_not_known_yet(tmp_path, scorings, falling):
    training = Training(tmp_path, scorings.folder / "results")
    append(tmp_path, attempt(30, falling[2]))
    assert HELD_OUT not in training.log({"step": 5, "reward": 0.5})
    assert training.log({"step": 31, "reward": 0.5})[HELD_OUT] == tied(falling[2])
    logged, own = training.state.log_history[1:]  # found at a log, not at a save: as somebody else scores
    assert (logged["step"], logged["reward"], logged[HELD_OUT]) == (31, 0.5, tied(falling[2]))
    assert (own["step"], own[SCORED]) == (30, 1)


def test_what_cannot_be_read_is_said_once_and_ends_nothing(tmp_path, scorings, falling, capfd):
    training = Training(tmp_path, tmp_path / "elsewhere")
    training.run(logs(RISING), falling)
    said = capfd.readouterr().err
    assert said.count("checkpoint-10 is not compared: cannot read") == 1
    assert "HACKING" not in said
    (tmp_path / SCORES).write_text("damaged\n")
    for step in (41, 42):
        assert training.log({"step": step, "reward": 0.5})["reward"] == 0.5
    assert capfd.readouterr().err.count("reward is not watched") == 1


def test_other_processes_leave_it_alone(tmp_path, scorings, falling):
    training = Training(tmp_path, scorings.folder / "results", main=False)
    training.run(logs(RISING), falling)
    assert not (tmp_path / WARNINGS).exists()
    assert all(REWARD not in entry for entry in training.state.log_history)
