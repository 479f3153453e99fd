"""Anyone's logits are read as they are meant, or refused by file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lossbench import predictions
from lossbench.errors import DataError

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.5, 0.0, 0.25], [1.0, 3.0, 0.0]])
TARGETS = np.array([0, 2, 1, 1])
HEAD = "cat,dog,emu,target\n"


def npz(folder: Path, **arrays: object) -> Path:
    np.savez(folder / "their.npz", **arrays)  # type: ignore[arg-type]
    return folder / "their.npz"


def csv(folder: Path, text: str) -> Path:
    (folder / "their.csv").write_text(text)
    return folder / "their.csv"


def test_logits_and_targets_alone_are_the_test_split(tmp_path: Path) -> None:
    arrays = predictions.of_file(npz(tmp_path, logits=LOGITS, targets=TARGETS))
    assert list(arrays) == ["test_logits", "test_targets"]
    np.testing.assert_array_equal(arrays["test_logits"], LOGITS)


def test_validation_is_read_beside_either_name_of_the_test_split(tmp_path: Path) -> None:
    val = {"val_logits": LOGITS[:2], "val_targets": TARGETS[:2]}
    plain = predictions.of_file(npz(tmp_path, logits=LOGITS, targets=TARGETS, **val, other=np.ones(3)))
    named = predictions.of_file(npz(tmp_path, test_logits=LOGITS, test_targets=TARGETS, **val))
    assert list(plain) == list(named) == ["val_logits", "val_targets", "test_logits", "test_targets"]


def test_in_a_table_the_column_target_is_the_class_and_all_others_are_logits_in_their_order(tmp_path: Path) -> None:
    arrays = predictions.of_file(csv(tmp_path, "dog,target,cat\n1.5,0,2\n-1e3,1,0.25\n"))
    np.testing.assert_array_equal(arrays["test_logits"], [[1.5, 2.0], [-1e3, 0.25]])
    np.testing.assert_array_equal(arrays["test_targets"], [0, 1])


def test_a_column_split_divides_a_table(tmp_path: Path) -> None:
    arrays = predictions.of_file(csv(tmp_path, "split,a,b,target\nval,1,2,0\ntest,3,4,1\nval,5,6,1\n"))
    np.testing.assert_array_equal(arrays["val_logits"], [[1, 2], [5, 6]])
    np.testing.assert_array_equal(arrays["test_targets"], [1])


BAD_TABLES = {
    "": "is no table: it is empty",
    HEAD: "has a heading and no rows",
    "1,2,0\n": "has no column named target; got 1, 2, 0",
    HEAD + "1,2,3,0\n1,,3,0\n": "line 3, column dog: must be a number, at most 1e+150 in size; got nothing",
    HEAD + "1,2,3,0\n1,inf,3,0\n": "line 3, column dog: must be a number, at most 1e+150 in size; got inf",
    HEAD + "1,2,3,0\n1,2,1e200,0\n": "line 3, column emu: must be a number, at most 1e+150 in size; got 1e200",
    HEAD + "1,2,many,0\n": "line 2, column emu: must be a number, at most 1e+150 in size; got many",
    HEAD + "1,2,3,0\n\n  \n1,2,many,0\n": "line 5, column emu: must be a number",  # blank lines count as lines
    HEAD + '1,2,"\n3",0\n1,2,many,0\n': "line 4, column emu: must be a number",  # and so do those within a cell
    HEAD + "True,2,3,0\nFalse,2,3,0\n": "line 2, column cat: must be a number, at most 1e+150 in size; got True",
    HEAD + "1,2,3,True\n": "line 2, column target: must be a class, 0 to 2; got True",
    HEAD + "1,2,3,0\n1,2,3,3\n": "line 3, column target: must be a class, 0 to 2; got 3",
    HEAD + "1,2,3,0\n\n1,2,3,1e300\n": "line 4, column target: must be a class, 0 to 2; got 1e300",
    HEAD + "1,2,3,-1\n": "line 2, column target: must be a class, 0 to 2; got -1",
    HEAD + "1,2,3,0\n1,2,3,cat\n": "line 3, column target: must be a class, 0 to 2; got cat",
    HEAD + "1,2,3,0.5\n": "line 2, column target: must be a class, 0 to 2; got 0.5",
    HEAD + "1,2,3,\n": "line 2, column target: must be a class, 0 to 2; got nothing",
    HEAD + f"{10**30},2,3,0\n": "holds whole numbers of more than 64 bits",
    HEAD + "1,2,3,0\n1,2,3,0,4\n": "is no table",
    HEAD + "1,2,3,0,5\n1,2,3,0,4\n": "column 1 has no name",
    ",a,b,target\n0,1,2,0\n": "column 1 has no name; one that numbers the rows must be left out",
    "a,b,target,target\n1,2,0,0\n": "has 2 columns named target",
    "a,b,a,target\n1,2,3,0\n": "has 2 columns named a",
    "a,b,target\n7,1.5,0\n8,2,0\n9,3,1\n10,0,1\n": "column a seems to number the rows; leave it out",
    "ID,a,b,target\n17,1.5,1,0\n": "column ID seems to number the rows; leave it out",
    "a,target\n1,0\n": "a column of logits for each class, at least two; got a. For one score of the second of two",
    "a;b;target\n1;2;0\n": "columns are separated by commas, and decimals by points; got ';' between them",
    "split,a,b,target\ntrain,1,2,0\n": "line 2, column split: must be val or test; got train",
    "split,a,b,target\nval,1,2,0\n": "no row has test in its column split",
}


@pytest.mark.parametrize(("text", "message"), BAD_TABLES.items(), ids=range(len(BAD_TABLES)))
def test_a_bad_table_is_refused_by_name_and_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        predictions.of_file(csv(tmp_path, text))
    assert str(caught.value).startswith(str(tmp_path / "their.csv"))
    assert message in str(caught.value)


def test_logits_that_rise_by_one_in_three_rows_or_by_less_in_more_are_logits(tmp_path: Path) -> None:
    three = predictions.of_file(csv(tmp_path, "a,b,target\n1,5,0\n2,4,1\n3,9,1\n"))
    np.testing.assert_array_equal(three["test_logits"][:, 0], [1, 2, 3])
    halves = predictions.of_file(csv(tmp_path, "a,b,target\n" + "".join(f"{i / 2},1,0\n" for i in range(9))))
    np.testing.assert_array_equal(halves["test_logits"][:, 0], np.arange(9) / 2)


def test_the_classes_of_a_table_are_its_other_columns_in_their_order_and_arrays_have_no_names(tmp_path: Path) -> None:
    table = csv(tmp_path, "dog, target,split,cat\n1,0,test,2\n")
    assert predictions.class_names(table) == ["dog", "cat"]
    assert predictions.class_names(npz(tmp_path, logits=LOGITS, targets=TARGETS)) == []


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "their.csv").write_bytes(b"a,b,target\n\xff\xfe,1,0\n")
    with pytest.raises(DataError, match="is no table"):
        predictions.of_file(tmp_path / "their.csv")


WITH_NAN = np.where(np.arange(12).reshape(4, 3) == 7, np.nan, LOGITS)
BAD_ARRAYS = {
    "nan": ({"logits": WITH_NAN, "targets": TARGETS}, "test logits row 2 is not finite"),
    "range": ({"logits": LOGITS, "targets": TARGETS + 1}, "test target 3 in row 1 is outside 0..2"),
    "float targets": ({"logits": LOGITS, "targets": TARGETS / 1}, "integer class indices; got float64"),
    "lengths": ({"logits": LOGITS, "targets": TARGETS[:2]}, "to fit logits [4, 3]; got [2]"),
    "names": ({"z": LOGITS, "y": TARGETS}, "must hold either logits and targets"),
    "both": (
        {"logits": LOGITS, "targets": TARGETS, "test_logits": LOGITS, "test_targets": TARGETS},
        "must hold either logits and targets, or test_logits and test_targets",
    ),
    "half": ({"logits": LOGITS, "targets": TARGETS, "val_logits": LOGITS}, "lacks val_targets"),
    "validation": (
        {"logits": LOGITS, "targets": TARGETS, "val_logits": LOGITS, "val_targets": TARGETS - 9},
        "val target -9 in row 0",
    ),
    "classes": (
        {"logits": LOGITS, "targets": TARGETS, "val_logits": LOGITS[:, :2], "val_targets": TARGETS % 2},
        "val has 2 classes, test 3",
    ),
    "complex": ({"logits": LOGITS * 1j, "targets": TARGETS}, "test logits must be an array of real numbers"),
    "huge": ({"logits": LOGITS * 1e200, "targets": TARGETS}, "test logits row 0 is above 1e+150 in size"),
    "wrapped": (  # as int64 it would be -100, which marks what is left out
        {"logits": LOGITS[:1], "targets": np.array([2**64 - 100], dtype=np.uint64)},
        "test targets must be class indices; got 18446744073709551516",
    ),
    "pickle": ({"logits": np.array([print, 1], dtype=object), "targets": TARGETS}, "is no .npz of plain numbers"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_refused_by_name_and_row(tmp_path: Path, arrays: dict[str, object], message: str) -> None:
    with pytest.raises(DataError) as caught:
        predictions.of_file(npz(tmp_path, **arrays))
    assert str(caught.value).startswith(str(tmp_path / "their.npz"))
    assert message in str(caught.value)


def test_what_is_no_archive_or_not_there_is_refused(tmp_path: Path) -> None:
    whole = npz(tmp_path, logits=LOGITS, targets=TARGETS).read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2], whole[:60] + bytes(40) + whole[100:]):
        (tmp_path / "their.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"is no \.npz of plain numbers"):
            predictions.of_file(tmp_path / "their.npz")
    np.save(tmp_path / "array.npy", LOGITS)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name, message in (("array.npz", "is no .npz"), ("nobody.npz", "is not there")):
        with pytest.raises(DataError, match=message):
            predictions.of_file(tmp_path / name)


def test_a_target_of_minus_100_in_a_file_is_an_error_and_not_left_out(tmp_path):
    path = tmp_path / "logits.npz"
    np.savez(path, logits=np.eye(3), targets=np.array([0, -100, 2]))
    with pytest.raises(DataError, match=r"logits.npz: test_targets row 1 is -100; a class is 0 or more"):
        predictions.of_file(path)


@pytest.mark.parametrize("digits", [2, 3, 7])
@pytest.mark.parametrize("num_classes", [2, 3, 10, 100])
@pytest.mark.parametrize("whole", [1, 100])
def test_probabilities_are_refused_however_they_were_rounded(
    tmp_path: Path, whole: int, num_classes: int, digits: int
) -> None:
    generator = np.random.default_rng(0)
    logits, targets = generator.normal(0, 3, (500, num_classes)), generator.integers(0, num_classes, 500)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    probs[7] = 0  # one odd row makes no logits of the others
    with pytest.raises(DataError, match=f"has probabilities, for rows sum to {whole} and none is negative"):
        predictions.of_file(npz(tmp_path, logits=(whole * probs).round(digits), targets=targets))
    for real in (logits, np.log(probs.clip(1e-9)), np.maximum(logits, 0)):
        assert len(predictions.of_file(npz(tmp_path, logits=real, targets=targets))["test_logits"]) == 500


@pytest.mark.parametrize("odd", [[1.0000001, 0, 0], [200, 0, 0], [-1, -1, -1], [0.5, 0.5 + 1e-9, -1e-9]])
def test_an_odd_row_makes_no_logits_of_probabilities(tmp_path: Path, odd: list[float]) -> None:
    probs = np.random.default_rng(0).dirichlet([1, 1, 1], 99)
    for whole in (1, 100):
        with pytest.raises(DataError, match=f"rows sum to {whole} "):
            predictions.of_file(npz(tmp_path, logits=whole * np.vstack([odd, probs]), targets=np.arange(100) % 3))


def test_small_logits_whose_sums_are_about_1_are_logits(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for logits in (
        generator.uniform(0, 0.02, (500, 100)),
        np.maximum(generator.normal(0, 0.0025, (100, 1000)), 0),
        generator.normal(0.1, 0.01, (500, 10)),  # cosines
    ):
        targets = np.arange(len(logits)) % 10
        assert len(predictions.of_file(npz(tmp_path, logits=logits, targets=targets))["test_logits"]) == len(logits)
