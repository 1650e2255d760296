"""The engine's environment: `runtime_env.pip` becomes a folder of packages on the engine's PYTHONPATH, and no other's.

The folder is named by its content and kept, so that the packages are installed once per machine, whoever asks.
"""
