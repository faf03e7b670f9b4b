"""From the answers for a recording's windows to the one for the recording."""

import tensorflow as tf

PRESENCE_SHARE = 0.1
"""Of a recording's speech, how much of it counts for a voice's presence: that which is most like the voice."""

MIN_PRESENCE_WINDOWS = 1.0
"""Least number of windows that count, in a recording that has few."""

PRESENCE_SCALE, PRESENCE_BIAS = 1.0, 0.0
"""What makes the log-odds of a window that of a recording; chosen as docs/training.md, The class mixed, says."""


def pool_windows(logits: tf.Tensor, weights: tf.Tensor, mixed: int | None = None) -> tf.Tensor:
    """The probabilities of a recording's classes.

    Without a class `mixed` they are the softmax of the windows' mean logits. With it the mean would be wrong: of a man and
    then a woman no window is mixed. So each single class is looked for where it is heard best: its presence in a window is
    its probability or that of `mixed`, and in the recording the mean log-odds of that over the windows most like it. The
    recording is mixed where several classes are present, and otherwise of the one that is.

    Args:
        logits: float32 [windows, classes].
        weights: the speech in each window, float32 [windows].
        mixed: index of the class `mixed`, which comes last; None where there is none.

    Returns:
        float32 [classes].
    """
    if mixed is None:
        return tf.nn.softmax(tf.linalg.matvec(logits, weights, transpose_a=True) / tf.maximum(tf.reduce_sum(weights), 1e-6))
    present = tf.sigmoid(PRESENCE_SCALE * presence(logits, weights, mixed) + PRESENCE_BIAS)
    absent = 1.0 - present
    # none, exactly one and several present, class by class: sums of products, in which nothing cancels out.
    none, one, several = tf.constant(1.0), tf.constant(0.0), tf.constant(0.0)
    for index in range(mixed):
        several += one * present[index]
        one = one * absent[index] + none * present[index]
        none *= absent[index]
    single = [present[c] * tf.reduce_prod([absent[other] for other in range(mixed) if other != c]) for c in range(mixed)]
    return tf.stack([*single, several]) / (tf.add_n(single) + several)


def presence(logits: tf.Tensor, weights: tf.Tensor, mixed: int) -> tf.Tensor:
    """The log-odds with which each single class is heard in the part of a recording that is most like it: float32 [mixed]."""
    log_probabilities = tf.nn.log_softmax(logits)
    heard = [[index, mixed] for index in range(mixed)]
    not_heard = [[other for other in range(mixed) if other != index] for index in range(mixed)]
    odds = tf.stack(
        [
            tf.reduce_logsumexp(tf.gather(log_probabilities, yes, axis=1), axis=1)
            - tf.reduce_logsumexp(tf.gather(log_probabilities, no, axis=1), axis=1)
            for yes, no in zip(heard, not_heard, strict=True)
        ]
    )
    order = tf.argsort(odds, direction="DESCENDING", axis=1)
    odds, weights = tf.gather(odds, order, batch_dims=1), tf.gather(weights, order)
    enough = tf.maximum(PRESENCE_SHARE * tf.reduce_sum(weights, axis=1), MIN_PRESENCE_WINDOWS * tf.reduce_max(weights, axis=1))
    before = tf.cumsum(weights, axis=1, exclusive=True)
    counted = tf.clip_by_value(enough[:, tf.newaxis] - before, 0.0, weights)
    return tf.reduce_sum(counted * odds, axis=1) / tf.maximum(tf.reduce_sum(counted, axis=1), 1e-6)
