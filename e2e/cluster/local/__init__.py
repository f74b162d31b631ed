"""The parts of a local Kubernetes cluster that needs no image registry; the commands beside this folder put them together."""
