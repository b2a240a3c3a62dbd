-- The network at its worst without a cut: frames are lost, doubled, overtaken and changed on the way. Protocols have to
-- take every message for what it is: maybe old, maybe twice, maybe not at all.
return {
  doc = "Loss, duplication, reordering and corruption on all links, in storms, while leaders change.",
  workload = register { keys = 8, clients = 10, rate = 150 },
  nemesis = {
    every { min = 1, max = 4, duration = { 3, 6 }, fault = network.storm { clients = true } },
    every {
      min = 2, max = 6, duration = { 2, 5 },
      fault = function()
        return choose {
          network.loss { p = { 0.1, 0.3 } },
          network.duplicate { p = 0.5, clients = true },
          network.reorder { p = 0.5, jitter = 0.02, clients = true },
          network.corrupt { p = 0.1 },
        }
      end,
    },
    -- Elections happen in the storm, too.
    every { min = 2, max = 5, duration = { 0.5, 1 }, fault = partition.one("leader") },
  },
  checks = { linearizable() },
}
