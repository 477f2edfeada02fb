"""The rules of the published evaluation scripts, written again as plain loops: nothing here comes from vr1bench.

Sources, each read at the commit named: V = om-ai-lab/VLM-R1@90052f4 · G = jefferyZhan/Griffon@9866875 · OV =
om-ai-lab/OVDEval@2ba0aa9 · Q = QwenLM/Qwen3-VL@9658872. `smart_resize` is transformers'
`models/qwen2_vl/image_processing_qwen2_vl.py`. Boxes are xyxy where nothing else is said; detections are COCO results
(`image_id`, `category_id`, `bbox` as xywh, `score`).
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import math
import random
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

Json = dict[str, Any]
Size = tuple[int, int]
Kept = dict[tuple[str, str], list[list[float]]]
COCO_NAMES = (
    "AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"
)  # fmt: skip
"""pycocotools' stats in order, with its own three limits on detections."""


def smart_resize(width: int, height: int, factor: int, least: int, most: int) -> Size:
    """The (width, height) at which Qwen's processor feeds an image."""
    across, down = round(width / factor) * factor, round(height / factor) * factor
    if across * down > most:
        shrink = math.sqrt(width * height / most)
        return math.floor(width / shrink / factor) * factor, math.floor(height / shrink / factor) * factor
    if across * down < least:
        grow = math.sqrt(least / (width * height))
        return math.ceil(width * grow / factor) * factor, math.ceil(height * grow / factor) * factor
    return across, down


def coco_stats(
    gold: Json, results: list[Json], *, renumbered: bool = False, limits: tuple[int, int, int] = (1, 10, 100)
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """pycocotools' twelve numbers and each class's AP; None where no gold counts.

    G Vision-R1/eval/eval_localization.py:1261-1266 and OV eval.py:66-74 leave `limits` alone; Q
    evaluation/ODinW-13/eval_utils.py:77 and :116 sets 100, 300, 1000, of which AP is taken at 100, AP50, AP75 and the
    areas at 1000. None of the three numbers annotations anew; `renumbered` does.
    """
    data: Any = copy.deepcopy(gold)
    answers: Any = copy.deepcopy(results)
    if renumbered:
        for number, row in enumerate(data["annotations"], 1):
            row["id"] = number
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = data
        truth.createIndex()
        judge = COCOeval(truth, truth.loadRes(answers), "bbox")
        judge.params.maxDets = list(limits)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    precision = judge.eval["precision"][:, :, :, 0, limits.index(100)]  # threshold, recall, class
    names = {row["id"]: row["name"] for row in data["categories"]}
    classes = {
        names[category]: float(np.mean(precision[:, :, place])) if precision[0, 0, place] > -1 else None
        for place, category in enumerate(judge.params.catIds)
    }
    stats = [None if value == -1 else float(value) for value in judge.stats]
    return dict(zip(COCO_NAMES, stats, strict=True)), classes


def xywh(corners: list[float]) -> list[float]:
    x1, y1, x2, y2 = corners
    return [x1, y1, x2 - x1, y2 - y1]


def in_original(box: list[float], fed: Size, size: Size) -> list[float]:
    """From pixels of the fed image to those of the original: V src/eval/test_rec_r1.py:93-98."""
    return [value / fed[i % 2] * size[i % 2] for i, value in enumerate(box)]


# Vision-R1


def vision_r1_items(answer: str) -> list[Any]:
    """G Vision-R1/eval/eval_localization.py:226-234 and :1068-1075: behind a line that is just ```json, up to the next
    fence; where that is no literal, all up to the last closed item."""
    lines = answer.splitlines()
    if "```json" in lines:
        answer = "\n".join(lines[lines.index("```json") + 1 :]).split("```")[0]
    for text in (answer, answer[: answer.rfind('"}') + 2] + "]"):
        with contextlib.suppress(Exception):
            return list(ast.literal_eval(text))
    return []


def vision_r1_detections(answer: str, image: Json, categories: list[Json], fed: Size) -> list[Json]:
    """:861 and :1076-1092: labels of the whole file, capitals aside; score .99, single floats; a bad item is left."""
    ids = {row["name"].lower(): row["id"] for row in categories}
    found: list[Json] = []
    for item in vision_r1_items(answer):
        with contextlib.suppress(Exception):
            box = np.array(xywh(item["bbox_2d"]), dtype=np.float32)
            for side in (0, 1):
                box[side::2] = box[side::2] / np.float32(fed[side]) * np.float32(image[("width", "height")[side]])
            row = {"image_id": image["id"], "category_id": ids[item["label"].lower()]}
            found.append({**row, "bbox": box.tolist(), "score": 0.99})
    return found


def names_in_gold(gold: Json, image_id: int) -> list[str]:
    """:564-572: the categories of an image's annotations, crowds with them, in the file's order."""
    there = {row["category_id"] for row in gold["annotations"] if row["image_id"] == image_id}
    return [row["name"] for row in gold["categories"] if row["id"] in there]


# Qwen3-VL


def qwen3_items(answer: str) -> list[tuple[list[float], str]]:
    """Q evaluation/ODinW-13/run_odinw.py:137 and :216-236: all or nothing; an item without four numbers is left out."""
    said = answer.rsplit("</think>", maxsplit=1)[-1].strip().replace("```json", "").replace("```", "")
    try:
        rows = [row for row in ast.literal_eval(said) if len(row.get("bbox_2d", [])) == 4]
        return [(row["bbox_2d"], row["label"]) for row in rows]
    except Exception:
        return []


def qwen3_detections(answer: str, image: Json, categories: list[Json]) -> list[Json]:
    """:239-261, is_rel=1 (thousandths), score 1.0: boxes by label as spelled, in the order of first mention."""
    names = [row["name"].lower() for row in categories]
    by_label: dict[str, list[list[float]]] = {}
    for box, label in qwen3_items(answer):
        by_label.setdefault(label, []).append([v / 1000 * image[("width", "height")[i % 2]] for i, v in enumerate(box)])
    return [
        {
            "image_id": image["id"],
            "category_id": categories[names.index(label.lower())]["id"],
            "bbox": xywh(box),
            "score": 1.0,
        }
        for label, boxes in by_label.items()
        if label.lower() in names
        for box in boxes
    ]


# A language model's answer as COCO results, where no script was published


def plain_detections(lines: Sequence[str], names: Sequence[str], image: Json, gold: Json, fed: Size) -> list[Json]:
    """Every item whose label was asked, capitals aside, with one score.

    How Qwen2.5-VL's answers on ODinW (Q issue 839) and VLM-R1's on OVDEval (V issues 233, 250) were read, nobody said.

    Args:
        lines: The items of an answer, a JSON object each, in pixels of the fed image.
        names: What was asked.
        image: The picture's entry in `gold`.
        gold: The annotation file.
        fed: The (width, height) at which the picture was fed.
    """
    ids = {row["name"].lower(): row["id"] for row in gold["categories"] if row["name"] in names}
    size = (image["width"], image["height"])
    return [
        {"image_id": image["id"], "category_id": ids[item["label"].lower()], "score": 1.0,
         "bbox": xywh(in_original(item["bbox_2d"], fed, size))}
        for item in map(json.loads, lines)
        if item["label"].lower() in ids
    ]  # fmt: skip


def by_class(gold: Json, results: Sequence[Json]) -> Kept:
    """Boxes (xywh) by picture and class, in order."""
    names = {row["id"]: row["name"] for row in gold["categories"]}
    kept: Kept = {}
    for row in results:
        kept.setdefault((str(row["image_id"]), names[row["category_id"]]), []).append(row["bbox"])
    return kept


def same_boxes(first: Kept, second: Kept) -> bool:
    """Whether two keep-lists hold the same boxes in the same order; Vision-R1's are single floats."""
    return first.keys() == second.keys() and all(
        len(first[key]) == len(second[key]) and np.allclose(first[key], second[key], rtol=0, atol=2e-3) for key in first
    )


# OVDEval


def ovdeval_iou(a: list[float], b: list[float]) -> float:
    """OV eval.py:7-28, xywh."""
    across = max(0, min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]))
    down = max(0, min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]))
    union = a[2] * a[3] + b[2] * b[3] - across * down
    return across * down / union if union else 0.0


