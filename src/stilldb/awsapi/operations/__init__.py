"""The operations of the management API, one module per noun."""
