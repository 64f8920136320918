"""What a step of each method costs, as a pytest-benchmark suite that is shipped.

`kdbench speed` runs it, and so does `pytest --pyargs kdbench.testing.speed`, over every installed
method, with the questions of `Asked` as they are by default. Only `conftest`, `test_speed` and what
they import need torch and pytest: whoever asks for a run and reads its file does without.
"""
