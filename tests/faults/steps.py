"""Where something becomes durable or is answered: a process is killed, or loses its power, before and after each."""

AGENT_STEPS = [
    "ingest.spool:Spool.put",
    "ingest.spool:write_aside",
    "ingest.spool:fsync_folder",
    "ingest.shipper:Gateway.send",
    "ingest.checkpoints:Checkpoints.acknowledge",
    "ingest.checkpoints:replace_file",
    "ingest.spool:Spool.remove",
]
GATEWAY_STEPS = [
    "ingest.spool:write_aside",
    "ingest.spool:fsync_folder",
    "ingest.spool:Spool.put",
    "ingest.attempts:AttemptRecord.write",
    "storage.hot:Hot.insert_blocks",
    "ingest.committer:Committer.retire",
    "ingest.ledger:Ledger.append",
    "ingest.spool:Spool.remove",
]
WHEN = ["before", "after"]
