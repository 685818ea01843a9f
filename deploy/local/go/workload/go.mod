module remediator.dev/local/workload

go 1.24.0
