"""LogQL, the language of Loki's clients: text → nodes → Neve's conditions and SQL → answers."""
