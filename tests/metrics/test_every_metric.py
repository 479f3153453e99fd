"""Properties of all metrics, those of tomorrow included, and of the input they share."""

import inspect
import math
import time
import tracemalloc

import numpy as np
import pytest
import torch

from lossbench import links, metrics
from lossbench.errors import ConfigError, DataError, ShapeError
from lossbench.metrics import inputs
from lossbench.metrics.metric import metric as declared

every_metric = pytest.mark.parametrize("metric", metrics.ALL.values(), ids=metrics.ALL.keys())
each_number_of_classes = pytest.mark.parametrize("num_classes", [2, 10])


def example(num_classes=10, num_examples=200, seed=0):
    """Logits of float32 precision, so that a list, a float32 tensor and a float64 array hold the same numbers."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(num_examples, num_classes)).astype(np.float32).astype(np.float64)
    targets = (2 * logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, targets


def signature(metric):
    return inspect.signature(metric).parameters


def test_unsigned_targets_are_read_and_those_beyond_int64_refused():
    # As int64 the second would be -100, which marks what is left out.
    assert metrics.accuracy([[1.0, 0.0]], np.array([0], dtype=np.uint64)) == 1
    with pytest.raises(DataError, match="targets must be class indices; got 18446744073709551516"):
        metrics.accuracy([[1.0, 0.0]], np.array([2**64 - 100], dtype=np.uint64))


def test_the_metrics_of_the_table_are_there_and_say_what_is_better():
    assert {name: metric.better for name, metric in metrics.ALL.items()}.items() >= {
        "accuracy": "higher",
        "top5_accuracy": "higher",
        "balanced_accuracy": "higher",
        "worst_class_accuracy": "higher",
        "worst_class_iou": "higher",
        "macro_f1": "higher",
        "nll": "lower",
        "brier_score": "lower",
        "ece": "lower",
        "adaptive_ece": "lower",
        "classwise_ece": "lower",
        "mce": "lower",
        "rmsce": "lower",
        "smooth_ece": "lower",
        "ks_error": "lower",
        "overconfidence_error": "lower",
        "underconfidence_error": "lower",
        "confidence_gap": "zero",
        "mean_confidence": None,
        "mean_entropy": None,
        "entropy_of_errors": "higher",
        "confidence_of_errors": "lower",
        "confident_errors": "lower",
        "aurc": "lower",
        "eaurc": "lower",
        "failure_auroc": "higher",
        "failure_fpr95": "lower",
        "optimal_temperature": None,
        "smoothness_index": None,
    }.items()


def test_a_function_in_a_file_of_the_folder_is_all_a_new_metric_takes(tmp_path, monkeypatch):
    folder = tmp_path / "package_of_metrics"
    folder.mkdir()
    (folder / "errors.py").write_text(
        "from lossbench.metrics.classification import accuracy  # borrowed, not defined here\n"
        "from lossbench.metrics.metric import metric\n"
        "@metric(better='lower')\n"
        "def error_rate(logits, targets, *, ignore_index=-100):\n"
        "    return 1 - accuracy(logits, targets, ignore_index=ignore_index)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = metrics._find_metrics(folder.name, [str(folder)])
    assert list(found) == ["error_rate"]
    assert found["error_rate"]([[1.0, 0.0], [1.0, 0.0]], [0, 1]) == 0.5


@every_metric
def test_each_is_exported_under_its_name(metric):
    assert getattr(metrics, metric.__name__) is metric
    assert metric.__name__ in metrics.__all__


@every_metric
def test_options_are_keyword_only_and_have_defaults(metric):
    logits, targets, *options = signature(metric).values()
    assert (logits.name, targets.name) == ("logits", "targets")
    assert options, "ignore_index at least"
    assert all(option.kind is option.KEYWORD_ONLY and option.default is not option.empty for option in options)


def test_an_option_has_the_same_default_wherever_it_is_declared():
    declared = [
        (name, signature(metric)[name].default)
        for metric in metrics.ALL.values()
        for name in signature(metric).keys() - metrics.SHARED
    ]
    assert set(declared) == set(metrics.OPTIONS.items()) == {("n_bins", 15), ("threshold", 0.9)}


@every_metric
@each_number_of_classes
def test_the_value_is_a_float(metric, num_classes):
    value = metric(*example(num_classes))
    assert type(value) is float
    assert math.isfinite(value)


@every_metric
@each_number_of_classes
def test_the_order_of_examples_does_not_matter(metric, num_classes):
    logits, targets = example(num_classes)
    order = np.random.default_rng(1).permutation(len(targets))
    assert metric(logits[order], targets[order]) == pytest.approx(metric(logits, targets), abs=1e-12)


@every_metric
@each_number_of_classes
def test_the_order_of_examples_of_equal_confidence_does_not_matter(metric, num_classes):
    # whole logits: many examples have the same probabilities, some right and some wrong
    logits, targets = example(num_classes)
    logits = logits.round()
    assert len(np.unique(logits, axis=0)) < len(logits) or num_classes > 2
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(targets))
        assert metric(logits[order], targets[order]) == pytest.approx(metric(logits, targets), abs=1e-12)


@every_metric
@each_number_of_classes
def test_a_constant_added_to_the_logits_of_an_example_changes_nothing(metric, num_classes):
    logits, targets = example(num_classes)
    constants = np.random.default_rng(2).normal(scale=100, size=(len(targets), 1))
    assert metric(logits + constants, targets) == pytest.approx(metric(logits, targets), abs=1e-9)


@every_metric
@each_number_of_classes
def test_log_probabilities_are_valid_logits(metric, num_classes):
    logits, targets = example(num_classes)
    assert metric(links.softmax(logits), targets) == pytest.approx(metric(logits, targets), abs=1e-12)


@every_metric
def test_one_vs_rest_log_probabilities_are_renormalised(metric):
    logits, targets = example()
    probs = np.exp(links.sigmoid(logits))
    normalised = np.log(probs / probs.sum(axis=1, keepdims=True))
    assert metric(links.sigmoid(logits), targets) == pytest.approx(metric(normalised, targets), abs=1e-12)


@every_metric
def test_lists_and_tensors_and_float32_are_read_alike(metric):
    logits, targets = example()
    expected = metric(logits, targets)
    assert metric(logits.tolist(), targets.tolist()) == expected
    assert metric(torch.from_numpy(logits), torch.from_numpy(targets)) == expected
    assert metric(logits.astype(np.float32), targets.astype(np.uint8)) == expected


@every_metric
def test_inputs_are_left_as_they_were(metric):
    logits, targets = example()
    logits_before, targets_before = logits.copy(), targets.copy()
    metric(logits, targets)
    np.testing.assert_array_equal(logits, logits_before)
    np.testing.assert_array_equal(targets, targets_before)


@every_metric
@each_number_of_classes
def test_huge_logits_give_a_finite_value(metric, num_classes):
    logits = np.full((4, num_classes), -1e4)
    logits[:, 0] = 1e4
    assert math.isfinite(metric(logits, [0, 1, 0, 1]))


EDGES = {
    "one, right": ([[2.0, 1.0]], [0]),
    "one, wrong": ([[2.0, 1.0]], [1]),
    "all sure and right": (1e4 * np.eye(3), [0, 1, 2]),
    "all sure and wrong": (1e4 * np.eye(3), [1, 2, 0]),
    "all alike": (np.zeros((4, 3)), [0, 1, 2, 0]),
    "one class absent": (np.eye(3)[[0, 1, 0]], [0, 1, 1]),
    "fewer examples than bins": (np.eye(2), [0, 0]),
}
NAN_WITHOUT_ERRORS = {"confidence_of_errors", "entropy_of_errors", "failure_auroc", "failure_fpr95"}
NAN_WITHOUT_HITS = {"failure_auroc", "failure_fpr95"}


@every_metric
@pytest.mark.parametrize("case", EDGES)
def test_at_the_edges_there_is_a_value_or_nan_where_the_docstring_says_so(metric, case):
    # warnings are errors here: none is raised on the way
    logits, targets = EDGES[case]
    hits = np.argmax(logits, axis=1) == targets
    undefined = (NAN_WITHOUT_ERRORS if hits.all() else set()) | (NAN_WITHOUT_HITS if not hits.any() else set())
    value = metric(logits, targets)
    assert type(value) is float
    assert math.isnan(value) == (metric.__name__ in undefined)
    if math.isnan(value):
        assert "nan when every prediction is right" in " ".join(metric.__doc__.split())


@every_metric
def test_an_image_of_one_pixel_is_an_example(metric):
    logits, targets = example()
    assert metric(logits[:, :, None, None], targets[:, None, None]) == metric(logits, targets)


@every_metric
def test_every_pixel_of_a_segmentation_is_an_example(metric):
    # 200 examples as 2 images of 10 × 10; the class axis moves to the second place
    logits, targets = example()
    images = logits.reshape(2, 10, 10, 10).transpose(0, 3, 1, 2)
    value = metric(images, targets.reshape(2, 10, 10))
    assert value == pytest.approx(metric(logits, targets), abs=1e-12)


@every_metric
@pytest.mark.parametrize("ignore_index", [-100, 3, 255])
def test_ignored_positions_count_for_nothing(metric, ignore_index):
    logits, targets = example()
    targets[::3] = ignore_index
    keep = targets != ignore_index
    value = metric(logits, targets, ignore_index=ignore_index)
    assert value == pytest.approx(metric(logits[keep], targets[keep]), abs=1e-12)


def test_evaluate_returns_every_metric():
    logits, targets = example()
    # the example has right and wrong predictions, so that no value is nan
    assert metrics.evaluate(logits, targets) == {name: metric(logits, targets) for name, metric in metrics.ALL.items()}


def test_evaluate_passes_ignore_index_on():
    values = metrics.evaluate([[1.0, 0.0], [1.0, 0.0]], [0, 255], ignore_index=255)
    assert values["accuracy"] == 1.0


def test_evaluate_returns_those_asked_for_in_their_order():
    assert list(metrics.evaluate(*example(), metrics=["nll", "accuracy"])) == ["nll", "accuracy"]


def test_evaluate_passes_options_on_to_those_that_declare_them():
    logits, targets = example()
    logits[::2] *= 9  # overconfident, and the other half underconfident
    plain = metrics.evaluate(logits, targets)
    values = metrics.evaluate(logits, targets, n_bins=3, threshold=0.5)
    assert values["mce"] == metrics.mce(logits, targets, n_bins=3) != plain["mce"]
    assert values["confident_errors"] == metrics.confident_errors(logits, targets, threshold=0.5)
    declare = {name for name, metric in metrics.ALL.items() if {"n_bins", "threshold"} & set(signature(metric))}
    assert {name for name in values if values[name] != plain[name]} == declare


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_bin": 3}, "no metric has an option 'n_bin'; did you mean n_bins?"),
        ({"n_bins": 0}, r"metrics.n_bins must lie in \[1, 10000\]; got 0"),
        ({"n_bins": 2.5}, "metrics.n_bins must be a whole number; got 2.5"),
        ({"threshold": 1.5}, r"metrics.threshold must lie in \[0, 1\]; got 1.5"),
        ({"metrics": ["accuracy", "eec"]}, r"no metric named 'eec'; did you mean ece\?"),
    ],
)
def test_evaluate_refuses_what_no_metric_has(wrong, message):
    with pytest.raises(ConfigError, match=message):
        metrics.evaluate(*example(), **wrong)


def test_evaluate_computes_one_softmax_for_all_metrics(monkeypatch):
    calls = []
    monkeypatch.setattr(inputs, "softmax", lambda logits: calls.append(1) or links.softmax(logits))
    metrics.evaluate(*example())
    assert len(calls) == 1


def test_evaluate_takes_a_metric_that_reads_logits_by_itself(monkeypatch):
    @declared(better="higher")
    def largest_logit(logits, targets, *, ignore_index=-100):
        return float(np.asarray(logits, dtype=np.float32).max())

    monkeypatch.setitem(metrics.ALL, "largest_logit", largest_logit)
    logits, targets = example()
    value = metrics.evaluate(logits, targets, metrics=["largest_logit"])["largest_logit"]
    assert value == np.float32(links.softmax(logits).max())


def test_what_is_read_once_is_not_mistaken_for_other_targets():
    logits, targets = example()
    read = inputs.read(logits, targets, -100)
    assert inputs.read(read, read.classes, -100) is read
    others = (targets + 1) % 10
    assert metrics.accuracy(read, others) == metrics.accuracy(logits, others)


@pytest.mark.parametrize("shape", [(20_000, 100), (2, 21, 220, 220)], ids=["classification", "segmentation"])
def test_evaluate_holds_few_arrays_of_the_logits_size(shape):
    # The log-probabilities, and of pixels also a copy with the classes last; the rest is blocks of about a megabyte
    # and numbers per example, a dozen of them at a time.
    rng = np.random.default_rng(0)
    logits = rng.normal(size=shape)
    targets = rng.integers(shape[1], size=(shape[0], *shape[2:]))
    tracemalloc.start()
    metrics.evaluate(logits, targets)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    arrays = 1 if len(shape) == 2 else 2
    assert peak < arrays * logits.nbytes + 12 * targets.nbytes + 8e6


def test_evaluate_takes_at_most_150_ms_for_ten_thousand_examples():
    logits, targets = example(num_examples=10_000)
    # the best of five, since other work may share the machine
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        metrics.evaluate(logits, targets)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.15


@every_metric
def test_a_row_that_is_not_finite_is_named(metric):
    logits, targets = example()
    logits[3, 2] = np.nan
    with pytest.raises(DataError, match="logits row 3 is not finite"):
        metric(logits, targets)


@every_metric
@pytest.mark.parametrize("wrong", [10, -1])
def test_a_target_that_is_no_class_is_named_with_its_row(metric, wrong):
    logits, targets = example()
    targets[5] = wrong
    with pytest.raises(DataError, match=rf"target {wrong} in row 5 is outside 0\.\.9"):
        metric(logits, targets)


@every_metric
@pytest.mark.parametrize("shape", [(199,), (200, 1), (200, 10), ()])
def test_targets_of_another_shape_are_refused_with_both_shapes(metric, shape):
    logits, _ = example()
    with pytest.raises(ShapeError, match=r"class indices of shape \[200\] to fit logits \[200, 10\]; got \["):
        metric(logits, np.zeros(shape, dtype=np.int64))


def test_targets_of_unequal_rows_are_refused():
    with pytest.raises(ShapeError, match="targets must be class indices"):
        metrics.accuracy([[0.0, 1.0], [0.0, 1.0]], [[0], [0, 1]])


def test_probabilities_are_no_targets():
    with pytest.raises(DataError, match="targets must be integer class indices; got float64"):
        metrics.accuracy([[0.0, 1.0]], [0.0])


def test_nothing_but_ignored_targets_is_refused():
    with pytest.raises(DataError, match="every target equals ignore_index -100"):
        metrics.accuracy([[0.0, 1.0]], [-100])


def test_a_misspelt_metric_is_no_attribute():
    with pytest.raises(AttributeError, match="eec"):
        _ = metrics.eec
