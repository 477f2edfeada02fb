"""One small set of boxes and sentences, written in the form of every source that a definition reads."""

import base64
import csv
import io
import json
import pickle
import re
from functools import cache

import pytest
from PIL import Image

from vr1bench.benchmark import find

WIDTH, HEIGHT = 280, 196
"""Multiples of 28: Qwen2.5-VL is fed such a picture as it is, and answers with whole pixels lose nothing."""
SIZE = {"width": WIDTH, "height": HEIGHT}
NAMES = ["red dog", "blue cat", "horse"]
PICTURES = {
    1: [("red dog", [4 + 38 * i, 10, 34 + 38 * i, 60]) for i in range(7)] + [("blue cat", [20, 70, 120, 190])],
    2: [("red dog", [1, 2, 41, 52]), ("blue cat", [60, 20, 160, 120]), ("horse", [170, 30, 270, 190])],
    3: [],
}
"""Picture to its boxes, which do not touch; xyxy. The class of the first has seven in its picture."""
SAID = {"red dog": ["the red dog", "a dog on the left"], "blue cat": ["the cat"], "horse": ["a horse, standing"]}
PROBLEM = "Please provide the bounding box coordinate of the region this sentence describes: {}."
REFERRED = [(11, *PICTURES[2][0]), (12, *PICTURES[2][1]), (13, *PICTURES[2][2])]
"""The objects of every referring set: annotation id, class, box; all in picture 2."""
SPLITTERS = {
    "unc": ("train", "val", "testA", "testB"),
    "umd": ("train", "val", "test"),
    "google": ("train", "val", "test"),
}
LMMS_EVAL = [
    "AerialMaritimeDrone", "Aquarium", "CottontailRabbits", "EgoHands", "NorthAmericaMushrooms", "Packages",
    "PascalVOC", "Raccoon", "ShellfishOpenImages", "VehiclesOpenImages", "pistols", "pothole", "thermalDogsAndPeople",
]  # fmt: skip
"""`dataset_name` of kcz358/ODinW-13: EvolvingLMMs-Lab/lmms-eval@75571cf, lmms_eval/tasks/odinw13/utils.py:14-28."""


@cache
def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 30)).save(file, "JPEG")
    return file.getvalue()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def xywh(box):
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]


def instances(first_id, about=lambda _: {}):
    """COCO's form: category ids from 1, annotation ids from `first_id`; `about` adds to a picture's record."""
    rows = [(picture, label, box) for picture, things in PICTURES.items() for label, box in things]
    return {
        "info": {"year": "2021"},
        "images": [{"id": i, "file_name": f"{i}.jpg", **SIZE, **about(i)} for i in PICTURES],
        "annotations": [
            {"id": first_id + n, "image_id": i, "category_id": NAMES.index(label) + 1, "bbox": xywh(box),
             "area": xywh(box)[2] * xywh(box)[3], "iscrowd": 0, "segmentation": []}
            for n, (i, label, box) in enumerate(rows)
        ],
        "categories": [{"id": i + 1, "name": name, "supercategory": "thing"} for i, name in enumerate(NAMES)],
    }  # fmt: skip


def write_coco(_, path, name):
    put(path, instances(0 if name.startswith("odinw/") else 1))
    folder = path.parent if name.startswith("odinw/") else path.parents[1] / path.stem.removeprefix("instances_")
    for i in PICTURES:
        put(folder / f"{i}.jpg", jpeg())


def write_ovdeval(root, path, name):
    put(path, instances(0, asked_in_ovdeval))
    for i in PICTURES:  # as its README has them, beside annotations/ or a file of the hub's flat folder
        put(root / "ovdeval/images" / name.removeprefix("ovdeval/") / f"{i}.jpg", jpeg())


def asked_in_ovdeval(picture):
    there = sorted({label for label, _ in PICTURES[picture]})
    return {"text": there, "neg_text": [name for name in NAMES if name not in there]}


def write_d3(_, path, __):
    put(path, instances(0))
    groups = {i: {"id": i, "inner_sent_id": [1, 2, 3]} for i in PICTURES}
    put(path.parents[1] / "d3_pkl/images.pkl", pickle.dumps({i: {"id": i, "group_id": i} for i in PICTURES}))
    put(path.parents[1] / "d3_pkl/groups.pkl", pickle.dumps(groups))
    for i in PICTURES:
        put(path.parents[1] / f"d3_images/{i}.jpg", jpeg())


