-- Nodes die with what they had begun, and so do those that take it over: half of what is sent is lost. What a few had
-- accepted under one attempt must not win over what a later one has chosen. Patience is short, so that several try at
-- once; most commands are on one key, so that what they depend on is in dispute.
return {
  doc = "Nodes die in the middle of things, on lossy links, while others race to finish those things.",
  cluster = { election_timeout = 0.15, heartbeat = 0.03 },
  client = { timeout = 8, try_timeout = 2 },
  workload = register { keys = 2, clients = 20, rate = 150, mix = { read = 1, write = 3 } },
  nemesis = {
    every { min = 0.2, max = 1, duration = { 2, 6 }, fault = network.loss { p = { 0.3, 0.5 } } },
    every { min = 0.2, max = 0.6, duration = { 0.2, 0.6 }, fault = process.kill("random") },
    every { min = 0.2, max = 0.6, duration = { 0.2, 0.6 }, fault = partition.one("random") },
  },
  checks = { linearizable() },
}
