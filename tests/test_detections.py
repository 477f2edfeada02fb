"""Anybody's detections under a benchmark's protocol: equal to pycocotools on the shipped file, and refused if wrong."""

import contextlib
import io
import json
from collections import defaultdict

import numpy as np
import pytest
from command_line import started, typed
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import vr1bench
from vr1bench.metrics.ap import NAMES
from vr1bench.store import read_results

CHESS = "ChessPieces/Chess Pieces.v23-raw.coco/valid/annotations_without_background.json"


def pycocotools(gold, answers):
    """The twelve numbers of a COCO file and a list of detections; 0 for none, which `loadRes` cannot read."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(gold))
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(json.loads(json.dumps(answers))), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [None if value == -1 else value for value in judge.stats.tolist()]


def plain_iou(a, b):
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(0.0, across) * max(0.0, down)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def survivors(gold, answers):
    """What om-ai-lab/OVDEval 2ba0aa9 eval.py keeps, box by box; of equal scores the last in the file."""
    removed, kept = set(), set()
    for box in gold["annotations"]:
        near = [
            place
            for place, row in enumerate(answers)
            if row["image_id"] == box["image_id"] and plain_iou(box["bbox"], row["bbox"]) > 0.5
        ]
        if near:
            kept.add(max(near, key=lambda place: (answers[place]["score"], place)))
            removed.update(near)
    return [row for place, row in enumerate(answers) if place in kept or place not in removed]


def random_ovdeval(seed):
    """A file in OVDEval's layout, ids from 0, and detections of any of its classes, asked of their image or not.

    The last class is asked of no image and has no gold.
    """
    rng = np.random.default_rng(seed)
    names = [f"thing {i}" for i in range(6)]
    images, annotations, answers = [], [], []

    def box(near=None):
        sides = [*rng.integers(0, 60, 2), *rng.integers(20, 50, 2)] if near is None else near + rng.integers(-5, 6, 4)
        return [int(side) for side in np.maximum(sides, [0, 0, 5, 5])]

    for i in range(12):
        asked = rng.permutation(5)[:3].tolist()
        images.append(
            {"id": 100 - i, "file_name": f"{i}.jpg", "width": 120, "height": 120,
             "text": [names[k] for k in asked[:1]], "neg_text": [names[k] for k in asked[1:]]}
        )  # fmt: skip
        gold = [] if i % 5 == 4 else [(asked[0], box()) for _ in range(rng.integers(1, 4))]
        for label, place in gold:
            annotations.append(
                {"id": len(annotations), "image_id": 100 - i, "category_id": label, "bbox": place, "iscrowd": 0,
                 "area": place[2] * place[3]}
            )  # fmt: skip
            answers += [
                {"image_id": 100 - i, "category_id": int(rng.choice([label, rng.integers(6)])),
                 "bbox": box(np.array(place)), "score": float(rng.integers(1, 5)) / 4}
                for _ in range(rng.integers(0, 4))
            ]  # fmt: skip
        answers.append({"image_id": 100 - i, "category_id": int(rng.integers(6)), "bbox": box(), "score": 0.5})
    categories = [{"id": i, "name": name, "supercategory": "object"} for i, name in enumerate(names)]
    rng.shuffle(answers)
    return {"images": images, "annotations": annotations, "categories": categories}, answers


def asked(gold):
    return {image["id"]: {*image["text"], *image["neg_text"]} for image in gold["images"]}


@pytest.fixture
def score(tmp_path):
    """Scores detections of a COCO-like dict, and gives the Result."""

    def scored(gold, answers, reader="coco", primary="AP", options="", **rest):
        (tmp_path / "gold.json").write_text(json.dumps(gold))
        (tmp_path / "mine.json").write_text(answers if isinstance(answers, str) else json.dumps(answers))
        (tmp_path / "own.toml").write_text(
            f'name = "own"\ntask = "detect"\nreader = "{reader}"\nprimary = "{primary}"\n[splits.val]\n'
            f'annotations = ["gold.json"]\n{options}'
        )
        (result,) = vr1bench.score_detections(
            tmp_path / "mine.json", benchmark=str(tmp_path / "own.toml"), data_dir=tmp_path, output=tmp_path / "out",
            **rest,
        )  # fmt: skip
        return result

    return scored


def twelve(result):
    return [result.values.metrics[name].value for name in NAMES]


# Real files


def test_golden_numbers_of_coco_val2014(shared_data, tmp_path):
    toml = tmp_path / "val2014.toml"
    toml.write_text(
        'name = "val2014"\ntask = "detect"\nreader = "coco"\n[splits.val]\n'
        'annotations = ["coco_val2014_100/instances_val2014_100.json"]\n'
    )
    file = shared_data / "coco_val2014_100" / "instances_val2014_fakebbox100_results.json"
    ask = {"benchmark": str(toml), "data_dir": shared_data, "output": tmp_path / "out"}
    (own,) = vr1bench.score_detections(file, **ask, overrides={"ids": "as-shipped"}, verify=True)
    assert [round(value, 4) for value in twelve(own)] == [
        0.5046, 0.6970, 0.5730, 0.5856, 0.5194, 0.5014, 0.3868, 0.5937, 0.5954, 0.6398, 0.5664, 0.5643,
    ]  # fmt: skip
    gold = json.loads((shared_data / "coco_val2014_100" / "instances_val2014_100.json").read_text())
    assert twelve(own) == pytest.approx(pycocotools(gold, json.loads(file.read_text())), abs=1e-12)
    assert own.values.counts == {"none": 1, "ok": 99}
    assert (own.values.n, own.values.requests, own.values.audit, own.values.audited) == (100, 0, (), {})
    assert max(own.values.verified.values()) < 1e-12
    (one,) = vr1bench.score_detections(file, **ask, scores="constant")
    assert round(one.primary.value, 4) == 0.5138
    assert (own.key.column, one.key.column) == (
        ("val2014", "val", "standard[ids=as-shipped]", "own"),
        ("val2014", "val", "standard", "constant"),
    )


@pytest.mark.parametrize(("ids", "value"), [("as-shipped", 0.9894), ("fixed", 1.0)])
def test_the_gold_of_chess_pieces(shared_data, tmp_path, ids, value):
    gold = json.loads((shared_data / "odinw" / CHESS).read_text())["annotations"]
    rows = [{key: row[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1} for row in gold]
    (tmp_path / "gold as boxes.json").write_text(json.dumps(rows))
    (result,) = vr1bench.score_detections(
        tmp_path / "gold as boxes.json", benchmark="odinw/ChessPieces", data_dir=shared_data, output=tmp_path / "out",
        overrides={"ids": ids},
    )  # fmt: skip
    assert round(result.primary.value, 4) == value
    assert (result.key.model, result.key.scores, result.values.n) == ("gold as boxes", "own", 58)


# Equal to the official evaluation


@pytest.mark.parametrize("seed", range(12))
def test_ovdeval_is_pycocotools_and_the_official_suppression(score, seed):
    gold, answers = random_ovdeval(seed)
    found = score(gold, answers, "ovdeval", "NMS-AP", protocol="vlm-r1")
    assert twelve(found) == pytest.approx(pycocotools(gold, answers), abs=1e-12)
    official = pycocotools(gold, survivors(gold, answers))
    numbers = [found.values.metrics[f"NMS-{name}"].value for name in NAMES[:3]]
    assert numbers == pytest.approx(official[:3], abs=1e-12)
    assert official[:3] != pycocotools(gold, answers)[:3]
    fixed = {**gold, "annotations": [row | {"id": row["id"] + 1} for row in gold["annotations"]]}
    assert twelve(score(gold, answers, "ovdeval")) == pytest.approx(pycocotools(fixed, answers), abs=1e-12)


def test_classes_that_an_image_is_not_asked_for_count_unless_the_protocol_drops_them(score):
    gold, answers = random_ovdeval(3)
    names, ours = {row["id"]: row["name"] for row in gold["categories"]}, asked(gold)
    fit = [row for row in answers if names[row["category_id"]] in ours[row["image_id"]]]
    options = {"reader": "ovdeval", "overrides": {"ids": "as-shipped", "unknown": "drop"}}
    dropped = score(gold, answers, **options)
    assert twelve(dropped) == pytest.approx(pycocotools(gold, fit), abs=1e-12)
    stray = len(answers) - len(fit)
    assert stray > 5
    assert dropped.values.flags == {"unknown label": stray}
    text = "detections of classes that their image is not asked for, "
    assert dropped.values.warnings == {text + "dropped": stray}
    assert score(gold, answers, "ovdeval").values.warnings == {text + "counted as wrong": stray}


def test_a_protocol_that_asks_for_what_is_there_sees_only_that(score):
    gold, answers = random_ovdeval(4)
    there = {(row["image_id"], row["category_id"]) for row in gold["annotations"]}
    fit = [row for row in answers if (row["image_id"], row["category_id"]) in there]
    found = score(gold, answers, overrides={"query": "positive", "ids": "as-shipped"})
    assert twelve(found) == pytest.approx(pycocotools(gold, fit), abs=1e-12)
    assert found.values.counts["unasked"] == 12 - len({image for image, _ in there}) == 2
    assert (found.values.boxes, sum(found.values.counts.values())) == (len(fit), 12)


def test_scores_by_the_order_of_the_file(score):
    gold, answers = random_ovdeval(5)
    ranked, seen = [], defaultdict(int)
    sizes = {image["id"]: sum(row["image_id"] == image["id"] for row in answers) for image in gold["images"]}
    for row in answers:
        ranked.append(row | {"score": 1 - seen[row["image_id"]] / sizes[row["image_id"]]})
        seen[row["image_id"]] += 1
    found = score(gold, answers, scores="order", overrides={"ids": "as-shipped"})
    assert twelve(found) == pytest.approx(pycocotools(gold, ranked), abs=1e-12)


def test_repeats_are_flagged_and_may_be_dropped(score):
    gold, answers = random_ovdeval(6)
    twice = [*answers, *(row | {"score": 0.1} for row in answers[:7]), answers[0] | {"category_id": 5}]
    kept = score(gold, twice)
    assert kept.values.flags == {"duplicate": 7}
    found = score(gold, twice, overrides={"duplicates": "drop", "ids": "as-shipped"})
    assert twelve(found) == pytest.approx(pycocotools(gold, [*answers, twice[-1]]), abs=1e-12)


def test_boxes_are_not_clipped_and_more_than_a_hundred_are_the_metrics_business(score):
    gold, answers = random_ovdeval(7)
    answers = [
        row | {"bbox": [row["bbox"][0] - 40, *row["bbox"][1:]], "score": row["score"] - i / 1e4}
        for i in range(30)
        for row in answers
    ]
    answers += [row | {"bbox": [50, 50, -20, 10]} for row in answers[:3]]
    found = score(gold, answers, overrides={"ids": "as-shipped"})
    assert twelve(found) == pytest.approx(pycocotools(gold, answers), abs=1e-12)


def test_ids_may_be_written_as_text(score):
    gold, answers = random_ovdeval(8)
    as_text = [row | {key: str(row[key]) for key in ("image_id", "category_id")} for row in answers]
    assert twelve(score(gold, as_text)) == twelve(score(gold, answers))
    for rows, key in ((gold["images"], "id"), (gold["annotations"], "image_id"), (answers, "image_id")):
        for row in rows:
            row[key] = f"photo {row[key]}"
    assert twelve(score(gold, answers)) != twelve(score(gold, []))


def test_no_detections_score_zero(score):
    gold, _ = random_ovdeval(9)
    found = score(gold, [], "ovdeval", "NMS-AP")
    assert (found.primary.value, found.values.metrics["AP"].value, found.values.metrics["F1@0.5"].value) == (0, 0, 0)
    assert found.values.counts == {"none": 12}
    assert score(gold, [], overrides={"query": "positive"}).values.counts == {"none": 10, "unasked": 2}


def test_images_that_are_no_samples_are_dropped_and_counted(score):
    gold, answers = random_ovdeval(10)
    few = score(gold, answers, options='options = { keep = "one of each" }')
    counts, kept = defaultdict(int), set()
    for row in gold["annotations"]:
        counts[row["image_id"]] += 1
    kept = {image for image, count in counts.items() if count == 1}
    outside = sum(row["image_id"] not in kept for row in answers)
    assert (few.values.n, few.values.warnings) == (
        len(kept), {"detections of images that are not scored, dropped": outside},
    )  # fmt: skip
    gold["images"][0] |= {"text": [], "neg_text": []}
    first = [row for row in answers if row["image_id"] == gold["images"][0]["id"]]
    silent = score(gold, answers, "ovdeval")
    assert silent.values.n == 11
    assert silent.values.warnings["detections of images that are not scored, dropped"] == len(first)
    assert score(gold, answers, overrides={"first": 4}).values.n == 4


def test_classes_of_one_name_are_one(score):
    gold, answers = random_ovdeval(11)
    gold["categories"][1]["name"] = gold["categories"][0]["name"]
    merged = {**gold, "annotations": [row | {"category_id": max(row["category_id"], 1)} for row in gold["annotations"]]}
    one = [row | {"category_id": max(row["category_id"], 1)} for row in answers]
    found = score(gold, answers, overrides={"ids": "as-shipped"})
    assert twelve(found) == pytest.approx(pycocotools(merged, one), abs=1e-12)
    assert found.values.warnings["classes with the name of another, counted as one"] == 1
    both = [answers[0] | {"category_id": label} for label in (0, 1)]
    assert score(gold, both).values.flags == {"duplicate": 1}


def test_the_fingerprint_is_of_the_file_and_the_rules_and_not_of_the_name(score):
    gold, answers = random_ovdeval(0)
    one = score(gold, answers)
    assert score(gold, answers, model="b").values == one.values
    others = [score(gold, answers[1:]), score(gold, answers, scores="constant"), score(gold, answers, primary="AP50")]
    assert len({one.values.fingerprint, *(other.values.fingerprint for other in others)}) == 4
    assert len({one.key.revision, *(other.key.revision for other in others)}) == 2


# What is refused


def first(**changes):
    return lambda answers: [answers[0] | changes, *answers[1:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (first(image_id=7), r"mine.json\[0\]: expected the id of a listed image, got 7; are these results of another"),
        (first(category_id=6), r"\[0\]: expected a category_id of the annotation file \(0, 1, 2, 3, 4, 5\), got 6"),
        (first(category_id=None), r"expected a category_id of the annotation file .*, got None"),
        (first(category_id=[1]), r"expected a number or a string as category_id, got a list"),
        (first(bbox=[1, 2, float("nan"), 4]), r"\[0\]: expected 4 finite numbers as bbox, got \[1, 2, nan, 4\]"),
        (first(bbox=[1, 2, 3]), r"expected 4 finite numbers as bbox"),
        (first(bbox=[1e308, 0, 1e308, 1]), r"expected a box of finite corners and area"),
        (first(score=float("nan")), r"expected a finite number as score, got nan"),
        (first(score="0.9"), r"expected a finite number as score, got '0.9'"),
        (lambda rows: [dict(list(rows[0].items())[:3])], r"expected an object with 'score', got only"),
        (lambda rows: {"annotations": rows}, r"expected a list of \{image_id.*got a dict; pass its 'annotations'"),
        (lambda rows: [1], r"expected an object with 'bbox', got a int"),
        (lambda rows: "<html><body>404</body></html>", r"mine.json: expected json, got something else"),
        (lambda rows: "  \n", r"mine.json: expected json, got an empty file"),
        (lambda rows: json.dumps(rows)[:-9], r"is it cut short\?"),
        (lambda rows: "[" * 200_000, r"expected json, got something else"),
    ],
)  # fmt: skip
def test_refused_files(score, tmp_path, change, words):
    gold, answers = random_ovdeval(0)
    with pytest.raises(vr1bench.Vr1benchError, match=words):
        score(gold, change(answers))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scores": "logprob"}, "a file of detections holds no token log-probabilities; expected own, constant or ord"),
        ({"scores": "best"}, "'best'"),
        ({"protocol": "standart"}, "did you mean 'standard'"),
        ({"split": "test"}, "unknown split of own 'test'"),
        ({"model": "a|b"}, "expected a name for the row"),
        ({"model": "a\nb"}, "expected a name for the row"),
        ({"overrides": {"max_detections": 5}, "verify": True}, "cannot verify max_detections=5"),
    ],
)
def test_refused_words(score, options, words):
    with pytest.raises(vr1bench.Vr1benchError, match=words):
        score(*random_ovdeval(0), **options)


def test_equal_ids_of_two_kinds_are_refused(score):
    gold, answers = random_ovdeval(0)
    gold["categories"].append({"id": "1", "name": "thing"})
    with pytest.raises(vr1bench.Vr1benchError, match="own: categories: some ids are equal but for their kind"):
        score(gold, answers)


def test_data_without_category_ids_is_refused(tmp_path):
    row = {"image_path": "a.jpg", "width": 9, "height": 9, "categories": ["x"], "bboxes": [], "labels": []}
    (tmp_path / "val.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "rows.toml").write_text(
        'name = "rows"\ntask = "detect"\nreader = "detect-rows"\n[splits.val]\nannotations = ["val.jsonl"]\n'
    )
    with pytest.raises(vr1bench.Vr1benchError, match=r"rows: its data \(reader 'detect-rows'\) has no category ids"):
        vr1bench.score_detections(tmp_path / "x.json", benchmark=str(tmp_path / "rows.toml"), data_dir=tmp_path)


def test_phrases_and_questions_are_refused(tmp_path):
    with pytest.raises(vr1bench.Vr1benchError, match="refcoco: its task is 'refer', and a file of detections answers"):
        vr1bench.score_detections(tmp_path / "x.json", benchmark=["coco", "refcoco"])


def test_a_model_that_writes_has_no_scores_of_its_own(coco_folder):
    options = {
        "benchmark": str(coco_folder / "small.toml"), "data_dir": coco_folder, "output": coco_folder / "out",
        "engine": "oracle", "family": "absolute",
    }  # fmt: skip
    with pytest.raises(vr1bench.Vr1benchError, match="scores 'own' are a detector's"):
        vr1bench.run("demo", scores="own", **options)
    assert not (coco_folder / "out").exists()
    vr1bench.run("demo", **options)
    (folder,) = (coco_folder / "out").glob("runs/*/small/*")
    with pytest.raises(vr1bench.Vr1benchError, match="scores 'own' are a detector's"):
        vr1bench.rescore(folder, changes={"scores": "own"})


# A suite and a folder


@pytest.fixture
def ovdeval(tmp_path):
    """The eight files of OVDEval, and a folder of detections for each."""
    from vr1bench.benchmark import suite

    folder = tmp_path / "my detector"
    for seed, one in enumerate(suite("ovdeval")):
        gold, answers = random_ovdeval(seed)
        place = tmp_path / one.splits["test"].annotations[0]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(gold))
        # Both names that a file may have
        answer = folder / f"{one.name if seed % 2 else one.name.rpartition('/')[2]}.json"
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text(json.dumps(answers))
    return tmp_path, folder


def test_a_folder_is_one_row(ovdeval):
    data, folder = ovdeval
    results = vr1bench.score_detections(folder, "ovdeval", data_dir=data, output=data / "out")
    assert [result.key.benchmark.rpartition("/")[2] for result in results] == [
        "celebrity", "logo", "landmark", "color", "material", "position", "relationship", "negation",
    ]  # fmt: skip
    assert {result.key.model for result in results} == {"my detector"}
    assert len({result.key.revision for result in results}) == 1
    assert len({result.values.fingerprint for result in results}) == 8
    assert [result for _, result in read_results(data / "out")] == sorted(results, key=lambda one: one.key.benchmark)


def test_missing_files_are_listed_and_nothing_is_written(ovdeval):
    data, folder = ovdeval
    (folder / "celebrity.json").unlink()
    (folder / "ovdeval" / "logo.json").unlink()
    with pytest.raises(
        vr1bench.Vr1benchError, match=r"2 of 8 files .*: \S.*ovdeval/celebrity.json or .*celebrity.json, .*logo"
    ):
        vr1bench.score_detections(folder, "ovdeval", data_dir=data, output=data / "out")
    (folder / "celebrity.json").write_text("[]")
    (folder / "logo.json").write_text("{}")
    with pytest.raises(vr1bench.Vr1benchError, match="expected a list of"):
        vr1bench.score_detections(folder, "ovdeval", data_dir=data, output=data / "out")
    assert not (data / "out").exists()
    with pytest.raises(vr1bench.Vr1benchError, match="is no folder; expected one with a file for each of 8 benchmarks"):
        vr1bench.score_detections(folder / "logo.json", "ovdeval", data_dir=data)


def test_a_last_name_that_two_benchmarks_share_names_neither(tmp_path):
    (tmp_path / "coco.json").write_text("[]")
    with pytest.raises(vr1bench.Vr1benchError, match=r"1 of 2 files of detections are missing: \S+demo/coco.json$"):
        vr1bench.score_detections(tmp_path, benchmark=["coco", "demo/coco"])


# The command line


def columns(board):
    (header,) = (line for line in board.read_text().splitlines() if line.startswith("| model"))
    return [name.strip() for name in header.strip("|").split("|")]


def test_a_row_of_the_leaderboard(coco_folder):
    answers = [{"image_id": 3, "category_id": 1, "bbox": [2, 3, 20, 10], "score": 0.5}]
    (coco_folder / "mine.json").write_text(json.dumps(answers))
    words = [
        "score", "--benchmark", coco_folder / "small.toml", "--coco-results", "mine.json", "--data-dir", coco_folder,
        "--model", "Grounding DINO-T",
    ]  # fmt: skip
    board = coco_folder / "results" / "LEADERBOARD.md"
    done = started(*words, cwd=coco_folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[2].split()[:6] == ["small", "val", "AP", "25.2", "±36.5", "25.2"]
    assert "1 ok, 2 none" in done.stdout
    written = board.read_text()
    assert columns(board) == ["model", "small val, AP, standard, own, n=3", "date", "commit"]
    assert written.count("| Grounding DINO-T@") == 1
    assert typed(*words, cwd=coco_folder).returncode == 0
    assert board.read_text() == written
    done = typed(*words, "--scores", "constant", "--verify", "--json", cwd=coco_folder)
    (result,) = json.loads(done.stdout)
    assert (result["key"]["scores"], result["run"]["engine"], result["run"]["sampling"]) == (
        "constant", "detections", None,
    )  # fmt: skip
    assert "verified: small: pycocotools" in done.stderr
    headings = [f"small val, AP, standard, {scores}, n=3" for scores in ("constant", "own")]
    assert columns(board) == ["model", *headings, "date", "commit"]
    assert len(list(read_results(coco_folder / "results"))) == 2
    # Other detections under the same name are another row, and stand beside a model's.
    (coco_folder / "mine.json").write_text("[]")
    assert typed(*words, cwd=coco_folder).returncode == 0
    assert board.read_text().count("| Grounding DINO-T@") == 2


def test_a_suite_prints_its_mean(ovdeval):
    data, folder = ovdeval
    done = typed("score", "--suite", "ovdeval", "--coco-results", folder, "--data-dir", data, cwd=data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("mean of 5 aspects")
    assert len(done.stdout.splitlines()) == 11


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--coco-results", "x.json"], "for a row of the leaderboard --coco-results goes with --benchmark or --suite"),
        (["--coco-gt", "x.json", "--coco-results", "x.json", "--benchmark", "coco"], "nothing else"),
        (["--coco-gt", "x.json", "--coco-results", "x.json", "--model", "x"], "nothing else"),
        (["--benchmark", "coco"], "go together"),
        (["--model", "x"], "go together"),
        (["somewhere", "--coco-results", "x.json", "--benchmark", "coco"], "expected one of the two"),
        (["--coco-results", "x.json", "--benchmark", "coco", "--limit", "3"], "expected one of the two"),
        (["--coco-results", "x.json", "--benchmark", "coco", "--family", "absolute"], "expected one of the two"),
        (["--coco-results", "x.json", "--benchmark", "coco", "--suite", "coco"], "and not both"),
        (["--coco-results", "x.json", "--benchmark", "coc"], "did you mean 'coco'"),
        (["--coco-results", "x.json", "--benchmark", "refcoco"], "refcoco: its task is 'refer'"),
        (["--coco-results", "x.json", "--suite", "demo"], "demo/rec: its task is 'refer'"),
        (["--coco-results", "x.json", "--benchmark", "demo/coco"], "cannot read x.json: No such file"),
        (["--coco-results", ".", "--benchmark", "demo/coco"], "1 of 1 files of detections are missing"),
        (["--coco-results", "x.json", "--benchmark", "coco"], "coco: the annotations of split 'val2017' are missing"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path / "cache"))
    done = typed("score", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")
