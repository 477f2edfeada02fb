"""SFT against GRPO in miniature: the trainings that docs/study/plan.md plans, run, chosen between, and reported.

python -m vr1bench.trainers.study run        # what is not finished yet, two at a time
python -m vr1bench.trainers.study rates      # which learning rates the plan's rule takes
python -m vr1bench.trainers.study report     # tables and figures
"""
