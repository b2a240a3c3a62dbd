-- Three regions on two coasts and across an ocean, with a node and clients in each. As geo-5, with fewer places: here a
-- majority is one other region, and EPaxos' fast quorum is no larger than a majority.
--   harrow run geo-3 --target multipaxos --set leader=eu --set conflict=1
local conflict = param("conflict", 0.02) -- the share of commands on one key of all; the others are on the client's own
local from = param("from", "all") -- the region of all clients, or "all": some in each

local names = { "va", "ca", "eu" }

return {
  doc = "Three regions, clients in each: what a command costs by region, leader and conflicts.",
  nodes = 3,
  time = 60,
  workload = register { clients = 9, keys = 2, think = 0.05, conflict = conflict, mix = { read = 1, write = 1 } },
  cluster = { leader = "va", heartbeat = 0.15, election_timeout = 0.8 },
  client = { timeout = 15, try_timeout = 3 },
  network = {
    jitter = 0.001,
    regions = {
      names = names, placement = names, clients = from ~= "all" and from or nil,
      rtt = { { 0.0005, 0.085, 0.090 }, { 0.085, 0.0005, 0.156 }, { 0.090, 0.156, 0.0005 } },
    },
  },
  checks = { linearizable(), available { within = 10, during = true } },
}
