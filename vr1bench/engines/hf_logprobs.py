# pyright: basic
"""Log-probabilities of the tokens that transformers' `generate` chose, without keeping every step's logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


class SampledLogprobs:
    """A logits processor that changes nothing and remembers one number for each token.

    `output_logits=True` would keep the whole vocabulary of every step: 10 GB for 8 answers of 2048 tokens over 152 k
    words. A step's choice is known only at the next step, so one step's logits are held back.
    """

    def __init__(self, prompt_width: int) -> None:
        """Takes the number of columns that the padded prompts fill."""
        self._width = prompt_width
        self._held: torch.Tensor | None = None
        self._values: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Called by `generate` with ids (rows, columns so far) and logits (rows, words); returns the logits."""
        self._settle(input_ids)
        self._held = scores
        return scores

    def finish(self, sequences: torch.Tensor) -> list[list[float]]:
        """Natural logarithms of the chosen tokens, a list for each row of `sequences` (rows, columns)."""
        import torch

        self._settle(sequences)
        self._held = None
        return torch.stack(self._values, dim=1).tolist() if self._values else [[] for _ in sequences]

    def _settle(self, input_ids: torch.Tensor) -> None:
        if self._held is None:
            return
        logits = self._held.float()
        chosen = input_ids[:, self._width + len(self._values), None].to(logits.device)
        self._values.append((logits.gather(1, chosen) - logits.logsumexp(1, keepdim=True))[:, 0].cpu())
