"""How much accuracy INT8 costs: every artifact beside its float model, and beside other tools."""
