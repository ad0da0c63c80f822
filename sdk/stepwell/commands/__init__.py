"""The commands of the SDK: one module each, with a `COMMAND` that `stepwell.cli` runs. Nothing else imports them."""
