"""Use cases of the management plane, durable jobs, the worker and the reconcile loop; needs only ports."""
