# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from beam_jobs.examples import LABEL, PCM16, RMS_DBFS


@pytest.fixture(scope="module")
def transform(transform_graph):
    return tft.TFTransformOutput(str(transform_graph)).transform_features_layer()


def raw(clips):
    return {
        PCM16: tf.constant([clip.pcm16.tobytes() for clip in clips]),
        RMS_DBFS: tf.constant([clip.rms_dbfs for clip in clips], tf.float32),
        LABEL: tf.constant([clip.label for clip in clips], tf.int64),
    }


def test_every_clip_comes_out_at_the_mean_loudness_of_the_training_set(transform, clips):
    mean_dbfs = np.mean([clip.rms_dbfs for clip in clips[:32]])

    waveform = transform(raw(clips[40:44]))["waveform"].numpy()

    assert 20 * np.log10(np.sqrt(np.mean(waveform**2, axis=1))) == pytest.approx(mean_dbfs, abs=1e-3)


def test_samples_are_decoded_in_order(transform, clips):
    clip = clips[0]

    waveform = transform(raw([clip]))["waveform"].numpy()[0]

    assert waveform.dtype == np.float32
    assert np.corrcoef(waveform, clip.pcm16)[0, 1] == pytest.approx(1, abs=1e-6)


def test_labels_pass_through_and_may_be_missing(transform, clips):
    inputs = raw(clips[:3])
    assert transform(inputs)["label"].numpy().tolist() == [0, 1, 0]

    del inputs[LABEL]

    assert transform(inputs)["waveform"].shape == (3, len(clips[0].pcm16))


def test_silence_stays_silence(transform, clips):
    silence = {
        PCM16: tf.constant([bytes(clips[0].pcm16.nbytes)]),
        RMS_DBFS: tf.constant([-120.0]),
        LABEL: tf.constant([0], tf.int64),
    }

    waveform = transform(silence)["waveform"].numpy()

    assert not waveform.any()


def test_the_analysis_depends_on_the_level_alone():
    from components.trainer.input.batches import LABELLED_FEATURES
    from components.transform.preprocessing import preprocessing_fn

    sources = tft.get_analyze_input_columns(
        lambda inputs: preprocessing_fn(inputs, {"num_samples": 100}),
        {name: tf.TensorSpec([None], feature.dtype) for name, feature in LABELLED_FEATURES.items()},
    )

    assert sources == [RMS_DBFS]
