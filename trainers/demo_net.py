"""The small model's architecture, and a forward pass for training that is equal to transformers' own but faster.

One batch holds pictures of one grid only, so every row has the same M-RoPE positions, and the picture tokens stand at
the same place. The transformer blocks run in two functions that `torch.compile` handles well; transformers' generic
forward (a loop over pictures, masks, caches) is slower on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import apply_rotary_pos_emb, apply_rotary_pos_emb_vision

from vr1bench.demo.world import COLOURS, SHAPES
from vr1bench.trainers.demo_tokenizer import LARGEST_NUMBER, whole_pieces

PATCH_PX: Final = 14
CELL_PX: Final = 28  # a picture token of the text model: 2 x 2 patches
CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
COUNT_CLASSES: Final = 4  # none, one, two, three or more of a listed class


@dataclass(frozen=True, slots=True)
class Taps:
    """What a training forward gives beside the last hidden states.

    Attributes:
        cells: (rows, cells, width) merged picture features out of the ViT.
        early: (rows, length, width) hidden states after text layer 2.
        middle: (rows, length, width) hidden states after text layer 3.
        last: (rows, length, width) normed hidden states that the tied head reads.
    """

    cells: Tensor
    early: Tensor
    middle: Tensor
    last: Tensor


def make_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    """Qwen2.5-VL with 3.7 million parameters.

    The rotary base is 10 rather than a million: pictures are 4 to 6 cells wide and sequences under 150 tokens long, and
    with a large base the slow frequencies, which M-RoPE gives to the columns, would not move at all over six cells.
    """
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in tokenizer.all_special_tokens}
    ends = {"bos_token_id": None, "eos_token_id": ids["<|im_end|>"], "pad_token_id": ids["<|endoftext|>"]}
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 192,
            "intermediate_size": 512,
            "num_hidden_layers": 5,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10.0, "mrope_section": [2, 7, 7]},
            "use_sliding_window": False,
            "tie_word_embeddings": True,
            **ends,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_heads": 4,
            "patch_size": PATCH_PX,
            "spatial_merge_size": 2,
            "out_hidden_size": 192,
            "window_size": 448,
            "fullatt_block_indexes": [0, 1, 2, 3],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        **ends,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLForConditionalGeneration:
    """A model with random weights, save that numbers and class names start out related to each other."""
    model = Qwen2_5_VLForConditionalGeneration._from_config(make_config(tokenizer), attn_implementation="eager")
    table = model.get_input_embeddings().weight
    pieces = whole_pieces()
    with torch.no_grad():
        table.normal_(0, 0.05)
        # Neighbouring numbers start close together: sinusoids of wavelengths from 6 to 800 pixels.
        angles = torch.arange(LARGEST_NUMBER + 1.0)[:, None] * torch.logspace(0, -2.1, table.shape[1] // 2)
        waves = torch.cat([angles.sin(), angles.cos()], dim=1) * 0.08
        parts = {name: torch.randn(table.shape[1]) * 0.05 for name in (*COLOURS, *SHAPES)}
        names = torch.stack([parts[c] + parts[s] for c, s in (label.split() for label in pieces["label"])])
        for prefix in ("", "comma_"):
            table[_ids(tokenizer, pieces[f"{prefix}number"])] = waves + torch.randn_like(waves) * 0.02
            table[_ids(tokenizer, pieces[f"{prefix}label"])] = names
    return model


def _ids(tokenizer: PreTrainedTokenizerFast, pieces: tuple[str, ...]) -> list[int]:
    return [tokenizer.encode(piece)[0] for piece in pieces]


class TrainingNet(nn.Module):
    """The model with four auxiliary heads that are dropped from the checkpoint.

    A ViT with rotary positions finds absolute position slowly. The heads teach it: `look` reads class and box out of
    each cell that holds a thing's centre, `place` reads cell and absolute box out of the picture tokens after text
    layer 2, and `count` and `find` say at each name in the question how many of it are there and where
    the first one is. Without `find` the model soon lists all that it sees, but is slow to learn to pick what was asked.
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        width = model.config.text_config.hidden_size
        self.look = nn.Linear(width, len(COLOURS) + 1 + len(SHAPES) + 1 + 4)
        self.place = nn.Linear(width, 6 + 6 + 4)
        self.count = nn.Linear(width, COUNT_CLASSES)
        self.find = nn.Linear(width, 4)
        self.see = torch.compile(self._see, dynamic=True)
        self.read = torch.compile(self._read, dynamic=True)

    def forward(self, pictures: Tensor, tokens: Tensor, first_cell: int) -> Taps:
        """Run a batch of one grid.

        Args:
            pictures: (rows, height, width, 3) uint8, both sides multiples of 28.
            tokens: (rows, length) ids, padded on the right; picture tokens from `first_cell` on.
            first_cell: Place of the first picture token in every row.

        Returns:
            The hidden states.
        """
        model = self.model.model
        patches = patchify(pictures)
        rows_cells = pictures.shape[1] // CELL_PX, pictures.shape[2] // CELL_PX
        cells = self.see(patches, *self._vision_angles(*rows_cells))
        words = model.language_model.embed_tokens(tokens)
        after = first_cell + rows_cells[0] * rows_cells[1]
        words = torch.cat([words[:, :first_cell], cells.to(words.dtype), words[:, after:]], dim=1)
        places = mrope_positions(tokens.shape[1], first_cell, *rows_cells)
        early, middle, last = self.read(words, *model.language_model.rotary_emb(words, places))
        return Taps(cells, early, middle, last)

    def _vision_angles(self, cell_rows: int, cell_columns: int) -> tuple[Tensor, Tensor]:
        """cos and sin (patches, head size), patches in the processor's order: 2 x 2 blocks, row by row."""
        row, column = torch.meshgrid(torch.arange(2 * cell_rows), torch.arange(2 * cell_columns), indexing="ij")
        grid = torch.stack([row, column]).reshape(2, cell_rows, 2, cell_columns, 2).transpose(2, 3).flatten(1).T
        return self.model.model.visual.rotary_pos_emb(grid, grid)

    def _see(self, patches: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        visual: Any = self.model.model.visual
        rows, count, _ = patches.shape
        # The processor repeats a still picture along time; summing the kernel over time is the same and cheaper.
        kernel = visual.patch_embed.proj.weight.sum(2).flatten(1)
        x = nn.functional.linear(patches, kernel)
        for block in visual.blocks:
            heads = block.attn.qkv(block.norm1(x)).view(rows, count, 3, visual.config.num_heads, -1)
            q, k, v = heads.unbind(2)
            q, k = apply_rotary_pos_emb_vision(q, k, cos, sin)
            x = x + block.attn.proj(_attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), None))
            x = x + block.mlp(block.norm2(x))
        merger = visual.merger
        return merger.mlp(merger.ln_q(x).reshape(rows, count // 4, -1))

    def _read(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        language: Any = self.model.model.language_model
        rows, length, _ = x.shape
        future = torch.full((length, length), -1e9).triu(1)
        states: list[Tensor] = []
        for layer in language.layers:
            attention = layer.self_attn
            normed = layer.input_layernorm(x)
            q, k, v = (
                project(normed).view(rows, length, -1, attention.head_dim).transpose(1, 2)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            q, k = apply_rotary_pos_emb(q, k, cos, sin)
            shared = attention.num_key_value_groups
            k, v = k.repeat_interleave(shared, 1), v.repeat_interleave(shared, 1)
            x = x + attention.o_proj(_attend(q, k, v, future))
            x = x + layer.mlp(layer.post_attention_layernorm(x))
            states.append(x)
        return states[1], states[2], language.norm(x)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Plain attention on (rows, heads, length, size), to (rows, length, heads * size)."""
    scores = (q.to(v.dtype) @ k.to(v.dtype).transpose(2, 3)).float() * q.shape[-1] ** -0.5
    weights = (scores if mask is None else scores + mask).softmax(-1).to(v.dtype)
    return (weights @ v).transpose(1, 2).flatten(2)


def patchify(pictures: Tensor) -> Tensor:
    """(rows, height, width, 3) uint8 to normalised (rows, patches, 3 * 14 * 14), in the processor's order."""
    rows, height, width, _ = pictures.shape
    scaled = (pictures.float() / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    split = scaled.view(rows, height // CELL_PX, 2, PATCH_PX, width // CELL_PX, 2, PATCH_PX, 3)
    return split.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(rows, -1, 3 * PATCH_PX * PATCH_PX)


def mrope_positions(length: int, first_cell: int, cell_rows: int, cell_columns: int) -> Tensor:
    """(3, 1, length) time, row and column positions of text, then one picture, then text."""
    row, column = torch.meshgrid(torch.arange(cell_rows), torch.arange(cell_columns), indexing="ij")
    picture = torch.stack([torch.zeros_like(row), row, column]).flatten(1) + first_cell
    before = torch.arange(first_cell).expand(3, -1)
    rest = length - first_cell - picture.shape[1]
    after = (torch.arange(rest) + first_cell + max(cell_rows, cell_columns)).expand(3, -1)
    return torch.cat([before, picture, after], dim=1)[:, None]
