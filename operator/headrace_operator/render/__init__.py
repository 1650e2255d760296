"""Rendering: an InferenceModel's spec in, Kubernetes objects out. Pure: no client, no clock, no await."""
