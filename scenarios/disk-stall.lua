-- Disks that take their time: every sync of some nodes waits. Nothing may be acknowledged before it is durable, and a
-- leader whose disk stalls should not stop the cluster for long.
return {
  doc = "Syncs stall on the leader or on a minority.",
  workload = append { keys = 4, clients = 10, rate = 100 },
  nemesis = every {
    min = 4, max = 7, duration = { 2, 6 },
    fault = function()
      return disk.stall(choose { "leader", "follower", "minority" }, { by = { 0.05, 0.5 } })
    end,
  },
  checks = { append(), available { within = 3 } },
}
