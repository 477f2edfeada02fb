"""Commands that judge results: compare, gate, power."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from vr1bench.commands.printing import say
from vr1bench.errors import IncompleteError, Vr1benchError

if TYPE_CHECKING:
    from vr1bench.store import Result

Results = Annotated[Path, typer.Option(help="Folder of results, where models are looked for by name.")]
OnlyProtocol = Annotated[Optional[str], typer.Option("--protocol", help="Only results under this protocol.")]
OnlyScores = Annotated[Optional[str], typer.Option("--scores", help="Only results with this score rule.")]
Judged = Annotated[
    str, typer.Option("--metric", help="[default: each benchmark's primary one, AP_tie in place of AP].")
]
SUBJECT = "A result file, a run folder, a folder of results of one model, or a model's name (its beginning is enough)."


def compare(
    old: Annotated[str, typer.Argument(help=SUBJECT)],
    new: Annotated[str, typer.Argument(help="The same.")],
    metric: Judged = "",
    top: Annotated[int, typer.Option(help="Samples shown that flipped.", min=0)] = 20,
    across: Annotated[
        bool, typer.Option("--across", help="Compare other protocols, splits or data too: unpaired, hence less sure.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="text, md or json.")] = "text",
    protocol: OnlyProtocol = None,
    scores: OnlyScores = None,
    results: Results = Path("results"),
) -> None:
    """Say what changed from one model to another: differences with intervals and p-values, and classes that moved."""
    from vr1bench.comparing import as_json, flips, flips_text, text
    from vr1bench.comparing import compare as compared
    from vr1bench.lookup import run_of
    from vr1bench.registry import unknown

    forms = {"text": "simple", "md": "pipe", "json": ""}
    if form not in forms:
        raise unknown("format", form, forms)
    before, after = (_subject(one, results, protocol, scores) for one in (old, new))
    found = compared(before, after, metric=metric, across=across)
    runs = [(run_of(before[name], old, results), run_of(after[name], new, results)) for name in before if name in after]
    pairs = [(one, other) for one, other in runs if one and other]
    turned = sorted((flip for pair in pairs for flip in flips(*pair)), key=lambda one: -abs(one.new - one.old))
    if form == "json":
        say(as_json(found, turned if pairs else None).rstrip("\n"))
        return
    say(text(found, forms[form]))
    if pairs:
        say("\n" + flips_text(turned, forms[form], top))
    if len(pairs) < len(runs):
        typer.echo("note: which samples flipped is known only where both sides' runs/ folders are there", err=True)


def gate(
    new: Annotated[str, typer.Argument(help=SUBJECT)],
    baseline: Annotated[str, typer.Option(help="The same, of what it is measured against.")] = "",
    tolerance: Annotated[Optional[float], typer.Option(help="Points that a metric may drop [default: 0.5].")] = None,
    alpha: Annotated[
        Optional[float], typer.Option(help="Chance that noise alone fails the gate [default: 0.05].")
    ] = None,
    metric: Judged = "",
    rules: Annotated[
        Optional[Path], typer.Option(help="TOML with these, and tolerances of single benchmarks; see docs/gate.md.")
    ] = None,
    junit: Annotated[Optional[Path], typer.Option(help="Write JUnit XML there.")] = None,
    markdown: Annotated[
        Optional[Path], typer.Option(help="Append a summary there, such as to $GITHUB_STEP_SUMMARY.")
    ] = None,
    json: Annotated[Optional[Path], typer.Option(help="Write JSON there.")] = None,
    protocol: OnlyProtocol = None,
    scores: OnlyScores = None,
    results: Results = Path("results"),
) -> None:
    """Fail (exit code 1) where a model lost more than is tolerated, and more surely than noise, or is incomplete."""
    from vr1bench import gating as judging
    from vr1bench.definitions import validated
    from vr1bench.store import write_text

    if not baseline:
        raise Vr1benchError("--baseline is missing; expected what the new model is measured against")
    said = {"tolerance": tolerance, "alpha": alpha, "metric": metric or None}
    stated = judging.read_rules(rules).model_dump() if rules else {}
    given = {name: value for name, value in said.items() if value is not None}
    wanted = validated(judging.Rules, stated | given, "the gate's rules")
    before = _subject(baseline, results, protocol, scores)
    try:
        verdict = judging.gate(_subject(new, results, protocol, scores), before, wanted)
    except IncompleteError as error:
        verdict = judging.incomplete(str(error))
    for path, make in ((junit, judging.junit), (json, judging.as_json)):
        if path:
            write_text(path, make(verdict))
    if markdown:  # GitHub's file of step summaries is added to
        above = markdown.read_text("utf-8") if markdown.is_file() else ""
        write_text(markdown, above + judging.markdown(verdict))
    say(judging.table(verdict))
    if not verdict.passed:
        raise typer.Exit(1)


def power(
    model: Annotated[str, typer.Argument(help=SUBJECT)],
    other: Annotated[
        Optional[str], typer.Argument(help="A second model's: shows how closely two models go together.")
    ] = None,
    metric: Judged = "",
    alpha: Annotated[float, typer.Option(help="Chance of a false alarm.", min=1e-6, max=0.5)] = 0.05,
    chance: Annotated[float, typer.Option(help="With which the drop is to be found.", min=0.5, max=0.999)] = 0.8,
    correlation: Annotated[
        Optional[float], typer.Option(help="Between two models' results, where no second shows it.", min=0, max=0.99)
    ] = None,
    protocol: OnlyProtocol = None,
    scores: OnlyScores = None,
    results: Results = Path("results"),
) -> None:
    """Say which drops a suite can see at all, with as many images as it has."""
    from vr1bench.sensitivity import CORRELATION, table
    from vr1bench.sensitivity import power as seen

    first = _subject(model, results, protocol, scores)
    second = _subject(other, results, protocol, scores) if other else None
    share = CORRELATION if correlation is None else correlation
    say(table(seen(first, second, metric=metric, alpha=alpha, chance=chance, correlation=share)))
    if second is None:
        typer.echo(
            f"note: two models' results are taken to correlate at {share:g}; name a second model to measure it",
            err=True,
        )


def _subject(name: str, folder: Path, protocol: str | None, scores: str | None) -> dict[str, Result]:
    from vr1bench.lookup import by_benchmark, results_of

    found = [
        one for one in results_of(name, folder)
        if protocol in {None, one.key.protocol} and scores in {None, one.key.scores}
    ]  # fmt: skip
    if not found:
        raise Vr1benchError(
            f"{name}: no result under protocol {protocol!r} with scores {scores!r}; drop one of the two"
        )
    return by_benchmark(found, name)
