"""Adapters: LoRA weights on top of the served model, asked for as `<model>:<adapter>`, that come and go while it runs.

`wanted` reads which are asked for, `look` what their files are, `changes` compares with what is loaded, `at_start` says
what an engine needs to take them; all of this decides only. `keeper` does it. An adapter that cannot be had is told of
and tried again; it never takes the model itself down.
"""
