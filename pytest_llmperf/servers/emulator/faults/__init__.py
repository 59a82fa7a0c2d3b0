"""Faults of the simulated server on demand: `fault_plan` reads them, `faulty_instance` and `spoilt_answer` do them."""
