-- One follower lags behind: a thin and long line to it, then too little processor time. The others must not wait for
-- it, and it must catch up, if need be by a snapshot.
return {
  doc = "A follower behind a slow link, or short of processor time, must not slow the others down.",
  workload = counter { keys = 2, clients = 10, rate = 150 },
  cluster = { snapshot_entries = 200 },
  nemesis = every {
    min = 2, max = 4, duration = { 4, 10 },
    fault = function(cluster)
      cluster:await_leader()
      return choose { network.slow_link { by = 0.1, bytes_per_s = 20000 }, process.slow("follower", { percent = 10 }) }
    end,
  },
  checks = { counter(), linearizable(), available { within = 3, during = true } },
}
