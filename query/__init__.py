"""The query language of Neve, its plan, its SQL, and the API and commands that ask it.

text ─ grammar.lark, parse ─ ast ─ analyze ─ plan ─ sql ─ ClickHouse ─ execute ─ routes ─ HTTP ─ cli
"""