def ovdeval_kept(gold: Json, results: list[Json]) -> list[Json]:
    """OV eval.py:30-64 and :122-125: around each gold box the surest detection stays, of equals the last; a detection
    that came second somewhere goes unless it came first elsewhere."""
    kept: list[Json] = []
    for image_id in dict.fromkeys(row["image_id"] for row in results):
        rows = [row for row in results if row["image_id"] == image_id]
        winners: set[int] = set()
        losers: set[int] = set()
        for box in (row["bbox"] for row in gold["annotations"] if row["image_id"] == image_id):
            near = [place for place, row in enumerate(rows) if ovdeval_iou(box, row["bbox"]) > 0.5]
            if near:
                best = max(near, key=lambda place: (rows[place]["score"], place))
                winners.add(best)
                losers |= {place for place in near if place != best}
        kept += [row for place, row in enumerate(rows) if place in winners or place not in losers]
    return kept


ALL_NAMES_ASKED = ("celebrity", "logo", "landmark")
"""OV eval_glip.py:223: these, and coco, are asked for every category of the file."""


def ovdeval_asked(name: str, gold: Json, image: Json) -> list[str]:
    """OV eval_glip.py:222-228."""
    return [row["name"] for row in gold["categories"]] if name in ALL_NAMES_ASKED else image["text"] + image["neg_text"]


# VLM-R1


def vlm_r1_last_box(answer: str) -> list[float]:
    """V src/eval/test_rec_r1.py:68-79: inside of the first <answer>, between its outer braces, the last four whole
    numbers in brackets (the expression is greedy); else four zeros."""
    inside = re.search("<answer>(.*?)</answer>", answer, re.DOTALL)
    object_ = inside[1][inside[1].find("{") : inside[1].rfind("}") + 1] if inside else ""
    found = re.findall(r"\[(\d+),\s*(\d+),\s*(\d+),\s*(\d+)\]", object_)
    return [float(number) for number in found[-1]] if found else [0.0] * 4


def vlm_r1_first_box(answer: str) -> list[float]:
    """V src/eval/test_rec_baseline.py:62-70: the first four decimal numbers in brackets, anywhere; else four zeros."""
    for inside in re.findall(r"\[([^\[\]]*)\]", answer):
        numbers = [part.strip() for part in inside.split(",")]
        if len(numbers) == 4 and all(re.fullmatch(r"-?\d*\.?\d+", number) for number in numbers):
            return [float(number) for number in numbers]
    return [0.0] * 4


def vlm_r1_iou(a: list[float], b: list[float]) -> float:
    """V src/eval/test_rec_r1.py:81-91."""
    left, top = max(a[0], b[0]), max(a[1], b[1])
    right, bottom = min(a[2], b[2]) - 1, min(a[3], b[3]) - 1
    inter = (right - left + 1) * (bottom - top + 1) if left < right and top < bottom else 0
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def vlm_r1_chosen(count: int) -> list[int]:
    """Places of the rows that count, in order: V src/eval/test_rec_r1.py:101-109."""
    places = list(range(count))
    random.seed(42)
    random.shuffle(places)
    return places[:2000]
