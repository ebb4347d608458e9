"""What Neve knows about ClickHouse and Iceberg; stands on `lexer`, below `ingest` and `query`."""
