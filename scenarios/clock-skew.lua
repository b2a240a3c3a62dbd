-- Reads under a lease trust clocks, but only so far: their rate, within a bound, and never the time of day. Wall clocks
-- jump here, and all clocks run fast or slow by as much as the cluster says it allows for.
return {
  doc = "Lease reads while clocks drift up to the allowed bound and wall clocks jump.",
  cluster = { reads = "lease", clock_drift_ppm = 50000 },
  workload = register { keys = 4, clients = 10, rate = 200, mix = { read = 6, write = 3, cas = 1 } },
  nemesis = {
    every { min = 1, max = 3, duration = { 3, 8 }, fault = clock.drift("some") },
    every {
      min = 1, max = 4, duration = { 1, 4 },
      fault = function()
        return choose { clock.skew("leader"), clock.skew("some"), clock.jump("random"), clock.strobe("leader") }
      end,
    },
    -- Leases matter when leaders change.
    every { min = 5, max = 10, duration = { 2, 4 }, fault = partition.one("leader") },
  },
  checks = { linearizable() },
}
