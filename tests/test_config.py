from __future__ import annotations

import copy
from pathlib import Path

import pytest
from support import compose, compose_all

from lossbench import config
from lossbench.catalogue import KINDS, conf_dir
from lossbench.errors import ConfigError

FAST = ("model=linear", "epochs=1")


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml") if not path.name.startswith("_"))


ONES_OWN = ("image_folder", "image_csv", "arrays", "hugging_face")  # data sets that must be told where


@pytest.mark.parametrize(
    ("group", "choice"),
    [(group, choice) for group in config.GROUPS for choice in choices(group) if choice not in ONES_OWN],
)
def test_every_choice_composes_and_passes_the_check(group: str, choice: str) -> None:
    composed = compose(f"{group}={choice}")
    assert "_target_" in composed[group]


def test_every_yaml_of_a_listed_kind_says_what_it_is() -> None:
    for group in filter(None, KINDS.values()):
        for choice in choices(group):
            lines = (conf_dir() / group / f"{choice}.yaml").read_text().splitlines()
            first = next(line for line in lines if not line.startswith("# @"))
            assert first.startswith("# "), f"{group}/{choice}"


def test_the_choice_names_its_node() -> None:
    composed = compose("loss=label_smoothing")
    assert composed["loss"]["name"] == "label_smoothing"
    assert composed["dataset"]["name"] == "digits"
    assert compose("model=torchvision", "model.name=resnet34", "dataset=cifar10")["model"]["name"] == "resnet34"


def test_a_sweep_is_the_product_of_its_values_in_the_order_typed() -> None:
    runs = compose_all("loss=label_smoothing", "loss.epsilon=0,0.1", "seed=range(2)")
    assert [(run["loss"]["epsilon"], run["seed"]) for run in runs] == [(0, 0), (0, 1), (0.1, 0), (0.1, 1)]


def test_a_plain_value_reaches_every_loss_of_a_swept_group() -> None:
    # dice has no epsilon and cross_entropy no `over`: the default loss must not be asked
    runs = compose_all("loss=dice,dice_cross_entropy", "loss.over=example")
    assert [run["loss"]["over"] for run in runs] == ["example", "example"]


def test_a_key_that_one_loss_of_the_sweep_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no key 'loss\.over'"):
        compose_all("loss=dice,cross_entropy", "loss.over=example")


def test_a_teacher_is_dropped_unless_the_loss_learns_from_one() -> None:
    assert compose("loss=cross_entropy")["teacher"] is None
    student = compose("loss=distillation", "teacher.model=linear", "teacher.loss=label_smoothing", "seed=3")
    assert student["teacher"]["model"]["name"] == "linear"
    assert student["teacher"]["loss"]["name"] == "label_smoothing"
    assert config.teacher_config(student)["seed"] == 3, "a teacher has its student's seed, and so its split"


def test_a_teacher_takes_its_students_model_by_name() -> None:
    assert compose("loss=distillation", "model=linear")["teacher"]["model"]["name"] == "linear"


def test_the_hard_part_of_a_distillation_is_any_loss() -> None:
    hard = compose("loss=distillation", "loss.hard=label_smoothing", "loss.hard.epsilon=0.3")["loss"]["hard"]
    assert (hard["name"], hard["epsilon"]) == ("label_smoothing", 0.3)


def test_a_teachers_config_is_the_config_of_the_run_typed_by_hand() -> None:
    student = compose("loss=distillation", "teacher.model=linear", "teacher.loss=label_smoothing", "teacher.epochs=3")
    by_hand = compose("model=linear", "loss=label_smoothing", "epochs=3")
    assert config.run_id(config.teacher_config(student)) == config.run_id(by_hand)


