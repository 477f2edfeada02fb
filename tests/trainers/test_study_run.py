"""The study's runner: what is finished, what is started when, and that every attempt stands in the log."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from vr1bench.errors import Vr1benchError
from vr1bench.trainers.attempts import Attempt, append, saved
from vr1bench.trainers.recipe import BEGUN, RECIPES
from vr1bench.trainers.study import attempt_log
from vr1bench.trainers.study.__main__ import app
from vr1bench.trainers.study.attempt_log import Line
from vr1bench.trainers.study.jobs import jobs, move_aside, training, unwritten
from vr1bench.trainers.study.plan import RUNS
from vr1bench.trainers.study.runner import run

LOG = Path("runs.csv")
TINY = (
    'extends = "{recipes}/study/sft.toml"\n[model]\nname = "{model}"\n[sft]\noutput_dir = "out/{name}"\nmax_steps = 2\n'
    'save_steps = 1\nper_device_train_batch_size = 2\n[score]\nsuite = "demo/coco"\nlimit = 4\n'
)


@dataclass(frozen=True)
class Command:
    """A job that runs Python, and is finished once it has written a file of its name."""

    name: str
    code: str = ""
    needs: tuple = ()
    sha256: str = ""

    def lacking(self):
        return "" if Path(self.name).exists() else f"{self.name} is not there"

    def blocking(self):
        return self.lacking()

    def command(self):
        done = f"open({self.name!r}, 'w'); open('order', 'a').write({self.name!r} + ' ')"
        return [sys.executable, "-c", f"import signal; signal.alarm(60)\n{self.code}\n{done}"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def tiny(name, model="demo"):
    """A recipe of two steps in the current folder, as a job."""
    Path(f"{name}.toml").write_text(TINY.format(recipes=RECIPES, name=name, model=model))
    return training(f"{name}.toml")


def left_behind(job, step, *, scored=(), checkpoints=(1, 2), recipe=None):
    """What a training leaves that ended at some step."""
    for number in checkpoints:
        folder = job.folder / f"checkpoint-{number}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text("{}")
        if number in scored:
            asked = " ".join(job.recipe.scoring.asked)
            when = saved(folder)
            append(
                job.folder,
                Attempt(step=number, checkpoint=folder.name, status="scored", date=when, saved=when, asked=asked),
            )
    job.folder.mkdir(parents=True, exist_ok=True)
    (job.folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": 2}))
    (job.folder / BEGUN).write_text(json.dumps(recipe or job.recipe.training))


def outcomes():
    return {line.recipe: line.outcome for line in attempt_log.read(LOG)}


def test_a_training_is_finished_once_it_ended_and_every_checkpoint_is_scored(here):
    whole, unscored, short, missing = (tiny(name) for name in ("whole", "unscored", "short", "missing"))
    left_behind(whole, 2, scored=(1, 2))
    left_behind(unscored, 2, scored=(1,))
    left_behind(short, 1, scored=(1,), checkpoints=(1,))  # interrupted: it wrote its state all the same
    assert whole.lacking() == ""
    assert unscored.lacking() == "checkpoint-2 is not scored"
    assert unscored.blocking() == ""  # it can be trained on
    assert short.lacking() == "out/short holds no training that came to its end"
    assert missing.lacking() == "out/missing holds no training that came to its end"


def test_a_training_that_ended_is_only_scored_again(here):
    job = tiny("unscored")
    left_behind(job, 2, scored=(1,))
    assert job.command()[2:4] == ["vr1bench.trainers.watch", "out/unscored"]
    assert job.folder.is_dir()


def test_leftovers_are_moved_aside_and_none_is_lost(here):
    job = tiny("short")
    for number in (1, 2):
        left_behind(job, 1, checkpoints=(1,))
        (job.folder / "which").write_text(str(number))
        assert job.command()[1:] == ["-m", "vr1bench.trainers.sft", "short.toml"]
        assert not job.folder.exists()
        assert Path(f"out/short.failed-{number}/which").read_text() == str(number)
    Path("out/other").mkdir()
    assert move_aside(Path("out/other")) == Path("out/other.failed-1")


def test_a_training_by_another_recipe_is_never_taken_for_this_one(here):
    job = tiny("other")
    left_behind(job, 2, scored=(1, 2), recipe=job.recipe.training | {"sft": {"learning_rate": 1.0}})
    with pytest.raises(Vr1benchError, match=r"out/other was trained by another recipe than other\.toml says now"):
        job.lacking()


def test_groups_come_in_the_plans_order_and_each_job_once():
    names = [job.name for job in jobs(["starts", "rates", "hacking", "short/rate-sft-1e-5"])]
    assert names[:4] == ["make sloppy rows", "make short start", "study/incomplete/start", "study/sloppy/start"]
    assert "score shipped on study" in names
    assert names.index("score short on study-in dev") < names.index("study/shipped/rate-sft-1e-5")
    assert len(names) == len(set(names)) == 2 + 2 + 5 + 18 + 9
    assert names[-9:-6] == ["study/sloppy/ap-1", "study/sloppy/ap50-1", "study/sloppy/od-length-1"]
    assert unwritten(["rates", "hacking"]) == []


def test_what_a_run_starts_from_comes_first():
    assert [job.name for job in training("incomplete/rate-grpo-4e-5").needs] == ["study/incomplete/start"]
    assert [job.name for job in training("study/short/rate-sft-1e-5").needs] == ["make short start"]
    assert [job.name for job in training("sloppy/start").needs] == ["make sloppy rows"]
    assert training("shipped/rate-sft-1e-5").needs == ()


def test_an_unknown_recipe_is_refused():
    with pytest.raises(Vr1benchError, match="unknown recipe 'study/nothing'"):
        jobs(["study/nothing"])


def test_jobs_run_in_order_after_what_they_need(here):
    first = Command("first")
    assert run([Command("third", needs=(first,)), first, Command("second")], LOG, lanes=1) == (0, 0)
    assert Path("order").read_text().split() == ["first", "third", "second"]
    assert list(outcomes()) == ["first", "third", "second"]
    assert set(outcomes().values()) == {"done"}


def test_so_many_run_at_a_time(here):
    os.mkfifo("meeting")  # opening it waits until somebody opens the other end
    assert run([Command("reads", "open('meeting').read()"), Command("writes", "open('meeting', 'w')")], LOG) == (0, 0)


def test_what_is_finished_is_not_run_again(here):
    Path("there").write_text("")
    assert run([Command("there"), Command("missing")], LOG) == (0, 0)
    assert list(outcomes()) == ["missing"]
    assert run([Command("there"), Command("missing")], LOG) == (0, 0)
    assert len(attempt_log.read(LOG)) == 1


def test_a_failure_is_logged_with_its_error_and_what_needs_it_is_passed_over(here, capsys):
    bad = Command("bad", "raise SystemExit('warning: old\\nerror: no such folder\\nas far as one can see')")
    quiet = Command("quiet", "raise SystemExit(3)")
    killed = Command("killed", "import os; print('at work', flush=True); os.kill(os.getpid(), 9)")
    lazy = Command("lazy", "raise SystemExit(0)")
    jobs = [bad, quiet, killed, lazy, Command("after", needs=(bad,))]
    assert run(jobs, LOG, lanes=1) == (5, 0)
    assert outcomes() == {
        "bad": "failed: no such folder as far as one can see",
        "quiet": "failed: it said nothing",
        "killed": "failed: killed by SIGKILL: at work",
        "lazy": "failed: lazy is not there",
    }
    assert "after passed over: bad is not there" in capsys.readouterr().out


def test_after_so_many_minutes_nothing_new_is_started(here, capsys):
    assert run([Command("one"), Command("two")], LOG, minutes=0) == (2, 0)
    assert not LOG.exists()
    assert capsys.readouterr().out.endswith("2 of 2 left\n")


def test_two_runners_do_not_work_in_one_folder(here):
    RUNS.mkdir(parents=True)
    lock = os.open(RUNS, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with pytest.raises(Vr1benchError, match="another runner works in runs/study"):
        run([Command("one")], LOG)
    os.close(lock)
    assert run([Command("one")], LOG) == (0, 0)


WAITS = """
import sys
try:
    open('ready', 'w').close()
    sys.stdin.read()
