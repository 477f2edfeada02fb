"""Defaults that the command line and the Python API share; nothing is imported here, so that `--help` stays light."""

WINDOW = 256
"""Requests in flight: as many as vLLM 0.31 batches at most on all but the largest GPUs (`max_num_seqs`). With half of
it the small model took 1.2 times as long."""
TIMEOUT_S = 3600.0
"""Seconds without an answer: the slowest that was thought of, a batch of 8 answers of 2048 tokens by a large model on a
CPU at one token a second, takes little more than half of it; and a night in which an engine hangs loses no more than an
hour."""
