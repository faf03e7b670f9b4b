import numpy as np
import pytest
import tensorflow as tf

from components.trainer.network.augmentation import RandomEqualizer, RandomNoise

CLIPS, TIME, BANDS = 64, 20, 96


@pytest.fixture(scope="module")
def decibels() -> np.ndarray:
    """Bands that fall from 0 to -40 dB."""
    slope = np.linspace(0, -40, BANDS, dtype=np.float32)
    return np.broadcast_to(slope[None, None, :, None], [CLIPS, TIME, BANDS, 1]).copy()


@pytest.mark.parametrize("layer", [RandomEqualizer(2.0), RandomNoise(-15.0)])
def test_nothing_changes_outside_training(layer, decibels):
    assert np.array_equal(layer(decibels), decibels)
    assert np.array_equal(layer(decibels, training=False), decibels)


def test_the_equalizer_turns_bands_along_a_smooth_curve_of_the_clip(decibels):
    tf.random.set_seed(1)
    change = (RandomEqualizer(2.0)(decibels, training=True) - decibels).numpy()[..., 0]

    assert np.ptp(change, axis=1).max() < 1e-4  # the same at all times
    curves = change[:, 0]
    assert np.abs(np.diff(curves, axis=1)).max() < 1  # neighbouring bands move together
    assert np.abs(curves.mean(axis=1)).max() < 1e-3  # loudness is another matter
    # Six independent waves of deviation 2 / sqrt(order), each of mean square 1/2.
    assert curves.std() == pytest.approx(np.sqrt(2.0**2 * sum(1 / k for k in range(1, 7)) / 2), rel=0.15)
    assert np.abs(np.corrcoef(curves)[0, 1:]).max() < 0.99  # another one for each clip


def test_noise_covers_what_is_weak_and_leaves_what_is_loud(decibels):
    tf.random.set_seed(1)
    change = (RandomNoise(-15.0)(decibels, training=True) - decibels).numpy()[..., 0]

    assert change.min() > -1e-4  # power only adds up
    assert change[:, :, :20].max() < 3
    assert change[:, :, -10:].mean(axis=(1, 2)).max() > 10
    assert np.median(change[:, :, -10:].mean(axis=(1, 2))) < change[:, :, -10:].mean(axis=(1, 2)).max() / 2  # levels differ


def test_training_goes_through_both_and_serving_through_neither():
    import tf_keras as keras

    from components.trainer.config import AugmentConfig, ModelConfig
    from components.trainer.network.model import build_model

    waveform = np.random.default_rng(0).standard_normal([2, 8000]).astype(np.float32)
    off = ModelConfig(n_mels=32, augment=AugmentConfig(equalizer_db=0, noise_db=None), dropout=0.0)
    outputs = {}
    for name, config in (("off", off), ("on", off.model_copy(update={"augment": AugmentConfig()}))):
        keras.utils.set_random_seed(3)
        network = build_model(config, 8000, 8000, 2)
        features = keras.Model(network.input, network.get_layer("mel").output)
        outputs[name] = features(waveform, training=False).numpy(), features(waveform, training=True).numpy()

    assert outputs["on"][0] == pytest.approx(outputs["off"][0], abs=1e-5)
    assert np.array_equal(*outputs["off"])
    assert np.abs(outputs["on"][1] - outputs["on"][0]).mean() > 0.1