finally:
    open('leave').read()
    open('closed', 'w')
"""
"""Says that it runs, waits until it is asked to end, or until its runner is gone, and then until it may leave."""
RUNNER = """
import sys; sys.path.insert(0, {tests!r})
from test_study_run import *
raise SystemExit(run([Command("waits", WAITS + "raise SystemExit(1)"), Command("later")], LOG, lanes=1)[1])
"""


@pytest.fixture
def runner(here):
    """A runner in a process of its own, whose job waits."""
    os.mkfifo("ready")
    os.mkfifo("leave")
    code = RUNNER.format(tests=str(Path(__file__).parent))
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    Path("ready").read_text()  # until the job has opened the other end
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_runs_and_they_are_logged(runner, number):
    assert outcomes() == {"waits": "running"}
    runner.send_signal(number)
    Path("leave").write_text("")
    said, _ = runner.communicate()
    assert runner.returncode == number
    assert Path("closed").exists()  # the job was let end by itself
    assert outcomes() == {"waits": "interrupted"}
    assert "interrupted: the runs save and end" in said
    assert said.endswith("2 of 2 left\n")


def test_a_runner_that_was_killed_leaves_no_attempt_out(runner, capsys):
    runner.kill()
    runner.wait()
    with pytest.raises(Vr1benchError, match="or what one that was killed had started"):
        run([Command("later")], LOG)
    Path("leave").write_text("")
    lock = os.open(RUNS, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)  # until its run has ended as well
    assert Path("closed").exists()
    os.close(lock)
    Path("waits").write_text("")
    assert run([Command("waits"), Command("later")], LOG) == (0, 0)
    assert outcomes() == {"waits": "interrupted", "later": "done"}
    assert "waits was running when its runner was killed" in capsys.readouterr().out


def test_machine_time_is_summed_and_what_ran_at_once_counts_once():
    lines = [
        Line("a", "", "", "2026-11-22T10:00:00+00:00", 30.0, "done"),
        Line("b", "", "", "2026-11-22T10:10:00+00:00", 5.0, "failed: x"),
        Line("c", "", "", "2026-11-22T10:20:00+00:00", 20.0, "interrupted"),
        Line("d", "", "", "2026-11-22T12:00:00+00:00", 1.0, "done"),
    ]
    assert attempt_log.total_minutes(lines) == pytest.approx((56.0, 41.0))
    assert attempt_log.total_minutes([]) == (0.0, 0.0)


def test_a_log_with_other_columns_is_refused(here):
    LOG.write_text("recipe,when\na,b\n")
    with pytest.raises(Vr1benchError, match=r"runs\.csv is not as it was written"):
        attempt_log.read(LOG)


def test_a_recipe_whose_start_is_missing_fails_at_once(here):
    job = tiny("bad", model="no/such/folder")
    job.folder.mkdir(parents=True)
    (job.folder / "half").write_text("")
    assert run([job], LOG) == (1, 0)
    (line,) = attempt_log.read(LOG)
    assert line.outcome.startswith("failed: model 'no/such/folder': no such folder")
    assert (line.recipe, line.recipe_sha256) == ("bad.toml", job.recipe.sha256)
    assert Path("out/bad.failed-1/half").exists()


def test_the_command_says_what_is_left(here):
    tiny("one")
    said = CliRunner().invoke(app, ["run", "one.toml", "--minutes", "0", "--log", str(LOG)])
    assert (said.exit_code, said.output.endswith("1 of 1 left\n")) == (1, True)
    assert "python -m vr1bench.trainers.study run short/grpo-2" in CliRunner().invoke(app, ["run", "--help"]).output


@pytest.mark.slow
def test_a_training_is_run_and_scored_to_its_end(here):
    job = tiny("whole")
    assert run([job], LOG) == (0, 0)
    assert outcomes() == {"whole.toml": "done"}
    (job.folder / "scores.jsonl").unlink()
    assert run([job], LOG) == (0, 0)
    assert [line.outcome for line in attempt_log.read(LOG)] == ["done", "done"]
    assert not Path("out/whole.failed-1").exists()  # it was scored, not trained again
