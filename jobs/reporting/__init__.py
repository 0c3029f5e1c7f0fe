"""One page that shows what a sink holds: pictures, scores, rejects, speed, cost and lineage."""
