"""Lightning's unmodified `WandbLogger` logs the training of a small real model."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import PIL.Image
import pytest

from integrations.conftest import Train

pytestmark = [pytest.mark.db, pytest.mark.slow]

MODEL = """
    import json
    import lightning as L
    import numpy as np
    import torch
    from lightning.pytorch.loggers import WandbLogger

    truth = {"train/loss": [], "val/loss": []}

    class Net(L.LightningModule):
        def __init__(self, width=8, rate=0.1):
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

        def forward(self, x):
            return self.net(x)

        def loss(self, batch):
            x, y = batch
            return torch.nn.functional.mse_loss(self(x), y)

        def training_step(self, batch, _):
            loss = self.loss(batch)
            self.log("train/loss", loss)
            truth["train/loss"].append(loss.item())
            return loss

        def validation_step(self, batch, _):
            loss = self.loss(batch)
            self.log("val/loss", loss)
            truth["val/loss"].append(loss.item())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

    L.seed_everything(7, verbose=False)
    x = torch.randn(32, 4)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    train = torch.utils.data.DataLoader(data, batch_size=8)
    val = torch.utils.data.DataLoader(data, batch_size=32)
    quiet = dict(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False)
"""


def test_small_model_is_trained(train: Train) -> None:
    seen, truth, done = train(
        MODEL
        + """
    logger = WandbLogger(project="digits", name="small", tags=["cpu"])
    net = Net()
    logger.log_hyperparams({"seed": 7, "act": torch.nn.ReLU, "nested": {"a": 1}})
    logger.experiment.config["by_hand"] = "yes"
    trainer = L.Trainer(max_epochs=3, logger=logger, log_every_n_steps=1, default_root_dir=".", **quiet)
    trainer.fit(net, train, val)
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    logger.log_image("samples", [pixels, 255 - pixels], caption=["tree", "person"])
    logger.log_table("rows", columns=["a", "b"], data=[[1, "x"], [2, "y"]])
    logger.experiment.summary["best"] = 0.5
    truth["version"] = logger.version
    truth["name"] = [logger.name, logger.experiment.name, logger.experiment.project]
    logger.finalize("success")
    import wandb
    assert wandb.run is logger.experiment
    wandb.finish()
    json.dump(truth, open("truth.json", "w"))
    """
    )
    losses = [value for _, value in seen.metric("train/loss")]
    assert losses == truth["train/loss"]
    assert len(losses) == 12
    _, *validated = truth["val/loss"]  # the sanity check is not logged
    assert [value for _, value in seen.metric("val/loss")] == validated
    assert len(validated) == 3
    at = dict(seen.metric("trainer/global_step"))
    assert [at[step] for step, _ in seen.metric("train/loss")] == list(range(12))
    assert [at[step] for step, _ in seen.metric("val/loss")] == [3, 7, 11]
    about = seen.about()
    assert (about["state"], about["project"], about["display_name"]) == ("finished", "digits", "small")
    config = {"seed": 7, "nested": {"a": 1}, "by_hand": "yes", "width": 8, "rate": 0.1}
    assert {key: about["config"][key] for key in config} == config
    assert "ReLU" in about["config"]["act"]
    assert truth["name"] == ["digits", "small", "digits"]
    pixels = np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    samples, rows = (value for _, value in sorted(seen.objects().items(), key=lambda item: item[0][1], reverse=True))
    assert samples["captions"] == ["tree", "person"]
    for picture, expected in zip(seen.pictures(samples), [pixels, 255 - pixels], strict=True):
        assert np.array_equal(np.asarray(picture), expected)
    assert json.loads(seen.file(rows)) == {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}
    assert seen.summary()["best"] == 0.5
    assert "Traceback" not in done.stderr


def test_tensor_pictures_are_channels_first(train: Train) -> None:
    seen, _, _ = train(
        MODEL
        + """
    logger = WandbLogger(project="digits")
    logger.log_image("batch", [torch.arange(48, dtype=torch.uint8).reshape(3, 4, 4)], step=5)
    logger.experiment.finish()
    """
    )
    ((_, key), value) = next(iter(seen.objects().items()))
    assert key == "batch"
    picture = np.asarray(PIL.Image.open(io.BytesIO(seen.file(value["files"][0]))))
    assert np.array_equal(picture, np.moveaxis(np.arange(48, dtype=np.uint8).reshape(3, 4, 4), 0, -1))
    assert [value for _, value in seen.metric("trainer/global_step")] == [5]


def test_watched_model_logs_histograms(train: Train) -> None:
    seen, truth, _ = train(
        MODEL
        + """
    class Watched(Net):
        def on_before_optimizer_step(self, _):
            for name, parameter in self.net.named_parameters():
                truth.setdefault(name, []).append(
                    [parameter.numel(), parameter.grad.min().item(), parameter.grad.max().item()]
                )

    logger = WandbLogger(project="digits")
    net = Watched()
    logger.watch(net, log="all", log_freq=2)
    L.Trainer(max_epochs=2, logger=logger, log_every_n_steps=1, default_root_dir=".", **quiet).fit(net, train)
    logger.experiment.unwatch(net)
    json.dump(truth, open("truth.json", "w"))
    """
    )
    found: dict[str, list[dict[str, Any]]] = {}
    for (_, key), value in sorted(seen.objects().items()):
        assert value["_type"] == "histogram"
        found.setdefault(key, []).append(value)
    names = [name for name in truth if "/" not in name]
    assert sorted(found) == sorted(f"{kind}/net.{name}" for kind in ("gradients", "parameters") for name in names)
    for name in names:
        shown = found[f"gradients/net.{name}"]
        for one, (numel, low, high) in zip(shown, truth[name][1::2], strict=True):  # every second batch
            assert sum(one["values"]) == numel
            if numel == 1:  # then the bins extend to both sides of it
                assert one["bins"][0] <= low <= one["bins"][-1]
            else:
                assert (one["bins"][0], one["bins"][-1]) == pytest.approx((low, high))


def test_training_does_not_wait_for_a_missing_server(train: Train) -> None:
    """The logger uses `resume="allow"`, but a generated id cannot exist yet."""
    _, truth, done = train(
        MODEL
        + """
    import os
    del os.environ["STEPWELL_RUN_ID"]
    import stepwell
    logger = WandbLogger(project="digits", settings=stepwell.Settings(url="http://127.0.0.1:9"))
    L.Trainer(max_steps=2, logger=logger, log_every_n_steps=1, default_root_dir=".", **quiet).fit(Net(), train)
    truth["step"] = logger.experiment.step
    json.dump(truth, open("truth.json", "w"))
    os._exit(0)  # finish() would wait for the server
    """
    )
    assert truth["step"] == 2, done.stderr


def test_log_model_is_refused_at_construction(train: Train) -> None:
    """The error must not occur only at the first checkpoint, which may be hours later."""
    _, _, done = train(
        MODEL
        + """
    import sys
    import stepwell
    WandbLogger(project="digits", log_model=False)
    for arguments in ({"log_model": True}, {"log_model": "all"}):
        try:
            WandbLogger(project="digits", **arguments)
            sys.exit("it was made")
        except stepwell.UsageError as error:
            print(error)
    """
    )
    assert "WandbLogger(log_model=True): Stepwell keeps no artifacts" in done.stdout
    assert done.stdout.count("Set log_model=False in Lightning") == 2
