"""Shards of a run: each sample is in one of them, and merged they are the run that nobody divided."""

import json
import re
import shlex
import shutil
import subprocess
from itertools import chain, pairwise
from pathlib import Path

import pytest
from command_line import COMMAND, Done, typed

import vr1bench
from vr1bench.errors import NotComparableError, Vr1benchError
from vr1bench.journal import Journal
from vr1bench.merging import merge
from vr1bench.ordering import Shard
from vr1bench.running import plan
from vr1bench.types import Completion, Record

SAMPLES = 20


@pytest.fixture
def many(coco_folder: Path) -> Path:
    """The small set with more samples, every other one with two classes; the oracle opens no picture."""
    data = json.loads((coco_folder / "gold.json").read_text())
    image, annotation = data["images"][0], data["annotations"][0]
    data["images"] = [{**image, "id": i, "file_name": f"{i}.png"} for i in range(SAMPLES)]
    places = [(i, 1) for i in range(SAMPLES)] + [(i, 2) for i in range(0, SAMPLES, 2)]
    data["annotations"] = [{**annotation, "id": n, "image_id": i, "category_id": c} for n, (i, c) in enumerate(places)]
    (coco_folder / "gold.json").write_text(json.dumps(data))
    return coco_folder


def words(folder: Path, *more: object, output: str = "out", engine: str = "oracle") -> list[object]:
    return [
        "run", "--model", "m", "--engine", engine, "--family", "absolute", "--benchmark", folder / "small.toml",
        "--data-dir", folder, "--output", folder / output, "--quiet", *more,
    ]  # fmt: skip


def asked(folder: Path, index: int, count: int, *more: object, **options: str) -> Done:
    done = typed(*words(folder, "--shard", f"{index}/{count}", *more, **options))
    assert done.returncode == 0, done.stderr
    return done


def merged(folder: Path, output: str, *shards: object, limit: int | None = None) -> vr1bench.Result:
    (result,) = merge(folder / output, [folder / str(one) for one in shards], limit=limit)
    return result


def alone(folder: Path, *more: object, output: str = "single", **options: str) -> vr1bench.Result:
    assert typed(*words(folder, *more, output=output, **options)).returncode == 0
    ((_, result),) = vr1bench.read_results(folder / output)
    return result


def run_folder(output: Path) -> Path:
    (found,) = output.rglob("records.jsonl")
    return found.parent


def keys(folder: Path) -> list[str]:
    return [json.loads(line)["key"] for line in (folder / "records.jsonl").read_text().splitlines()]


def same(one: vr1bench.Result, other: vr1bench.Result) -> bool:
    return one.key == other.key and one.values.model_dump_json() == other.values.model_dump_json()


@pytest.mark.parametrize("limit", [None, 1, 7, 19])
@pytest.mark.parametrize("protocol", ["standard", "qwen2.5"])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 20, 33])
def test_each_sample_is_in_one_share_and_the_shares_are_equal(many, count, protocol, limit):
    def samples(shard: str | None, limit: int | None = limit) -> list[str]:
        (job,) = plan(
            "m", None, str(many / "small.toml"), engine="oracle", family="qwen2.5-vl", protocol=protocol, split=None,
            limit=limit, changes={"shuffle": 3}, data_dir=many, output=many / "out", seed=0, gen_args={},
            engine_args={}, shard=shard,
        )  # fmt: skip
        assert job.count == len(list(job.samples()))
        assert job.key.split == (f"val[:{limit}]" if limit else "val")
        return [sample.id for sample in job.samples()]

    shares = [samples(f"{index}/{count}") for index in range(1, count + 1)]
    whole = samples(None)
    assert sorted(chain.from_iterable(shares)) == sorted(whole)
    assert len(whole) == (limit or SAMPLES)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert shares == [samples(f"{index}/{count}") for index in range(1, count + 1)]
    for index, share in enumerate(shares, 1):
        assert share == [one for one in whole if one in share]  # in the protocol's order
        assert set(share) <= set(samples(f"{index}/{count}", None))  # a longer run keeps what a shorter one asked


def with_shared_pictures(folder: Path) -> None:
    """Three samples of each picture, far apart in the file: pictures 0, 1, ... 6, 0, 1, ..."""
    data = json.loads((folder / "gold.json").read_text())
    for place, image in enumerate(data["images"]):
        image["file_name"] = f"{place % 7}.png"
    (folder / "gold.json").write_text(json.dumps(data))


