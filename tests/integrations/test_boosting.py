"""The callbacks for XGBoost, LightGBM and Stable-Baselines3, under the names that scripts import from W&B."""

from __future__ import annotations

import pytest

from integrations.conftest import Train

pytestmark = [pytest.mark.db, pytest.mark.slow]

DATA = """
    import json
    import numpy as np
    import wandb

    random = np.random.default_rng(7)
    x = random.normal(size=(300, 4))
    y = (x[:, 0] + 0.3 * random.normal(size=300) > 0).astype(int)
"""


def test_lightgbm_logs_rounds_and_summary(train: Train) -> None:
    seen, truth, done = train(
        DATA
        + """
    import lightgbm
    from wandb.integration.lightgbm import log_summary, wandb_callback

    data = lightgbm.Dataset(x[:200], y[:200])
    test = lightgbm.Dataset(x[200:], y[200:], reference=data)
    found = {}
    with wandb.init(project="boosting"):
        model = lightgbm.train(
            {"objective": "binary", "metric": ["auc", "binary_logloss"], "verbose": -1},
            *(data, 5),
            valid_sets=[test],
            valid_names=["test"],
            callbacks=[wandb_callback(), lightgbm.record_evaluation(found)],
        )
        log_summary(model, save_model_checkpoint=True)
    json.dump(found, open("truth.json", "w"))
    """
    )
    assert [value for _, value in seen.metric("test_auc")] == truth["test"]["auc"]
    assert [value for _, value in seen.metric("test_binary_logloss")] == truth["test"]["binary_logloss"]
    assert [value for _, value in seen.metric("iteration")] == [0, 1, 2, 3, 4]
    assert seen.about()["config"]["objective"] == "binary"
    summary = seen.summary()
    assert summary["test_auc"] == {"max": max(truth["test"]["auc"])}
    assert summary["best_iteration"] == 0  # this disables early stopping in LightGBM
    assert (5, "Feature Importance_table") in seen.objects()
    assert seen.files().keys() == {"model.txt"}
    assert "Traceback" not in done.stderr


def test_xgboost_logs_rounds_and_importances(train: Train) -> None:
    seen, truth, done = train(
        DATA
        + """
    import xgboost
    from wandb.integration.xgboost import WandbCallback

    found = {}
    with wandb.init(project="boosting"):
        xgboost.train(
            {"objective": "binary:logistic", "eval_metric": ["auc", "logloss"]},
            *(xgboost.DMatrix(x[:200], y[:200]), 5),
            evals=[(xgboost.DMatrix(x[200:], y[200:]), "test")],
            callbacks=[WandbCallback(log_model=True)],
            evals_result=found,
            early_stopping_rounds=3,
        )
    json.dump(found, open("truth.json", "w"))
    """
    )
    assert [value for _, value in seen.metric("test-auc")] == truth["test"]["auc"]
    assert [value for _, value in seen.metric("test-logloss")] == truth["test"]["logloss"]
    assert [value for _, value in seen.metric("epoch")] == [0, 1, 2, 3, 4]
    assert seen.summary()["test-logloss"] == {"min": min(truth["test"]["logloss"])}
    assert seen.summary()["best_score"] == min(truth["test"]["logloss"])
    assert seen.about()["config"]["learner"]["learner_train_param"]["objective"] == "binary:logistic"
    assert (5, "Feature Importance_table") in seen.objects()
    assert seen.files().keys() == {"model.json"}
    assert "Traceback" not in done.stderr


def test_stable_baselines_logs_config_gradients_and_model(train: Train) -> None:
    seen, _, done = train(
        """
    import wandb
    from stable_baselines3 import PPO
    from wandb.integration.sb3 import WandbCallback

    with wandb.init(project="rl"):
        PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu", seed=7).learn(
            128, callback=WandbCallback(model_save_path="models", gradient_save_freq=10)
        )
    """
    )
    assert (seen.about()["config"]["algo"], seen.about()["config"]["n_steps"]) == ("PPO", 64)
    assert any(key.startswith("gradients/") for _, key in seen.objects())
    assert seen.files().keys() == {"model.zip"}
    assert "Traceback" not in done.stderr


def test_callback_without_a_run_gives_advice(train: Train) -> None:
    _, _, done = train(
        """
    import sys
    import wandb
    from wandb.xgboost import WandbCallback
    from wandb.lightgbm import wandb_callback

    for make in (WandbCallback, wandb_callback):
        try:
            make()
            sys.exit("it was made")
        except wandb.Error as error:
            print(error)
    with open("truth.json", "w") as file:
        file.write("1")
    """
    )
    assert done.stdout == (
        "You must call wandb.init() before WandbCallback()\nYou must call wandb.init() before wandb_callback()\n"
    )
