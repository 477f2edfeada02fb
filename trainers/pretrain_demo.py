"""Train the small model that ships, from scratch, on pictures drawn on the fly.

    OMP_WAIT_POLICY=PASSIVE python -m vr1bench.trainers.pretrain_demo --minutes 80 --out runs/demo
    OMP_WAIT_POLICY=PASSIVE python -m vr1bench.trainers.pretrain_demo --steps 600 --out runs/short

Two processes of one thread each, gradients averaged by one flat all-reduce. The schedule follows the wall time that was
really spent training, or with --steps the optimiser steps, whatever the machine's speed; the state is saved every few
minutes and a killed run continues where it stopped. The last export stands in OUT/model: an ordinary Hugging Face
checkpoint folder.

The loss is cross-entropy on the answer, plus four auxiliary losses (see `demo_net.TrainingNet`). A number's target is a
small bell around the right one, so that a near miss costs less than a far one; the bell narrows with time.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, smooth_l1_loss
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLForConditionalGeneration

from vr1bench.demo.world import COLOURS, MAX_THINGS, TRAIN_SEED_START
from vr1bench.trainers.demo_lessons import IGNORE, Batch, Lessons
from vr1bench.trainers.demo_net import CELL_PX, TrainingNet, make_model
from vr1bench.trainers.demo_tokenizer import make_processor, make_tokenizer, whole_pieces

PROCESSES: Final = 2
PEAK_RATE: Final = 2e-3
WARM_UP_STEPS: Final = 150
CONSTANT_SHARE: Final = 0.4  # of the training, before the rate falls linearly to zero
SAVE_EVERY_S: Final = 300.0
GRIDS: Final = [(5, 5), (4, 6), (6, 6), (5, 6), (4, 4), (6, 5), (4, 5), (6, 4), (5, 4)]


@dataclass
class Clock:
    """Where the run stands: optimiser steps, and seconds spent training over all its starts.

    Attributes:
        minutes: Planned wall time.
        planned: Planned steps, which decide instead of the time; 0 for none.
        steps: Those made.
        spent_s: Wall time spent.
        mark_s: When the last step ended, on the monotonic clock.
    """

    minutes: float
    planned: int = 0
    steps: int = 0
    spent_s: float = 0.0
    mark_s: float = field(default_factory=time.monotonic)

    def tick(self) -> None:
        """Count one step; every process takes the first one's time, so that all agree on the schedule."""
        now = time.monotonic()
        self.spent_s += now - self.mark_s
        self.mark_s, self.steps = now, self.steps + 1
        shared = torch.tensor([self.spent_s], dtype=torch.float64)
        dist.broadcast(shared, 0)
        self.spent_s = shared.item()

    @property
    def progress(self) -> float:
        """Share of the planned steps, or of the planned time; 0 to 1."""
        done = self.steps / self.planned if self.planned else self.spent_s / (self.minutes * 60)
        return min(1.0, done)

    @property
    def rate_factor(self) -> float:
        """Of the peak learning rate."""
        fall = min(1.0, (1 - self.progress) / (1 - CONSTANT_SHARE))
        return min(1.0, (self.steps + 1) / WARM_UP_STEPS) * fall


def target_table(tokenizer: PreTrainedTokenizerFast, sigma_px: float) -> Tensor:
    """(vocabulary, vocabulary) target distributions: a number's is a bell over its neighbours, any other's one-hot."""
    table = torch.eye(len(tokenizer))
    for kind in ("number", "comma_number"):
        ids = torch.tensor([tokenizer.encode(piece)[0] for piece in whole_pieces()[kind]])
        steps = torch.arange(len(ids))
        bell = torch.exp(-0.5 * ((steps[:, None] - steps[None]) / sigma_px) ** 2)
        table[ids[:, None], ids[None]] = bell / bell.sum(1, keepdim=True)
    return table


