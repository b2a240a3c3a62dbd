-- Two halves that see each other through one node only, then every node with a majority of its own. There is a quorum
-- all the time, but no two nodes agree on who is there.
return {
  doc = "Overlapping majorities: two halves joined by a bridge, and a ring.",
  workload = register { keys = 8, clients = 10, rate = 150 },
  nemesis = every {
    min = 4, max = 7, duration = { 4, 8 },
    fault = function() return choose { partition.bridge(), partition.ring() } end,
  },
  checks = { linearizable(), available { within = 3 } },
}
