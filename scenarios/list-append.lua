-- Lists under append and read, judged as Elle does: each read tells who came before whom, and nobody may come before
-- himself. The old leader is asked for what it no longer knows, and who lags may become leader next.
local function cut_leader(cluster)
  local leader = cluster:await_leader()
  if leader then cluster:during(partition.isolate(leader), uniform(1, 2)) end
end

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
  doc = "Appends and reads while leaders fail: a cycle of dependencies, or a process that goes back, is a bug.",
  time = 30,
  client = { timeout = 3 },
  workload = append { keys = 6, clients = 20, rate = 200, mix = { read = 5, append = 5 } },
  nemesis = function(cluster)
    while true do
      sleep(uniform(0.5, 2))
      choose { cut_leader, let_others_lag }(cluster)
    end
  end,
  checks = { check("list-append", { consistency = "strict-serializable" }), check("sessions") },
}
