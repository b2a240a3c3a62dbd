-- A link that works in one direction only. A leader that cannot be heard must be replaced; one that cannot hear must
-- not go on as if it led.
return {
  doc = "Cut links in one direction, between the leader and others.",
  workload = register { keys = 8, clients = 10, rate = 150 },
  nemesis = every {
    min = 4, max = 7, duration = { 2, 6 },
    fault = function(cluster)
      local leader = cluster:await_leader()
      local others = cluster:without(leader)
      return choose {
        partition.one_way(leader, others), -- nobody hears it
        partition.one_way(others, leader), -- it hears nobody
        partition.one_way(leader, choose(others)),
        partition.one_way(choose(others), leader),
      }
    end,
  },
  checks = { linearizable(), available { within = 3, during = true } },
}
