"""`vr1bench rows`, as a person types it."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest
from PIL import Image

from vr1bench.cli import app
from vr1bench.errors import Vr1benchError
from vr1bench.rows import read_rows, rows, write_rows

COMMAND = [sys.executable, "-m", "vr1bench.cli", "rows"]
SMALL = ["demo/coco", "--family", "qwen2.5-vl"]


def vr1bench_rows(*arguments, **options):
    told = {"capture_output": True, "text": True, **options}
    return subprocess.run([*COMMAND, *map(str, arguments)], check=False, **told)


@dataclass
class Typed:
    """What a command gave."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def typed(capsys):
    """Runs the command in this process: starting one takes longer than most of what is tested here."""

    def call(*arguments):
        code, said = 0, ""
        try:
            app(["rows", *map(str, arguments)], standalone_mode=False)
        except Vr1benchError as error:
            code, said = error.exit_code, f"error: {error}"
        out, err = capsys.readouterr()
        return Typed(code, out, err + said)

    return call


def test_a_file_of_rows_is_what_python_gives(tmp_path):
    path = tmp_path / "rows.jsonl"
    done = vr1bench_rows(*SMALL, "--boxes", "1-30", "--negatives", "1-3", "--limit", 20, "--seed", 5, "--order",
                         "shuffled", "--output", path)  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    told = {"boxes": (1, 30), "negatives": (1, 3), "limit": 20, "seed": 5, "order": "shuffled"}
    assert read_rows(path) == rows("demo/coco", family="qwen2.5-vl", **told)
    assert "note: 379 samples not drawn" in done.stderr
    assert f"20 rows of demo/coco train, family qwen2.5-vl written to {path}" in done.stderr
    assert "warning" not in done.stderr


def test_rows_go_to_stdout_and_nothing_else_does(typed):
    done = typed("demo/rec", "--family", "qwen2.5-vl", "--form", "vlm-r1", "--limit", 3)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [set(line) for line in lines] == [{"id", "image", "conversations", "gold"}] * 3
    assert all(len(line["conversations"][1]["value"]) == 4 for line in lines)


