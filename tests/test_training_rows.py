"""Training rows: what is asked and answered, what is chosen, what must not be trained on, and rows on disk."""

import dataclasses
import json
import pickle
import shutil
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from PIL import Image

import vr1bench
from vr1bench.benchmark import chosen, find
from vr1bench.curation import Curation
from vr1bench.demo.datasets import TRAINING_ID, write_demo_train
from vr1bench.errors import Vr1benchError
from vr1bench.families import FAMILIES
from vr1bench.leakage import HeldOut, coco_id, held_out, shared_images
from vr1bench.rewards import REWARDS
from vr1bench.rewards.gold_text import sample_of
from vr1bench.rows import Row, read_rows, rows, training_rows, training_split, write_rows
from vr1bench.types import Completion, PixelBudget, Request, Sampling, Status

QWEN = "qwen2.5-vl"
FIRM = {"family": QWEN, "split": "val"}
STEP_PX = 0.75
"""More than half a step of any answer grid on the demo's pictures, whose sides end at 180 px."""


def read_back(row, family, pixels=None):
    """A row's target as the evaluation reads it."""
    sample = sample_of(row.gold)
    request = Request("", "", sample.images, sample.width, sample.height, sample.queries, (), Sampling(), pixels)
    return FAMILIES[family].parse(Completion(text=row.completion), request)


def holds(row, family=QWEN, step=STEP_PX, pixels=None):
    """Whether a row's target says its gold."""
    gold, said = sample_of(row.gold).gold, read_back(row, family, pixels)
    assert said.status == (Status.OK if len(gold) else Status.NONE)
    assert said.detections.labels.tolist() == gold.labels.tolist()
    assert said.detections.boxes == pytest.approx(gold.boxes, abs=step)
    assert not said.unknown.any()
    return True


@cache
def everything():
    """Every row of the demo's training set, as it comes: the gold by id."""
    return {row.id: sample_of(row.gold).gold for row in rows("demo/coco", family=QWEN)}


def absent(row):
    """What a row asks though it is not there."""
    gold = sample_of(row.gold)
    return set(gold.queries) - set(gold.gold.labels.tolist())


# --- questions and targets


@pytest.mark.parametrize("family", [QWEN, "qwen3-vl", "griffon", "internvl", "florence-2"])
@pytest.mark.parametrize("name", ["demo/coco", "demo/rec", "demo/ovdeval"])
def test_targets_read_back_as_the_gold(name, family):
    found = rows(name, family=family, limit=40)
    assert len(found) == 40
    assert all(holds(row, family) for row in found)
    assert all(Path(row.images[0]).is_file() and Path(row.images[0]).is_absolute() for row in found)


def test_targets_stand_in_the_frame_that_a_smaller_feed_has():
    """A trainer that feeds fewer pixels needs other numbers; the gold stays."""
    small = {"max_pixels": 84 * 84}
    budget = PixelBudget(max_pixels=84 * 84)
    full, less = (rows("demo/coco", family=QWEN, limit=20, overrides=told) for told in ({}, small))
    assert [row.gold for row in full] == [row.gold for row in less]
    assert all(one.completion != two.completion for one, two in zip(full, less, strict=True) if one.completion != "[]")
    assert all(holds(row, step=2.5, pixels=budget) for row in less)


@pytest.mark.parametrize(
    ("name", "protocol", "overrides"),
    [
        ("demo/coco", "standard", {}),
        ("demo/coco", "standard", {"query": "one"}),
        ("demo/coco", "vision-r1", {}),
        ("demo/odinw", "vision-r1", {}),
        ("demo/coco", "vlm-r1", {}),
        ("demo/rec", "vlm-r1", {}),
        ("demo/rec", "standard", {}),
        ("demo/qa", "standard", {}),
    ],
)
def test_prompts_are_those_of_the_evaluation(name, protocol, overrides):
    told = {**FIRM, "protocol": protocol, "overrides": overrides}
    asked = list(vr1bench.questions(name, **told))
    found = rows(name, **told)
    assert Counter((row.prompt, row.images[0]) for row in found) == Counter(
        (row["text"], str(Path(row["image"]).resolve())) for row in asked
    )
    assert len({row.id for row in found}) == len(found)