def losses(net: TrainingNet, batch: Batch, table: Tensor) -> dict[str, Tensor]:
    """The weighted parts of the loss, each a scalar; `wrong` is the share of answer tokens missed, for the log."""
    with torch.autocast("cpu", torch.bfloat16):
        taps = net(batch.pictures, batch.tokens, batch.first_cell)
        cells = batch.cell_kind.shape[1]
        looked = net.look(taps.cells).float()
        placed = net.place(taps.early[:, batch.first_cell : batch.first_cell + cells]).float()
        counted, found = net.count(taps.middle).float(), net.find(taps.middle).float()
        logits = net.model.lm_head(taps.last[batch.spoken]).float()
    targets = batch.tokens.roll(-1, 1)[batch.spoken]
    columns = batch.pictures.shape[2] // CELL_PX
    across, down = torch.arange(cells) % columns, torch.arange(cells) // columns
    origin = torch.stack([across, down, across, down], 1) * CELL_PX
    full, asked = batch.cell_kind[..., 0] < len(COLOURS), batch.sought.sum(-1) > 0
    many = len(batch.tokens)
    soft = -(table[targets] * log_softmax(logits, -1)).sum(-1)
    floor = -(table[targets] * table[targets].clamp_min(1e-12).log()).sum(-1)
    colour, shape, inner = looked.split([len(COLOURS) + 1, looked.shape[-1] - len(COLOURS) - 5, 4], -1)
    return {
        "answer": (soft - floor).mean(),
        "look": 0.3 * cross_entropy(colour.flatten(0, 1), batch.cell_kind[..., 0].flatten())
        + 0.3 * cross_entropy(shape.flatten(0, 1), batch.cell_kind[..., 1].flatten()),
        "inner": smooth_l1_loss(inner[full], ((batch.cell_box - origin) / CELL_PX)[full], beta=0.1),
        "place": 0.1 * cross_entropy(placed[..., :6].flatten(0, 1), across.repeat(many))
        + 0.1 * cross_entropy(placed[..., 6:12].flatten(0, 1), down.repeat(many))
        + 2.0 * smooth_l1_loss(placed[..., 12:][full], (batch.cell_box / (6 * CELL_PX))[full], beta=0.02),
        "count": 0.3 * cross_entropy(counted.flatten(0, 1), batch.listed.flatten(), ignore_index=IGNORE),
        "find": 2.0 * smooth_l1_loss(found[asked], (batch.sought / (6 * CELL_PX))[asked], beta=0.02),
        "wrong": (logits.argmax(-1) != targets).float().mean().detach(),
    }


def make_optimisers(net: TrainingNet) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, heads, biases and norms."""
    matrices: list[Tensor] = []
    rest: list[Tensor] = []
    for name, weight in net.named_parameters():
        (matrices if weight.ndim == 2 and ("blocks" in name or "layers" in name) else rest).append(weight)
    muon = torch.optim.Muon(matrices, PEAK_RATE, weight_decay=0.02, ns_steps=5, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [muon, adam]


def train(rank: int, options: argparse.Namespace) -> None:
    """One process: the same weights in all, different pictures."""
    torch.set_num_threads(1)
    # One cache a process: two that compile into the same one may read half-written files.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(options.out.resolve() / f"compiled{rank}")
    rendezvous = options.out.resolve() / "rendezvous"
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=PROCESSES)
    torch.manual_seed(options.seed)
    tokenizer = make_tokenizer()
    net, lessons = TrainingNet(make_model(tokenizer)), Lessons(tokenizer)
    optimisers, clock = make_optimisers(net), Clock(options.minutes, options.steps)
    resume(options.out, net, optimisers, clock)
    table, saved_s = target_table(tokenizer, bell_px(clock)), clock.spent_s
    seen: dict[str, float] = {}
    while clock.progress < 1:
        if clock.steps % 200 == 0:
            table = target_table(tokenizer, bell_px(clock))
        for name, value in teach(net, next_batch(lessons, rank, clock, options), table, optimisers, clock).items():
            seen[name] = seen.get(name, value) * 0.98 + value * 0.02
        clock.tick()
        if rank == 0 and (clock.steps % 50 == 0 or clock.steps < 6):
            shown = " ".join(f"{name} {value:.3f}" for name, value in seen.items())
            print(f"{clock.steps} {clock.spent_s / 60:.1f} min {shown}", flush=True)
        if rank == 0 and clock.spent_s - saved_s > SAVE_EVERY_S:
            saved_s = clock.spent_s
            save(options.out, net, optimisers, clock)
            export(net.model, tokenizer, options.out / "model")
    if rank == 0:
        save(options.out, net, optimisers, clock)
        export(net.model, tokenizer, options.out / "model")
    dist.destroy_process_group()


def bell_px(clock: Clock) -> float:
    """Width (sigma) of a number's target, in pixels: 1.8 at first, 0.6 at last."""
    return 0.6 + 1.2 * (1 - clock.progress)


