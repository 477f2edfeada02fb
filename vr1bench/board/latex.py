r"""A leaderboard as a LaTeX table, for papers; its preamble needs `\usepackage{booktabs}`."""

from __future__ import annotations

import re

from vr1bench.board.curves import EXPLAINED, curves, told
from vr1bench.board.grid import Entry, Grid, Heading, caption, grid
from vr1bench.board.table import Board

MARKED = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
ESCAPES = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", "±": r"$\pm$", "†": r"\textdagger{}",
} | {special: "\\" + special for special in "&%$#_{}"}  # fmt: skip


def latex(board: Board) -> str:
    """The board as a `table`; papers' rows without a column are left out."""
    lines = grid(board)
    texts = [*caption(board), *(f"$^{{{number}}}$ {note}." for number, note in enumerate(board.footnotes, 1))]
    parts = [
        "% Needs \\usepackage{booktabs}; written by vr1bench board.",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{' '.join(map(_sentence, texts))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(lines.head) - 1)}}}",
        r"\toprule",
        *_head(lines),
        r"\midrule",
        *(_line([_title(head), *map(_entry, entries)]) for head, entries in lines.lines),
        r"\bottomrule",
        r"\end{tabular}",
        *_curves(board),
        r"\end{table}",
    ]
    return "\n".join(parts) + "\n"


def _curves(board: Board) -> list[str]:
    """What a training's curves tell, a paragraph each."""
    lines = [told(curve) for curve in curves(board)]
    return [rf"\par {escaped(line)}" for line in [*lines, EXPLAINED]] if lines else []


def _head(lines: Grid) -> list[str]:
    """Headings, each over as many lines as the longest has."""
    height = max(len(head.lines) for head in lines.head)
    stacked = [[*map(escaped, head.lines), *[""] * (height - len(head.lines))] for head in lines.head]
    for head, texts in zip(lines.head, stacked, strict=True):
        texts[0] += _note(head)
    return [_line(texts) for texts in zip(*stacked, strict=True)]


def _line(texts: list[str] | tuple[str, ...]) -> str:
    return " & ".join(texts) + r" \\"


def _title(head: Heading) -> str:
    return escaped(", ".join(head.lines)) + _note(head)


def _note(head: Heading) -> str:
    return f"$^{{{head.note}}}$" if head.note else ""


def _entry(entry: Entry) -> str:
    return MARKED[entry.mark].format(escaped(entry.text))


def escaped(text: str) -> str:
    """Text that LaTeX prints as it is, on one line; control characters are dropped."""
    return "".join(ESCAPES.get(letter, letter) for letter in " ".join(text.split()) if letter.isprintable())


def _sentence(text: str) -> str:
    r"""Our own words, in which commands stand between backticks."""
    if text.startswith("$^"):
        mark, _, rest = text.partition(" ")
        return f"{mark} {_sentence(rest)}"
    parts = re.split(r"`([^`]*)`", text)
    return "".join(rf"\texttt{{{escaped(part)}}}" if odd % 2 else _spaced(part) for odd, part in enumerate(parts))


def _spaced(text: str) -> str:
    """Escaped, with the blanks at both ends that stand between it and a command."""
    return f"{' ' * text.startswith(' ')}{escaped(text)}{' ' * (text.endswith(' ') and bool(text.strip()))}"
