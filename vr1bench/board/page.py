"""A leaderboard as one html page that needs nothing else: sortable, for a phone too, light or dark."""

from __future__ import annotations

import re
from html import escape

from vr1bench.board.curves import EXPLAINED, curves, told
from vr1bench.board.grid import APART, Entry, Grid, Heading, apart, caption, grid, places_apart
from vr1bench.board.picture import NoMatplotlibError, inline
from vr1bench.board.table import Board
from vr1bench.published import Published

STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --quiet: #57606a; --head: #f6f8fa; --page: #fff; --paper: #fff8e5;
  --ink: #1f2328; --curve: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --line: #30363d; --quiet: #9198a1; --head: #161b22; --page: #0d1117; --paper: #2b2410;
    --ink: #e6edf3; --curve: #56b4e9; }
}
body { font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; padding: 1rem; max-width: 100rem; }
html { background: var(--page); }
h1 { font-size: 1.4rem; margin: .2rem 0; } h2 { font-size: 1.1rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
p { max-width: 52rem; } p, li, .how, summary { color: var(--quiet); } p, li { font-size: .9rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; width: fit-content; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { background: var(--head); border-top: 0; vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--head); font-weight: 500; }
tbody th:first-child { min-width: min(15rem, 38vw); overflow-wrap: break-word; white-space: normal; }
th button { all: unset; cursor: pointer; font-weight: 600; } th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.how { display: block; font-weight: 400; font-size: .8rem; }
.best { font-weight: 700; } .second { text-decoration: underline; }
@media (max-width: 40rem) {
  body { padding: .6rem; font-size: 13px; }
  th, td { padding: .35rem .5rem; }
  thead .how { white-space: normal; min-width: 8rem; }
}
td.reported, th.reported, th.reported:first-child { background: var(--paper); font-style: italic; }
"""
SCRIPT = """
for (const head of document.querySelectorAll("th[aria-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.children) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.children[head.cellIndex].dataset.value;
    const order = (a, b) => isNaN(a) || isNaN(b) ? a.localeCompare(b, "en", {numeric: true}) : a - b;
    for (const body of head.closest("table").tBodies) {
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        return x === undefined || y === undefined ? (x === undefined) - (y === undefined)
          : down ? order(y, x) : order(x, y);
      });
      body.append(...rows);
    }
  });
}
"""


def html(board: Board) -> str:
    """The board as a page; what it says of models, benchmarks and papers is text there, never markup."""
    sentences = "\n".join(f"<p>{_sentence(text)}</p>" for text in caption(board))
    notes = "".join(f"<li>{_sentence(note)}</li>" for note in board.footnotes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; script-src \
'unsafe-inline'">
<title>Leaderboard</title>
<style>{STYLE}</style>
</head>
<body>
<h1>Leaderboard</h1>
<p>A heading sorts by its column. Made by <code>vr1bench board</code>.</p>
{_table(grid(board))}
{f"<ol>{notes}</ol>" if notes else ""}
{sentences}
{_curves(board)}
{_apart(board)}
<script>{SCRIPT}</script>
</body>
</html>
"""


def _table(lines: Grid) -> str:
    if not lines.lines:
        return "<p>No results yet.</p>"
    own = [_row(head, entries) for head, entries in lines.lines if not head.reported]
    papers = [_row(head, entries) for head, entries in lines.lines if head.reported]
    bodies = "\n".join("<tbody>\n" + "\n".join(rows) + "\n</tbody>" for rows in (own, papers) if rows)
    heads = "\n".join(map(_head, lines.head))
    return f'<div class="wide">\n<table>\n<thead>\n<tr>\n{heads}\n</tr>\n</thead>\n{bodies}\n</table>\n</div>'


def _head(head: Heading) -> str:
    return f'<th scope="col" aria-sort="none"{_class(head.reported)}><button>{_name(head)}</button>{_how(head)}</th>'


def _row(head: Heading, entries: tuple[Entry, ...]) -> str:
    opening = f'<th scope="row" data-value="{escape(head.lines[0])}"{_class(head.reported)}>'
    return f"<tr>{opening}{_name(head)}{_how(head)}</th>{''.join(map(_cell, entries))}</tr>"


def _name(head: Heading) -> str:
    return escape(head.lines[0]) + (f"<sup>{head.note}</sup>" if head.note else "")


def _how(head: Heading) -> str:
    return "".join(f'<span class="how">{escape(line)}</span>' for line in head.lines[1:])


def _cell(entry: Entry) -> str:
    value = "" if entry.value is None else f' data-value="{escape(str(entry.value))}"'
    return f"<td{value}{_class(entry.reported, entry.mark)}>{escape(entry.text)}</td>"


def _class(reported: bool, mark: str = "") -> str:
    names = " ".join(name for name in ("reported" if reported else "", mark) if name)
    return f' class="{names}"' if names else ""


def _sentence(text: str) -> str:
    """Our own words, in which commands stand between backticks."""
    return re.sub("`([^`]*)`", r"<code>\1</code>", escape(text, quote=False))


def _curves(board: Board) -> str:
    """A training's curves and what they tell; "" where the board has none."""
    found = curves(board)
    if not found:
        return ""
    lines = "\n".join(f"<li>{escape(told(curve))}</li>" for curve in found)
    try:
        picture = f'<div class="wide">{inline(board)}</div>'
    except NoMatplotlibError as error:
        picture = f"<p>The picture is left out: {_sentence(str(error))}.</p>"
    return f"<h2>Over steps</h2>\n{picture}\n<ul>\n{lines}\n</ul>\n<p>{escape(EXPLAINED)}</p>"


def _apart(board: Board) -> str:
    """Papers' rows without a column, folded: a table a benchmark."""
    if not board.apart:
        return ""
    tables = "\n".join(f"<h3>{escape(where)}</h3>\n{_papers(rows)}" for where, rows in places_apart(board).items())
    said = f"<p>{_sentence(apart(board))}</p>"
    return f"<details>\n<summary><strong>{APART}</strong></summary>\n{said}\n{tables}\n</details>"


def _papers(rows: list[Published]) -> str:
    heads = ("reported of", "metric", "value", "protocol", "source")
    header = "".join(f'<th scope="col">{name}</th>' for name in heads)
    lines = "\n".join(
        "<tr>" + f'<th scope="row" class="reported">{escape(row.name)}</th>'
        + "".join(f'<td class="reported">{escape(text)}</td>' for text in (row.metric, row.value, row.how, row.place))
        + "</tr>"
        for row in rows
    )  # fmt: skip
    return f'<div class="wide"><table>\n<thead><tr>{header}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'
