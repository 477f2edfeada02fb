"""What a person types, and what they see."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import version

import pytest
from command_line import COMMAND, started, typed

from vr1bench.parsing import parse_lines
from vr1bench.registry import NEAREST


@pytest.fixture
def small(coco_folder):
    """Options of a run that needs no model."""
    return [
        "--model", "demo", "--engine", "oracle", "--family", "absolute", "--benchmark", coco_folder / "small.toml",
        "--data-dir", coco_folder, "--output", coco_folder / "out",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--base-url", "http://h/v1"), "--base-url is of --engine openai, got --engine oracle; leave one of them out"),
        (("--address", "auto"), "--address is of --engine ray, got --engine oracle"),
        (("--replicas", "2"), "--replicas is of --engine ray, got --engine oracle"),
        (("--engine", "openai", "--base-url", "h:8000"), "engine openai needs the address of an endpoint"),
        (("--engine", "auto", "--base-url", "h:8000"), "engine openai needs the address of an endpoint"),
        (
            ("--engine", "auto", "--base-url", "h:8000", "--replicas", "2"),
            "--replicas is of --engine ray",
        ),
        (("--engine", "ray", "--replicas", "2", "--engine-args", "engine=oracle"), "engine=oracle: holds no model"),
    ],
)
def test_an_option_of_one_engine_goes_to_it_and_to_no_other(small, coco_folder, words, told):
    (coco_folder / "a 7.png").touch()  # that pictures are there at all is looked at before the engine's options
    done = typed("run", *small, *words)
    assert done.returncode == 2
    assert told in done.stderr


def test_run_prints_a_table_and_says_where(small, coco_folder):
    done = started("run", *small)
    assert done.returncode == 0, done.stderr
    header, _, row = done.stdout.splitlines()
    assert header.split() == [
        "benchmark",
        "metric",
        "value",
        "AP_tie",
        "F1@0.5",
        "n",
        "answers",
        "protocol",
        "scores",
        "s",
    ]
    assert row.split()[:7] == ["small", "val", "AP", "100.0", "100.0", "100.0", "3"]
    assert "2 ok, 1 none" in row
    for written in (coco_folder / "out", coco_folder / "out" / "LEADERBOARD.md"):
        assert str(written) in done.stderr
    assert "| oracle-absolute@" in (coco_folder / "out" / "LEADERBOARD.md").read_text()


def test_score_reads_a_run_folder_again(small, coco_folder):
    typed("run", *small)
    (run,) = (coco_folder / "out").glob("runs/*/small/*")
    done = started("score", run, "--set", "ids=as-shipped", "--json", "--verify")
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)
    assert result["key"]["protocol"] == "standard[ids=as-shipped]"
    assert result["values"]["metrics"]["AP"]["value"] < 1.0
    assert max(result["values"]["verified"].values()) < 1e-12
    assert typed("score", run, "--protocol", "qwen2.5").returncode == 3


def test_score_coco_files(shared_data):
    folder = shared_data / "coco_val2014_100"
    done = typed(
        "score", "--coco-gt", folder / "instances_val2014_100.json",
        "--coco-results", folder / "instances_val2014_fakebbox100_results.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    numbers = dict(line.split() for line in done.stdout.splitlines()[2:])
    golden = {
        "AP": "0.5046", "AP50": "0.6970", "AP75": "0.5730", "APs": "0.5856", "APm": "0.5194", "APl": "0.5014",
        "AR1": "0.3868", "AR10": "0.5937", "AR100": "0.5954", "ARs": "0.6398", "ARm": "0.5664", "ARl": "0.5643",
    }  # fmt: skip
    assert {name: numbers[name] for name in golden} == golden


def test_board_formats(small, coco_folder):
    typed("run", *small)
    rows = json.loads(typed("board", coco_folder / "out", "--format", "json").stdout)
    assert {row["metric"]: row["value"] for row in rows}["AP"] == 1.0
    table = typed("board", coco_folder / "out", "--format", "csv").stdout.splitlines()
    assert table[0].startswith("benchmark,split,protocol,scores,model,")
    assert len(table) == len(rows) + 1
    assert typed("board", coco_folder / "out").stdout == (coco_folder / "out" / "LEADERBOARD.md").read_text()


def test_lm_evals_names_and_underscores(small, coco_folder):
    done = typed("run", "--tasks", "small", *small[:6], "--output_path", coco_folder / "out", "--data_dir", coco_folder)
    assert "unknown suite 'small'" in done.stderr
    done = typed("run", *small, "--gen_kwargs", "temperature=0.5,seed=3", "--batch_size", "8")
    assert done.returncode == 0, done.stderr
    assert "--batch-size is ignored" in done.stderr
    (result,) = (path for path in (coco_folder / "out").rglob("*.json") if "runs" not in path.parts)
    assert json.loads(result.read_text())["run"]["sampling"]["temperature"] == 0.5


def test_a_config_file_holds_options_and_the_command_line_wins(small, coco_folder):
    path = coco_folder / "run.toml"
    path.write_text('model = "demo"\nengine = "oracle"\nfamily = "qwen3-vl"\nlimit = 2\n[set]\nids = "as-shipped"\n')
    rest = ["--benchmark", coco_folder / "small.toml", "--data-dir", coco_folder, "--output", coco_folder / "out"]
    done = typed("run", "--config", path, *rest, "--family", "absolute")
    assert done.returncode == 0, done.stderr
    assert "val[:2]" in done.stdout
    assert "standard[ids=as-shipped]" in done.stdout
    assert "oracle-absolute" in (coco_folder / "out" / "LEADERBOARD.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "--model is missing"),
        (["run", "--model", "demo"], "expected a suite or benchmarks"),
        (["run", "--model", "demo", "--suite", "dem"], "did you mean 'demo'"),
        (["run", "--model", "demo", "--suite", "demo", "--protocl", "x"], "No such option"),
        (["run", "--model", "demo", "--suite", "demo", "--limit", "x"], "Invalid value"),
        (["run", "--model", "demo", "--suite", "demo", "--set", "ids"], "expected name=value"),
        (["run", "--config", "missing.toml"], "cannot read missing.toml"),
        (["score"], "expected run folders"),
        (["score", "nowhere"], "expected a run folder"),
        (["score", "--coco-gt", "x", "--coco-results", "y", "--limit", "5"], "nothing else"),
        (["score", "--coco-gt", "x.json"], "go together"),
        (["score", "--coco-gt", "x.json", "--coco-results", "y.json"], "x.json"),
        (["board", "nowhere"], "is no folder"),
        (["board", ".", "--format", "xml"], "unknown format"),
        (["list", "benchmark"], "did you mean 'benchmarks'"),
        (["rnu"], "No such command"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(tmp_path, arguments, words):
    done = typed(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_command_line_adds_to_and_wins_over_a_file(small, coco_folder):
    path = coco_folder / "run.toml"
    path.write_text('suite = "demo"\n[set]\nids = "as-shipped"\nmax_detections = 7\n')
    done = typed("run", "--config", path, *small, "--set", "max_detections=9")
    assert done.returncode == 0, done.stderr
    assert "standard[ids=as-shipped,max_detections=9]" in done.stdout


def test_a_reader_that_leaves_is_no_error():
    code = f"{sys.executable} -m vr1bench.cli list | true; echo ${{PIPESTATUS[0]}}"
    assert subprocess.run(["bash", "-c", code], capture_output=True, text=True).stdout == "0\n"


def test_notes_say_what_was_broken(coco_folder):
    path = coco_folder / "answers.jsonl"
    rows = [{"sample_id": i, "text": '[{"bbox": [1, 2, 9999, 4], "label": "dog"}]'} for i in "357"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = typed(
        "run", "--model", "x", "--engine", "replay", "--engine-args", f"file={path}", "--family", "absolute",
        "--benchmark", coco_folder / "small.toml", "--data-dir", coco_folder, "--output", coco_folder / "out",
    )  # fmt: skip
    assert "note: small: of 3 items in answers: 3 clipped (100.0%)" in done.stderr


def test_no_engine_installed_says_how_to_get_one(coco_folder):
    code = (
        "import sys; sys.modules['vllm'] = sys.modules['transformers'] = None; sys.argv[0] = 'vr1bench';"
        "from vr1bench.cli import main; main()"
    )
    words = ["run", "--model", "demo", "--benchmark", coco_folder / "small.toml", "--data-dir", coco_folder]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no engine is installed; install one: uv sync" in done.stderr


def test_list_names_everything():
    done = started("list")
    assert done.returncode == 0
    for name in ("odinw/ChessPieces", "demo", "standard", "qwen3-vl", "replay"):
        assert name in done.stdout
    assert "odinw/Raccoon" in typed("list", "benchmarks").stdout


def test_doctor_says_what_is_there():
    done = typed("doctor")
    assert "pycocotools" in done.stdout
    assert "--engine auto takes" in done.stdout or "none installed" in done.stdout


def test_an_unknown_name_among_many_is_told_the_nearest_alone():
    done = typed("run", "--model", "demo", "--benchmark", "odinw/Racoon")
    assert "did you mean 'odinw/Raccoon'? (known: odinw/Raccoon, odinw/Raccoon/kcz358, " in done.stderr
    assert done.stderr.count(",") == NEAREST
    assert re.search(r", \d+ more\)$", done.stderr.strip())


def test_the_version_is_that_of_the_package():
    done = typed("--version")
    assert (done.returncode, done.stdout) == (0, f"vr1bench {version('vr1bench')}\n")


@pytest.mark.parametrize("command", ["run", "score", "board", "list"])
def test_help_has_an_example(command):
    assert "Example: vr1bench" in typed(command, "--help").stdout


def parse(text, *options):
    return typed("parse", *options, text=text)


def test_parse_reads_an_answer_from_stdin():
    text = 'Sure:\n```json\n[{"bbox_2d": [101, 119, 302, 357], "label": "Dog"}, {"bbox_2d": [22, 4'
    done = parse(
        text, "--family", "qwen2.5-vl", "--size", "640x480", "--input-size", "644x476", "--queries", "dog, cat"
    )
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["boxes"] == [pytest.approx([100.37, 120.0, 300.12, 360.0], abs=0.01)]
    assert (row["labels"], row["unknown"], row["status"]) == (["dog"], [False], "truncated")
    assert row["scores"] == [1.0]


def test_parse_reads_an_answer_a_line():
    lines = [json.dumps("[[1, 2, 3, 4]]"), "", json.dumps({"text": "None", "width": 5, "height": 5})]
    lines.append(json.dumps({"text": '<point x="50" y="50" alt="x">x</point>', "queries": ["x"]}))
    done = parse("\n".join(lines), "--family", "absolute", "--size", "64x64", "--lines")
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["ok", "none", "malformed"]
    done = parse(lines[-1], "--family", "molmo", "--size", "64x64", "--lines")
    assert json.loads(done.stdout)["points"] == [[32.0, 32.0]]


@pytest.mark.parametrize("lines", [False, True])
def test_half_a_surrogate_in_a_label_is_printed_as_a_question_mark(lines):
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "\\ud800"}]'
    options = ["--family", "qwen3-vl", "--size", "5x5"]
    done = parse(json.dumps(text), *options, "--lines") if lines else parse(text, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["labels"] == ["?"]


def test_half_a_surrogate_in_a_line_is_text():
    done = parse('{"text": "[[1, 2, 3, 4]] \\ud800"}', "--family", "absolute", "--size", "9x9", "--lines")
    assert json.loads(done.stdout)["boxes"] == [[1.0, 2.0, 3.0, 4.0]]


def test_a_terminal_without_the_letters_gets_question_marks():
    text = '[{"bbox_2d": [1, 2, 3, 4], "label": "né"}]'
    done = subprocess.run(
        [*COMMAND, "parse", "--family", "absolute", "--size", "9x9"], input=text.encode(), capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )  # fmt: skip
    assert json.loads(done.stdout)["labels"] == ["n?"]


def test_a_line_of_answers_may_leave_out_and_add_what_it_likes():
    rows = [
        {"text": '[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', "width": None, "height": None, "queries": None},
        {"text": "[[1, 2, 3, 4]]", "sample_id": 5, "queries": ["cat"], "fed_width": None},
    ]
    text = "\ufeff" + "\n".join(map(json.dumps, rows))
    done = parse(text, "--family", "absolute", "--size", "9x9", "--queries", "dog", "--lines")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["labels"], row["unknown"]) for row in found] == [(["dog"], [False]), (["cat"], [False])], done.stderr
    assert next(parse_lines(text.splitlines(), family="absolute", size=(9, 9))).status == "ok"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"queries": 5}, "line 2: queries: Input should be a valid list, got 5"),
        ({"queries": [1, 2]}, "line 2: queries.0: Input should be a valid string, got 1"),
        ({"queries": "dog"}, "line 2: queries: Input should be a valid list, got 'dog'"),
        ({"width": True, "height": 4}, "line 2: width: Input should be a valid integer, got True"),
        ({"width": -5, "height": 4}, "line 2: width: Input should be greater than 0, got -5"),
        ({"width": 5.5, "height": 4}, "line 2: width: Input should be a valid integer, got 5.5"),
        ({"height": 4}, "line 2: width and height: expected two whole numbers of pixels, got (None, 4)"),
        ({"fed_width": 0, "fed_height": 0}, "line 2: fed_width: Input should be greater than 0, got 0"),
        ({"width": 9000, "height": 9}, "line 2: size (9000, 9)"),
        ({"text": None}, "line 2: expected a JSON string"),
        ({"text": "x", "deep": 0}, "line 2: not valid JSON"),
    ],
)
def test_a_wrong_line_of_answers_is_said(row, message):
    line = json.dumps({"text": "[]", **row}).replace('"deep": 0', '"deep": ' + "[" * 100_000)
    done = parse(f'"[]"\n{line}', "--family", "qwen2.5-vl", "--size", "9x9", "--lines")
    assert (done.returncode, done.stderr.count("\n"), len(done.stdout.splitlines())) == (2, 1, 1)
    assert message in done.stderr


def test_an_unknown_family_is_said_without_lines():
    assert "did you mean 'absolute'" in parse("", "--family", "absolut", "--size", "9x9", "--lines").stderr


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_run_says_which_family_and_why(small, quiet):
    done = typed("run", *small, *quiet)
    assert done.stderr.splitlines()[0] == "note: family absolute: named on the command line"
    named = [word for word in small if word not in {"--family", "absolute"}]
    done = typed("run", *named, *quiet)
    assert done.stderr.count("note: family") == 1
    assert done.stderr.startswith("note: family qwen2.5-vl: config.json says model_type 'qwen2_5_vl'\n")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", [], "--family is missing"),
        ("", ["--family", "absolute"], "--size is missing"),
        ("", ["--family", "absolut", "--size", "4x4"], "did you mean 'absolute'"),
        ("", ["--family", "absolute", "--size", "4"], "expected WIDTHxHEIGHT"),
        ("", ["--family", "absolute", "--size", "0x4"], "expected WIDTHxHEIGHT"),
        ("{", ["--family", "absolute", "--size", "4x4", "--lines"], "line 1: not valid JSON"),
        ("7", ["--family", "absolute", "--size", "4x4", "--lines"], "line 1: expected a JSON string"),
        ('"x"', ["--family", "absolute", "--lines"], "line 1: no width and height"),
        ('{"text": "", "width": 5}', ["--family", "absolute", "--lines"], "two whole numbers of pixels"),
        ('"x"', ["--family", "absolute", "--size", "4x4", "--input-size", "5x5", "--lines"], "goes with one answer"),
        ("", ["--family", "qwen2.5-vl", "--size", "9000x9"], "pass input_size"),
    ],
)
def test_parse_says_what_is_wrong(text, options, message):
    done = parse(text, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_questions_are_printed_as_lines(tmp_path):
    done = typed(
        "questions", "--family", "griffon", "--benchmark", "demo/rec", "--limit", 2, VR1BENCH_CACHE=tmp_path / "cache"
    )
    assert [json.loads(line)["query"] != "" for line in done.stdout.splitlines()] == [True, True]
    assert typed("questions", "--family", "griffon").returncode == 2
