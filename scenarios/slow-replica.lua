-- One replica is slow, and all the others are not: its processor, its disk or its links, one after the other. Whether
-- that shows depends on who it is and on whom a protocol waits for.
--   harrow compare slow-replica --targets raft,multipaxos,epaxos --set who=leader
local who = param("who", "random") -- "leader", "follower" or "random"

local kinds = {
  function() return process.slow(who, { percent = 30 }) end,
  function() return disk.stall(who, { by = 0.03 }) end,
  function() return network.delay { by = 0.03, jitter = 0.005, nodes = who, clients = true } end,
}

return {
  doc = "One replica has a slow processor, disk or network. The others should not wait for it.",
  time = 60,
  workload = register { keys = 8, clients = 10, rate = 150 },
  nemesis = function(cluster)
    local turn = 0
    while true do
      sleep(3)
      turn = turn % #kinds + 1
      cluster:during(kinds[turn](), 6)
    end
  end,
  checks = { linearizable(), available { within = 3, during = true } },
}
