"""What stands in a paper: booktabs, numbers below each other, any name as it is; compiled where there is a pdfLaTeX."""

import re
import shutil
import subprocess

import pytest

from lossbench.report import render, tabulate
from lossbench.report.escapes import escaped
from lossbench.report.latex import too_wide

HOSTILE = [
    """a_b&50%#<c>|d"e'f""",
    r"back\slash{brace}$x^2$~`quoted`",
    "[optional]",
    "*starred",
    "--dashes---",
    "line\nbreak \x1b[0m\u202eturned",
    "éàüçñłßÅøž εγτσλ ±≤×",
    ",,low''high'both?`!`<<>>",
    "=1+1",
]


@pytest.fixture
def sweep(run, frame):
    """Two losses on digits, two seeds each: mean 0.91 and 0.93, deviation 0.0141 (0.01·√2)."""
    return frame(
        *[
            run(loss, seed, accuracy=base + 0.02 * seed, confidence_gap=gap)
            for loss, base, gap in (("cross_entropy", 0.90, 0.04), ("label_smoothing", 0.92, -0.01))
            for seed in (0, 1)
        ]
    )


def several(run, frame, datasets=("breast_cancer", "digits", "wine"), seeds=3):
    """Data sets × losses, one of which is swept, with differences to mark."""
    losses = [("cross_entropy", None), ("label_smoothing", 0.05), ("label_smoothing", 0.1), ("focal", None)]
    return frame(
        *[
            run(loss, seed, dataset__name=data, loss__epsilon=epsilon,
                nll=0.2 + 0.1 * i + 0.001 * seed * (i + 1), accuracy=0.9 + 0.01 * seed, ece=0.02 * (i + 1))
            for data in datasets for i, (loss, epsilon) in enumerate(losses) for seed in range(seeds)
        ]
    )  # fmt: skip


def test_a_booktabs_table_with_the_best_in_bold_and_numbers_in_two_columns(sweep):
    table = tabulate(sweep, metrics=["accuracy", "confidence_gap"], calibrations=["raw"], spread="sd")
    assert render(table, "latex").split("\n") == [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}[t]",
        r"\centering\small",
        r"\setlength{\belowcaptionskip}{6pt}",
        r"\caption[{digits $\cdot$ mlp $\cdot$ test split}]{digits $\cdot$ mlp $\cdot$ test split. Bold: best mean. "
        r"Mean $\pm$ standard deviation over 2 seeds. Not tested: that takes 3 paired runs. Confidence gap: mean "
        r"confidence $-$ accuracy; above 0 is overconfident.}",
        r"\label{tab:digits-mlp-test-split}",
        r"\begin{tabular}{lr@{\,}lr@{\,}l}",
        r"\toprule",
        r" & \multicolumn{2}{c}{} & \multicolumn{2}{c}{confidence} \\",
        r"loss & \multicolumn{2}{c}{accuracy $\uparrow$} & \multicolumn{2}{c}{gap $\rightarrow$ 0} \\",
        r"\midrule",
        r"cross\_entropy & 0.9100 & $\pm$\,0.0141 & +0.0400 & $\pm$\,0.0000 \\",
        r"label\_smoothing & \textbf{0.9300} & $\pm$\,0.0141 & \textbf{$-$0.0100} & $\pm$\,0.0000 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


def test_rows_of_one_seed_and_no_interval_are_one_column_of_numbers(run, frame):
    text = render(tabulate(frame(run("a"), run("b", 0, accuracy=0.8)), metrics=["accuracy"]), "latex")
    assert r"\begin{tabular}{lr}" in text
    assert r"a & \textbf{0.9000} \\" in text


def test_rows_of_different_n_have_a_column_for_it(run, frame):
    table = tabulate(frame(run("a", 0), run("a", 1), run("b", 0)), metrics=["accuracy"])
    text = render(table, "latex")
    assert r"a & 2 & \textbf{0.9000} & $\pm$\,0.0000 \\" in text
    assert r"b & 1 & \textbf{0.9000} &  \\" in text


def test_a_setting_stands_once_for_the_lines_that_share_it_and_datasets_are_ruled_apart(run, frame):
    text = render(tabulate(several(run, frame, ("digits", "wine")), metrics=["accuracy"]), "latex")
    body = text.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    assert [line.split(" & ")[:3] for line in body if "&" in line] == [
        ["digits", r"cross\_entropy", ""],
        ["", "focal", ""],
        ["", r"label\_smoothing", "0.05"],
        ["", "", "0.1"],
        ["wine", r"cross\_entropy", ""],
        ["", "focal", ""],
        ["", r"label\_smoothing", "0.05"],
        ["", "", "0.1"],
    ]
    assert [i for i, line in enumerate(body) if line == r"\midrule"] == [4]


