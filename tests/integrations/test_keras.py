"""Keras with the callbacks that scripts import from `wandb.integration.keras`, on its torch backend."""

from __future__ import annotations

import pytest

from integrations.conftest import Train

pytestmark = [pytest.mark.db, pytest.mark.slow]

FIT = """
    import json
    import keras
    import numpy as np
    import wandb
    from wandb.integration.keras import WandbMetricsLogger, WandbModelCheckpoint

    keras.utils.set_random_seed(7)
    x = np.random.rand(32, 4)
    y = x.sum(axis=1, keepdims=True)

    class Truth(keras.callbacks.Callback):
        batches = []
        def on_train_batch_end(self, batch, logs=None):
            self.batches.append(dict(logs))

    def fit(*callbacks, epochs=3):
        model = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse", metrics=["mae"])
        shown = model.fit(
            x, y, validation_data=(x, y), epochs=epochs, batch_size=8, verbose=0, callbacks=[*callbacks, Truth()]
        )
        json.dump({"epochs": shown.history, "batches": Truth.batches}, open("truth.json", "w"))
"""


def test_epoch_and_batch_metrics(train: Train) -> None:
    seen, truth, done = train(
        FIT
        + """
    with wandb.init(project="keras", config={"lr": 0.05}):
        fit(WandbMetricsLogger(log_freq=2))
    """
    )
    for name in ("loss", "mae", "val_loss", "val_mae"):
        assert [value for _, value in seen.metric(f"epoch/{name}")] == truth["epochs"][name]
    assert [value for _, value in seen.metric("epoch/epoch")] == [0, 1, 2]
    assert [value for _, value in seen.metric("epoch/learning_rate")] == pytest.approx([0.05] * 3)
    assert [value for _, value in seen.metric("batch/batch_step")] == [0, 2, 4, 6, 8, 10]
    expected = [logs["loss"] for logs in truth["batches"][::2]]
    assert [value for _, value in seen.metric("batch/loss")] == pytest.approx(expected)
    assert seen.about()["state"] == "finished"
    assert "Traceback" not in done.stderr


def test_epoch_metrics_only(train: Train) -> None:
    seen, truth, _ = train(
        FIT
        + """
    wandb.init(project="keras")
    fit(WandbMetricsLogger(), epochs=2)
    """
    )
    assert {metric.partition("/")[0] for _, metric, _ in seen.points()} == {"epoch"}
    assert [value for _, value in seen.metric("epoch/loss")] == truth["epochs"]["loss"]


def test_checkpoint_stays_local_with_a_message(train: Train) -> None:
    seen, _, done = train(
        FIT
        + """
    wandb.init(project="keras")
    fit(WandbMetricsLogger(), WandbModelCheckpoint("best-{epoch:02d}.keras", save_best_only=True), epochs=2)
    keras.models.load_model(wandb.run.summary["checkpoint"])
    """
    )
    assert seen.summary()["checkpoint"] == "best-02.keras"
    assert done.stderr.count("only, because Stepwell keeps no artifacts") == 1


def test_missing_run_or_callback_gives_advice(train: Train) -> None:
    _, truth, _ = train(
        FIT
        + """
    from wandb.keras import WandbCallback
    said = []
    def attempt(make):
        try:
            make()
        except wandb.Error as error:
            said.append(str(error))
    attempt(WandbMetricsLogger)
    attempt(lambda: WandbModelCheckpoint("x.keras"))
    wandb.init(mode="disabled")
    attempt(lambda: WandbMetricsLogger(log_freq=0))
    attempt(WandbCallback)
    json.dump(said, open("truth.json", "w"))
    """
    )
    begins = ["You must call wandb.init() before WandbMetricsLogger()", "You must call wandb.init() before WandbModel"]
    begins += ["log_freq must be", "Stepwell has no WandbCallback"]
    assert all(text.startswith(begin) for text, begin in zip(truth, begins, strict=True))