def next_batch(lessons: Lessons, rank: int, clock: Clock, options: argparse.Namespace) -> Batch:
    """Pictures that no other step or process sees; at first two things at most, after 8 % of the time all six."""
    first = TRAIN_SEED_START + ((options.seed * 10_000_000 + clock.steps) * PROCESSES + rank) * options.batch
    most_things = min(MAX_THINGS, 2 + int(clock.progress / 0.08 * (MAX_THINGS - 1)))
    return lessons.batch(range(first, first + options.batch), GRIDS[clock.steps % len(GRIDS)], most_things)


def teach(
    net: TrainingNet, batch: Batch, table: Tensor, optimisers: list[torch.optim.Optimizer], clock: Clock
) -> dict[str, float]:
    """One step; gives the losses' values for the log."""
    parts = losses(net, batch, table)
    torch.stack([value for name, value in parts.items() if name != "wrong"]).sum().backward()
    share_gradients(net)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * clock.rate_factor
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return {name: value.item() for name, value in parts.items()}


def share_gradients(net: TrainingNet) -> None:
    """Average the gradients over the processes in one message, and clip their norm to 1."""
    weights = [weight for weight in net.parameters() if weight.grad is not None]
    flat = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
    dist.all_reduce(flat)
    flat /= PROCESSES
    flat *= min(1.0, 1.0 / (flat.norm().item() + 1e-6))
    for weight, piece in zip(weights, flat.split([weight.numel() for weight in weights]), strict=True):
        weight.grad = piece.view_as(weight)


def save(out: Path, net: TrainingNet, optimisers: list[torch.optim.Optimizer], clock: Clock) -> None:
    """Write the training state, whole or not at all."""
    state = {
        "net": net.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "steps": clock.steps,
        "spent_s": clock.spent_s,
    }
    torch.save(state, out / "state.pt.new")
    (out / "state.pt.new").replace(out / "state.pt")


def resume(out: Path, net: TrainingNet, optimisers: list[torch.optim.Optimizer], clock: Clock) -> None:
    """Take up a saved state, if there is one."""
    if not (out / "state.pt").exists():
        return
    state: dict[str, Any] = torch.load(out / "state.pt", weights_only=True)
    net.load_state_dict(state["net"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    clock.steps, clock.spent_s, clock.mark_s = state["steps"], state["spent_s"], time.monotonic()


def export(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the checkpoint folder with bf16 weights, whole or not at all."""
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    weights = {name: value.to(torch.bfloat16) for name, value in model.state_dict().items() if name != "lm_head.weight"}
    plain = Qwen2_5_VLForConditionalGeneration(model.config)
    plain.load_state_dict(weights, strict=False)
    plain.tie_weights()
    plain.to(torch.bfloat16)
    plain.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    plain.save_pretrained(fresh)
    make_processor(tokenizer).save_pretrained(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.replace(folder)


def main() -> None:
    """Read the options and start the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=80.0, help="wall time to train, over all starts")
    parser.add_argument("--steps", type=int, default=0, help="train so many steps instead, however long they take")
    parser.add_argument("--seed", type=int, default=0, help="of weights and pictures; 0 to 9")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training state and of OUT/model")
    parser.add_argument("--batch", type=int, default=48, help="pictures a step and process")
    options = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "rendezvous").unlink(missing_ok=True)
    mp.spawn(train, (options,), PROCESSES)


if __name__ == "__main__":
    main()
