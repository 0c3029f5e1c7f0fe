"""Where a job runs: connections, resources, actor pools."""
