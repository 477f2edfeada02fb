"""One GRPO step's gradient against the loss written by hand: GRPO's own, a sequence at a time, without padding."""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText

from vr1bench.demo.world import make_scene
from vr1bench.trainers import grpo
from vr1bench.trainers.loading import start
from vr1bench.trainers.recipe import read_recipe

BETA, EPSILON, TEMPERATURE = 0.2, 0.2, 0.9
ROWS = [  # two sizes of pictures, prompts of unlike lengths
    (1_500_000_001, "Locate every red circle in the image."),
    (1_500_000_002, "Locate every item from the category list in the image: red circle, blue square, green cross."),
]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gradient")
    rows = []
    for number, (seed, prompt) in enumerate(ROWS):
        make_scene(seed).picture.save(folder / f"{number}.png")
        rows.append({"id": str(number), "images": [f"{number}.png"], "prompt": prompt})
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "paid.py").write_text("def lengths(completions, **_):\n    return [float(len(c)) for c in completions]\n")
    (folder / "recipe.toml").write_text(f"""
[model]
name = "demo"
dtype = "float32"
attention = "eager"
[data]
rows = ["{folder}/rows.jsonl"]
[grpo]
output_dir = "{folder}/out"
use_cpu = true
bf16 = false
gradient_checkpointing = false
loss_type = "grpo"
use_bias_correction_kl = false
beta = {BETA}
epsilon = {EPSILON}
num_generations = 2
per_device_train_batch_size = 4
max_completion_length = 48
temperature = {TEMPERATURE}
[rewards]
"{folder}/paid.py:lengths" = 1.0
""")
    return grpo.make_trainer(start(read_recipe(str(folder / "recipe.toml"))))


@pytest.fixture(scope="module")
def inputs(trainer):
    """A drawn batch of two groups, with advantages, a policy that has moved on, and another reference."""
    torch.manual_seed(0)
    trainer.model.train()
    rows = [trainer.train_dataset[place] for place in (0, 0, 1, 1)]
    made = trainer._generate_and_score_completions(rows)
    completion = made["completion_ids"].shape
    made["advantages"] = torch.tensor([1.0, -1.0, 0.5, -0.25])
    made["old_per_token_logps"] = made["ref_per_token_logps"] + 0.3 * torch.randn(completion)  # some are clipped
    made["ref_per_token_logps"] = made["ref_per_token_logps"] + 0.2 * torch.randn(completion)
    return made


def by_hand(model, processor, inputs, rows):
    """DeepSeekMath's objective (arXiv 2402.03300, equation 3), the mean a sequence first, over single sequences."""
    losses = []
    for place, row in enumerate(rows):
        prompt = inputs["prompt_ids"][place][inputs["prompt_mask"][place].bool()]
        kept = inputs["completion_mask"][place].bool()
        answer = inputs["completion_ids"][place][kept]
        ids = torch.cat([prompt, answer])[None]
        picture = processor.image_processor(images=row["images"], return_tensors="pt")
        logits = model(input_ids=ids, mm_token_type_ids=(ids == model.config.image_token_id).long(), **picture).logits[
            0, len(prompt) - 1 : -1
        ]
        logp = torch.log_softmax(logits / TEMPERATURE, -1)[torch.arange(len(answer)), answer]
        ratio = (logp - inputs["old_per_token_logps"][place][kept]).exp()
        advantage = inputs["advantages"][place]
        gain = torch.minimum(ratio * advantage, ratio.clamp(1 - EPSILON, 1 + EPSILON) * advantage)
        apart = inputs["ref_per_token_logps"][place][kept] - logp
        losses.append((BETA * (apart.exp() - apart - 1) - gain).mean())
    return torch.stack(losses).mean()


def test_the_gradient_is_that_of_the_papers_loss(trainer, inputs):
    rows = [trainer.train_dataset[place] for place in (0, 0, 1, 1)]
    sizes = {tuple(row["images"][0].size) for row in rows}
    assert len(sizes) == 2
    assert inputs["prompt_mask"].sum(1).unique().numel() == 2
    assert inputs["completion_mask"].sum(1).unique().numel() > 1
    trainer.model.zero_grad()
    trainer.current_gradient_accumulation_steps = 1  # which the training loop sets
    theirs = trainer.compute_loss(trainer.model, dict(inputs))
    theirs.backward()
    plain = AutoModelForImageTextToText.from_pretrained(
        trainer.model.config._name_or_path, dtype=torch.float32, attn_implementation="eager"
    )
    mine = by_hand(plain, trainer.processing_class, inputs, rows)
    mine.backward()
    assert theirs.item() == pytest.approx(mine.item(), rel=1e-5)
    compared = dict(trainer.model.named_parameters())
    norm = torch.stack([w.grad.norm() for w in plain.parameters() if w.grad is not None]).norm()
    apart = torch.stack([(compared[n].grad - w.grad).norm() for n, w in plain.named_parameters() if w.grad is not None])
    assert norm > 0.1
    assert apart.norm() / norm < 1e-4
