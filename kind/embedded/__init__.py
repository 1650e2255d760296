"""A real Kubernetes on one machine without a container engine: a guest that leaves nothing behind."""
