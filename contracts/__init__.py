"""What is said: the records, documents and rules that every process agrees on. Pure, no I/O."""
