"""Names of W&B's module that Stepwell does not implement or only accepts, and standing in for `import wandb`."""