def test_one_class_a_prompt_has_that_classs_gold_alone():
    found = rows("demo/coco", **FIRM, overrides={"query": "one"}, limit=3)
    assert len(found) == 3 * 24
    whole = {row.id: sample_of(row.gold) for row in rows("demo/coco", **FIRM)}
    for row in found:
        gold = sample_of(row.gold)
        assert len(gold.queries) == 1
        same = whole[row.id.rpartition(":")[0]].gold
        assert gold.gold.boxes.tolist() == same.boxes[same.labels == gold.queries[0]].tolist()
        assert holds(row)


def test_a_perfect_answer_is_paid_in_full():
    reward = REWARDS["vision-r1"]
    for row in rows("demo/coco", family=QWEN, boxes=(1, 30), limit=10):
        assert reward(sample_of(row.gold), read_back(row, QWEN)) == pytest.approx(3.0, abs=0.2)


def test_questions_have_their_answer_and_no_gold():
    found = rows("demo/qa", **FIRM, limit=5)
    assert {row.completion for row in found} <= set("ABCD")
    assert {row.gold for row in found} == {""}
    with pytest.raises(Vr1benchError, match="negatives are classes"):
        rows("demo/qa", **FIRM, negatives=(1, 3))


def test_a_protocols_own_part_of_the_samples_is_for_scoring(tmp_path):
    """VLM-R1 scores 2000 of RefCOCO's rows; it trains on all."""
    Image.new("RGB", (64, 48)).save(tmp_path / "a.jpg")
    row = {"image": "a.jpg", "width": 64, "height": 48, "problem": "x", "solution": [1, 2, 30, 40]}
    (tmp_path / "rec").mkdir()
    (tmp_path / "rec/rec_jsons_processed").mkdir()
    (tmp_path / "rec/rec_jsons_processed/refcoco_train.json").write_text(json.dumps([row] * 2001))
    shutil.copy(tmp_path / "a.jpg", tmp_path / "rec/a.jpg")
    told = {"family": QWEN, "protocol": "vlm-r1", "data_dir": tmp_path}
    found = rows("refcoco", **told)
    assert [row.id for row in found] == [f"refcoco/train/{i}" for i in range(2001)]
    assert len(list(vr1bench.questions("refcoco", split="train", **told))) == 2000


def test_the_split_to_train_on():
    assert training_split(find("coco")) == "train2017"
    assert training_split(find("demo/coco")) == training_split(find("refcoco")) == "train"
    assert training_split(find("odinw/Raccoon")) == training_split(find("vision-r1-data")) == "train"
    assert training_split(find("d3/full")) == "intra"


# --- curation


def test_limits_of_boxes():
    counts = Counter(map(len, everything().values()))
    kept = Counter(len(sample_of(row.gold).gold) for row in rows("demo/coco", family=QWEN, boxes=(2, 3)))
    assert counts[0] == 1
    assert max(counts) == 6
    assert kept == {2: counts[2], 3: counts[3]}
    with pytest.raises(Vr1benchError, match=r"no sample is left of 400: .* the data has samples of 0 to 6 boxes"):
        rows("demo/coco", family=QWEN, boxes=(7, 30))


def test_the_fewest_boxes_first_or_shuffled():
    told = {"family": QWEN, "boxes": (1, 30)}
    fewest = [len(sample_of(row.gold).gold) for row in rows("demo/coco", **told, order="boxes")]
    assert fewest == sorted(fewest)
    plain, mixed = rows("demo/coco", **told), rows("demo/coco", **told, order="shuffled")
    assert plain != mixed
    assert sorted(plain, key=lambda row: row.id) == sorted(mixed, key=lambda row: row.id)


@pytest.mark.parametrize(("share", "limit"), [(0.5, 40), (0.25, None), (0.75, None), (1.0, None), (0.0, 10), (1.0, 30)])
def test_a_share_of_hard_samples(share, limit):
    every = [len(gold) for gold in everything().values()]
    told = {"family": QWEN, "hard": share, "hard_boxes": 5, "limit": limit}
    numbers = [len(sample_of(row.gold).gold) for row in rows("demo/coco", **told)]
    hard = sum(number >= 5 for number in numbers)
    assert hard == round(share * len(numbers))
    if limit:
        assert len(numbers) == limit
    else:  # the largest set with this share: all hard ones are in it, or all others
        assert hard == sum(number >= 5 for number in every) or len(numbers) - hard == sum(n < 5 for n in every)