@pytest.mark.parametrize("limit", [None, 9])
def test_samples_of_one_picture_are_asked_by_one_shard_one_after_the_other(many, limit):
    with_shared_pictures(many)
    pictures: list[list[str]] = []
    for index in (1, 2, 3):
        (job,) = plan(
            "m", None, str(many / "small.toml"), engine="oracle", family="qwen2.5-vl", protocol="standard", split=None,
            limit=limit, changes={}, data_dir=many, output=many / "out", seed=0, gen_args={}, engine_args={},
            shard=f"{index}/3",
        )  # fmt: skip
        rows, _ = job.lacking(set())
        pictures.append([request.images[0].name for request in job.pending(set(), rows)])
        assert len(rows) == job.count
    whole = [f"{place % 7}.png" for place in range(limit or SAMPLES)]
    assert sorted(chain.from_iterable(pictures)) == sorted(whole)
    assert [sorted(set(names)) for names in pictures] == [["0.png", "3.png", "6.png"], ["1.png", "4.png"],
                                                          ["2.png", "5.png"]]  # fmt: skip
    for names in pictures:
        assert sum(a != b for a, b in pairwise(names)) == len(set(names)) - 1


def test_a_gap_in_shared_pictures_names_the_shard_that_asks_them(many):
    with_shared_pictures(many)
    for index in (1, 3):
        asked(many, index, 3)
    done = typed("merge", many / "merged", many / "out")
    assert "small: shard 2/3 lacks 6 answers" in done.stderr
    asked(many, 2, 3)
    assert same(merged(many, "merged", "out"), alone(many))


@pytest.mark.parametrize("text", ["0/3", "4/3", "a/b", "1", "1/", "-1/3", "1/0", "1.0/3", "1/3/5", "", "\u0661/3"])
def test_a_share_that_is_none_is_refused(many, text):
    done = typed(*words(many, f"--shard={text}"))
    assert done.returncode == 2
    assert f"--shard {text}: expected i/n with i from 1 to n, such as 1/4" in done.stderr
    assert not (many / "out").exists()


def test_a_shard_is_no_number(many):
    done = asked(many, 2, 3, "--limit", 10)
    folder = run_folder(many / "out")
    assert folder.name == "val.standard.constant.shard-2-of-3"
    assert f"small: shard 2/3 is complete: 3 samples, 3 answers in {folder}" in done.stdout
    assert "vr1bench merge" in done.stdout
    assert sorted(path.name for path in (many / "out").iterdir()) == ["runs"]
    done = typed("score", folder)
    assert done.returncode == 1
    assert "is shard 2/3 of a run: alone it is no number" in done.stderr


@pytest.mark.parametrize("more", [(), ("--limit", 11), ("--set", "query=one"), ("--set", "shuffle=3")])
@pytest.mark.parametrize("shared", [True, False], ids=["one folder", "a folder each"])
def test_merged_shards_are_the_run_that_nobody_divided(many, shared, more):
    whole = alone(many, *more)
    outputs = ["out"] * 3 if shared else ["a", "b", "c"]
    for index, output in enumerate(outputs, 1):
        asked(many, index, 3, *more, output=output)
    limit = more[1:] if more[:1] == ("--limit",) else ()
    target = many / ("out" if shared else "merged")
    done = typed(
        "merge", target, *(many / one for one in dict.fromkeys(outputs)), *(["--limit", *limit] if limit else [])
    )
    assert done.returncode == 0, done.stderr
    ((path, result),) = vr1bench.read_results(target)
    assert same(result, whole)
    assert path.relative_to(target) in {
        p.relative_to(many / "single") for p, _ in vr1bench.read_results(many / "single")
    }
    board = (target / "LEADERBOARD.md").read_text()
    assert whole.key.title in board
    assert board == (many / "single" / "LEADERBOARD.md").read_text()
    assert "small val" in done.stdout
    folder = target / run_folder(many / "single").relative_to(many / "single")
    assert keys(folder) == keys(run_folder(many / "single"))
    assert vr1bench.rescore(folder, limit=limit[0] if limit else None)[0].values == whole.values


