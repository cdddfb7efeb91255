"""The HTTP surface beside ingest: keys, definitions, queries, operations, and its own description.

One route table (``table``) says what exists; routing, the scope check, the parameters' checks and
the OpenAPI document all derive from it. The front door forwards to this process.
"""