def test_negatives_are_names_that_are_not_there():
    found = rows("demo/coco", family=QWEN, negatives=(1, 3))
    assert {len(absent(row)) for row in found} == {1, 2, 3}
    for row in found:
        gold = sample_of(row.gold)
        assert gold.gold.labels.tolist() == everything()[row.id].labels.tolist()
        assert ", ".join(gold.queries) in row.prompt
        assert holds(row)
    order = find("demo/coco").load("train", None).queries[0]
    assert all(
        [*sample_of(row.gold).queries] == [n for n in order if n in sample_of(row.gold).queries] for row in found
    )
    with pytest.raises(Vr1benchError, match="under protocol vision-r1 asks for none such"):
        rows("demo/odinw", family=QWEN, split="val", protocol="vision-r1", negatives=(1, 3))


def test_seeds_reproduce_and_differ():
    told = {"family": QWEN, "negatives": (1, 3), "limit": 50, "order": "shuffled", "incomplete": 0.5}
    assert rows("demo/coco", **told, seed=3) == rows("demo/coco", **told, seed=3)
    assert rows("demo/coco", **told, seed=3) != rows("demo/coco", **told, seed=4)
    few, many = (rows("demo/coco", family=QWEN, negatives=(1, 3), limit=count) for count in (20, 100))
    prompts = {row.id: row.prompt for row in many}
    assert all(prompts.get(row.id, row.prompt) == row.prompt for row in few)
    assert len({row.id for row in few} & prompts.keys()) > 0


def test_incomplete_labels_keep_one_box_a_class():
    told = {"family": QWEN, "boxes": (1, 30)}
    whole = {name: Counter(gold.labels.tolist()) for name, gold in everything().items() if len(gold)}
    made = training_rows("demo/coco", family=QWEN, curation=Curation(boxes=(1, 30), incomplete=1.0))
    for row in made:
        assert Counter(sample_of(row.gold).gold.labels.tolist()) == dict.fromkeys(whole[row.id], 1)
        assert holds(row)
    lost = sum(sum(labels.values()) - len(labels) for labels in whole.values())
    assert lost > 50
    assert made.counts["boxes that incomplete labels lack"] == lost
    half = rows("demo/coco", **told, incomplete=0.5)
    fewer = sum(Counter(sample_of(row.gold).gold.labels.tolist()) != whole[row.id] for row in half)
    assert 0 < fewer < len(half)


def test_targets_are_read_row_by_row_and_from_left_to_right():
    moved = 0
    for filed, row in zip(
        rows("demo/coco", family=QWEN), rows("demo/coco", family=QWEN, targets="reading"), strict=True
    ):
        one, gold = sample_of(filed.gold), sample_of(row.gold).gold
        fed = FAMILIES[QWEN].fed_size(one.width, one.height, FAMILIES[QWEN].pixels)
        middles = [
            ((y1 + y2) / 2 * fed[1] / one.height // 28, (x1 + x2) / 2 * fed[0] / one.width)
            for x1, y1, x2, y2 in gold.boxes.tolist()
        ]
        assert middles == sorted(middles)
        same = [sorted(zip(each.boxes.tolist(), each.labels.tolist(), strict=True)) for each in (one.gold, gold)]
        assert same[0] == same[1]
        assert holds(row)
        moved += filed.completion != row.completion
    assert moved > 200


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"boxes": (3, 1)}, "boxes 3-1: expected LOW-HIGH"),
        ({"negatives": (-1, 1)}, "negatives -1-1: expected LOW-HIGH"),
        ({"hard": 1.5}, "hard 1.5: expected a share"),
        ({"limit": 0}, "limit 0: expected 1 or more"),
        ({"order": "size"}, "order 'size': expected file, boxes or shuffled"),
        ({"targets": "size"}, "targets 'size': expected file or reading"),
    ],
)
def test_settings_that_nothing_satisfies(told, words):
    with pytest.raises(Vr1benchError, match=words):
        rows("demo/coco", family=QWEN, **told)


