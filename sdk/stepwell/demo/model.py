"""A small classifier in numpy: layers of weights with ReLU between them, softmax at the end, SGD with momentum.

Receives float arrays of samples; returns losses, gradients and statistics to log. Pure arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Pass(NamedTuple):
    """The result of a forward pass over a batch.

    Attributes:
        loss: mean cross-entropy.
        accuracy: the share of correctly classified samples.
        confidence: mean probability of the chosen class.
        silent: per hidden layer, the share of activations that are zero.
        inputs: the inputs of each layer.
        probabilities: the probabilities, sample × class.
    """

    loss: float
    accuracy: float
    confidence: float
    silent: list[float]
    inputs: list[Array]
    probabilities: Array


class Model:
    """The network. All parameters live in one flat array, so that ranks can average a gradient in one message.

    Args:
        sizes: the sizes of the layers, from the input to the classes.
        seed: the random seed, the same on all ranks, so that they start alike.
    """

    def __init__(self, sizes: Sequence[int], seed: int) -> None:
        random = np.random.default_rng(seed)
        self._shapes = list(pairwise(sizes))
        self.parameters: Array = np.concatenate(
            [
                np.concatenate([random.normal(0.0, (2.0 / fan_in) ** 0.5, fan_in * fan_out), np.zeros(fan_out)])
                for fan_in, fan_out in self._shapes
            ]
        )
        self._velocity = np.zeros_like(self.parameters)

    def layers(self, flat: Array) -> list[Array]:
        """Views of a flat array, one for each layer."""
        ends = np.cumsum([fan_in * fan_out + fan_out for fan_in, fan_out in self._shapes])
        return np.split(flat, ends[:-1])

    def look(self, samples: Array, labels: NDArray[np.int64]) -> Pass:
        """Classifies a batch."""
        inputs, silent, x = [], [], samples
        last = len(self._shapes) - 1
        for index, (weights, bias) in enumerate(self._matrices()):
            inputs.append(x)
            x = x @ weights + bias
            if index < last:
                x = np.maximum(x, 0.0)
                silent.append(float(np.mean(x == 0.0)))
        x -= x.max(axis=1, keepdims=True)
        probabilities = np.exp(x)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        chosen = probabilities.argmax(axis=1)
        loss = -np.log(probabilities[np.arange(len(labels)), labels] + 1e-12).mean()
        confidence = probabilities.max(axis=1).mean()
        return Pass(float(loss), float(np.mean(chosen == labels)), float(confidence), silent, inputs, probabilities)

    def gradient(self, seen: Pass, labels: NDArray[np.int64]) -> Array:
        """The gradient of the loss, as a flat array."""
        delta = seen.probabilities.copy()
        delta[np.arange(len(labels)), labels] -= 1.0
        delta /= len(labels)
        parts: list[Array] = []
        matrices = self._matrices()
        for index in range(len(matrices) - 1, -1, -1):
            parts[:0] = [(seen.inputs[index].T @ delta).ravel(), delta.sum(axis=0)]
            if index:
                delta = (delta @ matrices[index][0].T) * (seen.inputs[index] > 0.0)
        return np.concatenate(parts)

    def update(self, gradient: Array, learning_rate: float, momentum: float = 0.9) -> Array:
        """Makes one step of SGD; returns the change of the parameters."""
        self._velocity *= momentum
        self._velocity -= learning_rate * gradient
        self.parameters += self._velocity
        return self._velocity

    def _matrices(self) -> list[tuple[Array, Array]]:
        return [
            (flat[: fan_in * fan_out].reshape(fan_in, fan_out), flat[fan_in * fan_out :])
            for flat, (fan_in, fan_out) in zip(self.layers(self.parameters), self._shapes, strict=True)
        ]