def test_output_to_a_stream_and_to_a_link(tmp_path):
    """`> file` holds the file open: what replaced it would be lost."""
    with (tmp_path / "held").open("w") as held:
        done = vr1bench_rows(*SMALL, "--limit", 2, "--output", "/dev/stdout", capture_output=False, stdout=held,
                             stderr=subprocess.DEVNULL)  # fmt: skip
    assert done.returncode == 0
    assert len((tmp_path / "held").read_text().splitlines()) == 2
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    write_rows(read_rows(tmp_path / "held"), tmp_path / "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_text() == (tmp_path / "held").read_text()


def test_a_pipe_that_closes_is_no_error():
    with subprocess.Popen([*COMMAND, *SMALL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert json.loads(process.stdout.readline())["id"] == "demo/coco/train/500017"
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_what_is_evaluated_is_refused_dropped_or_warned_of(typed, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("mine")
    refused = typed(*SMALL, "--split", "val", "--output", path)
    assert refused.returncode == 1
    assert "error: 100 of 100 images to train on are evaluated, such as" in refused.stderr
    assert path.read_text() == "mine"
    assert typed(*SMALL, "--split", "val", "--shared", "drop").returncode == 1
    kept = typed(*SMALL, "--split", "val", "--shared", "warn", "--output", path)
    assert kept.returncode == 0
    assert "warning: 100 of 100 images" in kept.stderr
    assert len(read_rows(path)) == 100


@pytest.fixture
def own(tmp_path):
    """A set whose train holds a picture of its val under another name, and one of COCO's val2017."""
    folder = tmp_path / "data"
    boxes = {"dog": [2, 3, 20, 10]}
    names = {
        "train": ["1.jpg", "2.jpg", "COCO_train2014_000000000139.jpg"],
        "val": ["9.jpg"],
        "coco": ["000000000139.jpg"],
    }
    for split, files in names.items():
        (folder / split).mkdir(parents=True)
        for i, name in enumerate(files):
            Image.new("RGB", (64, 48), (i * 40, len(split) * 9, 7)).save(folder / split / name)
        table = {
            "images": [{"id": i, "file_name": name, "width": 64, "height": 48} for i, name in enumerate(files)],
            "annotations": [
                {"id": i + 1, "image_id": i, "category_id": 1, "bbox": boxes["dog"]} for i in range(len(files))
            ],
            "categories": [{"id": 1, "name": "dog"}],
        }
        (folder / split / "gold.json").write_text(json.dumps(table))
    shutil.copy(folder / "train/2.jpg", folder / "val/9.jpg")
    kinds = {"own": ("val", ["val", "train"]), "other": ("coco", ["coco"])}
    for name, (split, splits) in kinds.items():
        parts = "".join(f'[splits.{part}]\nannotations = ["{part}/gold.json"]\n' for part in splits)
        (folder / f"{name}.toml").write_text(
            f'name = "{name}"\ntask = "detect"\nreader = "coco"\nsplit = "{split}"\n{parts}'
        )
    return folder


def ids(done):
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def test_leakage_is_looked_for_in_the_own_evaluation_split_or_where_told(typed, own):
    told = [own / "own.toml", "--family", "qwen2.5-vl", "--data-dir", own]
    refused = typed(*told)
    assert refused.returncode == 1
    assert "1 of 3 images to train on are evaluated" in refused.stderr
    assert "(own val: 9.jpg, the same bytes)" in refused.stderr
    dropped = typed(*told, "--shared", "drop")
    assert (dropped.returncode, ids(dropped)) == (0, ["own/train/0", "own/train/2"])
    other = typed(*told, "--check-against", own / "other.toml", "--shared", "drop")
    assert (other.returncode, ids(other)) == (0, ["own/train/0", "own/train/1"])
    assert "(other coco: 000000000139.jpg, the same COCO image)" in other.stderr
    none = typed(*told, "--check-against", "demo/odinw,demo/ovdeval")
    assert (none.returncode, len(ids(none))) == (0, 3)
    assert "warning" not in none.stderr


def test_what_could_not_be_compared_is_said(typed, own):
    told = [own / "own.toml", "--family", "qwen2.5-vl", "--data-dir", own]
    (own / "val/gold.json").unlink()
    done = typed(*told)
    assert done.returncode == 0
    assert "warning: images were not compared with own val, which cannot be read" in done.stderr
    (own / "own.toml").write_text((own / "own.toml").read_text().replace('split = "val"', 'split = "train"'))
    done = typed(*told)
    assert "warning: own has nothing to evaluate on, so images were not compared" in done.stderr
    (own / "train/1.jpg").unlink()
    done = typed(*told, "--check-against", own / "other.toml", "--shared", "warn")
    assert "1.jpg is not there: the rows name images that training will not find" in done.stderr
    assert "warning: 1 image files are not there, and were compared by name alone" in done.stderr
    assert typed(*told, "--check-against", "refcoco").returncode == 2


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["demo/coco"], "--family is missing"),
        ([*SMALL, "--boxes", "many"], "--boxes many: expected LOW-HIGH, such as 1-30"),
        ([*SMALL, "--negatives", "3-1"], "negatives 3-1: expected LOW-HIGH"),
        ([*SMALL, "--form", "tsv"], "unknown --form 'tsv' (known: rows, vlm-r1)"),
        ([*SMALL, "--shared", "keep"], "unknown --shared 'keep'"),
        ([*SMALL, "--order", "size"], "order 'size'"),
        ([*SMALL, "--boxes", "9"], "no sample is left of 400"),
        ([*SMALL, "--check-against", "nothing"], "unknown suite 'nothing'"),
        (["coco", "--family", "qwen2.5-vl", "--data-dir", "/nowhere"], "annotations of split 'train2017' are missing"),
        (["demo/coko", "--family", "qwen2.5-vl"], "did you mean 'demo/coco'"),
        (["demo/coco", "--family", "cogvlm"], "ask for one class a prompt: --set query=one"),
    ],
)
def test_errors_say_what_to_do(typed, told, words):
    done = typed(*told)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_exit_codes_of_the_command():
    assert vr1bench_rows(*SMALL, "--split", "val").returncode == 1
    done = vr1bench_rows("demo/coco")
    assert (done.returncode, done.stderr) == (
        2, "error: --family is missing: whose rows? see `vr1bench list families`\n",
    )  # fmt: skip


def test_a_file_of_options(tmp_path):
    (tmp_path / "rows.toml").write_text('family = "qwen2.5-vl"\nboxes = "1-2"\nlimit = 2\n[set]\nmax_pixels = 7056\n')
    done = vr1bench_rows("demo/coco", "--config", tmp_path / "rows.toml", "--limit", 4)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
