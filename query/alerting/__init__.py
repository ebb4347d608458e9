"""Alerts: what one asks (`rule.py`), finds (`looking.py`), and becomes (`machine.py`), and how webhooks hear of it
(`bodies.py`, `webhooks.py`); `evaluator.py` does all that again and again."""
