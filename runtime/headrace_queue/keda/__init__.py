"""KEDA's external scaler: tells whoever brings a scaler of their own how much a model has to do."""
