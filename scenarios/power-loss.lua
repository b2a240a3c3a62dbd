-- Power fails for one node, several, or all at the same moment. What was not synced is kept, dropped or torn; what was
-- acknowledged must be there.
return {
  doc = "Power loss on one or all nodes at once; unsynced writes are lost or torn.",
  cluster = { sync = { 0.002, 0.01 } }, -- slow disks: there is always something that is not on them yet
  workload = append { keys = 4, clients = 10, rate = 100 },
  nemesis = every {
    min = 4, max = 8, duration = { 0.5, 2 },
    fault = function()
      return disk.power_loss(choose { "leader", "minority", "majority", "all" }, { keep = 0.3, tear = 0.3 })
    end,
  },
  checks = { append(), available { within = 3 } },
}
