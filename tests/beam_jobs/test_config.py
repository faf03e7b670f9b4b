# SPDX-License-Identifier: Apache-2.0
"""A configuration is right as a whole, or one line says which key is wrong, what it holds and what is allowed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.config import ClipsConfig, load_section, override, validate
from beam_jobs.errors import UserError
from beam_jobs.variants import PitchRange, TrainChannel, TrainVoice

CLIPS: dict[str, Any] = {"num_clips": {"train": 8, "eval": 2, "test": 2}, "duration_s": 10, "min_speech_s": 1}


def error_of(data: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        validate(ClipsConfig, data, "my.yaml", "clips")
    message = str(caught.value)
    assert message.startswith("my.yaml: ")
    assert "\n" not in message
    return message


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "my.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def load_error(path: Path, *settings: str) -> str:
    with pytest.raises(UserError) as caught:
        load_section(ClipsConfig, "clips", path, settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_section_is_read_and_the_rest_has_defaults(tmp_path: Path) -> None:
    clips = load_section(ClipsConfig, "clips", written(tmp_path, yaml.safe_dump({"clips": CLIPS, "other": 1})))

    assert (clips.num_clips.train, clips.duration_s, clips.sample_rate_hz) == (8, 10.0, 22_050)
    assert (clips.num_samples, clips.classes) == (220_500, ("male", "female"))


def test_mixed_clips_have_a_class_of_their_own() -> None:
    assert validate(ClipsConfig, {**CLIPS, "mixed_share": 0.1}, "x").classes == ("male", "female", "mixed")


def test_any_two_to_fifty_labels_in_their_order() -> None:
    ages = ["teens", "twenties", "sixties and more"]

    assert validate(ClipsConfig, {**CLIPS, "labels": ages}, "x").classes == tuple(ages)
    assert len(validate(ClipsConfig, {**CLIPS, "labels": [f"accent-{k}" for k in range(50)]}, "x").classes) == 50
    assert validate(ClipsConfig, {**CLIPS, "labels": ["da", "nein"], "mixed_share": 0.2}, "x").classes == ("da", "nein", "mixed")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"labels": ["male"]}, "clips.labels is ['male']: list should have at least 2 items"),
        ({"labels": [f"{k}" for k in range(51)]}, "at most 50 items"),
        ({"labels": ["a", "b", "a"]}, "a label is listed twice"),
        ({"labels": ["speech", "no speech"]}, "'no speech' cannot be a label, because the model answers it"),
        ({"labels": ["a", "b\n"]}, "should match pattern"),
        ({"labels": ["a", "../b"]}, "should match pattern"),
        ({"labels": ["a", "b", "c"], "mixed_share": 0.1}, "mixed_share needs two labels, and clips.labels has 3"),
        ({"labels": ["a", "b"], "train_voice": {"pitch_hz": {"male": {"min": 80, "max": 90}}}}, "there is no label 'male'"),
    ],
)
def test_labels_that_cannot_be(settings: dict[str, Any], text: str) -> None:
    assert text in error_of({**CLIPS, **settings})


def test_the_article_s_clips_have_1_323_000_samples() -> None:
    assert ClipsConfig(num_clips=CLIPS["num_clips"]).num_samples == 1_323_000


def test_an_unknown_key_is_named_with_the_known_ones() -> None:
    message = error_of({**CLIPS, "durations": 3})

    assert "unknown key clips.durations; known keys: clips_per_shard, duration_s, gain_db" in message


def test_a_misspelt_key_is_named_before_the_one_that_is_missing_for_it() -> None:
    settings = {key: value for key, value in CLIPS.items() if key != "duration_s"}

    assert "unknown key clips.duraton_s; known keys: " in error_of({**settings, "duraton_s": 3, "num_clips": {}})


def test_an_unknown_key_of_a_section_in_a_section() -> None:
    message = error_of({**CLIPS, "num_clips": {"train": 1, "eval": 1, "test": 1, "dev": 1}})

    assert "unknown key clips.num_clips.dev; known keys: eval, test, train" in message


def test_a_missing_key_is_named() -> None:
    assert "clips.num_clips.test is missing" in error_of({**CLIPS, "num_clips": {"train": 1, "eval": 1}})


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("duration_s", "long", "clips.duration_s is 'long': input should be a valid number"),
        ("duration_s", True, "clips.duration_s is True: input should be a valid number"),
        ("duration_s", -3, "clips.duration_s is -3: input should be greater than 0"),
        ("duration_s", float("nan"), "clips.duration_s is nan: input should be a finite number"),
        ("seed", 1.5, "clips.seed is 1.5: input should be a valid integer"),
        ("sample_rate_hz", 7999, "clips.sample_rate_hz is 7999: input should be greater than or equal to 8000"),
        ("mixed_share", 1, "clips.mixed_share is 1: input should be less than 1"),
        ("simultaneous_share", 1.01, "clips.simultaneous_share is 1.01: input should be less than or equal to 1"),
        ("clips_per_shard", 0, "clips.clips_per_shard is 0: input should be greater than or equal to 1"),
        ("num_clips", 5, "clips.num_clips is 5: expected a section with keys of its own"),
        ("gain_db", {"min": 0, "max": -6}, "clips.gain_db: min 0 is greater than max -6"),
        ("train_voice", 0.7, "clips.train_voice is 0.7: expected a section with keys of its own"),
        ("train_voice", {"share": 2}, "clips.train_voice.share is 2: input should be less than or equal to 1"),
        ("train_voice", {"pitch": {}}, "unknown key clips.train_voice.pitch; known keys: effort_share, first_formant, "),
        ("train_voice", {"pitch_hz": {"men": {"min": 75, "max": 420}}}, "there is no label 'men'; there are male, female"),
        ("train_voice", {"pitch_hz": {"male": {"min": 420, "max": 75}}}, "clips.train_voice.pitch_hz.male: min 420 is greater"),
        ("train_voice", {"pitch_hz": {"male": {"min": 75}}}, "clips.train_voice.pitch_hz.male.max is missing"),
        ("train_voice", {"pitch_hz": {"male": {"min": 20, "max": 420}}}, "pitch_hz.male.min is 20: input should be greater"),
        (
            "train_voice",
            {"pitch_hz": {"male": {"min": 75, "max": 420, "effort": 150}}},
            "unknown key clips.train_voice.pitch_hz.male.effort; known keys: effort_hz, effort_weight, max, min",
        ),
        (
            "train_voice",
            {"pitch_hz": {"male": {"min": 75, "max": 420, "effort_weight": 4}}},
            "clips.train_voice.pitch_hz.male: effort_weight 4 needs effort_hz",
        ),
        ("train_voice", {"formants": {"min": 0, "max": 1}}, "clips.train_voice: formants must be between 0.5 and 2"),
        ("train_channel", {"mp3_share": 0.8, "mu_law_share": 0.3}, "mp3_share and mu_law_share add up to 1.1, more than 1"),
        ("train_channel", {"rt60_s": {"min": 0, "max": 1}}, "clips.train_channel: rt60_s must be between 0.02 and 10"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(key: str, value: object, text: str) -> None:
    assert text in error_of({**CLIPS, key: value})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"min_utterances": 4, "max_utterances": 3}, "min_utterances 4 is greater than max_utterances 3"),
        ({"length_share": {"min": 0, "max": 1}}, "length_share must be above 0 and at most 1"),
        ({"pause_s": {"min": -1, "max": 1}}, "pause_s.min -1 is negative"),
        ({"gain_db": {"min": 0, "max": 3}}, "gain_db.max 3 is above 0 dB"),
        ({"mixed_share": 0.5, "max_utterances": 1}, "mixed_share needs clips of at least two voices"),
        ({"duration_s": 2, "min_speech_s": 3}, "min_speech_s 3 is longer than duration_s 2"),
        ({"split_shares": {"train": 0.8, "eval": 0.1, "test": 0.2}}, "the shares add up to 1.1, not 1"),
        (
            {"split_shares": {"train": 0.3333334, "eval": 0.3333334, "test": 0.3333334}},
            "the shares add up to 1.0000002, not 1",
        ),
    ],
)
def test_values_that_do_not_go_together(changes: dict[str, Any], text: str) -> None:
    assert text in error_of({**CLIPS, **changes})


def test_changed_voices_are_off_by_default_and_a_share_alone_is_the_recipe() -> None:
    plain = validate(ClipsConfig, CLIPS, "x")
    varied = validate(ClipsConfig, {**CLIPS, "train_voice": {"share": 0.4}, "train_channel": {}}, "x")

    assert (plain.train_voice, plain.train_channel) == (None, None)
    assert varied.train_voice == TrainVoice(share=0.4)
    assert varied.train_channel == TrainChannel(share=0.5)
    assert ClipsConfig.model_validate(json.loads(varied.model_dump_json())) == varied


def test_a_label_that_is_left_out_keeps_its_pitch() -> None:
    voice = TrainVoice(pitch_hz={"female": PitchRange(min=100, max=500)})

    assert voice.pitch_of("male") == TrainVoice().pitch_of("male") == PitchRange(min=75, max=420, effort_hz=150, effort_weight=4)
    assert voice.pitch_of("female").min == 100
    assert voice.pitch_of("child") == PitchRange(min=75, max=480)


def test_the_first_of_several_errors_and_how_many_more() -> None:
    assert error_of({**CLIPS, "seed": -1, "duration_s": 0, "clips_per_shard": 0}).endswith("(and 2 more)")


def test_nothing_changes_after_loading() -> None:
    with pytest.raises(ValueError, match="frozen"):
        validate(ClipsConfig, CLIPS, "x").seed = 2


@given(
    st.dictionaries(
        st.sampled_from([*ClipsConfig.model_fields, "other"]),
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.dictionaries(st.text(), st.none())
        ),
    )
)
def test_any_settings_are_a_configuration_or_one_line(changes: dict[str, Any]) -> None:
    try:
        clips = validate(ClipsConfig, {**CLIPS, **changes}, "x")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert ClipsConfig.model_validate(clips.model_dump()) == clips


def test_set_overrides_single_keys(tmp_path: Path) -> None:
    path = written(tmp_path, yaml.safe_dump({"clips": CLIPS}))

    clips = load_section(
        ClipsConfig, "clips", path, ["clips.duration_s=2.5", "clips.num_clips.test=9", "clips.gain_db={min: -3, max: 0}"]
    )

    assert (clips.duration_s, clips.num_clips.train, clips.num_clips.test, clips.gain_db.min) == (2.5, 8, 9, -3.0)


def test_set_leaves_the_original_as_it_was() -> None:
    data = {"clips": {"seed": 1}}

    assert override(data, ["clips.seed=2", "more.deeply.nested=x"]) == {"clips": {"seed": 2}, "more": {"deeply": {"nested": "x"}}}
    assert data == {"clips": {"seed": 1}}


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("clips.seed", "--set clips.seed: expected key.path=value"),
        ("=3", "expected key.path=value"),
        ("clips.=3", "expected key.path=value"),
        ("clips.seed.deeper=3", "clips.seed is not a section"),
        ("clips.seed=[1", "the value is not valid YAML"),
        ("clips.seed=2020-13-45", "clips.seed is '2020-13-45': input should be a valid integer"),
        ("clips.seed=-1", "clips.seed is -1"),
        ("clips.sed=1", "unknown key clips.sed"),
    ],
)
def test_a_wrong_override(tmp_path: Path, setting: str, text: str) -> None:
    path = written(tmp_path, yaml.safe_dump({"clips": {**CLIPS, "seed": 0}}))

    assert text in load_error(path, setting)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("clips:\n  seed: 1\n  duration_s: [1,\n", "my.yaml:4: not valid YAML"),
        ("clips:\n  seed: 1\n bad: 2\n", "my.yaml:3: not valid YAML"),
        ("clips:\n\tseed: 1\n", "my.yaml:2: not valid YAML"),
        ("clips: \x07\n", "my.yaml: not valid YAML (unacceptable character #x0007"),
        ("clips: 2020-13-45\n", "my.yaml: clips is '2020-13-45': expected a section with keys of its own"),
        (b"clips: \xff\n", "my.yaml: not valid YAML"),
        ("", "my.yaml: holds no settings"),
        ("- 1\n- 2\n", "my.yaml: holds no settings"),
        ("model: {}\n", "my.yaml: clips is missing"),
        ("clips: 5\n", "my.yaml: clips is 5: expected a section with keys of its own"),
        ("clips: {}\nclips: {}\n", "my.yaml:2: not valid YAML (the key 'clips' is given twice, in lines 1 and 2)"),
        ('clips: {num_clips: {train: 1, eval: 1, test: 1}, ! "\\e[31m": 1}\n', "my.yaml: unknown key clips.'\\x1b[31m'"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, content: str | bytes, text: str) -> None:
    assert text in load_error(written(tmp_path, content))


def test_no_such_file(tmp_path: Path) -> None:
    assert "my.yaml: No such file or directory; give a configuration file" in load_error(tmp_path / "my.yaml")
