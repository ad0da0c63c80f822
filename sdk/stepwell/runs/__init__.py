"""The run that user code holds, its session, and the process that has both: `init`, `log`, `flush`, `finish`.

The top room of the SDK: it composes the stations below and hands calls on to them.
"""
