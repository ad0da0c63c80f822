"""TensorBoard: what its writers write is logged to the current run as well.

    stepwell.integration.tensorboard.patch()      # as init(sync_tensorboard=True); wandb.tensorboard.patch()

Scalars, pictures, histograms and texts of `torch.utils.tensorboard` and `tensorboardX`, by their tags; each row has
`global_step`.
"""

from __future__ import annotations

from stepwell.integration._current import current_run


def patch(
    save: bool = True, tensorboard_x: bool | None = None, pytorch: bool | None = None, root_logdir: str = ""
) -> None:
    """Starts it for the current run; a second call does nothing.

    Args:
        save, tensorboard_x, pytorch, root_logdir: of W&B; both libraries are patched, and event files are not kept.

    Raises:
        Error: there is no run.
    """
    run = current_run("tensorboard.patch()")
    run._life.observers.sync_tensorboard(run.log)
