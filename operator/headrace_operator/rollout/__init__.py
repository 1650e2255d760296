"""Which revision of a model's workers shall run: decisions only."""
