"""The run that user code holds, its session, and the process that has both: `init`, `log`, `flush`, `finish`.

The top room of the SDK: it connects the stations below and passes calls on to them. `init` creates a `Run`. Its
`Lifecycle` holds its state (`states`), opens a `Session` and ends it (`ending`). `Process` knows all runs of the
process, and prepares them for a fork and for the exit.
"""
