"""The part of Loki's HTTP API that its clients query, Grafana's data source foremost."""
