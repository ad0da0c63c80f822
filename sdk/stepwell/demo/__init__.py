"""The demo: a real model trained by several ranks, which log to one run, and the answers that SQL gives about it.

    driver   starts the server and the ranks, checks and reports
    train    one rank: data, training loop, log()
    model    the network, in numpy
    average  how the ranks average their gradients

A training script of yours needs of this what `train` has: `init`, `log` and the end of the `with` block.
"""
