"""What a model or a paper is called stays text in every format, and each format is well-formed."""

import re
from html.parser import HTMLParser

import pytest
from board.made import csv_rows, of_suite, pipes, report, result

from vr1bench.board import FORMATS, View, flat_rows, leaderboard
from vr1bench.board.latex import escaped as latex_escaped
from vr1bench.board.markdown import escaped as markdown_escaped

HOSTILE = "<b>|x&_%$"
NASTY = "\\input{x}~^#{}`*[a](javascript:0)</td></table><script>alert(1)</script>\n| \"quoted\" 'x' \x07"


def board(name=HOSTILE, **view):
    results = [
        result(name, value=0.6, tie=0.6, n=5000), result("n", n=5000), result("o", value=0.1, tie=0.1, n=5000),
        result("n", "c"), result("o", "c", data="other"), result(name, "c", split=name, commit="<i>&_%x+"),
        *of_suite("odinw", "n"),
    ]  # fmt: skip
    papers = [report(name), report(name, metric="AP75", table="Table 1"), report("GLIP", benchmark="c", split="val")]
    return leaderboard(results, papers, View(**view))


class Page(HTMLParser):
    """A page's elements in order, their texts, and every table's cells; refuses tags that do not close each other."""

    VOID = ("meta", "link", "img", "br", "input")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.tables, self.texts = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "td" in self.open or "th" in self.open:
            self.tables[-1][-1][-1] += data


@pytest.mark.parametrize("by", ["model", "benchmark"])
@pytest.mark.parametrize("name", [HOSTILE, NASTY])
def test_a_page_holds_hostile_names_as_text(name, by):
    text = FORMATS["html"](board(name, by=by))
    page = Page(text)
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert not {"b", "i", "a", "img", "iframe", "link", "object"} & set(page.tags)
    assert not [one for one in page.attributes if one[1].startswith("on") or one[1] in {"src", "href", "style"}]
    assert not re.search(r"https?:|url\(|@import|srcset", text)
    assert f"{name}@aaaaaaaa" in [cell for row in page.tables[0] for cell in row]
    for table in page.tables:
        assert len({len(row) for row in table}) == 1


def test_a_page_sorts_by_values_and_shows_what_is_reported():
    text = FORMATS["html"](board())
    page = Page(text)
    own, papers = (body.partition("</tbody>")[0] for body in text.split("<tbody>")[1:3])
    assert "reported" not in own
    assert papers.count("<tr>") == papers.count('<th scope="row"') == len(re.findall(r"<th [^>]*reported", papers))
    assert [value for tag, name, value in page.attributes if name == "aria-sort"] == ["none"] * len(page.tables[0][0])
    values = [value for tag, name, value in page.attributes if (tag, name) == ("td", "data-value")]
    assert {"0.6", "0.25", "0.1775", "2026-01-01T00:00:00+00:00"} < set(values)
    assert '<td data-value="0.6" class="best">60.0 ±6.0 (60.0)</td>' in text
    assert '<td data-value="0.25" class="second">25.0 ±6.0 (20.0)</td>' in text
    assert '<td data-value="0.1775" class="reported">17.75</td>' in text
    assert "rows stand on other data" in text
    assert "<sup>1</sup>" in text
    assert "Reported, not comparable with the above" in text
    for words in ("width=device-width", "prefers-color-scheme: dark", "default-src 'none'"):
        assert words in text
    said = "".join(page.texts)
    assert "Values in percent, ± half of the 95 % interval over resampled images" in said
    assert "vr1bench board --suite odinw" in said


def test_markdown_holds_hostile_names_as_text():
    text = FORMATS["md"](board())
    rows = next(iter(pipes(text).values()))
    assert len({len(row) for row in rows}) == 1
    assert {r"&lt;b&gt;\|x&amp;\_%\$@aaaaaaaa"} < {row[0] for row in rows}
    assert "<b>" not in text
    assert rows[0][-3] == r"odinw mean of 13, val, AP, standard, constant, n=208"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("Qwen2_5-VL@ab", "Qwen2_5-VL@ab"),
        ("_x_ y_", r"\_x\_ y\_"),
        ("a\n|b", r"a \|b"),
        ("[a](b) `c` *d* ~e~ $f$ \\", r"\[a\](b) \`c\` \*d\* \~e\~ \$f\$ " + "\\\\"),
        ("<&>", "&lt;&amp;&gt;"),
    ],
)
def test_markdown_escapes(text, escaped):
    assert markdown_escaped(text) == escaped


def bare(text):
    """LaTeX without its escaped letters."""
    return re.sub(r"\\[\\&%$#_{}]", "", text)


@pytest.mark.parametrize("by", ["model", "benchmark"])
@pytest.mark.parametrize("name", [HOSTILE, NASTY])
def test_latex_is_well_formed_whatever_a_model_is_called(name, by):
    text = FORMATS["latex"](board(name, by=by)).partition("\n")[2]
    depth = 0
    for letter in bare(text):
        depth += (letter == "{") - (letter == "}")
        assert depth >= 0
    assert depth == 0
    assert bare(text).count("$") % 2 == 0
    assert "#" not in bare(text)
    assert "%" not in bare(text)
    begins, ends = re.findall(r"\\begin{(\w+)}", text), re.findall(r"\\end{(\w+)}", text)
    assert begins == ends[::-1] == ["table", "tabular"]
    (columns,) = re.findall(r"\\begin{tabular}{(\w+)}", text)
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {bare(line.replace(r"\&", "")).count("&") + 1 for line in lines} == {len(columns)}
    assert text.count(r"\toprule") == text.count(r"\midrule") == text.count(r"\bottomrule") == 1
    commands = "begin end centering caption toprule midrule bottomrule textbf underline texttt pm textless textgreater"
    known = {*commands.split(), "textbar", "textbackslash", "textasciitilde", "textasciicircum"}
    assert set(re.findall(r"\\([A-Za-z]+)", text)) <= known


def test_latex_marks_and_notes():
    text = FORMATS["latex"](board())
    assert r"\textbf{60.0 $\pm$6.0 (60.0)}" in text
    assert r"\underline{25.0 $\pm$6.0 (20.0)}" in text
    assert r"\textless{}b\textgreater{}\textbar{}x\&\_\%\$@aaaaaaaa & " in text
    assert "$^{1}$ rows stand on other data" in text
    assert r"\texttt{vr1bench board --suite odinw} shows them." in text
    assert r"Paper-7B" not in text
    assert latex_escaped("a\tb\x07{c}") == r"a b\{c\}"


def test_programs_get_names_as_they_are():
    assert HOSTILE in {row["model"] for row in flat_rows(board())}
    assert NASTY in {row["model"] for row in csv_rows(FORMATS["csv"](board(NASTY)))}
