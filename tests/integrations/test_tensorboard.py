"""`init(sync_tensorboard=True)` with torch's SummaryWriter."""

from __future__ import annotations

import pytest

from integrations.conftest import Train

pytestmark = [pytest.mark.db, pytest.mark.slow]


@pytest.mark.parametrize("order", ["import, init", "init, import"])
def test_torch_summary_writer_is_logged(train: Train, order: str) -> None:
    imported = "from torch.utils.tensorboard import SummaryWriter"
    begun = 'run = wandb.init(project="tensorboard", sync_tensorboard=True)'
    first, second = (imported, begun) if order == "import, init" else (begun, imported)
    seen, _, _ = train(f"""
    import numpy as np
    import torch
    import wandb
    {first}
    {second}
    writer = SummaryWriter("events")
    for step in (0, 10):
        writer.add_scalar("loss", 0.5 + step, step)
        writer.add_scalar("rate", 1.5, step, new_style=True)
        writer.add_scalar("exact", 1 / 3, step, new_style=True, double_precision=True)
        writer.add_scalars("acc", {{"train": 1.0, "val": 2.0}}, step)
    writer.add_histogram("weights", torch.arange(100.0), 20)
    writer.add_text("note", "hello", 20)
    writer.add_image("picture", np.zeros((3, 4, 4), np.uint8), 20)
    writer.close()
    run.finish()
    """)
    expected = {"rate": 1.5, "exact": 1 / 3, "acc_train/acc": 1.0, "acc_val/acc": 2.0}
    for step, global_step in ((0, 0.0), (1, 10.0)):
        row = {metric: value for at, metric, value in seen.points() if at == step}
        assert row == {"loss": 0.5 + global_step, "global_step": global_step, **expected}
    objects = seen.objects()
    assert objects[2, "note"] == "hello"
    assert sum(objects[2, "weights"]["values"]) == 100
    assert (objects[2, "picture"]["width"], objects[2, "picture"]["height"]) == (4, 4)
    assert seen.metric("global_step")[-1] == (2, 20.0)
