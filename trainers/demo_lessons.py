"""What the small model is taught: questions about drawn scenes, their answers, and the tensors of a batch.

An answer is Qwen2.5-VL's JSON in whole pixels of the fed picture (each side rounded to a multiple of 28). Things come
in reading order: by the 28-pixel row of the centre, then from left to right.
"""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from vr1bench.demo.world import COLOURS, LABELS, SHAPES, SIDES_PX, Scene, Thing, category_list, make_scene, referrals
from vr1bench.trainers.demo_net import CELL_PX, COUNT_CLASSES
from vr1bench.trainers.demo_tokenizer import ASK_ALL, ASK_ONE, ASK_PHRASE, whole_pieces

HEAD: Final = "<|im_start|>user\n<|vision_start|>"
TURN: Final = "<|im_end|>\n<|im_start|>assistant\n"
IGNORE: Final = -100


def fed_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) that the processor feeds for a picture of this world: each side to the nearest multiple of 28."""
    return round(width / CELL_PX) * CELL_PX, round(height / CELL_PX) * CELL_PX


def sizes_of_grid(cells: int) -> tuple[int, int]:
    """The shortest and the longest side, in pixels and inside `SIDES_PX`, that is fed as this many cells."""
    sides = [side for side in range(SIDES_PX[0], SIDES_PX[1] + 1) if fed_size(side, side)[0] == cells * CELL_PX]
    return sides[0], sides[-1]


def fed_box(scene: Scene, thing: Thing) -> list[int]:
    """The thing's box in whole pixels of the fed picture, xyxy."""
    width, height = fed_size(scene.width, scene.height)
    across, down = width / scene.width, height / scene.height
    return [round(edge * scale) for edge, scale in zip(thing.box, (across, down, across, down), strict=True)]


