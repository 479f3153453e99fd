import pytest
from PIL import Image

from lossbench.data import image_csv
from lossbench.data.listed import ordered
from lossbench.errors import DataError


@pytest.fixture
def listing(tmp_path):
    """Four images whose red value is their number, and a file that lists them."""
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.new("RGB", (5, 4), (number, 0, 0)).save(tmp_path / f"images/{number}.png")

    def write(text):
        path = tmp_path / "list.csv"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def reds(examples):
    return examples.inputs[:, 0, 0, 0].tolist()


def test_images_come_in_the_order_of_the_lines_and_classes_in_that_of_their_names(listing):
    source = image_csv(file=listing("path,label\nimages/2.png,dog\nimages/0.png,cat\nimages/1.png,dog\n"))
    assert source.class_names == ("cat", "dog")
    assert reds(source.train) == [2, 0, 1]
    assert source.train.targets.tolist() == [1, 0, 1]
    assert source.val is None


def test_numbers_as_classes_are_ordered_by_size(listing):
    source = image_csv(file=listing("path,label\nimages/0.png,10\nimages/1.png,9\n"))
    assert source.class_names == ("9", "10")
    assert source.train.targets.tolist() == [1, 0]


def test_numbers_of_one_size_are_ordered_by_their_names():
    # In a set, strings have another order in every process: many names, so that it is never the right one by chance.
    names = {"0" * zeros + "1" for zeros in range(12)}
    assert ordered(names) == tuple(sorted(names))


def test_columns_have_any_name_and_one_may_say_the_split(listing):
    lines = ["images/0.png,a,train,me", "images/1.png,b,train,me", "images/2.png,b,test,", "", "images/3.png,a,val,"]
    text = "\n".join(["\ufefffile,kind,part,by", *lines])
    source = image_csv(file=listing(text), path_column="file", label_column="kind", split_column="part")
    assert reds(source.train) == [0, 1]
    assert source.val is not None
    assert source.test is not None
    assert (reds(source.val), source.val.targets.tolist()) == ([3], [0])
    assert (reds(source.test), source.test.targets.tolist()) == ([2], [1])


def test_size_and_grey_are_those_of_image_folder(listing):
    source = image_csv(file=listing("path,label\nimages/0.png,a\nimages/1.png,b\n"), size=8, grey=True)
    assert source.train.inputs.shape == (2, 1, 8, 8)


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "should have one column 'path'"),
        ("path,label\n", {}, "lists no image"),
        ("paths,label\n", {}, "should have one column 'path'; did you mean paths"),
        ("path,path,label\n", {}, "should have one column 'path'"),
        ("path,label\nimages/0.png,a\nimages/1.png\n", {}, "line 3: label is empty"),
        ("path,label\nimages/0.png,a\nimages/1.png,a\n", {}, "at least two classes; got a"),
        ("path,label\nimages/0.png,a\nimages/9.png,b\n", {}, r"9\.png cannot be read as an image"),
        ("path,label,s\nimages/0.png,a,training\n", {"split_column": "s"}, "line 2: s must be one of train, val, test"),
        ("path,label,s\nimages/0.png,a,val\n", {"split_column": "s"}, "lists no training example"),
        (
            "path,label,s\nimages/0.png,aa,train\nimages/1.png,b,train\nimages/2.png,ab,test\n",
            {"split_column": "s"},
            "class 'ab' of test is no class of train",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(listing, text, options, message):
    with pytest.raises(DataError, match=message):
        image_csv(file=listing(text), **options)


def test_a_file_that_is_no_text_is_said(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(DataError, match="cannot be read as a CSV file"):
        image_csv(file=str(tmp_path / "list.csv"))
    with pytest.raises(DataError, match="cannot be read as a CSV file"):
        image_csv(file=str(tmp_path / "gone.csv"))
