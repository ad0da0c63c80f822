"""TensorBoard: logs the output of TensorBoard writers to the current run.

    stepwell.integration.tensorboard.patch()      # as init(sync_tensorboard=True); wandb.tensorboard.patch()

Logs scalars, pictures, histograms and texts of `torch.utils.tensorboard` and `tensorboardX` under their tags; each row
has `global_step`.
"""

from __future__ import annotations

from stepwell.integration._current import current_run


def patch(
    save: bool = True, tensorboard_x: bool | None = None, pytorch: bool | None = None, root_logdir: str = ""
) -> None:
    """Starts logging for the current run; a second call does nothing.

    Args:
        save, tensorboard_x, pytorch, root_logdir: arguments of W&B's client, ignored: both libraries are patched, and
            event files are not kept.

    Raises:
        Error: there is no current run.
    """
    run = current_run("tensorboard.patch()")
    run._life.observers.sync_tensorboard(run.log)
