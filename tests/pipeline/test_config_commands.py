# SPDX-License-Identifier: Apache-2.0
"""`audio-gender config …` and `run --dry-run`: what they print is true, and they change nothing."""

import re
from pathlib import Path

import pytest

from beam_jobs import yaml_text
from beam_jobs.config import validate
from beam_jobs.dataset import INFO_FILE
from beam_jobs.errors import UserError
from pipeline.commands.options import check_beam
from pipeline.config import PipelineConfig, load_config
from pipeline.estimate import dataset_bytes, estimate
from pipeline.nodes import NODES
from pipeline.starter import starting_point

ENORMOUS = ["--set", "clips.num_clips.train=9000000", "--set", "clips.duration_s=600"]


def keys(data: object, prefix: str = "") -> set[str]:
    """`clips`, `clips.num_clips`, …, of settings with every default written out."""
    found = set()
    for key, value in data.items() if isinstance(data, dict) else ():
        found |= {f"{prefix}{key}"} | keys(value, f"{prefix}{key}.")
    return found


def uncommented(text: str) -> str:
    """With the `#` taken away wherever a key stands behind it, and from the comments on keys."""
    return re.sub(r"(?m)^#(?=[a-z]| +[a-z0-9_]+:|  +#)", "", text)


def test_the_starting_point_is_valid_as_it_stands() -> None:
    config = validate(PipelineConfig, yaml_text.parse(starting_point()), "start")

    assert config == PipelineConfig.model_validate({"clips": {"num_clips": config.clips.num_clips.model_dump()}})


def test_the_starting_point_holds_every_key_with_its_default() -> None:
    everything = yaml_text.parse(uncommented(starting_point()))
    config = validate(PipelineConfig, everything, "start")
    defaults = PipelineConfig.model_validate({"clips": everything["clips"]}).model_dump(mode="json")

    assert config.tune is not None and config.robustness is not None
    assert config.model_dump(mode="json") | {"tune": None, "robustness": None} == defaults
    assert keys(everything) >= keys(defaults)


def test_the_documentation_has_every_key(root: Path) -> None:
    page = (root / "docs/reference/configuration.md").read_text()
    documented = set(re.findall(r"`([a-z_.]+)`", page))
    for key in keys(yaml_text.parse(uncommented(starting_point()))):
        parents = [key.rsplit(".", number)[0] for number in range(key.count("."))]
        assert any(name in documented for name in parents) or re.search(rf"\b{key.rsplit('.', 1)[-1]}\b", page), key


def test_init_writes_a_file_that_check_passes_and_never_writes_over_one(audio_gender, tmp_path: Path) -> None:
    path = tmp_path / "my file.yaml"

    first = audio_gender("config", "init", path)
    again = audio_gender("config", "init", path)
    checked = audio_gender("config", "check", path)

    assert (first.returncode, first.stdout) == (0, "")
    assert path.read_text() == starting_point()
    assert again.returncode == 2
    assert again.stderr == f"error: {path}: already there; give another name or remove it\n"
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout.startswith(f"{path}: valid; 2000 + 200 + 300 clips of 60 s")
    nowhere = audio_gender("config", "init", tmp_path / "no/my.yaml")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (2, 1)


def test_show_prints_the_configuration_as_a_run_sees_it(audio_gender, root: Path, tmp_path: Path) -> None:
    shown = audio_gender("config", "show", "demo", "--set", "train.learning_rate=1e-4")
    path = tmp_path / "shown.yaml"
    path.write_text(shown.stdout)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert load_config(path) == load_config(root / "pipeline/configs/demo.yaml", ["train.learning_rate=0.0001"])


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("train.crop_s=0.05", "train.crop_s 0.05 holds 800 samples"),
        ("clips.mixed_share=0.1", "48 of the 480 clips of split train would be mixed, less than data.min_class_share 0.2"),
        ("clips.num_clips.test=1", "of the 1 clips of split test would be"),
        ("beam.pipeline=[--runner=NoRunner]", "Unexpected pipeline runner: NoRunner"),
        ("beam.pipeline=[--runner=FlinkRunner]", "beam.pipeline has --runner=FlinkRunner and no --temp_location; add one"),
        ("beam.clips=[--help]", "expected Beam options such as"),
        ("beam.clips=[DirectRunner]", "expected Beam options such as"),
        ("kubernetes.steps={Trianer: {}}", "this pipeline has no node Trianer"),
        (
            "clips={num_clips: {train: 99999, eval: 9, test: 9}, clips_per_shard: 99999, duration_s: 9}",
            "shards of 39.7 GB; at most",
        ),
        ("train.seed=4294967296", "train.seed is 4294967296: input should be less than 2147483648"),
        ("corpus.subsets=[]", "corpus.subsets is []"),
        (
            "gate.robustness={telefone: {min_accuracy: 0.9}}",
            "there is no degradation telefone; choose from babble, clipped, far, low_pass, low_voice, opus, pink_noise, room, ",
        ),
        ("gate.robustness.telephone={min_accuracy: 2}", "telephone.min_accuracy is 2: input should be less than"),
        (
            "gate.robustness.telephone={min_auc: 0.9}",
            "unknown key gate.robustness.telephone.min_auc",
        ),
        (
            "gate.robustness.telephone={max_strength: 2}",
            "telephone: holds no threshold; give min_accuracy or max_ece",
        ),
        (
            "gate.robustness.telephone={min_accuracy: 0.9}",
            "gate.robustness has thresholds on telephone, but there is no section robustness to measure it",
        ),
        (
            "robustness={degradations: [telefone]}",
            "degradations.0 is 'telefone': input should be 'shout', 'low_voice'",
        ),
        ("robustness={strengths: [2, 4]}", "robustness.strengths.1 is 4: input should be 1, 2 or 3"),
        ("robustness={strengths: [2, 2]}", "strengths names 2 more than once"),
        ("clips.gain_db={min: -200, max: 0}", "gain_db.min -200 is below -60 dB"),
        ("clips.pause_s={min: 0, max: 1e300}", "pause_s.max 1e+300 is longer than the longest possible clip"),
        (f"tune={{space: {{model.n_mels: {list(range(8, 40))}}}}}", "32 values to choose from; at most 20"),
    ],
)
def test_what_would_die_later_is_told_by_check(setting: str, problem: str) -> None:
    with pytest.raises(UserError) as caught:
        check_beam(load_config("demo", [setting]))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(audio_gender, make_corpus, read_folder, tmp_path: Path) -> None:
    corpus, workdir = make_corpus(), tmp_path / "w"
    before = read_folder(tmp_path)
    done = audio_gender("run", "--config", "demo", "--corpus", corpus, "--workdir", workdir, "--dry-run")

    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert "6 speakers" in lines["corpus"]
    assert lines["clips"] == "clips    480 train + 96 eval + 96 test of 5 s at 16000 Hz"
    assert "ClipExampleGen, StatisticsGen" in lines["nodes"]
    assert "108 MB clips, 1" in lines["needed"]
    assert f"in {workdir}" in lines["free"]
    assert lines["time"].startswith("time     roughly ")
    assert read_folder(tmp_path) == before
    assert not workdir.exists()


