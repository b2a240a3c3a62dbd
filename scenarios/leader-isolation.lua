-- The leader loses all other nodes, but not its clients: it must not answer them from its own memory once another
-- leader may have been elected.
return {
  doc = "Cut the leader off from everyone. The rest must elect another and go on.",
  nodes = 5,
  time = 60,
  workload = register { keys = 8, clients = 10, rate = 200 },
  nemesis = function(cluster)
    while true do
      sleep(4 + exponential(4))
      local leader = cluster:await_leader()
      cluster:isolate(leader)
      sleep(uniform(3, 8))
      cluster:heal()
    end
  end,
  checks = { linearizable(), available { within = 3 } },
}
