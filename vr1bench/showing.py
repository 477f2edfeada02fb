"""All that is known of a benchmark, for people to read before they trust its number."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from tabulate import tabulate

from vr1bench import published as papers
from vr1bench.benchmark import Benchmark, benchmarks, find, suite, suites
from vr1bench.protocol import KINDS, Protocol, protocols
from vr1bench.published import published
from vr1bench.registry import unknown
from vr1bench.types import Task

WIDTH = 120
MEMBER = ("member", "task", "primary", "split", "samples", "quirks")
ABREAST = 6
"""Protocols that fit side by side."""
ORACLE = "positive (oracle)"
"""The query that asks only for classes that the gold holds, as it is shown."""
ASKED = ("min_pixels", "max_pixels", "max_tokens", "shuffle", "first")
JUDGED: dict[Task, tuple[str, ...]] = {
    "detect": ("query", "duplicates", "unknown", "scores", "ids", "max_detections", "nms_ties"),
    "refer": ("boxes", "match", "iou"),
    "qa": (),
}
"""The fields of a protocol that act on each task, beside `ASKED`."""


def describe(name: str) -> str:
    """Definition, protocols, sources, quirks and published rows of a benchmark; of a suite, its members in short.

    Raises:
        Vr1benchError: There is neither, or the TOML is wrong.
    """
    if name.endswith(".toml") or name in benchmarks():
        return _benchmark(find(name))
    if name in suites():
        return _suite(name)
    raise unknown("benchmark or suite", name, [*benchmarks(), *suites()])


def _benchmark(one: Benchmark) -> str:
    return "\n\n".join(
        part
        for part in (
            _definition(one),
            _protocols(one),
            _words(one),
            _source(one),
            _listed("known quirks and warnings", one.quirks),
            _published(one.name),
        )
        if part
    )


def _suite(name: str) -> str:
    members = suite(name)
    rows = [
        [one.name, one.task, one.primary, one.split, str(one.splits[one.split].samples or "?"), str(len(one.quirks))]
        for one in members
    ]
    common = [quirk for quirk in members[0].quirks if all(quirk in one.quirks for one in members)]
    told = {rule.name: sum(_is_oracle(rule, one) for one in members) for rule in protocols().values()}
    parts = [
        f"{name}: a suite of {len(members)}; `vr1bench show {members[0].name}` says all of one",
        tabulate(rows, headers=MEMBER, tablefmt="simple", disable_numparse=True, colalign=["left"] * 4 + ["right"] * 2),
        _oracle(f"{rule} on {count} of {len(members)}" for rule, count in told.items() if count),
        _listed("known quirks and warnings that its members share", common),
        _published(name),
    ]
    return "\n\n".join(part for part in parts if part)


def _definition(one: Benchmark) -> str:
    within = [name for name in suites() if one.name in {member.name for member in suite(name)}]
    rows = [
        ["task", one.task],
        ["primary metric", one.primary],
        ["split", f"{_counted(one)}; `--split` takes {', '.join(one.splits)}"],
        ["annotations", "generated on first use" if one.generated else one.splits[one.split].annotations[0]],
        ["reader", one.reader],
        ["in suites", ", ".join(within) or "none"],
    ]
    rows += [[name, str(value)] for name, value in one.splits[one.split].options.items()]
    return f"{one.name}\n" + _plain(rows, 16)


def _counted(one: Benchmark) -> str:
    return f"{one.split}, {one.splits[one.split].samples or 'an unpublished number of'} samples"


def _protocols(one: Benchmark) -> str:
    rules = [rule.at(one.name) for rule in protocols().values() if one.task != "qa" or _asks_questions(rule)]
    tables = [
        _side_by_side(rules[start : start + ABREAST], (*JUDGED.get(one.task, ()), *ASKED))
        for start in range(0, len(rules), ABREAST)
    ]
    told = _oracle(rule.name for rule in rules if _is_oracle(rule, one))
    return "protocols\n" + "\n\n".join([*tables, told] if told else tables)


def _is_oracle(rule: Protocol, one: Benchmark) -> bool:
    """Whether a protocol tells the model which classes a picture of the benchmark holds."""
    return one.task == "detect" and rule.at(one.name).query == "positive"


def _oracle(names: Iterable[str]) -> str:
    """What to know of protocols that are oracles; "" where there are none."""
    told = " and ".join(names)
    if not told:
        return ""
    return textwrap.fill(
        f"oracle under {told} (query = positive): only classes that the gold holds are asked, which tells "
        "the model what is there; such numbers do not compare with those of protocols that ask for every class",
        WIDTH,
        break_on_hyphens=False,
    )


def _asks_questions(rule: Protocol) -> bool:
    """Whether a protocol has words for questions; no shipped family has any of its own."""
    return any(getattr(rule.questions, kind) for kind in KINDS["qa"])


def _side_by_side(rules: Sequence[Protocol], fields: Sequence[str]) -> str:
    rows = [[field, *(_value(getattr(rule, field)) for rule in rules)] for field in fields]
    return tabulate(rows, headers=["", *(rule.name for rule in rules)], tablefmt="simple", disable_numparse=True)


def _value(value: object) -> str:
    return "-" if value is None else ORACLE if value == "positive" else str(value)


def _words(one: Benchmark) -> str:
    """What each protocol asks, its line breaks kept; most leave the words to the family."""
    rows: list[list[str]] = []
    for name, general in protocols().items():
        rule = general.at(one.name)
        if one.task == "qa":
            asked = [(kind, getattr(rule.questions, kind)) for kind in KINDS["qa"]]
            rows += [[f"{name} {kind}", words] for kind, words in asked if words]
            continue
        key = "refer" if one.task == "refer" else "all" if rule.query == "all" else "one"
        rows += [[name, getattr(rule.questions, key) or "the family's own words"]]
        rows += [
            [f"  {family}", getattr(words, key)] for family, words in rule.by_family.items() if getattr(words, key)
        ]
    return "questions (`vr1bench list protocols` says what each protocol reproduces, and what it cannot)\n" + _plain(
        rows, max(16, *(len(name) + 2 for name, _ in rows))
    )


def _source(one: Benchmark) -> str:
    source = one.source
    if one.generated:
        return ""
    rows = [["repository", " at ".join(part for part in (source.repo, source.revision) if part)]]
    rows += [["file", " ".join(part for part in (file.url or file.file, _size(file.bytes)) if part)]
             for file in source.files]  # fmt: skip
    rows += [["licence", source.licence or "not stated here: read the source's"], ["note", source.note]]
    return "sources\n" + _plain([row for row in rows if row[1]], 16)


def _size(count: int) -> str:
    return f"({count / 1e6:,.1f} MB)" if count else ""


def _listed(title: str, sentences: Iterable[str]) -> str:
    """Sentences as wrapped items; "" where there are none."""
    items = [
        textwrap.fill(one, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
        for one in sentences
    ]
    return "\n".join([title, *items]) if items else ""


def _published(name: str) -> str:
    """What papers report of a benchmark or suite; nobody ran it here."""
    rows = [row for row in published() if row.benchmark == name]
    if not rows:
        return ""
    parts = [
        f"{split + ' ' if split else ''}in percent, from {papers.sources(chosen)}\n{papers.table(chosen)}"
        for split in dict.fromkeys(row.split for row in rows)
        if (chosen := [row for row in rows if row.split == split])
    ]
    own = f"; {papers.OWN}" if any(row.scores == "own" for row in rows) else ""
    return f"published (not run here, nor known to be made as our protocols say{own})\n" + "\n\n".join(parts)


def _plain(rows: Sequence[Sequence[str]], first: int) -> str:
    """Names and texts in two columns; lines that are too long are wrapped, a word that is too long stays whole."""
    return "\n".join(
        textwrap.fill(
            line,
            WIDTH,
            initial_indent=" " * first if place else f"{name:{first}}",
            subsequent_indent=" " * first,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for name, text in rows
        for place, line in enumerate(text.rstrip().split("\n"))
    )
