-- How long a cluster is without a leader when it crashes: until the others notice, and until one of them leads. The
-- run's log has a line for each; what clients felt is in the report. Both follow the election timeout: a short one
-- notices a crash early, and takes a slow link for one.
--   for t in 0.15 0.3 1; do harrow run leader-crash-recovery --set election_timeout=$t; done
-- A target without leaders loses a random node instead.
local election_timeout = param("election_timeout", 0.3)

local function who_leads_now(cluster, killed)
  for _, node in ipairs(cluster:without(killed)) do
    if cluster:status(node).role == "leader" then return node end
  end
end

return {
  doc = "The leader crashes again and again: the time to detect it and to replace it.",
  time = 60,
  workload = register { keys = 8, clients = 10, rate = 200 },
  cluster = { election_timeout = election_timeout, heartbeat = election_timeout / 6 },
  client = { try_timeout = 0.1 }, -- a dead node does not answer: clients must not be what takes long
  nemesis = function(cluster)
    while true do
      sleep(4 + exponential(1))
      local leader = cluster:await_leader()
      cluster:kill(leader)
      local crashed = now()
      if not cluster.leaderless then
        local successor
        while not successor and now() < crashed + 60 * election_timeout do
          sleep(0.001)
          successor = who_leads_now(cluster, leader)
        end
        print(successor and string.format("n%d crashed; n%d leads %.3f s later", leader, successor, now() - crashed)
          or string.format("n%d crashed; nobody leads %.3f s later", leader, now() - crashed))
      end
      sleep(2)
      cluster:start_node(leader)
    end
  end,
  checks = { linearizable(), available { within = 1 + 10 * election_timeout, during = true } },
}