# --- real forms


def test_crowds_and_boxes_without_size_are_no_targets_and_no_negatives(coco_folder):
    told = {"family": QWEN, "data_dir": coco_folder}
    whole = json.loads((coco_folder / "gold.json").read_text())
    whole["annotations"].append({"id": 9, "image_id": 5, "category_id": 2, "bbox": [3, 3, 0, 9], "iscrowd": 0})
    whole["annotations"].append({"id": 8, "image_id": 5, "category_id": 1, "bbox": [0, 0, 64, 48], "iscrowd": 1})
    (coco_folder / "gold.json").write_text(json.dumps(whole))
    made = training_rows(str(coco_folder / "small.toml"), **told)
    assert {row.id: sample_of(row.gold).gold.labels.tolist() for row in made} == {
        "small/val/3": ["dog", "cat"], "small/val/5": [], "small/val/7": ["dog"],
    }  # fmt: skip
    assert made.counts == {"boxes left out: crowds, without size, or of names that are not asked": 3}
    assert all(holds(row) for row in made)
    negative = training_rows(str(coco_folder / "small.toml"), **told, curation=Curation(negatives=(1, 1)))
    assert {row.id: sample_of(row.gold).queries for row in negative} == {
        "small/val/3": ("dog", "cat"), "small/val/7": ("dog", "cat"),
    }  # fmt: skip
    assert negative.counts["samples left out: nothing to ask of them"] == 1
    assert negative.counts["samples with fewer negatives than wanted, for want of names"] == 2


SENTENCES = [f"a thing of kind {i}" for i in range(8)]


