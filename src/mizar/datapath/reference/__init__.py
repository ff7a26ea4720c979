"""The data path as an executable statement, in pure Python: docs/data-path.md, step by step.

`run.run` takes one host's tables and one packet through one program; `fleet.walk` follows a packet
over a whole fleet. Nothing here reads bpf/, the plan or a kernel: what the compiled programs do
is held against it by random packets (tests/packets/test_model.py), not derived from it.
"""