def test_users_configs_are_found_beside_ours(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss/mine.yaml").write_text("# mine\n_target_: lossbench.losses.cross_entropy\nepsilon: 0.25\n")
    composed = compose("loss=mine", config_dir=tmp_path)
    assert (composed["loss"]["name"], composed["loss"]["epsilon"]) == ("mine", 0.25)


def test_a_run_is_named_after_what_it_is() -> None:
    name = config.run_id(compose("loss=label_smoothing", "seed=4"))
    assert name.startswith("digits-mlp-label_smoothing-s4-")
    assert len(name.rsplit("-", 1)[1]) == 8


@pytest.mark.parametrize(
    "override",
    ["loss.epsilon=0.2", "model.hidden=[64]", "optimizer.learning_rate=0.3", "schedule=linear", "epochs=3",
     "batch_size=32", "seed=1", "device.precision=bf16", "dataset.label_noise=0.2", "keep=last"],
)  # fmt: skip
def test_what_can_change_the_numbers_changes_the_id(override: str) -> None:
    assert config.run_id(compose(override)) != config.run_id(compose())


@pytest.mark.parametrize(
    "override", ["device=cpu", "device.threads=2", "device.channels_last=false", "results_dir=elsewhere"]
)
def test_what_cannot_change_the_numbers_leaves_the_id(override: str) -> None:
    assert config.run_id(compose(override)) == config.run_id(compose())


def test_where_a_copy_of_the_data_lies_leaves_the_id() -> None:
    one, other = (compose("dataset=fashion_mnist", f"dataset.root={root}") for root in ("/a", "/b"))
    assert config.run_id(one) == config.run_id(other)


def test_a_folder_of_ones_own_images_is_part_of_the_id() -> None:
    one, other = (compose("dataset=image_folder", f"dataset.folder={folder}") for folder in ("/a", "/b"))
    assert config.run_id(one) != config.run_id(other)


def test_a_number_is_the_same_however_it_is_written() -> None:
    ids = {config.run_id(compose("loss=temperature", f"loss.temperature={value}")) for value in ("2", "2.0", "2e0")}
    assert len(ids) == 1


def test_a_students_id_depends_on_its_teachers() -> None:
    student = compose("loss=distillation")
    ids = set()
    for teacher in ("a", "b"):
        changed = copy.deepcopy(student)
        changed["teacher"]["id"] = teacher
        ids.add(config.run_id(changed))
    assert len(ids) == 2


REFUSED = [
    (("loss=label_smothing",), "no loss named 'label_smothing'; did you mean label_smoothing? (lossbench list losses)"),
    (("model=cnnn",), "no model named 'cnnn'; did you mean cnn? (lossbench list models)"),
    (("dataset=digit",), "no dataset named 'digit'; did you mean digits? (lossbench list datasets)"),
    (("optimizer=sdg",), "no optimizer named 'sdg'; did you mean sgd?"),
    (("device=gpu",), "no device named 'gpu'"),
    (("+experiment=nope",), "no experiment named 'nope'"),
    (("hydra/launcher=nope",), "no hydra/launcher named 'nope'"),
    (("teacher.loss=nope",), "no loss named 'nope'"),
    (("teacher.model=nope",), "no model named 'nope'"),
    (("loss.epsilom=0.1",), "no key 'loss.epsilom'; did you mean loss.epsilon?"),
    (("epoch=3",), "no key 'epoch'; did you mean epochs?"),
    (("+nonsense=3",), "no key 'nonsense'"),
    (("+loss=dice",), "loss has a value already, which is replaced without a plus: loss=…"),
    (("+hydra/launcher=joblib",), "hydra/launcher has a value already, which is replaced without a plus"),
    (("hydra/luncher=joblib",), "no group 'hydra/luncher'; did you mean hydra/launcher?"),
    (("hydra.launcher.n_jobs=2",), "no key 'hydra.launcher.n_jobs'; choose what has it first: hydra/launcher=…"),
    (("hydra/launcher=joblib", "hydra.launcher.n_job=2"), "n_job'; did you mean hydra.launcher.n_jobs?"),
    (("+loss.nonsense=3",), "loss has no key 'nonsense'"),
    (("+dataset.nonsense=3",), "dataset has no key 'nonsense'"),
    (("model.a.b=3",), "no key 'model.a'"),
    (("epochs=abc",), "epochs must be a whole number; got 'abc'"),
    (("epochs=1.5",), "epochs must be a whole number; got '1.5'"),
    (("seed=0,abc",), "seed must be a whole number; got 'abc'"),
    (("checkpoint_seconds=1,soon",), "checkpoint_seconds must be a number; got 'soon'"),
    (("epochs=0",), "epochs must lie in [1, ∞); got 0"),
    (("epochs=null",), "epochs must not be null"),
    (("batch_size=-1",), "batch_size must lie in [1, ∞); got -1"),
    (("seed=-1",), "seed must lie in [0, ∞); got -1"),
    (("keep=beste",), "keep must be best or last; got 'beste'"),
    (("loss.epsilon=1.2",), "loss.epsilon must lie in [0, 1]; got 1.2"),
    (("loss.epsilon=abc",), "loss.epsilon must be a number; got 'abc'"),
    (("loss.epsilon=",), "loss.epsilon must be a number; got ''"),
    (("loss.epsilon=nan",), "loss.epsilon must lie in [0, 1]; got nan"),
    (("loss=temperature", "loss.temperature=0"), "loss.temperature must lie in (0, ∞); got 0"),
    (("loss=temperature", "loss.temperature=-2"), "loss.temperature must lie in (0, ∞); got -2"),
    (("loss=temperature", "loss.temperature=inf"), "loss.temperature must lie in (0, ∞); got inf"),
    (("loss=class_weighted", "loss.class_weights=invers"), "loss.class_weights must be"),
    (("loss=distillation", "loss.hard.epsilon=7"), "loss.hard.epsilon must lie in [0, 1]; got 7"),
    (("loss=distillation", "teacher.epochs=0"), "teacher.epochs must lie in [1, ∞); got 0"),
    (("loss=distillation", "teacher.loss=distillation"), "teacher.loss=distillation wants a teacher of its own"),
    (("loss.hard=dice",), "no key 'loss.hard'"),
    (("loss=null",), "loss must be one of its choices, by name (lossbench list losses); got null"),
    (("loss=[dice]",), "loss must be one of its choices, by name (lossbench list losses); got [dice]"),
    (("loss=dice,3",), "loss must be one of its choices, by name (lossbench list losses); got dice,3"),
    (("loss=range(3)",), "loss must be one of its choices, by name (lossbench list losses); got range(3)"),
    (("teacher.loss=null",), "teacher.loss must be one of its choices, by name (lossbench list losses); got null"),
    (("dataset=[0]",), "dataset must be one of its choices, by name (lossbench list datasets); got [0]"),
    (("tracker=[null]",), "tracker must be one of its choices, by name (lossbench list trackers); got [null]"),
    (("device=cpu,3",), "device must be one of its choices, by name; got cpu,3"),
    (("hydra/launcher=null",), "hydra/launcher must be one of its choices, by name; got null"),
    (("~loss=dice",), "~loss=dice takes away what is not there"),
    (("~foo",), "~foo takes away what is not there"),
    (("seed=range()",), "cannot read 'seed=range()': range() needs a start"),
    (("seed=range(a)",), "cannot read 'seed=range(a)': range(a) takes no str"),
    (("seed=choice()",), "cannot read 'seed=choice()': choice(): empty choice is not legal"),
    (("experiment=epsilon_sweep",), "+experiment="),
    (("results_dir=",), "results_dir must name a folder"),
    (("loss=distillation", "teacher.seed=1"), "no key 'teacher.seed'"),
    (("optimizer.learning_rate=0",), "optimizer.learning_rate must lie in (0, ∞); got 0"),
    (("dataset.val_fraction=1",), "dataset.val_fraction must lie in"),
    (("device.precision=fp8",), "device.precision must be fp32 or bf16; got 'fp8'"),
    (("loss._target_=no.such.thing",), "loss._target_=no.such.thing cannot be used"),
    (("loss._target_=os.system",), "loss._target_=os.system cannot be used"),
    (("nonsense",), "cannot read 'nonsense': expected key=value"),
    (("seed=range(0)",), "the sweep is empty"),
    (("seed=[1,2",), "cannot read 'seed=[1,2': '[1,2' is unfinished, or has an unexpected character"),
    (("loss=ldam,,",), "cannot read 'loss=ldam,,': unexpected ','"),
    (("loss=dice,",), "cannot read 'loss=dice,': it ends too soon"),
    (("seed='1",), "cannot read 'seed='1': it has a quote without its other end"),
    (("a b=3",), "cannot read 'a b=3': 'a b' cannot be a key"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "message"), REFUSED, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_a_wrong_request_is_refused_in_one_line_that_names_it(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose_all(*overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ("loss='dice'", {"dice"}),
        ('loss="dice",focal', {"dice", "focal"}),
        ("loss=glob(dice*)", {"dice", "dice_cross_entropy"}),
        ("tracker=null", {"cross_entropy"}),
    ],
)
def test_names_are_chosen_however_they_are_written(chosen: str, names: set[str]) -> None:
    assert {config["loss"]["name"] for config in compose_all(chosen)} == names


def test_a_config_dir_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--config-dir must name a folder"), config.session(tmp_path / "nowhere"):
        pass


def test_how_a_run_is_measured_is_no_part_of_its_id_and_its_teacher_is_measured_alike() -> None:
    plain = compose("loss=distillation")
    other = compose("loss=distillation", "metrics.n_bins=10", "metrics.threshold=0.5")
    assert other["metrics"] == {"n_bins": 10, "threshold": 0.5}
    assert config.run_id(plain) == config.run_id(other)
    assert config.teacher_config(other)["metrics"] == other["metrics"]


@pytest.mark.parametrize(
    "overrides",
    [
        ["loss=label_smoothing", "loss.epsilon=0,0.1", "seed=0,1"],
        ["loss=label_smoothing,focal", "seed=1,0", "model=mlp,linear"],
        ["loss=focal", "loss.gamma=1,2", "optimizer=adamw", "model.hidden=[8],[8,4]", "device.threads=null,1"],
        ["loss=distillation", "loss.temperature=1,2", "teacher.loss=focal,label_smoothing", "teacher.epochs=2,3"],
        ["loss=sum", "loss.first=focal,dice", "metrics.n_bins=10,20", "hydra.verbose=false"],
        ["loss=class_weighted", "loss.class_weights=inverse,null,[1,2,3]"],
        ["+metrics.mine={a:1},{b:2}", "seed=3,4"],
    ],
)
def test_runs_of_a_sweep_that_share_a_composition_are_what_hydra_composes(overrides: list[str]) -> None:
    with config.session() as hydra:
        plan = hydra.plan(overrides)
        alone = [hydra.hydra.config_loader.load_sweep_config(plan.master, list(job)) for job in plan.jobs]
    assert plan.runs == [config.resolve(config.of_run(each), each.hydra.runtime.choices) for each in alone]
    assert list(plan.typed) == [tuple(each.hydra.overrides.task) for each in alone]
    assert len(alone) > 1


@pytest.mark.parametrize(
    "word", ["${now:%H%M%S.%f}", "${hydra.runtime.cwd}", "${hydra.job.name}"], ids=["time", "folder", "name"]
)
@pytest.mark.parametrize("swept", ["loss=label_smoothing,focal,dice", "seed=0,1,2"], ids=["loss", "seed"])
def test_what_an_override_takes_from_hydra_is_one_for_all_runs(word: str, swept: str) -> None:
    with config.session() as hydra:
        runs = hydra.plan([swept, f"results_dir=r/{word}"]).runs or ()
    assert len(runs) == 3
    (folder,) = {run["results_dir"] for run in runs}
    assert "$" not in folder
    assert len(folder) > len("r/")


def test_a_sweep_in_a_yaml_takes_from_each_run_too(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /loss: label_smoothing\noptimizer:\n  nesterov: false\n"
        "hydra:\n  sweeper:\n    params:\n      loss.epsilon: 0.05,0.2\n      optimizer.momentum: ${loss.epsilon}\n"
    )
    with config.session(tmp_path) as hydra:
        runs = hydra.plan(["+experiment=mine"]).runs or ()
    assert [(run["loss"]["epsilon"], run["optimizer"]["momentum"]) for run in runs] == [(0.05, 0.05), (0.2, 0.2)]


@pytest.mark.parametrize("sweeper", [(), ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=4")], ids=["grid", "search"])
def test_what_an_override_takes_from_another_it_takes_from_that_of_its_own_run(sweeper: tuple[str, ...]) -> None:
    swept = "loss.epsilon=interval(0,0.2)" if sweeper else "loss.epsilon=0,0.2"
    overrides = ["loss=label_smoothing", swept, "results_dir=r/e${loss.epsilon}", "optimizer.momentum=${loss.epsilon}"]
    with config.session() as hydra:
        plan = hydra.plan([*overrides, "optimizer.nesterov=false", *sweeper])
    runs = plan.samples or plan.runs or ()
    assert {run["loss"]["epsilon"] for run in runs} == {0.0, 0.2}
    for run in runs:
        epsilon = run["loss"]["epsilon"]
        assert (run["results_dir"], run["optimizer"]["momentum"]) == (f"r/e{epsilon}", epsilon)


def test_a_composition_is_shared_by_runs_that_differ_in_values_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with config.session() as hydra:
        loader, composed = type(hydra.hydra.config_loader), []
        original = loader.load_sweep_config
        monkeypatch.setattr(
            loader, "load_sweep_config", lambda self, master, job: composed.append(job) or original(self, master, job)
        )
        hydra.plan(["loss=label_smoothing,focal", "seed=range(50)"])
    assert len(composed) == 2  # one for each loss


def test_a_path_that_hydra_cannot_read_is_shown_as_it_is_to_be_typed() -> None:
    with pytest.raises(ConfigError, match=r"""is written "results_dir='odd dir/ä b'"$"""):
        compose("results_dir=odd dir/ä b")
    assert compose("results_dir='odd dir/ä b'")["results_dir"] == "odd dir/ä b"
