"""`plot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lossbench.cli.options import ResultsDir, Where, names, put, refuse

Kind = Literal[
    "reliability", "sweep", "training", "risk_coverage", "confidence", "scatter", "confusion", "features", "panels"
]


def plot(
    kind: Annotated[Kind, typer.Argument(help="What to draw; below.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN… | FILE…]", help="Runs by id, or .npz or .csv of logits; none for all runs."),
    ] = None,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="A .pdf, .svg, .png or Vega-Lite .json. Repeatable."),
    ] = None,
    where: Where = None,
    baseline: Annotated[
        list[str] | None,
        typer.Option("--baseline", help="Of a sweep: rows of KEY=VALUE as level lines. Repeatable."),
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", help="Of a sweep, or the two of a scatter plot: accuracy,ece.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", help="raw, temperature_scaled, vector_scaled, isotonic; several side by side."),
    ] = None,
    split: Annotated[
        Literal["test", "val", "train"] | None,
        typer.Option("--split", help="Which examples: test or val, of features test or train.", show_default="test"),
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="What was swept, such as loss.epsilon, where several numbers vary.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option("--classes", help="Three classes whose features to draw: 0,1,2 or names.")
    ] = None,
    select: Annotated[
        str | None,
        typer.Option("--select", help="For each loss and seed the hyperparameters best by this metric on validation."),
    ] = None,
    width: Annotated[
        Literal["column", "page"], typer.Option("--width", help="3.25 or 6.75 inches, as papers have it.")
    ] = "column",
    title: Annotated[str | None, typer.Option("--title", help="Words above the figure; papers have a caption.")] = None,
    results_dir: ResultsDir = Path("results"),
) -> None:
    """Draw finished runs, grouped over seeds as in the report, or anyone's logits from files, fit for a paper.

    reliability: accuracy against confidence. sweep: metrics against ε, T, γ, …, with the baseline's as a level line.
    training: loss and accuracy over epochs. risk_coverage: errors among the most confident. confidence: of right and
    of wrong predictions. scatter: accuracy against ECE, a plot for each data set and model. confusion: what is taken
    for what. features: the last layer's, in the plane of three classes; panels: of masks, image, truth and
    prediction, of one row its confidence, too; for these two `lossbench evaluate --pictures` comes first.
    """
    from lossbench.report import drawing, figures
    from lossbench.store import Store

    outputs = output or [Path(f"{kind}.pdf")]
    for path in outputs:
        drawing.check_ending(path)
        refuse(path)
    request = figures.Request(
        kind,
        sources or (),
        where or (),
        baseline or (),
        names(metrics),
        names(calibration),
        split,
        x,
        names(classes),
        select,
    )
    figure, left_out = figures.figure(request, Store(results_dir))
    for message in left_out:
        print(message, file=sys.stderr)
    spec = drawing.specification(figure, width, title)
    for path, content in [(path, drawing.draw(spec, path.suffix)) for path in outputs]:
        put(content, path)
    print(figure.caption, file=sys.stderr)
