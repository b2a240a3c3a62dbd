-- Leaders change over slow links and slow disks, while others lag behind. A new leader does not know yet how much is
-- committed: it may answer reads only after an entry of its own term is. And who lags must not become leader at all.
local function kill_leader(cluster)
  cluster:during(process.kill("leader"), uniform(0.5, 1.5))
end

-- Two followers miss a while of the log; then they are back, and the leader is gone.
local function let_others_lag(cluster)
  local leader = cluster:await_leader()
  if not leader then return end
  local behind = cluster:start(partition.isolate(subset(cluster:followers(), cluster.minority)))
  sleep(uniform(0.7, 1.5))
  local lost = cluster:start(partition.isolate(leader))
  cluster:stop(behind)
  sleep(uniform(1.5, 2.5))
  cluster:stop(lost)
end

return {
  doc = "Leaders fail while followers lag; clients read at once from whoever leads next.",
  time = 40,
  network = { latency = 0.005, jitter = 0.002 },
  cluster = { sync = { 0.01, 0.04 } },
  workload = register { keys = 3, clients = 25, rate = 200, mix = { read = 6, write = 4 } },
  nemesis = function(cluster)
    while true do
      sleep(uniform(0.5, 2))
      choose { kill_leader, let_others_lag }(cluster)
    end
  end,
  checks = { linearizable() },
}
