"""`python -m stepwell.demo.train`: one rank. A typical training script, with Stepwell in three places.

Reads RANK, WORLD_SIZE and STEPWELL_* from the environment, as under torchrun, and scikit-learn's handwritten digits.
Logs points to Stepwell, and prints JSON lines for the driver: progress, and at the end the number of points that this
rank counted by its own arithmetic, without asking the SDK.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import stepwell
from stepwell.demo.average import Averager
from stepwell.demo.model import Array, Model, Pass

SIZES = (64, 96, 48, 10)
BATCH = 16
EVALUATE_EVERY = 11
_SEED = 8770
_REPORT_EVERY_S = 0.25


class Shard:
    """This rank's part of the data: every `size`-th sample, four fifths of them to train on."""

    def __init__(self, rank: int, size: int) -> None:
        digits = load_digits()
        order = np.random.default_rng(_SEED).permutation(len(digits.target))
        samples, labels = digits.data[order] / 16.0, digits.target[order].astype(np.int64)
        cut = len(order) * 4 // 5 // size * size
        self.train = samples[:cut][rank::size], labels[:cut][rank::size]
        self.test = samples[cut:][rank::size], labels[cut:][rank::size]
        self.steps_per_epoch = len(self.train[1]) // BATCH
        self._random = np.random.default_rng([_SEED, rank])
        self._order = np.arange(0)

    def batch(self, step: int) -> tuple[Array, Any]:
        """The samples of a step: each once per epoch, in a new order, with noise against overfitting."""
        place = step % self.steps_per_epoch
        if place == 0:
            self._order = self._random.permutation(len(self.train[1]))
        chosen = self._order[place * BATCH : (place + 1) * BATCH]
        samples = self.train[0][chosen]
        return samples + self._random.normal(0.0, 0.15, samples.shape), self.train[1][chosen]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--meet-at", required=True, help="path of the socket where the ranks meet")
    options = parser.parse_args()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    shard, model = Shard(rank, size), Model(SIZES, _SEED)
    config = {
        "layers": list(SIZES),
        "batch": BATCH,
        "ranks": size,
        "steps": options.steps,
        "steps_per_epoch": shard.steps_per_epoch,
        "learning_rate": 0.08,
    }
    points = 0
    with Averager(options.meet_at, rank, size) as averager:
        started = reported = time.time()
        with stepwell.init(project="demo", config=config) as run:  # 1
            for step in range(options.steps):
                began = time.perf_counter()
                samples, labels = shard.batch(step)
                learning_rate = config["learning_rate"] * 0.5 * (1.0 + math.cos(math.pi * step / options.steps))
                seen = model.look(samples, labels)
                own = model.gradient(seen, labels)
                gradient = averager.mean(own)
                added = model.update(gradient, learning_rate)
                values = _metrics(model, seen, own, gradient, added, learning_rate)
                if step % EVALUATE_EVERY == 0 or step == options.steps - 1:
                    test = model.look(*shard.test)
                    values |= {"eval/loss": test.loss, "eval/accuracy": test.accuracy}
                values["perf/samples_per_second"] = BATCH / (time.perf_counter() - began)
                run.log(values)  # 2
                points += len(values)
                if rank == 0 and time.time() - reported > _REPORT_EVERY_S:
                    reported = time.time()
                    _say({"step": step + 1, "loss": seen.loss, "accuracy": seen.accuracy})
        # 3: the end of the block has waited until the server has stored everything
    _say({"rank": rank, "points": points, "started": started, "ended": time.time(), "left": run.account.left})
    return 0


def _metrics(
    model: Model, seen: Pass, own: Array, gradient: Array, added: Array, learning_rate: float
) -> dict[str, float]:
    values = {
        "train/loss": seen.loss,
        "train/accuracy": seen.accuracy,
        "train/confidence": seen.confidence,
        "train/learning_rate": learning_rate,
        "grad_norm/own": float(np.linalg.norm(own)),
        "grad_norm/mean": float(np.linalg.norm(gradient)),
    }
    groups = zip(*map(model.layers, (gradient, model.parameters, added)), strict=True)
    for number, (slope, weights, step) in enumerate(groups, 1):
        values[f"grad_norm/layer{number}"] = float(np.linalg.norm(slope))
        values[f"weight_norm/layer{number}"] = float(np.linalg.norm(weights))
        values[f"update_norm/layer{number}"] = float(np.linalg.norm(step))
    for number, silent in enumerate(seen.silent, 1):
        values[f"silent_units/layer{number}"] = silent
    return values


def _say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
