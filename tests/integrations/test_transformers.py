"""The Trainer of Transformers with `report_to="wandb"`, and the tracker of Accelerate, as they are.

Nothing is downloaded: the model is made of a config.
"""

from __future__ import annotations

import numpy as np
import pytest

from integrations.conftest import Train

pytestmark = [pytest.mark.db, pytest.mark.slow]

TRAINER = """
    import json
    import torch
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

    set_seed(7)
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=16, num_labels=2,
    )
    model = BertForSequenceClassification(config)
    tokens = torch.randint(0, 50, (24, 8))
    mask = torch.ones(8, dtype=torch.long)
    data = [{"input_ids": row, "attention_mask": mask, "labels": row[0] % 2} for row in tokens]
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir="out", run_name="tiny", report_to="wandb", use_cpu=True, max_steps=6, logging_steps=1,
            per_device_train_batch_size=4, eval_strategy="steps", eval_steps=3, save_strategy="no", disable_tqdm=True,
        ),
        train_dataset=data,
        eval_dataset=data,
    )
    trainer.train()
    json.dump({"log": trainer.state.log_history, "parameters": model.num_parameters()}, open("truth.json", "w"))
"""


def test_tiny_model_is_trained(train: Train) -> None:
    seen, truth, done = train(TRAINER, WANDB_PROJECT="tiny-bert")
    at = dict(seen.metric("train/global_step"))
    for name, shown in (("loss", "train/loss"), ("grad_norm", "train/grad_norm"), ("eval_loss", "eval/loss")):
        expected = [(entry["step"], entry[name]) for entry in truth["log"] if name in entry]
        assert [(at[step], value) for step, value in seen.metric(shown)] == expected
        assert len(expected) == (2 if name == "eval_loss" else 6)
    about = seen.about()
    assert (about["state"], about["project"], about["display_name"]) == ("finished", "tiny-bert", "tiny")
    config = about["config"]
    assert (config["max_steps"], config["hidden_size"], config["model_type"]) == (6, 16, "bert")
    assert config["model/num_parameters"] == truth["parameters"]
    summary = seen.summary()
    whole = next(entry for entry in truth["log"] if "train_loss" in entry)
    assert summary["train_loss"] == whole["train_loss"]
    assert summary["total_flos"] == whole["total_flos"]
    assert "Traceback" not in done.stderr


def test_watched_model_is_logged(train: Train) -> None:
    seen, _, _ = train(TRAINER.replace("max_steps=6", "max_steps=101"), WANDB_WATCH="all")  # it logs every 100th step
    keys = {key for _, key in seen.objects()}
    assert {"gradients/classifier.weight", "parameters/classifier.weight"} <= keys
    assert len(seen.metric("train/loss")) == 101


def test_model_artifacts_are_refused_with_advice(train: Train) -> None:
    _, _, done = train(TRAINER, fails=True, WANDB_LOG_MODEL="end")
    assert "wandb.Artifact(): Stepwell keeps no artifacts" in done.stderr
    assert "WANDB_LOG_MODEL=false" in done.stderr


def test_accelerate_tracker(train: Train) -> None:
    seen, _, _ = train("""
        import numpy as np
        from accelerate import Accelerator

        accelerator = Accelerator(log_with="wandb", cpu=True)
        accelerator.init_trackers("plain", config={"lr": 0.1}, init_kwargs={"wandb": {"name": "loop"}})
        for step in range(3):
            accelerator.log({"loss": 1 / (step + 1)}, step=step)
        tracker = accelerator.get_tracker("wandb")
        tracker.log_images({"picture": [np.full((4, 4, 3), 200, np.uint8)]}, step=3)
        tracker.log_table("rows", columns=["a"], data=[[1], [2]], step=3)
        accelerator.end_training()
    """)
    assert seen.metric("loss") == [(0, 1.0), (1, 0.5), (2, 1 / 3)]
    objects = seen.objects()
    assert [*objects] == [(3, "picture"), (3, "rows")]
    assert np.array_equal(np.asarray(seen.pictures(objects[3, "picture"])[0]), np.full((4, 4, 3), 200))
    about = seen.about()
    assert (about["state"], about["project"], about["display_name"]) == ("finished", "plain", "loop")
    assert about["config"] == {"lr": 0.1}
