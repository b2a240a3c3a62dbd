-- Everything, but not everything every time: each seed draws some kinds of faults and lets them come and go side by
-- side, at most two at once, in storms with calm between them. Hunt with it: `harrow hunt scenarios/swarm.lua --for
-- 60`.
return {
  doc = "A random subset of all faults, side by side, in storms.",
  workload = register { keys = 6, clients = 10, rate = 150 },
  cluster = { snapshot_entries = 200 },
  nemesis = swarm {
    most = 2,
    faults = {
      process.kill("leader"),
      process.kill("random"),
      process.restart("some"),
      process.pause("leader"),
      process.slow("leader"),
      disk.power_loss("random"),
      disk.power_loss("all"),
      disk.stall("leader"),
      partition.one("leader"),
      partition.halves(),
      partition.bridge(),
      partition.ring(),
      partition.one_way(),
      network.storm(),
      network.loss { p = 0.2 },
      network.delay { by = 0.05, nodes = "leader" },
      clock.skew("some"),
    },
  },
  checks = { linearizable() },
}