def test_a_metric_stands_once_above_its_calibrations(run, frame):
    text = render(tabulate(several(run, frame, ("digits",)), metrics=["accuracy", "ece"]), "latex")
    lines = text.partition(r"\toprule")[2].partition(r"\midrule")[0].strip().splitlines()
    assert lines == [
        r"& & & & \multicolumn{4}{c}{ECE $\downarrow$} \\",
        r"\cmidrule(lr){5-8}",
        r"loss & epsilon & \multicolumn{2}{c}{accuracy $\uparrow$} & \multicolumn{2}{c}{raw} & "
        r"\multicolumn{2}{c}{T-scaled} \\",
    ]


def test_what_goes_across_stands_above_its_metrics(run, frame):
    table = tabulate(several(run, frame, ("digits", "wine"), 1), metrics=["accuracy"], across=["dataset"])
    lines = render(table, "latex").partition(r"\toprule")[2].partition(r"\midrule")[0].strip().splitlines()
    assert lines == [
        r"& & \multicolumn{1}{c}{digits} & \multicolumn{1}{c}{wine} \\",
        r"\cmidrule(lr){3-3} \cmidrule(lr){4-4}",
        r"loss & epsilon & \multicolumn{1}{c}{accuracy $\uparrow$} & \multicolumn{1}{c}{accuracy $\uparrow$} \\",
    ]


def test_every_line_has_as_many_columns_as_the_table(run, frame):
    table = tabulate(several(run, frame), across=["dataset"], baseline=["loss=cross_entropy"])
    for part in render(table, "latex").split(r"\begin{tabular}")[1:]:
        spec, _, body = part.partition("}\n")
        columns = len(re.sub(r"@\{.*?\}|[{}]", "", spec))
        for line in body.partition(r"\end{tabular}")[0].splitlines():
            if line.endswith(r"\\"):
                spans = [int(span) for span in re.findall(r"\\multicolumn\{(\d+)\}", line)]
                assert line.count(" & ") + line.startswith("& ") + 1 + sum(spans) - len(spans) == columns, line


def test_a_table_that_is_too_wide_gets_smaller_type_then_fewer_digits_then_becomes_several(run, frame):
    def text(**options):
        return render(tabulate(several(run, frame), **options), "latex")

    small = text(metrics=["accuracy", "nll"], calibrations=["raw"])
    assert r"\centering\small" + "\n" in small
    assert "0.9100" in small
    wider = text(calibrations=["raw"], across=["dataset"], metrics=["accuracy", "nll"])
    assert wider.count(r"\begin{table}[t]") == 2
    assert "0.910" in wider
    assert "0.9100" not in wider
    assert too_wide(wider) == []
    # Each part has the settings, its own metrics, and a label; the notes stand once.
    first, second = wider.split(r"\end{table}")[:2]
    assert "(1 of 2)" in first
    assert "tab:mlp-test-split-1-of-2" in first
    assert r"\multicolumn{4}{c}{wine}" not in first
    assert "(2 of 2). Notes as in the first." in second
    assert all(r"label\_smoothing & 0.05" in part for part in (first, second))
    assert wider.count("Bold: best") == 1


def test_what_fits_no_page_is_said(run, frame):
    # Names of 150 letters, about 690 points: no split by metrics helps.
    runs = [run(letter * 150, seed) for letter in "ab" for seed in (0, 1)]
    text = render(tabulate(frame(*runs), metrics=["accuracy"]), "latex")
    (line,) = too_wide(text)
    assert re.fullmatch(r"about \d{3}pt, which fits no page: choose fewer --rows or --columns", line)
    for_two_columns = render(tabulate(frame(*[run(letter * 80) for letter in "ab"]), metrics=["accuracy"]), "latex")
    assert [line.partition(", ")[2] for line in too_wide(for_two_columns)] == [
        "for a page of two columns, which table* spans"
    ]


def test_a_table_that_is_too_long_goes_on_between_datasets_and_repeats_what_stands_once(run, frame):
    # 3 × 30 lines of 11 points do not fit the 550 of a page.
    runs = [run("a", dataset__name=name, loss__epsilon=i / 100) for name in ("x", "y", "z") for i in range(30)]
    text = render(tabulate(frame(*runs), metrics=["accuracy"]), "latex")
    tops = [part.partition(r"\midrule")[2].split()[0] for part in text.split(r"\begin{table}")[1:]]
    assert tops == ["x", "y", "z"]
    one_block = frame(*[run("a", loss__epsilon=i / 100, loss__gamma=1 + i % 2) for i in range(90)])
    parts = render(tabulate(one_block, metrics=["accuracy"], rows=["gamma", "epsilon"]), "latex").split(r"\toprule")[1:]
    assert len(parts) > 1
    assert all(re.match(r"[12] & ", part.partition(r"\midrule")[2].strip()) for part in parts)