def write_rec(_, path, name):
    """VLM-R1's json; the InternVL edition has whole thousandths in `solution`."""
    image = "test/2.jpg" if name.startswith("lisa") else "train2014/COCO_train2014_000000000002.jpg"
    put(path.parents[1] / image, jpeg())
    sides = [WIDTH, HEIGHT, WIDTH, HEIGHT]
    rows = []
    for number, label, box in REFERRED:
        thousandths = [1000 * x // side for x, side in zip(box, sides, strict=True)]
        solution = thousandths if name.endswith("/internvl") else box
        rows += [
            {"id": number, "image": image, **SIZE, "normal_caption": said, "problem": PROBLEM.format(said),
             "solution": solution, "normalized_solution": thousandths}
            for said in SAID[label]
        ]  # fmt: skip
    put(path, rows)


def refs(splitter):
    """A pickle of the authors: every object in every split, so that each split holds the same sentences."""
    return [
        {
            "ref_id": 100 * place + number, "ann_id": number, "image_id": 2, "split": split, "category_id": 1,
            "file_name": f"COCO_train2014_000000000002_{number}.jpg",
            "sentences": [{"sent": said, "raw": said, "sent_id": 0, "tokens": said.split()} for said in SAID[label]],
        }
        for place, split in enumerate(SPLITTERS[splitter])
        for number, label, _ in REFERRED
    ]  # fmt: skip


def write_refer(root, path, _):
    put(path, pickle.dumps(refs(re.search(r"\((\w+)\)", path.name)[1]), protocol=0))
    picture = "COCO_train2014_000000000002.jpg"
    gold = [{"id": n, "image_id": 2, "category_id": 1, "bbox": xywh(box), "area": 1} for n, _, box in REFERRED]
    put(path.parent / "instances.json", {"images": [{"id": 2, "file_name": picture, **SIZE}], "annotations": gold})
    put(root / "coco/train2014" / picture, jpeg())


def write_reasonseg(_, path, __):
    for number, label, (left, top, right, bottom) in REFERRED:
        shapes = [
            {"label": "target", "points": [[left, top], [right, top], [right, top + 5]]},
            {"label": "target", "points": [[left, bottom - 5], [left, bottom], [left + 3, bottom]]},
            {"label": "ignore", "points": [[0, 0], [WIDTH, 0], [WIDTH, HEIGHT]]},
        ]
        put(path / f"{number}.json", {"text": SAID[label], "is_sentence": True, "shapes": shapes})
        put(path / f"{number}.jpg", jpeg())


def write_sentence_rows(root, path, name):
    if name.endswith("/jxu124"):  # xyxy, pictures outside
        picture = "coco/train2014/COCO_train2014_000000000002.jpg"
        put(root / picture, jpeg())
        rows = [
            {"ann_id": n, "image_path": picture, "bbox": [float(x) for x in box], "captions": SAID[label],
             "raw_image_info": json.dumps(SIZE), "raw_anns": json.dumps({"bbox": xywh(box)})}
            for n, label, box in REFERRED
        ]  # fmt: skip
    else:  # lmms-lab: xywh, pictures inside
        rows = [lmms_row(n, box, SAID[label]) for n, label, box in REFERRED]
    if "-unc" in name or "-umd" in name:  # the hub's val holds Google's too
        rows.insert(1, lmms_row(99, [0, 0, 9, 9], ["somebody else's"]))
        who = name.rpartition("-")[2]
        put(root / "refer" / name.partition("/")[0] / f"refs({who}).p", pickle.dumps(refs(who), protocol=0))
    write_shards(path, rows)


def lmms_row(number, box, said):
    name = f"COCO_train2014_000000000002_{number}.jpg"
    return {"question_id": str(number), "image": {"bytes": jpeg(), "path": name}, "answer": said,
            "bbox": [float(x) for x in xywh(box)], "iscrowd": 0, "file_name": name}  # fmt: skip


def write_detection_rows(_, path, __):
    rows = [
        {"image": {"bytes": jpeg(), "path": f"{i}.jpg"}, "categories": NAMES, "dataset_name": name,
         "bboxes": [[float(x) for x in box] for _, box in things], "labels": [label for label, _ in things]}
        for name in LMMS_EVAL
        for i, things in PICTURES.items()
    ]  # fmt: skip
    write_shards(path, rows)


def write_vision_r1(_, path, __):
    rows = []
    for i, things in PICTURES.items():
        solution = [[name, [box for label, box in things if label == name]] for name in NAMES]
        ids = {"background": 0, **{name: place + 1 for place, name in enumerate(NAMES)}}
        rows.append({"image": {"bytes": jpeg(), "path": f"{i}.jpg"}, **SIZE, "problem": "Locate every red dog.",
                     "solution": json.dumps([pair for pair in solution if pair[1]]), "num_instances": len(things),
                     "target_id_maps": json.dumps(ids)})  # fmt: skip
    write_shards(path, rows)


def write_shards(path, rows):
    """A table in as many files as its name says, a row each and the rest in the last."""
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow, which comes with `datasets`")
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if path.suffix == ".arrow":
        with pa.ipc.new_stream(str(path), table.schema) as file:
            file.write_table(table)
        return
    count = int((re.search(r"-00000-of-(\d{5})", path.name) or ["", "1"])[1])
    for place in range(count):
        shard = path.with_name(path.name.replace("-00000-of-", f"-{place:05}-of-"))
        pq.write_table(table.slice(place, None if place == count - 1 else 1), shard)


def write_questions(_, path, name):
    """VLMEvalKit's table: the picture inside a row, or the index of the row that has it."""
    inside = base64.b64encode(jpeg()).decode()
    choice = find(name).splits[find(name).split].options["questions"] == "choice"
    options = {"A": "red dog", "B": "blue cat"} if choice else {}
    rows = [
        {"index": 7 + n, "image": inside if n == 0 else "7", "question": f"Which is {n}?", **options, "answer": answer}
        for n, answer in enumerate(["B", "A"] if choice else ["blue cat", "5%"])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter="\t", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


WRITERS = {
    "coco": write_coco,
    "ovdeval": write_ovdeval,
    "d3": write_d3,
    "rec": write_rec,
    "refer": write_refer,
    "reasonseg": write_reasonseg,
    "rec-rows": write_sentence_rows,
    "detect-rows": write_detection_rows,
    "vision-r1": write_vision_r1,
    "qa-tsv": write_questions,
}


def lay_out(root, one, split=None, place=0):
    """Writes a split's data where its source has it, at one of the places that the definition names."""
    where = one.splits[split or one.split].annotations
    WRITERS[one.reader](root, root / where[place], one.name)
