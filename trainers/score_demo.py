r"""Score a checkpoint of the small model on held-out pictures; this prints the tables of its model card.

    OMP_WAIT_POLICY=PASSIVE python -m vr1bench.trainers.score_demo vr1bench/demo/model --seeds 1 2 3
    VLLM_CPU_KVCACHE_SPACE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0 \
        python -m vr1bench.trainers.score_demo vr1bench/demo/model --agreement 200

Each seed draws fresh pictures that training never sees (see `vr1bench.demo.world.TRAIN_SEED_START`) and asks four
questions about each: all 24 classes, a random list of classes (some present ones left out), one class (three times in
four a present one), one referring expression.
Boxes go back to the picture's own pixels before they are compared. Every box scores 1.0; AP is pycocotools'.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from vr1bench.demo.world import LABELS, Scene, category_list, make_scene, referrals
from vr1bench.trainers.demo_lessons import fed_size
from vr1bench.trainers.demo_tokenizer import ASK_ALL, ASK_ONE, ASK_PHRASE

FIRST_SEED: Final = 500_000_000  # away from the data sets' seeds, below the training's
PICTURES_A_SEED: Final = 10_000
LONGEST_ANSWER: Final = 96


@dataclass(frozen=True, slots=True)
class Ask:
    """One question about a picture.

    Attributes:
        scene: What the picture shows.
        picture: As a reader decodes it, after a JPEG round trip.
        question: The user's text.
        wanted: (label, xyxy box in pixels of the picture) of all that should be answered.
    """

    scene: Scene
    picture: Image.Image
    question: str
    wanted: list[tuple[str, tuple[float, ...]]]


def make_asks(seed: int, count: int) -> dict[str, list[Ask]]:
    """The questions of one seed, by kind: `all`, `list`, `one`, `refer`; one of each a picture."""
    asks: dict[str, list[Ask]] = {"all": [], "list": [], "one": [], "refer": []}
    for index in range(count):
        scene = make_scene(FIRST_SEED + seed * PICTURES_A_SEED + index)
        rng = random.Random(f"questions {scene.seed}")  # noqa: S311 (repeatable, no secret)
        stream = io.BytesIO()
        scene.picture.save(stream, "JPEG", quality=95, subsampling=0)
        picture = Image.open(stream).convert("RGB")
        for kind, listed in (("all", LABELS), ("list", category_list(scene, rng))):
            wanted = [(thing.label, thing.box) for thing in scene.things if thing.label in listed]
            asks[kind].append(Ask(scene, picture, f"{ASK_ALL}{', '.join(listed)}.", wanted))
        if phrases := referrals(scene):
            phrase, thing = rng.choice(phrases)
            wanted = [(phrase, scene.things[thing].box)]
            asks["refer"].append(Ask(scene, picture, phrase.join(ASK_PHRASE), wanted))
        label = rng.choice([thing.label for thing in scene.things] if rng.random() < 0.75 else LABELS)
        wanted = [(thing.label, thing.box) for thing in scene.things if thing.label == label]
        asks["one"].append(Ask(scene, picture, label.join(ASK_ONE), wanted))
    return asks


class Answerer:
    """The checkpoint in transformers, greedy, in batches of one fed size."""

    def __init__(self, checkpoint: Path, dtype: torch.dtype) -> None:
        self.processor: Any = AutoProcessor.from_pretrained(checkpoint)
        self.processor.tokenizer.padding_side = "left"
        self.model: Any = Qwen2_5_VLForConditionalGeneration.from_pretrained(checkpoint, dtype=dtype).eval()

    def prompt(self, question: str) -> str:
        """The chat template around one picture and the question."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        return self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)

    def answers(self, asks: list[Ask], batch: int = 100) -> list[str]:
        """One answer a question, in order."""
        same_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for index, ask in enumerate(asks):
            same_size[fed_size(*ask.picture.size)].append(index)
        said = [""] * len(asks)
        for members in same_size.values():
            for start in range(0, len(members), batch):
                some = members[start : start + batch]
                texts = [self.prompt(asks[index].question) for index in some]
                pictures = [asks[index].picture for index in some]
                inputs = self.processor(text=texts, images=pictures, padding=True, return_tensors="pt")
                inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
                with torch.inference_mode():
                    tokens = self.model.generate(**inputs, max_new_tokens=LONGEST_ANSWER, do_sample=False)
                new = tokens[:, inputs["input_ids"].shape[1] :]
                for index, text in zip(some, self.processor.batch_decode(new, skip_special_tokens=True), strict=True):
                    said[index] = text
        return said


def read_answer(text: str, ask: Ask) -> list[tuple[str, list[float]]] | None:
    """(label, xyxy in pixels of the picture) of each answered box, or None where the answer is not well-formed."""
    try:
        items = json.loads(text)
        named = [(str(item["label"]), [float(edge) for edge in item["bbox_2d"]]) for item in items]
    except (ValueError, TypeError, KeyError):
        return None
    if any(len(box) != 4 for _, box in named):
        return None
    fed = fed_size(*ask.picture.size)
    scale = [ask.picture.size[axis] / fed[axis] for axis in (0, 1, 0, 1)]
    return [(label, [edge * by for edge, by in zip(box, scale, strict=True)]) for label, box in named]


