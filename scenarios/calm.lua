-- Nothing goes wrong. A run that fails here fails everywhere: look at it first.
return {
  doc = "No faults at all: the cluster must serve every operation, and fast.",
  workload = register { keys = 8, clients = 10, rate = 100 },
  checks = { linearizable(), available { within = 2, during = true }, latency { p99 = 0.5 } },
}
