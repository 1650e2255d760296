"""How near many queue replicas come to one ideal queue, simulated: `python -m tests.bench.scaling_out`.

What decides is the real thing (`headrace_worker.sharing.moves`, `headrace_queue.demand.Asking`); clock, network,
clients and engines are played. See docs/scaling-out.md.
"""
