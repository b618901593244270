"""Pure words of the control plane (standard library only): resources, transitions, rules, faults."""
