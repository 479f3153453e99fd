import inspect
import warnings
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

import lossbench.data
from lossbench.data.prepare import prepare

FOLDER = Path(__file__).parents[2] / "conf/dataset"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml") if not path.stem.startswith("_"))


def composed(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The version_base parameter")  # of Hydra 1.4, which 1.3 needs
        with initialize_config_dir(str(FOLDER.parent), version_base="1.3"):
            return OmegaConf.to_container(compose(f"dataset/{name}").dataset)


def signature(name):
    """The defaults of everything a user may set: the data set's own and those of `prepare`."""
    own = inspect.signature(getattr(lossbench.data, name)).parameters
    common = inspect.signature(prepare).parameters
    defaults = {key: parameter.default for key, parameter in {**common, **own}.items()}
    return {key: default for key, default in defaults.items() if key not in ("source", "seed")}


@pytest.mark.parametrize("name", NAMES)
def test_a_config_names_the_function_and_every_option(name):
    config = composed(name)
    assert config.pop("_target_") == f"lossbench.data.{name}"
    assert set(config) == set(signature(name))


@pytest.mark.parametrize("name", NAMES)
def test_a_config_has_the_functions_defaults(name):
    # CIFAR is trained with shifts and flips everywhere; one's own data cannot be guessed.
    other = {"cifar10": {"shift": 4, "flip": True}, "cifar100": {"shift": 4, "flip": True}}
    other |= {"image_folder": {"folder": "???"}, "image_csv": {"file": "???"}, "arrays": {"file": "???"}}
    other |= {"hugging_face": {"path": "???"}}
    config = composed(name)
    del config["_target_"]
    assert config == signature(name) | other.get(name, {})


def test_every_data_set_function_has_a_config():
    functions = {name for name in lossbench.data.__all__ if inspect.isfunction(getattr(lossbench.data, name))}
    assert functions - {"gaussian_means", "gaussian_log_posterior"} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_says_in_its_first_line_what_it_is(name):
    first = (FOLDER / f"{name}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 20
