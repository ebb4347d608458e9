"""The way in: the agent that ships logs and the gateway that takes them (`pipeline.py` has it on a page)."""
