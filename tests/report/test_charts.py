"""What stands in figures: their rows as charts take them, and the files they become."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lossbench.report import charts, drawing, example_charts, labels
from lossbench.report.figures import Figure
from lossbench.report.scatter_chart import scatter
from lossbench.report.theme import COLOURS, SHAPES, theme

BINS = [
    {"series": series, "lo": 0.5, "hi": 1.0, "n": 4, "confidence": 0.9, "accuracy": 0.5, "ece": 0.4}
    for series in ("a<script>", "b")
]
EPOCHS = [
    {"quantity": quantity, "series": "a", "epoch": epoch, "mean": 1 / epoch, "low": 0.1, "high": 0.9}
    for quantity in ("training loss", "validation accuracy")
    for epoch in (1, 2)
]
POINTS = [{"metric": "ECE ↓", "series": "a", "x": x, "mean": x / 2, "low": None, "high": None} for x in (0.0, 0.1, 0.2)]
LEVEL = [{"metric": "ECE ↓", "series": "base", "mean": 0.05, "low": 0.04, "high": 0.06}]
RISKS = [{"series": "a", "coverage": c, "mean": c / 10, "low": None, "high": None} for c in (0.5, 1.0)]
NONE = {"x_low": None, "x_high": None, "y_low": None, "y_high": None}
PLACES = [{"plot": "", "series": name, "x": x, "y": 0.9, **NONE} for name, x in (("a", 0.1), ("b", 0.2))]
OUTCOMES = [
    {"series": "a", "outcome": outcome, "lo": 0.5, "hi": 0.55, "share": 1.0, "mean": 0.52}
    for outcome in ("right", "wrong")
]
CELLS = [
    {"series": "a", "target": t, "predicted": p, "share": float(t == p), "n": 1}
    for t in ("cat", "dog")
    for p in ("cat", "dog")
]
CLOUD = [{"series": "a", "label": name, "x": i, "y": 2.0 * i} for i, name in enumerate(("cat", "dog", "owl"))]
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
PICTURES = [{"row": 0, "column": column, "url": PIXEL} for column in ("image", "truth", "prediction", "confidence")]
CLASSES = [{"label": "sea", "colour": COLOURS[0]}]

# Each kind with a word that its picture must have.
KINDS = {
    "reliability": (charts.reliability(BINS), "overconfident"),
    "reliability, each": (charts.reliability(BINS, columns=2), "ECE 0.400"),
    "training": (charts.training(EPOCHS), "validation accuracy"),
    "sweep": (charts.sweep(POINTS, LEVEL, x_title="ε"), "base"),
    "risk_coverage": (charts.risk_coverage(RISKS), "coverage"),
    "scatter": (scatter(PLACES, x_title="ECE", y_title="accuracy"), "accuracy"),
    "confidence": (example_charts.confidence(OUTCOMES), "wrong"),
    "confusion": (example_charts.confusion(CELLS), "dog"),
    "features": (example_charts.features(CLOUD), "owl"),
    "panels": (example_charts.panels(PICTURES, CLASSES), "prediction"),
}


def svg(chart: charts.Chart) -> str:
    return drawing.draw({**chart.to_dict(), "config": theme()}, ".svg").decode()


def texts(picture: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", picture)


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_draws_without_a_warning_and_its_words_stay_text(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    chart, word = KINDS[kind]
    assert word in texts(svg(chart))
    assert capfd.readouterr() == ("", "")


def test_the_words_of_a_figure_are_at_least_7_points_high() -> None:
    for chart, _ in KINDS.values():
        assert min(map(float, re.findall(r'font-size="([\d.]+)px"', svg(chart)))) >= 7


def test_a_series_that_would_be_markup_is_escaped() -> None:
    picture = svg(charts.reliability(BINS))
    assert "<script" not in picture
    assert "a&lt;script&gt; (ECE 0.400)" in texts(picture)


@pytest.mark.parametrize("columns", [None, 2])
def test_bins_of_few_examples_are_hollow_and_on_no_line(columns: int | None) -> None:
    bins = [
        {"series": "a", "lo": i / 4, "hi": (i + 1) / 4, "n": n, "confidence": i / 4 + 0.1, "accuracy": 0.5, "ece": 0.1}
        for i, n in enumerate((9, 10, 30_000, 2_000))
    ]
    picture = svg(charts.reliability(bins, columns=columns))
    points = re.findall(r'<path [^>]*aria-roledescription="point"[^>]*>', picture)
    assert sum('fill="#' in point for point in points) == 3
    assert len(points) == 3 + 4  # hollow ones of all, which the others cover
    (line,) = [
        d
        for d in re.findall(r'aria-roledescription="line mark" d="([^"]*)"', picture)
        if d.count("L") != 1  # the diagonal's
    ]
    assert line.count("L") == 2  # through three bins
    assert {"examples", "20k"} <= set(texts(picture))


def test_a_grid_with_a_free_place_names_every_axis_so_that_its_rows_are_as_far_apart_as_any() -> None:
    for n, columns, named in ((4, 2, 2), (5, 2, 5), (5, 3, 5), (3, 4, 3)):
        bins = [{**BINS[0], "series": str(i)} for i in range(n)]
        assert texts(svg(charts.reliability(bins, columns=columns))).count("confidence") == named


def test_a_low_plot_has_at_least_three_numbers_on_its_axis() -> None:
    for low, high in ((0.21, 0.51), (-0.26, 0.03), (0.912, 0.933), (0.0, 0.28)):
        points = [{**POINTS[0], "x": x, "mean": mean} for x, mean in ((0.0, low), (1.0, high))]
        picture = svg(charts.sweep(points, x_title="ε", width=87))
        numbers = re.findall(r'text-anchor="end"[^>]*>([−\d.]+)<', picture)
        assert 3 <= len(numbers) <= 6, numbers


def test_of_numbers_too_close_on_an_axis_the_shorter_stay() -> None:
    # 87 points from 0 to 0.3: between 0.05 and 0.1 are 14.5, their numbers take (4 + 3)/2 letters of 3.9 and 2.5 apart.
    assert labels.readable([0, 0.05, 0.1, 0.2, 0.3], "linear", 87) == [0, 0.1, 0.2, 0.3]
    assert labels.readable([0, 0.05, 0.1, 0.2, 0.3], "linear", 100) == [0, 0.05, 0.1, 0.2, 0.3]
    assert labels.readable([1, 2, 5, 10, 20], "linear", 75) == [1, 5, 10, 20]  # from 1 to 2 are 3.9 points
    assert labels.readable([1, 2, 5, 10, 20], "log", 75) == [1, 2, 5, 10, 20]
    assert labels.readable([0, 1, 10, 100], "symlog", 75) == [0, 1, 10, 100]
    assert labels.readable([3], "log", 75) == [3]


def test_a_long_name_above_a_picture_is_wrapped_and_whole() -> None:
    assert labels.wrapped("dice_cross_entropy", 60) == ["dice_cross_", "entropy"]
    assert labels.wrapped("label_smoothing ε=0.1", 40) == ["label_", "smoothing", "ε=0.1"]
    assert labels.wrapped("truth", 60) == ["truth"]
    # Between words where that is enough, though the first half of the last one would fit beside the first.
    assert labels.wrapped("focal class_weights=null", 65) == ["focal", "class_weights=null"]
    assert "".join(labels.wrapped("x" * 40, 30)) == "x" * 40
    assert labels.wrapped("", 30) == [""]
    named = [{**row, "column": "dice_cross_entropy"} if row["column"] == "truth" else row for row in PICTURES]
    words = re.findall(r"<tspan[^>]*>([^<]*)</tspan>", svg(example_charts.panels(named, CLASSES, width=160)))
    assert {"dice_", "cross_", "entropy"} <= set(words)
    assert not any("…" in word for word in words)


def test_rows_stand_in_a_specification_once_under_their_name() -> None:
    spec = drawing.shared_data(charts.reliability(BINS).to_dict())
    assert spec["datasets"]["bins"] == BINS
    assert '"values": [{' not in json.dumps(spec)  # in no layer any more


def test_a_legend_names_each_series_once_though_colour_and_shape_tell_it() -> None:
    assert texts(svg(charts.reliability(BINS))).count("b (ECE 0.400)") == 1
    assert texts(svg(charts.sweep(POINTS, LEVEL, x_title="ε"))).count("base") == 1
    assert texts(svg(charts.training(EPOCHS))).count("a") == 1


def test_rows_put_in_later_have_a_legend_of_their_own_names() -> None:
    spec = charts.reliability([{**BINS[0], "series": ""}], swapped=True).to_dict()
    swapped = json.loads(json.dumps(drawing.shared_data(spec)))
    swapped["datasets"]["bins"] = BINS
    assert "b (ECE 0.400)" in texts(drawing.draw(swapped, ".svg").decode())


def symbols(picture: str) -> list[str]:
    """How the legends of a picture draw their symbols: outline and dash, without where they stand."""
    legend = picture[picture.index("mark-symbol role-legend-symbol") :]
    found = re.findall(r'<path transform="[^"]*" (d="[^"]*")([^>]*)>', legend)
    return [" ".join([outline, *re.findall(r'stroke-dasharray="[^"]*"', rest)]) for outline, rest in found]


def test_the_legend_of_rows_put_in_later_tells_them_apart_without_their_colours() -> None:
    three = [{**row, "series": name} for name in "cab" for row in EPOCHS]
    for name, chart, rows in (
        ("bins", charts.reliability([{**BINS[0], "series": ""}], swapped=True), BINS),
        ("epochs", charts.training([{**EPOCHS[0], "series": ""}], swapped=True), three),
    ):
        spec = drawing.shared_data(json.loads(json.dumps(chart.to_dict())))
        spec["datasets"][name] = rows
        drawn = symbols(drawing.draw({**spec, "config": theme()}, ".svg").decode())
        assert len(drawn) == len(set(drawn)) == len({row["series"] for row in rows})


def test_numbers_stand_in_a_matrix_where_they_fit() -> None:
    """Two classes in 100 points have cells of 50, in 20 of 10, too narrow for 100, and in 10 of 5."""
    shares = [1.0, 0.0, 0.125, 0.875]
    cells = [{**cell, "share": share} for cell, share in zip(CELLS, shares, strict=True)]
    for width, numbers in ((100, {"100", "13", "88"}), (20, {"13", "88"}), (10, set())):
        found = texts(svg(example_charts.confusion(cells, width=width)))
        assert {text for text in found if text.isdecimal()} == numbers


def test_three_errors_in_a_hundred_are_darker_than_half_of_the_way_to_a_tenth() -> None:
    """On the square root 0.03 lies at 0.17 of the scale, and not at 0.03."""
    spec = example_charts.confusion(CELLS).to_dict()["concat"][0]["layer"][0]
    assert spec["encoding"]["color"]["scale"]["type"] == "sqrt"


def test_features_of_all_rows_are_to_one_scale() -> None:
    wide = [{**row, "series": "b", "x": 10 * row["x"], "y": 10 * row["y"]} for row in CLOUD]
    plots = example_charts.features([*CLOUD, *wide], columns=2).to_dict()["concat"]
    ends = [plot["layer"][0]["encoding"][axis]["scale"]["domain"] for plot in plots for axis in "xy"]
    assert [high - low for low, high in ends] == pytest.approx([1.06 * 40] * 4)  # y of b goes from 0 to 40
    assert plots[0]["layer"][0]["encoding"]["x"]["title"] == "1st direction"


def test_points_of_several_plots_are_named_once_below_them() -> None:
    points = [{**row, "plot": plot} for plot in ("iris", "wine") for row in PLACES]
    words = texts(svg(scatter(points, x_title="ECE", y_title="accuracy", columns=2)))
    assert [words.count(word) for word in ("a", "b", "iris", "wine")] == [1, 1, 1, 1]


def test_long_names_of_points_leave_a_scatter_plot_its_width() -> None:
    points = [{**PLACES[0], "series": f"{'a long name ' * 8}{i}", "x": i} for i in range(14)]
    figure = Figure(lambda **given: scatter(points, x_title="ECE", y_title="accuracy", **given), "")
    spec = drawing.specification(figure, "column")
    assert spec["concat"][0]["width"] > 150
    picture = drawing.draw(spec, ".svg").decode()
    match = re.search(r'<svg[^>]* width="([\d.]+)pt"', picture)
    assert match is not None
    assert float(match[1]) == pytest.approx(3.25 * 72, abs=2)
    assert picture.count(">a long name") >= 14  # and none is cut short
    assert "…" not in picture


def test_no_axis_goes_where_a_metric_has_no_values() -> None:
    points = [{**row, "x": x, "y": y} for row, x, y in zip(PLACES, (0.0, 0.2), (1.0, 0.5), strict=True)]
    _, (across, up) = labels.placed(points, 100, 100, (0, 1), (0, 1))
    assert (across[0], up[1]) == (0, 1)
    assert across[1] < 1
    assert up[0] > 0


def test_many_classes_are_named_at_every_tenth_of_a_side() -> None:
    names = [f"class{k}" for k in range(100)]
    cells = [{"series": "a", "target": n, "predicted": n, "share": 1.0, "n": 1} for n in names]
    shown = [text for text in texts(svg(example_charts.confusion(cells))) if text.startswith("class")]
    assert {text for text in shown if text != "class"} == {f"class{k}" for k in range(0, 100, 10)}


def test_an_eighth_series_looks_like_none_before_it() -> None:
    looks = [(COLOURS[i % len(COLOURS)], SHAPES[i % len(SHAPES)]) for i in range(10)]
    assert len(set(looks)) == 10


def contrast(colour: str, paper: str) -> float:
    """WCAG 2.1: (L1 + 0.05) / (L2 + 0.05) of relative luminances."""

    def luminance(code: str) -> float:
        channels = np.array([int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    high, low = sorted((luminance(colour), luminance(paper)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("dark", "paper"), [(False, "#FFFFFF"), (True, "#16181D")])
def test_lines_stand_out_from_the_paper_and_words_more_so(dark: bool, paper: str) -> None:
    look = theme(dark)
    assert min(contrast(colour, paper) for colour in look["range"]["category"]) >= 2
    assert contrast(look["axis"]["labelColor"], paper) >= 7


def test_names_of_points_cover_neither_one_another_nor_points() -> None:
    """Nine points in a clump of 3 by 3, whose names would cover each other wherever they all stood alike."""
    points = [{"series": f"label {i}", "x": i % 3, "y": i // 3, **NONE} for i in range(9)]
    points += [{"series": "far", "x": 20, "y": 20, **NONE}]
    placed, (across, up) = labels.placed(points, 200, 160)
    boxes = []
    for point in placed:
        length = len(point["series"]) * labels.LETTER
        x = (point["label_x"] - across[0]) / (across[1] - across[0]) * 200
        y = (up[1] - point["label_y"]) / (up[1] - up[0]) * 160
        left = x if point["align"] == "left" else x - length
        boxes.append((left, y - labels.LINE / 2, left + length, y + labels.LINE / 2))
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert left >= 0
        assert right <= 200
        for other in boxes[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_names_in_a_crowd_have_no_clear_place_and_one_alone_has() -> None:
    (alone,), _ = labels.placed([PLACES[0]], 100, 100)
    assert alone["clear"]
    crowd, _ = labels.placed([{**PLACES[0], "series": f"the same place {i}"} for i in range(12)], 150, 150)
    assert not all(point["clear"] for point in crowd)


@pytest.mark.parametrize(("width", "inches"), [("column", 3.25), ("page", 6.75)])
def test_a_figure_is_as_wide_as_the_paper(width: str, inches: float) -> None:
    figure = Figure(lambda **given: charts.reliability(BINS, **given), "", 2, {"column": 2, "page": 4})
    spec = drawing.specification(figure, width)
    png = drawing.draw(spec, ".png")
    assert png.startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == pytest.approx(
        inches * drawing.PNG_DPI, abs=6
    )  # one point is four pixels
    pdf = drawing.draw(spec, ".pdf")
    assert pdf.startswith(b"%PDF")
    box = re.search(rb"MediaBox ?\[0 0 ([\d.]+)", pdf)
    assert box is not None
    assert float(box[1]) == pytest.approx(inches * 72, abs=1.5)


@pytest.mark.parametrize(("width", "inches"), [("column", 3.25), ("page", 6.75)])
@pytest.mark.parametrize("kind", ["reliability", "confidence", "confusion"])
def test_long_names_of_plots_are_broken_between_words_and_make_no_figure_wider(
    kind: str, width: str, inches: float
) -> None:
    names = [f"class_weighted ε={i} class_weights=inverse" for i in range(4)]
    draw, rows = {
        "reliability": (charts.reliability, [BINS[0]]),
        "confidence": (example_charts.confidence, OUTCOMES),
        "confusion": (example_charts.confusion, CELLS),
    }[kind]
    of_all = [{**row, "series": name} for name in names for row in rows]
    figure = Figure(lambda **given: draw(of_all, **given), "", 4, {"column": 2, "page": 4})
    spec = drawing.specification(figure, width)
    picture = drawing.draw(spec, ".svg").decode()
    match = re.search(r'<svg[^>]* width="([\d.]+)pt"', picture)
    assert match is not None
    assert float(match[1]) == pytest.approx(inches * 72, abs=1.5)
    words = re.findall(r"<tspan[^>]*>([^<]*)</tspan>", picture)
    assert words == [line for i in range(4) for line in (f"class_weighted ε={i}", "class_weights=inverse")]
    plot = spec["concat"][0]
    assert plot.get("width", plot.get("vconcat", [{}])[0].get("width")) > 75  # of 117 or 121 with axis and gap


def test_a_figure_has_words_above_it_only_where_asked() -> None:
    figure = Figure(lambda **given: charts.risk_coverage(RISKS, **given), "")
    assert "Mine" not in texts(drawing.draw(drawing.specification(figure, "column"), ".svg").decode())
    assert "Mine" in texts(drawing.draw(drawing.specification(figure, "column", "Mine"), ".svg").decode())