def test_without_room_a_dry_run_and_a_run_say_so_before_the_clips(audio_gender, make_corpus, tmp_path: Path) -> None:
    corpus, workdir = make_corpus(), tmp_path / "w"
    options = ("run", "--config", "demo", "--corpus", corpus, "--workdir", workdir, *ENORMOUS)

    for done in (audio_gender(*options, "--dry-run"), audio_gender(*options)):
        assert done.returncode == 2
        assert re.search(r"error: .* TB are needed and .* are free; free some", done.stderr.splitlines()[-1])
    assert not list((workdir / "clips").rglob("*"))


def test_changed_voices_take_their_time() -> None:
    plain, varied = (
        load_config("demo", settings) for settings in (["clips.train_voice=null"], ["clips.train_voice={share: 0.5}"])
    )

    seconds = 0.5 * plain.clips.num_clips.train * plain.clips.duration_s * plain.clips.sample_rate_hz / 16_000 * 0.225 / 6
    assert estimate(varied).seconds - estimate(plain).seconds == pytest.approx(seconds)


def test_thresholds_are_on_what_is_measured() -> None:
    measured = ["robustness={degradations: [room], strengths: [2, 3]}"]

    with pytest.raises(UserError, match=r"thresholds on telephone, which is not among robustness\.degradations"):
        load_config("demo", [*measured, "gate.robustness.telephone={max_ece: 0.1}"])
    with pytest.raises(UserError, match=r"gate\.robustness\.room\.max_strength 1 is below all robustness\.strengths"):
        load_config("demo", [*measured, "gate.robustness.room={max_ece: 0.1, max_strength: 1}"])
    assert load_config("demo", [*measured, "gate.robustness.room={max_ece: 0.1}"]).gate.robustness["room"].max_strength == 3


def test_degraded_clips_take_their_time() -> None:
    plain, measured = (load_config("demo", settings).model_copy() for settings in ([], ["robustness={num_clips: 50}"]))
    half = load_config("demo", ["robustness={num_clips: 25}"])

    assert estimate(measured).seconds - estimate(plain).seconds == pytest.approx(
        2 * (estimate(half).seconds - estimate(plain).seconds)
    )
    assert estimate(measured).seconds > estimate(plain).seconds + 60


def test_the_bytes_are_those_of_a_real_run(demo) -> None:
    config = load_config(demo.workdir / "reports" / demo.first.result["run_id"] / "config.yaml")
    dataset = demo.dataset
    size = sum(file.stat().st_size for file in dataset.rglob("*") if file.is_file())

    assert size == pytest.approx(dataset_bytes(config.clips), rel=0.02)
    assert estimate(config, dataset_is_there=(dataset / INFO_FILE).exists()).clips == 0


def test_a_dry_run_knows_a_dataset_that_is_there(demo, audio_gender, small_demo, read_folder) -> None:
    before = read_folder(demo.workdir)
    done = audio_gender("run", *small_demo, "--workdir", demo.workdir, "--dry-run")

    assert done.returncode == 0, done.stderr
    assert "made by an earlier run" in done.stdout
    assert read_folder(demo.workdir) == before


def test_the_nodes_are_those_of_the_pipeline(tmp_path: Path) -> None:
    from pipeline.dag import RunContext, create_pipeline

    config = load_config("demo", ["tune={space: {model.n_mels: [32, 64]}}", "robustness={}"])
    pipeline = create_pipeline(config, RunContext("d", "f", str(tmp_path), str(tmp_path / "s"), "", corpus_uri=""))

    assert {node.id for node in pipeline.components} == set(NODES)


def test_the_pusher_of_a_run_on_this_machine_knows_its_dataset(tmp_path: Path) -> None:
    from pipeline.dag import RunContext, create_pipeline

    context = RunContext("clips/0123456789ab", "f", str(tmp_path), str(tmp_path / "s"), "")
    (pusher,) = (node for node in create_pipeline(load_config("demo"), context).components if node.id == "Pusher")

    assert pusher.exec_properties["dataset_uri"] == "clips/0123456789ab"
