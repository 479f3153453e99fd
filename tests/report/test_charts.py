"""What stands in figures: their rows as charts take them, and the files they become."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from lossbench.report import charts, drawing, example_charts, labels
from lossbench.report.figures import Figure
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
PLACES = [{"series": name, "x": x, "y": 0.9, **NONE} for name, x in (("a", 0.1), ("b", 0.2))]
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
    "scatter": (charts.scatter(PLACES, x_title="ECE", y_title="accuracy"), "accuracy"),
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


def test_numbers_stand_in_a_matrix_where_they_fit() -> None:
    assert texts(svg(example_charts.confusion(CELLS, width=100))).count("1.00") == 2
    assert texts(svg(example_charts.confusion(CELLS, width=20))).count("1.00") == 0


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


def test_a_name_far_from_its_point_is_led_to_and_a_near_one_is_not() -> None:
    (alone,), _ = labels.placed([PLACES[0]], 100, 100)
    assert not alone["far"]
    crowd, _ = labels.placed([{**PLACES[0], "series": f"the same place {i}"} for i in range(12)], 150, 150)
    assert any(point["far"] for point in crowd)


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


def test_a_figure_has_words_above_it_only_where_asked() -> None:
    figure = Figure(lambda **given: charts.risk_coverage(RISKS, **given), "")
    assert "Mine" not in texts(drawing.draw(drawing.specification(figure, "column"), ".svg").decode())
    assert "Mine" in texts(drawing.draw(drawing.specification(figure, "column", "Mine"), ".svg").decode())
