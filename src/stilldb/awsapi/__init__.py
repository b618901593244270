"""The management API: botocore's service model, query parser, XML serializer, SigV4, request chain."""