def test_replayed_shards_merge_to_the_replayed_run(many):
    rows = [{"sample_id": str(i), "text": '[{"bbox_2d": [2, 3, 22, 13], "label": "dog"}]'} for i in range(SAMPLES)]
    rows[3]["text"] = "None"
    rows[5]["text"] = '[{"bbox_2d": [2, 3'
    (many / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = ("--engine-args", f"file={many / 'rows.jsonl'}")
    whole = alone(many, *more, engine="replay")
    assert len(whole.values.counts) == 3
    for index in (1, 2):
        asked(many, index, 2, *more, output=f"s{index}", engine="replay")
    assert same(merged(many, "merged", "s2", "s1"), whole)


def test_several_benchmarks_merge_at_once_and_what_is_whole_is_told(many):
    (many / "two.toml").write_text((many / "small.toml").read_text().replace("small", "two"))
    for index in (1, 2):
        asked(many, index, 2, "--benchmark", many / "two.toml")
    assert [result.key.benchmark for result in merge(many / "a", [many / "out"])] == ["small", "two"]
    (records,) = (many / "out").glob("runs/*/two/*2-of-2/records.jsonl")
    records.write_text("")
    done = typed("merge", many / "b", many / "out")
    assert done.returncode == 1
    assert "two: shard 2/2 lacks 10 answers" in done.stderr
    assert "small" in done.stdout
    assert [result.key.benchmark for _, result in vr1bench.read_results(many / "b")] == ["small"]
    assert not list((many / "b").glob("runs/*/two"))


def test_more_shards_than_samples(many):
    whole = alone(many, "--limit", 2)
    for index in range(1, 5):
        done = asked(many, index, 4, "--limit", 2)
        assert f"shard {index}/4 is complete: {int(index < 3)} samples" in done.stdout
    assert same(merged(many, "merged", "out", limit=2), whole)
    empty = next((many / "out").rglob("*shard-4-of-4"))
    shutil.rmtree(empty)
    assert same(merged(many, "again", "out", limit=2), whole)  # a share of nothing is nowhere missed


def test_a_longer_run_of_shards_keeps_the_answers_of_a_shorter(many):
    for limit in (5, 12):
        for index in (1, 2):
            asked(many, index, 2, "--limit", limit)
    assert sum(len(path.read_text().splitlines()) for path in (many / "out").rglob("records.jsonl")) == 12
    assert merged(many, "out", "out", limit=5).values.n == 5
    assert merged(many, "out", "out", limit=12).values.n == 12
    (journal,) = (path for path in (many / "out").rglob("records.jsonl") if "shard" not in path.parent.name)
    assert len(keys(journal.parent)) == len(set(keys(journal.parent))) == 12
    with pytest.raises(vr1bench.IncompleteError, match=r"shard 1/2 lacks 4 answers.*\n.*\n.*shard 2/2 lacks 4"):
        merged(many, "out", "out")


def test_a_killed_shard_goes_on_where_it_stopped(many):
    data = json.loads((many / "gold.json").read_text())
    image, annotation = data["images"][0], data["annotations"][0]
    data["images"] = [{**image, "id": i, "file_name": f"{i}.png"} for i in range(3000)]
    data["annotations"] = [{**annotation, "id": i, "image_id": i} for i in range(3000)]
    (many / "gold.json").write_text(json.dumps(data))
    command = [str(word) for word in words(many, "--shard", "1/2") if word != "--quiet"]
    run = subprocess.Popen([*COMMAND, *command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seen = b""
    while not re.search(rb"[1-9]\d{2,}/\d", seen) and (more := run.stderr.read(1)):  # until the bar counts hundreds
        seen += more
    run.kill()
    run.wait()
    run.stderr.close()
    folder = run_folder(many / "out")
    assert 0 < len((folder / "records.jsonl").read_text().splitlines()) < 1500
    assert asked(many, 1, 2).returncode == 0
    asked(many, 2, 2)
    assert len(keys(folder)) == len(set(keys(folder))) == 1500
    assert same(merged(many, "merged", "out"), alone(many))


def answered(folder: Path, text: str) -> None:
    """Changes the last answer of a run folder."""
    *lines, last = (folder / "records.jsonl").read_text().splitlines()
    row = json.loads(last)
    row["completion"]["text"] = text
    (folder / "records.jsonl").write_text("\n".join([*lines, json.dumps(row), ""]))


def test_a_shard_given_twice_must_say_the_same(many):
    for index in (1, 2):
        asked(many, index, 2)
    asked(many, 2, 2, output="again")
    twin = run_folder(many / "again")
    rows = [json.loads(line) for line in (twin / "records.jsonl").read_text().splitlines()]
    slow = [
        {**row, "completion": {**row["completion"], "seconds": 9.0, "n_cached": 5, "image_reused": True}}
        for row in rows
    ]
    (twin / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in slow))
    assert same(merged(many, "merged", "out", "again", "out"), alone(many))  # the same answers, some of them slower
    answered(twin, "[]")
    done = typed("merge", many / "other", many / "out", many / "again")
    assert done.returncode == 3
    assert re.search(r"sample 19 has two different answers, in .*out.* and in .*again", done.stderr)
    assert not (many / "other").exists()


def test_what_the_output_holds_of_the_run_must_agree_and_is_kept(many):
    for index in (1, 2):
        asked(many, index, 2)
    whole = alone(many, "--limit", 9, output="merged")
    folder = run_folder(many / "merged")
    before = (folder / "records.jsonl").read_bytes()
    result = merged(many, "merged", "out")
    assert (whole.values.n, result.values.n) == (9, SAMPLES)
    assert (folder / "records.jsonl").read_bytes().startswith(before)
    answered(folder, "[]")
    before = (folder / "records.jsonl").read_bytes()
    with pytest.raises(NotComparableError, match="two different answers"):
        merged(many, "merged", "out")
    assert (folder / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize("gone", ["folder", "answers", "failures"])
def test_a_gap_is_told_with_the_command_that_fills_it(many, gone):
    more = ("--protocol", "qwen2.5", "--set", "ids=fixed", "--set", "query=all", "--gen-args", "top_k=5", "--seed", 3,
            "--limit", 18)  # fmt: skip
    for index in (1, 2, 3):
        asked(many, index, 3, *more)
    hurt = next((many / "out").rglob("*shard-3-of-3"))
    if gone == "folder":
        shutil.rmtree(hurt)
    elif gone == "answers":
        (hurt / "records.jsonl").unlink()
    else:
        rows = [json.loads(line) for line in (hurt / "records.jsonl").read_text().splitlines()]
        bad = [{"key": row["key"], "sample_id": row["sample_id"], "failure": {"error": "x"}} for row in rows]
        (hurt / "records.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bad))
    done = typed("merge", many / "merged", many / "out", "--limit", 18)
    assert done.returncode == 1
    assert "small: shard 3/3 lacks 6 answers, " in done.stderr
    assert "samples 2, 5, 8, 11, 14, ...\n" in done.stderr
    assert ("no folder of it is given" in done.stderr) == (gone == "folder")
    assert not (many / "merged").exists()
    (command,) = re.findall(r"^  (vr1bench run .*)$", done.stderr, re.MULTILINE)
    told = shlex.split(command)[1:]
    told[told.index("small.toml")] = str(many / "small.toml")  # where a file of one's own lies, nobody wrote down
    assert typed(*told, "--quiet").returncode == 0
    assert same(merged(many, "merged", "out", limit=18), alone(many, *more))


@pytest.mark.parametrize(
    ("more", "options", "place"),
    [
        (("--seed", 3), {}, "sampling.seed"),
        (("--family", "qwen3-vl"), {}, "family"),
        (("--set", "max_detections=5"), {}, None),
        (("--scores", "order"), {}, None),
    ],
)
def test_shards_of_two_runs_never_mix(many, more, options, place):
    asked(many, 1, 2, output="a")
    asked(many, 2, 2, *more, output="b", **options)
    done = typed("merge", many / "merged", many / "a", many / "b")
    if place is None:  # another column: two runs, of which each lacks half
        assert done.returncode == 1
        assert "shard 2/2 lacks" in done.stderr
        assert "shard 1/2 lacks" in done.stderr
    else:
        assert done.returncode == 3
        assert f"are no shards of one run: {place}" in done.stderr
    assert not (many / "merged").exists()


def test_shards_of_two_engines_or_data_never_mix(many):
    asked(many, 1, 2, output="a")
    asked(many, 2, 2, output="b")
    path = run_folder(many / "b") / "run.json"
    stored = json.loads(path.read_text())
    for place, value in (("engine", "hf"), ("data_sha256", "0" * 64)):
        path.write_text(json.dumps({**stored, "identity": {**stored["identity"], place: value}}))
        with pytest.raises(NotComparableError, match=f"are no shards of one run: {place} is"):
            merged(many, "merged", "a", "b")
    path.write_text(json.dumps(stored))
    (many / "gold.json").write_text((many / "gold.json").read_text() + " ")
    with pytest.raises(Vr1benchError, match="annotations changed"):
        merged(many, "merged", "a", "b")


def test_shares_of_two_sizes_never_mix(many):
    asked(many, 1, 2)
    asked(many, 2, 3)
    with pytest.raises(NotComparableError, match=r"are no shards of one run: shard is '1/2' and '2/3'"):
        merged(many, "merged", "out")


def test_an_output_of_another_run_is_refused(many):
    for index in (1, 2):
        asked(many, index, 2, "--seed", 4)
    alone(many, output="merged")
    with pytest.raises(Vr1benchError, match=r"belongs to another run: its sampling\.seed is 0, this run's is 4"):
        merged(many, "merged", "out")


def test_what_holds_no_shard_is_said(many):
    alone(many)
    (many / "empty").mkdir()
    for folder, said in ((run_folder(many / "single"), "is a run of its own"), (many / "empty", "holds no shard"),
                         (many / "single", "holds no shard"), (many / "gone", "holds no shard")):  # fmt: skip
        with pytest.raises(Vr1benchError, match=said):
            merge(many / "merged", [folder])
    with pytest.raises(Vr1benchError, match="expected the folders"):
        merge(many / "merged", [])
    with pytest.raises(Vr1benchError, match="1 or more samples"):
        merge(many / "merged", [many / "single"], limit=0)


def test_a_shard_still_at_work_is_not_merged(many):
    for index in (1, 2):
        asked(many, index, 2)
    folder = next((many / "out").rglob("*shard-1-of-2"))
    with (
        Journal(folder, json.loads((folder / "run.json").read_text())["identity"]),
        pytest.raises(Vr1benchError, match="in use by another"),
    ):
        merged(many, "merged", "out")


def test_shards_from_elsewhere_are_merged_where_the_data_lies_now(many, tmp_path):
    whole = alone(many)
    for index in (1, 2):
        asked(many, index, 2)
        shutil.copytree(next((many / "out").rglob(f"*shard-{index}-of-2")), tmp_path / f"brought-{index}")
    moved = many.rename(tmp_path / "moved")
    folders = [tmp_path / "brought-1", tmp_path / "brought-2"]
    with pytest.raises(Vr1benchError, match="--data-dir"):
        merge(tmp_path / "merged", folders)
    with pytest.raises(vr1bench.IncompleteError) as caught:
        merge(tmp_path / "merged", folders[:1], data_dir=moved)
    assert f"--shard 2/2 --data-dir {moved} --output {tmp_path / 'merged'}\n" in str(caught.value)
    (result,) = merge(tmp_path / "merged", folders, data_dir=moved)
    assert same(result, whole)


def test_a_sample_that_lacks_several_answers_is_named_once(many):
    for index in (1, 2):
        asked(many, index, 2, "--set", "query=one", "--limit", 6)
    (next((many / "out").rglob("*shard-2-of-2")) / "records.jsonl").write_text("")
    with pytest.raises(vr1bench.IncompleteError, match=r"lacks 6 answers, in .*: samples 1, 3, 5\n"):
        merged(many, "merged", "out", limit=6)


def test_a_share_is_written_as_it_is_read():
    assert str(Shard.of("02/10")) == "2/10"


def test_records_are_added_all_or_none(tmp_path):
    def record(number: int) -> Record:
        return Record(key=f"{number:032x}", sample_id=str(number), completion=Completion(text="é"))

    def broken():
        yield record(2)
        raise Vr1benchError("no more")

    with Journal(tmp_path, {}) as journal:
        journal.append(record(1))
        with pytest.raises(Vr1benchError, match="no more"):
            journal.extend(broken())
        assert (len(journal), record(2).key in journal) == (1, False)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "records.jsonl", "run.json"]
        journal.extend([record(2), record(3)])
        journal.append(record(4))
        assert [journal.read(record(n).key) for n in (1, 2, 3, 4)] == [record(n) for n in (1, 2, 3, 4)]
    with Journal(tmp_path, {}) as journal:
        assert len(journal) == 4
