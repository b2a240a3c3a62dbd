-- Snapshots all the time, and nobody's log is long: who is away for a second needs one. Frames come late and twice, so
-- that snapshots and appends arrive that speak of what is long compacted.
return {
  doc = "Frequent snapshots while messages come late and twice and followers fall behind.",
  cluster = { snapshot_entries = 8 },
  workload = register { keys = 4, clients = 20, rate = 300, mix = { read = 1, write = 3 } },
  nemesis = {
    every { min = 1, max = 3, duration = { 2, 4 }, fault = network.duplicate { p = 0.5 } },
    every { min = 0.5, max = 1.5, duration = { 2, 4 }, fault = network.reorder { p = 0.3, jitter = 0.1 } },
    every { min = 0.3, max = 1, duration = { 0.5, 1.5 }, fault = partition.one("random") },
    every { min = 2, max = 4, duration = { 0.2, 0.8 }, fault = process.kill("random") },
  },
  checks = { linearizable() },
}
