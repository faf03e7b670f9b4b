"""The demo made small, for tests that run the whole pipeline."""

SMALL = [
    "corpus.synth.num_speakers=40",
    "corpus.synth.utterances_per_speaker=2",
    "clips.num_clips={train: 96, eval: 24, test: 48}",
    "clips.clips_per_shard=24",
    "clips.duration_s=3",
    "train.crop_s=2",
    "train.epochs=4",
    "model.n_mels=32",
    "model.filters=[8, 8, 8, 8]",
    "gate.min_slice_clips=10",
    "gate.bootstrap_samples=200",
]
ANY_MODEL = [f"gate.{where}={{min_accuracy: 0, min_auc: 0, min_recall: 0, max_ece: 1}}" for where in ("overall", "slices")]
PERFECT_MODEL = [f"gate.{where}={{min_accuracy: 1, min_auc: 1, min_recall: 1, max_ece: 0}}" for where in ("overall", "slices")]
