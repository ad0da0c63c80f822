"""Names of W&B's module that Stepwell does not implement or only accepts, and the stand-in for `import wandb`."""
