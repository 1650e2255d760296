"""The page that shows people how models, workers and waiting requests are, and lets them try a model."""
