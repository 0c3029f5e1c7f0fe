"""What a run tells of itself as OpenLineage events, in its record and to a server."""