def answer_text(scene: Scene, named: list[tuple[Thing, str]]) -> str:
    """The JSON answer that names these things, each with its label, in reading order."""
    width, height = fed_size(scene.width, scene.height)
    across, down = width / scene.width, height / scene.height
    in_order = sorted(named, key=lambda pair: (pair[0].centre[1] * down // CELL_PX, pair[0].centre[0] * across))
    return json.dumps([{"bbox_2d": fed_box(scene, thing), "label": label} for thing, label in in_order])


def question_and_answer(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """One of the three forms of question at random, with its answer."""
    phrases = referrals(scene)
    luck = rng.random()
    if luck < 0.35 and phrases:
        hard = [pair for pair in phrases if len(pair[0].split()) > 3 or pair[0].split()[1] not in COLOURS]
        phrase, index = rng.choice(hard if hard and rng.random() < 0.5 else phrases)
        return phrase.join(ASK_PHRASE), answer_text(scene, [(scene.things[index], phrase)])
    if luck < 0.55:
        present = [thing.label for thing in scene.things]
        asked: tuple[str, ...] = (rng.choice(present if present and rng.random() < 0.75 else LABELS),)
        question = asked[0].join(ASK_ONE)
    else:
        asked = LABELS if luck < 0.65 else category_list(scene, rng, len(LABELS) if luck < 0.7 else None)
        question = f"{ASK_ALL}{', '.join(asked)}."
    return question, answer_text(scene, [(thing, thing.label) for thing in scene.things if thing.label in asked])


def fed_picture(scene: Scene, *, jpeg: bool) -> np.ndarray:
    """(height, width, 3) uint8 as the processor resizes it, after a JPEG round trip if asked."""
    picture = scene.picture
    if jpeg:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=95, subsampling=0)
        picture = Image.open(stream)
    return np.asarray(picture.resize(fed_size(scene.width, scene.height), Image.Resampling.BICUBIC))


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures of one grid with one question each.

    Attributes:
        pictures: (rows, height, width, 3) uint8.
        tokens: (rows, length) ids, padded on the right.
        spoken: (rows, length) bool, where the *next* token belongs to the answer.
        first_cell: Place of the first picture token.
        cell_kind: (rows, cells, 2) colour and shape of the thing whose centre lies in the cell; the last class is none.
        cell_box: (rows, cells, 4) its fed xyxy box in pixels.
        listed: (rows, length) how many of the class named by this token are there; `IGNORE` elsewhere.
        sought: (rows, length, 4) fed xyxy box in pixels of the first answer to the name that this token of the question
            gives, a class or a referred shape; zeros elsewhere.
    """

    pictures: Tensor
    tokens: Tensor
    spoken: Tensor
    first_cell: int
    cell_kind: Tensor
    cell_box: Tensor
    listed: Tensor
    sought: Tensor


class Lessons:
    """Makes batches from scenes; holds the tokenizer's tables."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.encode = tokenizer._tokenizer.encode_batch  # the fast path, several times cheaper
        self.picture_token: int = tokenizer.convert_tokens_to_ids("<|image_pad|>")  # type: ignore[assignment]
        self.padding: int = tokenizer.pad_token_id  # type: ignore[assignment]
        self.head = tokenizer.encode(HEAD)
        pieces = whole_pieces()
        named = zip((*pieces["label"], *pieces["comma_label"]), LABELS * 2, strict=True)
        self.label_of_token = {tokenizer.encode(piece)[0]: label for piece, label in named}
        self.name_of_token = self.label_of_token | {tokenizer.encode(shape)[0]: shape for shape in SHAPES}

    def batch(self, seeds: range, cells: tuple[int, int], most_things: int) -> Batch:
        """Draw a batch.

        Args:
            seeds: One a row.
            cells: Columns and rows of the fed grid, 4 to 6 each.
            most_things: At most this many things a picture.

        Returns:
            The batch.
        """
        scenes: list[Scene] = []
        asked: list[tuple[str, str]] = []
        pictures: list[np.ndarray] = []
        for seed in seeds:
            rng = random.Random(f"lesson {seed}")  # noqa: S311 (not the stream of the layout)
            width, height = (rng.randint(*sizes_of_grid(side)) for side in cells)
            count = 0 if rng.random() < 0.01 else rng.randint(1, most_things)
            scenes.append(make_scene(seed, size=(width, height), count=count))
            asked.append(question_and_answer(scenes[-1], rng))
            pictures.append(fed_picture(scenes[-1], jpeg=rng.random() < 0.4))
        tokens, spoken, listed, sought = self._sequences(scenes, asked, cells[0] * cells[1])
        kind, box = _cell_targets(scenes, cells)
        stacked = torch.from_numpy(np.stack(pictures))
        return Batch(stacked, tokens, spoken, len(self.head), kind, box, listed, sought)

    def _sequences(self, scenes: list[Scene], asked: list[tuple[str, str]], cells: int) -> tuple[Tensor, ...]:
        head = self.head + [self.picture_token] * cells
        asks = self.encode([f"<|vision_end|>{question}{TURN}" for question, _ in asked], add_special_tokens=False)
        answers = self.encode([f"{answer}<|im_end|>" for _, answer in asked], add_special_tokens=False)
        longest = max(len(head) + len(ask.ids) + len(reply.ids) for ask, reply in zip(asks, answers, strict=True))
        shape = (len(scenes), -(-longest // 16) * 16)
        tokens = torch.full(shape, self.padding)
        spoken = torch.zeros(shape, dtype=torch.bool)
        listed = torch.full(shape, IGNORE)
        sought = torch.zeros(*shape, 4)
        for row, (scene, ask, reply) in enumerate(zip(scenes, asks, answers, strict=True)):
            ids = head + ask.ids + reply.ids
            start = len(head) + len(ask.ids)
            tokens[row, : len(ids)] = torch.tensor(ids)
            spoken[row, start - 1 : len(ids) - 1] = True
            there = Counter(thing.label for thing in scene.things)
            for place in range(len(head), start):
                if label := self.label_of_token.get(ids[place]):
                    listed[row, place] = min(there[label], COUNT_CLASSES - 1)
            for place, box in self._boxes_sought(ids[:start], asked[row][1]):
                sought[row, place] = torch.tensor(box, dtype=torch.float32)
        return tokens, spoken, listed, sought

    def _boxes_sought(self, question: list[int], answer: str) -> Iterator[tuple[int, list[int]]]:
        """(place, box) of each name in the question that the answer answers."""
        items = json.loads(answer)
        for place, token in enumerate(question):
            if name := self.name_of_token.get(token):
                boxes = [item["bbox_2d"] for item in items if item["label"].endswith(name)]
                if boxes:
                    yield place, boxes[0]


def _cell_targets(scenes: list[Scene], cells: tuple[int, int]) -> tuple[Tensor, Tensor]:
    columns, rows = cells
    kind = torch.tensor([len(COLOURS), len(SHAPES)]).repeat(len(scenes), columns * rows, 1)
    box = torch.zeros(len(scenes), columns * rows, 4)
    colours = list(COLOURS)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            x1, y1, x2, y2 = fed_box(scene, thing)
            cell = int((y1 + y2) / 2 // CELL_PX) * columns + int((x1 + x2) / 2 // CELL_PX)
            kind[row, cell] = torch.tensor([colours.index(thing.colour), SHAPES.index(thing.shape)])
            box[row, cell] = torch.tensor([x1, y1, x2, y2], dtype=torch.float32)
    return kind, box