def detection_scores(asks: list[Ask], said: list[str]) -> dict[str, float]:
    """AP, AP50, AP75, recall at IoU 0.5, and the share of well-formed answers; all 0 to 1."""
    read = [read_answer(text, ask) for text, ask in zip(said, asks, strict=True)]
    gold, found = COCO(), COCO()
    gold.dataset = {
        "info": {},
        "images": [{"id": i, "width": a.scene.width, "height": a.scene.height} for i, a in enumerate(asks)],
        "categories": [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)],
        "annotations": _annotations([ask.wanted for ask in asks]),
    }
    known = [[pair for pair in answer or [] if pair[0] in LABELS] for answer in read]
    found.dataset = {**gold.dataset, "annotations": [{**a, "score": 1.0} for a in _annotations(known)]}
    with contextlib.redirect_stdout(io.StringIO()):
        gold.createIndex()
        found.createIndex()
        judge = COCOeval(gold, found, "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    recall = judge.eval["recall"][0, :, 0, -1]
    return {
        "AP": float(judge.stats[0]),
        "AP50": float(judge.stats[1]),
        "AP75": float(judge.stats[2]),
        "recall50": float(recall[recall >= 0].mean()),
        "parsed": float(np.mean([answer is not None for answer in read])),
    }


def _annotations(things: list[Any]) -> list[dict[str, Any]]:
    """COCO annotations, ids from 1."""
    flat = [(image, label, box) for image, several in enumerate(things) for label, box in several]
    return [
        {
            "id": number,
            "image_id": image,
            "category_id": LABELS.index(label) + 1,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1),
            "iscrowd": 0,
        }
        for number, (image, label, (x1, y1, x2, y2)) in enumerate(flat, 1)
    ]


def referring_scores(asks: list[Ask], said: list[str]) -> dict[str, float]:
    """Share of first boxes with IoU above 0.5, mean IoU, and the share of well-formed answers."""
    overlaps: list[float] = []
    parsed = 0
    for ask, text in zip(asks, said, strict=True):
        read = read_answer(text, ask)
        parsed += read is not None
        overlaps.append(0.0)
        if read:
            (x1, y1, x2, y2), (a1, b1, a2, b2) = read[0][1], ask.wanted[0][1]
            boxes = [[x1, y1, x2 - x1, y2 - y1]], [[a1, b1, a2 - a1, b2 - b1]]
            overlaps[-1] = float(coco_mask.iou(*boxes, [0])[0][0])
    above = float(np.mean([overlap > 0.5 for overlap in overlaps]))
    return {"Acc50": above, "mIoU": float(np.mean(overlaps)), "parsed": parsed / len(asks), "n": float(len(asks))}


def score(options: argparse.Namespace) -> None:
    """Print a table: a row a seed, precision and kind of question."""
    print("| precision | seed | question | n | scores (percent) | pictures a second |\n|---|---|---|---|---|---|")
    for name in options.dtypes:
        answerer = Answerer(options.checkpoint, getattr(torch, name))
        for seed in options.seeds:
            for kind, asks in make_asks(seed, options.count).items():
                start_s = time.monotonic()
                said = answerer.answers(asks)
                rate = len(asks) / (time.monotonic() - start_s)
                scores = referring_scores(asks, said) if kind == "refer" else detection_scores(asks, said)
                shown = ", ".join(f"{key} {100 * value:.1f}" for key, value in scores.items() if key != "n")
                print(f"| {name} | {seed} | {kind} | {len(asks)} | {shown} | {rate:.0f} |", flush=True)


def agreement(options: argparse.Namespace) -> None:
    """Print how many greedy answers vLLM and transformers share, both in float32."""
    from vllm import LLM, SamplingParams

    asks = [ask for several in make_asks(options.seeds[0], options.agreement // 2).values() for ask in several]
    asks = random.Random(0).sample(asks, options.agreement)  # noqa: S311
    answerer = Answerer(options.checkpoint, torch.float32)
    engine = LLM(model=str(options.checkpoint), dtype="float32", enforce_eager=True, max_model_len=512)
    prompts = [{"prompt": answerer.prompt(a.question), "multi_modal_data": {"image": a.picture}} for a in asks]
    outputs = engine.generate(prompts, SamplingParams(temperature=0, max_tokens=LONGEST_ANSWER), use_tqdm=False)
    theirs = [output.outputs[0].text for output in outputs]
    ours = answerer.answers(asks)
    equal = sum(a == b for a, b in zip(ours, theirs, strict=True))
    print(f"{equal} of {len(asks)} answers are the same in vLLM and transformers (float32, greedy)")
    for a, b in zip(ours, theirs, strict=True):
        if a != b:
            print(f"transformers {a}\nvllm         {b}")


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="a checkpoint folder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the pictures, 0 to 49,999")
    parser.add_argument("--count", type=int, default=500, help="pictures a seed")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="torch's names")
    parser.add_argument("--threads", type=int, default=1, help="of torch; so small a model gains little from more")
    parser.add_argument("--agreement", type=int, metavar="N", help="compare N answers with vLLM's instead")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.agreement:
        agreement(options)
    else:
        score(options)


if __name__ == "__main__":
    main()
