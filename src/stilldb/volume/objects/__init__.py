"""Object stores: where archives lie. A local directory, any S3-compatible service, memory; and one that fails on purpose."""