def test_settings_that_others_repeat_leave_a_table_that_is_too_wide_and_stand_in_the_caption(run, frame):
    runs = [
        run(loss, seed, optimizer__learning_rate=rate, loss__class_weights=loss[0] * 30, nll=0.2 + 0.01 * seed)
        for loss, rate in (("cross_entropy", 0.1), ("focal", 0.2)) for seed in (0, 1)
    ]  # fmt: skip
    text = render(tabulate(frame(*runs), calibrations=["raw"]), "latex")
    assert text.count(r"\begin{table}") == 1
    assert r"learning\_rate: 0.1 (cross\_entropy), 0.2 (focal)." in text
    assert "learning" not in text.partition(r"\toprule")[2]


def test_differences_have_the_metric_above_their_lines(run, frame):
    text = render(
        tabulate(several(run, frame, ("digits",)), metrics=["nll", "ece"], baseline=["loss=cross_entropy"]), "latex"
    )
    sheet = text.partition("Difference from")[2]
    assert sheet.count(r"{l}{\textit{NLL $\downarrow$}} \\") == 1
    assert "metric &" not in sheet


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (HOSTILE[0], r"a\_b\&50\%\#\textless{}c\textgreater{}\textbar{}d''e'f"),
        (HOSTILE[1], r"back\textbackslash{}slash\{brace\}\$x\textasciicircum{}2\$\textasciitilde{}"
                     r"\textasciigrave{}quoted\textasciigrave{}"),
        ("[a]*", "{[}a]{*}"),  # after \\ both would be its arguments
        ("a--b---c", "a-{}-b-{}-{}-c"),  # and no dashes
        (",,a''b", ",{},a'{}'b"),  # no quotation marks
        ("ε = 2σ", r"$\varepsilon$ = 2$\sigma$"),
        ("a\nb\x1b", r"a b\textbackslash{}x1b"),
    ],
)  # fmt: skip
def test_names_are_escaped(text, wanted):
    assert escaped(text) == wanted


def test_characters_that_pdflatex_has_not_are_kept_and_a_comment_names_them(run, frame):
    foreign = render(tabulate(frame(run("שלום"), run("数"))), "latex")
    assert "% for LuaLaTeX or XeLaTeX, and a font that has them: ו ל ם ש 数" in foreign.splitlines()
    assert "LuaLaTeX" not in render(tabulate(frame(run("Größe"), run("ε"))), "latex")


def compiled(folder, *texts):
    """The log of a paper with the tables in it."""
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    for number, text in enumerate(texts):
        (folder / f"table{number}.tex").write_text(text, encoding="utf-8")
    inputs = "\n".join(rf"\input{{table{number}}}" for number in range(len(texts)))
    paper = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{inputs}\end{{document}}"
    (folder / "paper.tex").write_text(paper)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    answer = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = (folder / "paper.log").read_text(errors="replace")
    assert answer.returncode == 0, log[-3000:]
    return log


@pytest.mark.slow
def test_a_sweep_as_in_the_readme_compiles_and_fits_the_text(run, frame, tmp_path):
    runs = [
        run("label_smoothing", seed, loss__epsilon=e, accuracy=0.9703 + 0.001 * seed, nll=0.095 + e + 0.01 * seed,
            ece=0.02 + e, confidence_gap=-0.0013 - e - 0.01 * seed)
        for e in (0, 0.05, 0.1, 0.2) for seed in range(3)
    ]  # fmt: skip
    log = compiled(tmp_path, render(tabulate(frame(*runs)), "latex"))
    assert "Overfull" not in log
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000


@pytest.mark.slow
def test_datasets_differences_ranks_and_hostile_names_compile(run, frame, tmp_path):
    grid = several(run, frame)
    tables = [
        tabulate(grid),
        tabulate(grid, across=["dataset"], metrics=["ece"]),
        tabulate(grid, baseline=["loss=cross_entropy"], metrics=["nll"], ranks="nll"),
        tabulate(frame(*[run(name, loss__epsilon=0.1) for name in HOSTILE]), metrics=["accuracy"]),
    ]
    log = compiled(tmp_path, *(render(table, "latex") for table in tables))
    assert "Missing character" not in log


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"across": ["dataset"]}, {"baseline": ["loss=cross_entropy"]}])
def test_wide_and_long_tables_fit_an_article(run, frame, tmp_path, options):
    grid = several(run, frame, ("breast_cancer", "digits", "house_numbers", "iris", "land_cover", "wine"))
    log = compiled(tmp_path, render(tabulate(grid, **options), "latex"))
    assert "Overfull" not in log
    assert "Float too large" not in log