@pytest.fixture
def d3(tmp_path):
    """D3's files: two groups of four sentences; picture 2 holds a box for a sentence of the other group."""
    boxes = [(0, 1, [1, 2, 10, 5]), (1, 2, [3, 4, 20, 15]), (1, 3, [5, 5, 9, 9]), (2, 5, [7, 7, 9, 9]), (2, 1, [1] * 4)]
    gold = {
        "images": [{"id": i, "file_name": f"g/{i}.jpg", "height": 60, "width": 80} for i in range(3)],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(SENTENCES)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "area": 50, "bbox": b, "iscrowd": 0}
            for n, (i, c, b) in enumerate(boxes)
        ],
    }  # fmt: skip
    for name in ("d3_json", "d3_pkl"):
        (tmp_path / "d3" / name).mkdir(parents=True)
    groups = {0: {"inner_sent_id": [1, 2, 3, 4]}, 1: {"inner_sent_id": [5, 6, 7, 8]}}
    (tmp_path / "d3/d3_pkl/images.pkl").write_bytes(pickle.dumps({i: {"group_id": i // 2} for i in range(3)}))
    (tmp_path / "d3/d3_pkl/groups.pkl").write_bytes(pickle.dumps(groups))
    (tmp_path / "d3/d3_json/d3_full_annotations.json").write_text(json.dumps(gold))
    for i in range(3):
        (tmp_path / "d3/d3_images/g").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (80, 60), (i, i, i)).save(tmp_path / f"d3/d3_images/g/{i}.jpg")
    return tmp_path


@pytest.mark.parametrize("split", ["intra", "inter"])
def test_d3_with_one_to_three_negatives(d3, split):
    seen = set()
    for seed in range(20):
        told = {"family": QWEN, "protocol": "vlm-r1", "split": split, "data_dir": d3, "seed": seed}
        for row in rows("d3/full", **told, negatives=(1, 3)):
            place = int(row.id[-1])
            group = SENTENCES if split == "inter" else SENTENCES[4 * (place // 2) :][:4]
            assert absent(row) <= set(group)
            assert 1 <= len(absent(row)) <= (2 if place == 1 and split == "intra" else 3)
            seen.add(len(absent(row)))
            assert f"detect the following objects: {list(sample_of(row.gold).queries)!r}." in row.prompt
            assert holds(row, step=1.0)
    assert seen == {1, 2, 3}


def test_d3_counts_boxes_for_sentences_that_are_not_asked(d3):
    made = training_rows("d3/full", family=QWEN, data_dir=d3)
    (third,) = [row for row in made if row.id == "d3/full/intra/2"]
    assert sample_of(third.gold).gold.labels.tolist() == [SENTENCES[4]]
    assert made.counts == {"boxes left out: crowds, without size, or of names that are not asked": 1}


def test_vision_r1s_data(tmp_path):
    for i in range(3):
        Image.new("RGB", (80, 60), (i, i, i)).save(tmp_path / f"{i}.jpg")
    boxes = [[1, 2, 30, 40], [5, 6, 70, 50]]
    table = [
        {"image": f"{i}.jpg", "width": 80, "height": 60, "problem": "Locate every dog.", "num_instances": count,
         "solution": json.dumps([["dog", boxes[:count]]] if count else []),
         "target_id_maps": json.dumps({"background": 0, "dog": 1, "cat": 2})}
        for i, count in enumerate((2, 1, 0))
    ]  # fmt: skip
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    toml = tmp_path / "own.toml"
    toml.write_text('name = "own"\ntask = "detect"\nreader = "vision-r1"\nsplit = "train"\n[splits.train]\n'
                    'annotations = ["train.jsonl"]\n')  # fmt: skip
    told = {"family": QWEN, "protocol": "vision-r1", "data_dir": tmp_path}
    found = rows(str(toml), **told, boxes=(1, 30), order="boxes")
    assert [row.id for row in found] == ["own/train/1", "own/train/0"]
    assert all(row.prompt.endswith("The category set includes dog, cat.") for row in found)
    assert all(holds(row, step=1.0) for row in found)


def test_odinws_real_training_files(shared_data):
    """Targets of real annotations, in the frame of the pictures' real sizes."""
    for name in ("Raccoon", "CottontailRabbits", "Aquarium", "pistols"):
        found = rows(f"odinw/{name}", family=QWEN, data_dir=shared_data, boxes=(1, 30))
        assert len(found) >= 7
        for row in found:
            gold = sample_of(row.gold)
            assert holds(row, step=1.0 + max(gold.width, gold.height) / 1000)


def test_real_coco_with_negatives(shared_data, tmp_path):
    toml = tmp_path / "coco100.toml"
    toml.write_text('name = "coco100"\ntask = "detect"\nreader = "coco"\n[splits.val]\n'
                    'annotations = ["coco_val2014_100/instances_val2014_100.json"]\n')  # fmt: skip
    made = training_rows(
        str(toml), family=QWEN, data_dir=shared_data, curation=Curation(boxes=(1, 30), negatives=(1, 3), hard=0.3)
    )
    found = list(made)
    numbers = [len(sample_of(row.gold).gold) for row in found]
    assert made.counts["samples with 10 boxes or more"] == sum(number >= 10 for number in numbers)
    assert sum(number >= 10 for number in numbers) == round(0.3 * len(found))
    assert all(1 <= len(absent(row)) <= 3 for row in found)
    assert all(holds(row, step=1.0) for row in found)
    assert {coco_id(Path(row.images[0])) is None for row in found} == {False}


# --- what must not be trained on


def test_the_demos_training_pictures_are_drawn_when_asked_for_and_are_nowhere_else(tmp_path, monkeypatch):
    """No picture that is trained on is evaluated: not by name, not by its bytes."""
    monkeypatch.setenv("VR1BENCH_CACHE", str(tmp_path))
    against = held_out(chosen("demo", None), None)
    assert len(against) == 7
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["demo-2"]
    for name in ("demo/coco", "demo/rec"):
        images = training_rows(name, family=QWEN).images
        assert len(images) == 400
        assert min(int(coco_id(Path(image))) for image in images) >= TRAINING_ID  # far from every other set's
        found = shared_images(images, against)
        assert (found.shared, found.unseen) == ({}, 0)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"demo-2", "demo-2-train"}


def test_the_demos_training_sets_repeat_byte_for_byte(tmp_path):
    for name in ("one", "two"):
        write_demo_train(tmp_path / name, count=5)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 12
    assert all((tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes() for path in files)
    with pytest.raises(FileExistsError, match="which is no demo data set"):
        write_demo_train(tmp_path, count=5)
    with pytest.raises(ValueError, match="count: got 0"):
        write_demo_train(tmp_path / "three", count=0)


def test_all_of_a_split_that_is_evaluated_is_found():
    images = training_rows("demo/coco", **FIRM).images
    found = shared_images(images, held_out([find("demo/coco")], None))
    assert set(found.shared) == set(images)


def test_a_coco_image_is_known_by_its_name(tmp_path):
    """2014's train and val are 2017's train, and 5,000 of val2014 its val; files need not be there."""
    tested = HeldOut("coco val2017", (Path("/data/coco/val2017/000000000139.jpg"),))
    for name in ("train2014/COCO_train2014_000000000139.jpg", "COCO_val2014_000000000139.jpg", "000000000139.jpg"):
        found = shared_images([tmp_path / name], [tested])
        assert found.shared == {str(tmp_path / name): "coco val2017: 000000000139.jpg, the same COCO image"}
    for name in ("COCO_train2014_000000000138.jpg", "139.jpg", "x000000000139.jpg", "000000000139_mask.jpg"):
        assert not shared_images([tmp_path / name], [tested]).shared
    assert shared_images([tmp_path / "139.jpg"], [tested]).unseen == 2
    assert coco_id(Path("COCO_train2014_000000581857_16.jpg")) == "000000581857"


def test_a_real_photo_under_another_name(shared_data, tmp_path):
    photo = shared_data / "coco_val2017" / "000000000139.jpg"
    shutil.copy(photo, tmp_path / "holiday.jpg")
    (tmp_path / "changed.jpg").write_bytes(photo.read_bytes()[:-1] + b"x")  # as long as the other
    tested = HeldOut("coco val2017", (photo,))
    found = shared_images([str(tmp_path / "holiday.jpg"), tmp_path / "changed.jpg"], [tested])
    assert found.shared == {str(tmp_path / "holiday.jpg"): "coco val2017: 000000000139.jpg, the same bytes"}
    assert found.unseen == 0


def test_one_file_by_two_paths(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    tested = HeldOut("own val", (tmp_path / "a/1.jpg",))
    assert set(shared_images([tmp_path / "b/1.jpg"], [tested]).shared) == {str(tmp_path / "b/1.jpg")}


def test_rows_can_be_left_out():
    made = training_rows("demo/rec", family=QWEN, curation=Curation(limit=5))
    less = dataclasses.replace(made, without=frozenset(made.images[:2]))
    assert [row for row in made if row.images[0] not in made.images[:2]] == list(less)
    assert less.images == made.images[2:]


def test_evaluation_data_that_is_not_there_is_an_error():
    with pytest.raises(Vr1benchError, match="annotations of split 'val' are missing"):
        held_out([find("refcoco")], Path("/nowhere"))


# --- rows on disk


@pytest.mark.parametrize("name", ["demo/coco", "demo/rec", "demo/qa"])
def test_our_form_reads_back(tmp_path, name):
    made = rows(name, family=QWEN, limit=30)
    assert write_rows(iter(made), tmp_path / "rows.jsonl") == 30
    assert read_rows(tmp_path / "rows.jsonl") == made
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("name", ["demo/coco", "demo/rec"])
def test_vlm_r1s_form_reads_back(tmp_path, name):
    """Its answers are in original pixels; with a family they become the targets that they were."""
    made = rows(name, family=QWEN, limit=30)
    task = find(name).task
    write_rows(made, tmp_path / "rows.jsonl", "vlm-r1", task=task)
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    for line, row in zip(lines, made, strict=True):
        answer, gold = line["conversations"][1]["value"], sample_of(row.gold).gold
        assert line["conversations"][0] == {"from": "human", "value": f"<image>{row.prompt}"}
        if task == "refer":
            assert answer == gold.boxes[0].tolist()
        elif len(gold):
            items = json.loads(answer.removeprefix("```json\n").removesuffix("\n```"))
            assert [item["bbox_2d"] for item in items] == gold.boxes.tolist()
            assert [item["label"] for item in items] == gold.labels.tolist()
    back = read_rows(tmp_path / "rows.jsonl", family=QWEN)
    assert [(r.id, r.images, r.prompt, r.completion, r.gold) for r in back] == [
        (r.id, r.images, r.prompt, r.completion, r.gold) for r in made
    ]
    write_rows(back, tmp_path / "again.jsonl", "vlm-r1", task=task)
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "rows.jsonl").read_text()


def test_the_json_lines_are_a_hugging_face_data_set(tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs datasets: uv sync --inexact --extra train")
    made = rows("demo/rec", family=QWEN, limit=4)
    write_rows(made, tmp_path / "rows.jsonl")
    loaded = datasets.load_dataset("json", data_files=str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded["train"]) == [row.record() for row in made]
    assert list(datasets.Dataset.from_list([row.record() for row in made])) == [row.record() for row in made]


OVD = (
    "<image>Please carefully check the image and detect the following objects: ['helmet', 'dog']. Output the bbox "
    "coordinates of detected objects in <answer></answer>."
)
OTHER_OVD = "<image>Please carefully observe the image and detect the following targets: helmet; a dog. Output each"
REC = "<image>Please provide the bounding box coordinate of the region this sentence describes: the lady."


def line(question, answer, image: object = "a.jpg", **more):
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": 1, **({} if image is None else {"image": image}), "conversations": talk, **more}


def lines(folder, *items, name="own.jsonl"):
    for image in ("a.jpg", "b.jpg"):
        Image.new("RGB", (640, 480)).save(folder / image)
    (folder / name).write_text("\ufeff" + "".join(json.dumps(item) + "\n\n" for item in items))
    return folder / name


FENCED = '```json\n[{"bbox_2d": [458, 96, 494, 146], "label": "helmet"}]\n```'


@pytest.mark.parametrize(
    ("question", "answer", "queries", "boxes", "labels"),
    [
        (OVD, FENCED, ("helmet", "dog"), [[458, 96, 494, 146]], ["helmet"]),
        (OVD, f"<answer>{FENCED}</answer>", ("helmet", "dog"), [[458, 96, 494, 146]], ["helmet"]),
        (OVD, "None", ("helmet", "dog"), [], []),
        (OTHER_OVD, "None", ("helmet", "a dog"), [], []),
        ("<image>Find helmets", FENCED, ("helmet",), [[458, 96, 494, 146]], ["helmet"]),
        (REC, [103.93, 299.99, 238.15, 477.41], ("the lady",), [[103.93, 299.99, 238.15, 477.41]], ["the lady"]),
        (REC, "<answer> [1, 2, 30, 40] </answer>", ("the lady",), [[1, 2, 30, 40]], ["the lady"]),
        (REC, '{"bbox_2d": [1, 2, 30, 40]}', ("the lady",), [[1, 2, 30, 40]], ["the lady"]),
    ],
)
def test_vlm_r1s_answers_with_boxes_are_gold(tmp_path, question, answer, queries, boxes, labels):
    (row,) = read_rows(lines(tmp_path, line(question, answer, accu_reward_method="odLength")))
    gold = sample_of(row.gold)
    assert (gold.width, gold.height, gold.queries) == (640, 480, queries)
    assert gold.gold.boxes.tolist() == boxes
    assert gold.gold.labels.tolist() == labels
    assert row.prompt == question.removeprefix("<image>")
    assert row.completion == (answer if isinstance(answer, str) else json.dumps(answer))
    assert row.columns == {"accu_reward_method": "odLength", "solution": answer}
    (same,) = read_rows(tmp_path / "own.jsonl", family=QWEN)
    assert (same.gold, same.columns) == (row.gold, row.columns)
    assert holds(same, step=1.0)


@pytest.mark.parametrize(
    "answer", [0, 3.5, "yes", "None", "B", [1, 2, 3], [[1, 2, 3, 4]], [9, 2, 3, 4], "[1, 2, 1e999, 4]", {"a": 1}, None]
)
def test_other_answers_are_no_gold(tmp_path, answer):
    (row,) = read_rows(lines(tmp_path, line("<image>How many?", answer)), family=QWEN)
    assert (row.gold, row.columns["solution"]) == ("", answer)
    assert row.completion == (answer if isinstance(answer, str) else json.dumps(answer))


def test_several_images_and_none(tmp_path):
    path = lines(
        tmp_path,
        line("<image><image>Which differs?", [1, 2, 3, 4], image=["a.jpg", "b.jpg"]),
        line("What is 2 + 2?", 4, image=None),
        {"prompt": "Say yes.", "completion": "yes", "level": 3},
        {"id": "own", "images": "a.jpg", "prompt": "Look."},
    )
    two, none, plain, own = read_rows(path)
    assert (two.images, two.gold) == ((str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")), "")
    assert (none.images, none.completion) == ((), "4")
    assert plain == Row("own:5", (), "Say yes.", "yes", "", {"level": 3})
    assert own == Row("own", (str(tmp_path / "a.jpg"),), "Look.")
    assert [two.id, none.id] == ["1", "1#2"]
    write_rows([two, none], tmp_path / "back.jsonl", "vlm-r1")
    assert read_rows(tmp_path / "back.jsonl") == [two, none]


def test_several_files_each_with_its_images(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        lines(tmp_path / name, line(REC, [1, 2, 3, 4]))
    files = [tmp_path / "one/own.jsonl", tmp_path / "two/own.jsonl"]
    for folders in (None, [tmp_path / "one", str(tmp_path / "two")]):
        found = read_rows(files, images=folders)
        assert [row.images[0] for row in found] == [str(tmp_path / "one/a.jpg"), str(tmp_path / "two/a.jpg")]
        assert [row.id for row in found] == ["1", "1#2"]
    assert {row.images[0] for row in read_rows(files, images=tmp_path / "one")} == {str(tmp_path / "one/a.jpg")}
    with pytest.raises(Vr1benchError, match="2 files of rows and 1 image folders"):
        read_rows(files, images=[tmp_path])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no rows; expected JSON lines"),
        ("{", r"line 1 is not valid JSON"),
        ("[1]", r"line 1: Expected `object`, got `array`"),
        ('\n{"images": []}', r"line 2: prompt: expected a text, got None"),
        ('{"prompt": "x", "gold": "{}"}', r"line 1: gold: expected a text of vr1bench"),
        ('{"prompt": "x", "gold": {"id": "1"}}', r"line 1: gold: expected a text of vr1bench"),
        ('{"prompt": "x", "completion": 3}', r"line 1: completion: expected a text, got 3"),
        ('{"prompt": "x", "images": ["gone.jpg"]}', r"line 1: image .*gone\.jpg: no such file"),
        ('{"prompt": "x", "images": [1]}', r"line 1: images: expected a file name"),
        (json.dumps(line("<image>x", "y", image=None)), r"line 1: 1 times <image> .* 0 images"),
        ('{"conversations": [{"from": "human", "value": "x"}]}', r"line 1: conversations: expected a text of `human`"),
        ('{"conversations": "x"}', r"line 1: conversations: expected a text of `human`"),
        ('{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt"}]}', "the answer has no value"),
        ('{"prompt": "x", "weight": NaN}', "line 1 is not valid JSON"),
    ],
)
def test_lines_that_are_no_rows(tmp_path, text, words):
    (tmp_path / "own.jsonl").write_text(text)
    with pytest.raises(Vr1benchError, match=words):
        read_rows(tmp_path / "own.jsonl")


def test_files_that_cannot_be_read_or_written(tmp_path):
    with pytest.raises(Vr1benchError, match=r"cannot read .*gone\.jsonl: No such file"):
        read_rows(tmp_path / "gone.jsonl")
    (tmp_path / "file").write_text("x")
    with pytest.raises(Vr1benchError, match="cannot write"):
        write_rows([Row("1", (), "x")], tmp_path / "file" / "rows.jsonl")


def test_a_broken_row_leaves_what_stood_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("mine")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows([Row("1", (), "x"), Row("2", (), "y", columns={"w": float("nan")})], path)
    assert path.read_text() == "mine"
    assert [one.name for one in tmp_path.iterdir()] == ["rows.jsonl"]
