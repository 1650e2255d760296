"""What runs in vLLM's interpreter; this folder is on the engine's PYTHONPATH and must hold nothing else."""
