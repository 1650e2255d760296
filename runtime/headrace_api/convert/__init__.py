"""Conversions between the documents that people bring and the InferenceModel's spec, both ways. Pure."""
