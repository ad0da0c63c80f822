"""Names of W&B's client that Stepwell does not have, and what to use instead of each. Data only.

`absent.py` turns them into errors: a script that needs one of these names learns what to use instead, and a library
that only probes for it continues without it.
"""

from __future__ import annotations

NO_ARTIFACTS = (
    "save files with run.save(path), or log the path of a model that is stored elsewhere. Set log_model=False in "
    "Lightning and WANDB_LOG_MODEL=false in Transformers; diffusers and others have similar settings"
)
NO_SWEEPS = "search with Optuna or Ray Tune, one init(group=…) per trial, and compare the runs with SQL"
NO_STATUS = "run.stats and run.account count what is on its way and what is stored"
NO_WRITE_LOGS = "use print(): Stepwell keeps the output to sys.stdout with the run"

_CHARTS = "wandb.plot has the charts: line, scatter, bar, histogram, pr_curve, roc_curve, confusion_matrix"
_INTERNAL = "this is an internal part of W&B's client; use wandb.init(), wandb.Api() and the methods of the run"
_CONSOLE = "call wandb.init() in a cell, and run.display() to show the run's page"
_NO_AUTOLOG = "Stepwell does not log this automatically: call run.log() with the result of each call of the library"
_TABLES = "join tables in pandas or SQL, and log the result as wandb.Table"
_ULTRALYTICS = "Ultralytics logs automatically after stepwell.install_as_wandb() and `yolo settings wandb=True`"
_NO_REPORTS = "there are no reports; SQL answers what a report would show"

#: Names below `wandb`, by dotted path. A name also stands for all names below it.
MODULE = {
    "ArtifactTTL": NO_ARTIFACTS,
    "Graph": "log a drawing of the model as wandb.Image or wandb.Html; run.watch(model) logs gradients and parameters",
    "InternalApi": "wandb.Api() reads logged runs",
    "JoinedTable": _TABLES,
    "LaunchAgent": "start jobs with your scheduler; Stepwell need not know them beforehand",
    "PartitionedTable": _TABLES,
    "WBTraceTree": "log a trace as nested dicts or as wandb.Html",
    "agents": NO_SWEEPS,
    "api.settings": "wandb.Api().settings",
    "apis.InternalApi": "wandb.Api() reads logged runs",
    "apis.internal": "wandb.Api() reads logged runs",
    "apis.reports": _NO_REPORTS,
    "beta": _INTERNAL,
    "box3d": 'wandb.Object3D({"type": "lidar/beta", "points": …, "boxes": [{"corners": …, "label": …, "color": …}]})',
    "docker": "`docker build -t stepwell .` in a checkout makes an image of the server",
    "env": "os.environ has the variables; run.project, run.entity and run.dir have the resulting values",
    "filesync": _INTERNAL,
    "helper": "init(config=…, config_exclude_keys=…, config_include_keys=…) chooses keys of a config",
    "integration.catboost": "model.fit(callbacks=[…]) takes an object whose after_iteration(info) calls run.log()",
    "integration.cohere": _NO_AUTOLOG,
    "integration.diffusers": 'log the result of a pipeline: run.log({"images": [wandb.Image(i) for i in out.images]})',
    "integration.dspy": _NO_AUTOLOG,
    "integration.fastai": "in a fastai Callback, call run.log() in after_batch and after_epoch",
    "integration.gym": "gymnasium.wrappers.RecordVideo, then run.log({'video': wandb.Video(path)})",
    "integration.huggingface": _NO_AUTOLOG,
    "integration.kfp": _NO_AUTOLOG,
    "integration.langchain": _NO_AUTOLOG,
    "integration.lightning": "Lightning's own WandbLogger works after stepwell.install_as_wandb()",
    "integration.magic": _CONSOLE,
    "integration.metaflow": "call wandb.init() in a step, and run.log() there",
    "integration.openai": _NO_AUTOLOG,
    "integration.prodigy": "log the examples as wandb.Table",
    "integration.sacred": "in a sacred observer, hand metrics to run.log()",
    "integration.sagemaker": "set STEPWELL_URL in the job's environment",
    "integration.tensorflow": "in Keras, WandbMetricsLogger of wandb.integration.keras",
    "integration.torch": "run.watch(model)",
    "integration.ultralytics": _ULTRALYTICS,
    "integration.yolov8": _ULTRALYTICS,
    "internal": _INTERNAL,
    "jupyter": _CONSOLE,
    "launch": "start jobs with your scheduler; Stepwell need not know them beforehand",
    "load_ipython_extension": _CONSOLE,
    "magic": _CONSOLE,
    "old": _INTERNAL,
    "plot.visualize": "wandb.plot_table(vega_spec_name, data_table, fields)",
    "plots": _CHARTS,
    "proto": _INTERNAL,
    "sacred": "in a sacred observer, hand metrics to run.log()",
    "sagemaker_auth": "set STEPWELL_URL in the job's environment",
    "sdk.artifacts": NO_ARTIFACTS,
    "sdk.interface": _INTERNAL,
    "sdk.internal": _INTERNAL,
    "sdk.launch": "start jobs with your scheduler; Stepwell need not know them beforehand",
    "sdk.service": _INTERNAL,
    "sdk.wandb_setup": _INTERNAL,
    "set_trace": "breakpoint()",
    "sync": "`stepwell sync` delivers what offline runs left",
    "sweeps": NO_SWEEPS,
    "visualize": "wandb.plot_table(vega_spec_name, data_table, fields)",
    "viz": _CHARTS,
    "wandb_agent": NO_SWEEPS,
    "wandb_controller": NO_SWEEPS,
    "wandb_lib": _INTERNAL,
    "wandb_sdk": "the parts of wandb_sdk that scripts use are in wandb itself",
    "wandb_torch": "run.watch(model)",
    "weave": "log a trace as nested dicts or as wandb.Html",
    "workflows": NO_ARTIFACTS,
}
#: The older names of integrations, directly below `wandb`.
MODULE |= {
    name: MODULE[f"integration.{name}"]
    for name in ("catboost", "fastai", "gym", "huggingface", "langchain", "tensorflow", "yolov8")
}

