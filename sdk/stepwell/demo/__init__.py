"""The demo: several ranks train a real model and log to one run, which is then queried with SQL.

    driver   starts the server and the ranks, checks and reports
    train    one rank: data, training loop, log()
    model    the network, in numpy
    average  how the ranks average their gradients

Your own training script needs only what `train` shows: `init`, `log` and the end of the `with` block.
"""
