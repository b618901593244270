"""The query engine over BSON values: order, paths, filters, updates, expressions, stages."""