#: Names of `wandb.util`.
UTIL = {
    "WandBJSONEncoder": "json.dumps(value, default=str)",
    "add_import_hook": _INTERNAL,
    "app_url": "run.url is the page of a run",
    "get_log_file_path": "there is no log file; the logger is logging.getLogger('stepwell')",
    "image_id_from_k8s": "put the id of the image into the config",
    "json_dumps_safer": "json.dumps(value, default=str)",
    "json_friendly": "run.log() and init(config=…) take numpy, torch and pandas values as they are",
    "json_friendly_val": "run.log() and init(config=…) take numpy, torch and pandas values as they are",
    "make_artifact_name_safe": NO_ARTIFACTS,
    "sentry_exc": "Stepwell sends no error reports",
    "to_forward_slash_path": "pathlib.PurePath(path).as_posix()",
    "to_json": "json.dumps(value, default=str)",
}

NO_CODE = "init(save_code=True) saves the program's main file, and run.save('**/*.py', policy='now') saves other files"

#: Names of a run.
RUN = {
    "file": "run.restore(name), or stepwell.Api().run(run.path).file(name)",
    "history": "stepwell.Api().run(run.path).history() reads what was logged; run.log() logs",
    "log_graph": "log a drawing of the model as wandb.Image or wandb.Html",
    "log_text": "run.log({name: text})",
    "logged_artifacts": NO_ARTIFACTS,
    "mode": "run.settings.mode, or run.offline and run.disabled",
    "status": NO_STATUS,
    "sync_dir": "run.spool_directory",
    "upload_file": "run.save(path)",
    "used_artifacts": NO_ARTIFACTS,
    "user": "the view stepwell.metadata has the user of each run",
    "username": "the view stepwell.metadata has the user of each run",
    "wait": "run.flush() waits until everything is stored",
    "write_logs": NO_WRITE_LOGS,
}

#: Names of `wandb.Api` and of the objects that it returns.
API = {
    **dict.fromkeys(
        (
            *("artifact", "artifacts", "artifact_collection", "artifact_collections", "artifact_exists"),
            *("artifact_collection_exists", "artifact_type", "artifact_types", "artifact_versions", "registries"),
            *("registry", "logged_artifacts", "used_artifacts", "log_artifact", "use_artifact"),
        ),
        NO_ARTIFACTS,
    ),
    **dict.fromkeys(("sweep", "sweeps", "sweep_name"), NO_SWEEPS),
    **dict.fromkeys(("report", "reports", "create_report"), _NO_REPORTS),
    **dict.fromkeys(("user", "users", "team", "create_team", "create_user"), "there are no accounts yet"),
    **dict.fromkeys(
        ("job", "queued_run", "run_queue", "create_run_queue", "upsert_run_queue"),
        "start jobs with your scheduler; Stepwell need not know them beforehand",
    ),
    "beta_scan_history": "run.scan_history(), or run.series(key) for every point as arrays",
    "client": "GET /v1/openapi.json of the server describes the same reads over HTTP",
    "create_project": "a project exists as soon as a run logs to it",
    "create_run": "stepwell.init() creates runs",
    "from_path": "api.run(path) or api.runs(path)",
    "sync_tensorboard": "init(sync_tensorboard=True) logs the output of TensorBoard's writers",
}
