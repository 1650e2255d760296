"""Replays a trace of requests against the autoscaling policy: what `headrace simulate` computes and draws."""
