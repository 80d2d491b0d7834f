"""The Kubernetes API as the operators use it: resource types, client, cache, differ and apply."""
