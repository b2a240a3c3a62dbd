-- The cluster falls into a majority and a minority. Only the majority may go on, on whichever side the leader was.
return {
  doc = "Split five nodes into three and two; half of the time the leader is among the two.",
  workload = append { keys = 4, clients = 10, rate = 100 },
  nemesis = every {
    min = 4, max = 7, duration = { 3, 8 },
    fault = function()
      return partition.majority_minority { leader = choose { "minority", "majority" } }
    end,
  },
  checks = { append(), available { within = 3 } },
}
