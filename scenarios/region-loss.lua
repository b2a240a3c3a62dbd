-- A whole region is lost and comes back: cut off with its clients, or without power. Two regions have two nodes each
-- and the third has one, so whichever goes, a majority is left; clients of a region without power go to the next one.
--   harrow run region-loss --set region=eu --set loss=power
local region = param("region", "any") -- which one; "any": another one each time
local loss = param("loss", "any") -- "cut", "power", or either

local names = { "va", "ca", "eu" }

return {
  doc = "A region is cut off or loses power. The others must go on, and it must catch up.",
  nodes = 5,
  time = 90,
  settle = 20,
  workload = register { clients = 12, keys = 2, rate = 40, conflict = 0.1, mix = { read = 1, write = 1 } },
  cluster = { leader = "va", heartbeat = 0.15, election_timeout = 0.8, snapshot_entries = 200 },
  client = { timeout = 10, try_timeout = 1.5 },
  network = {
    jitter = 0.001,
    regions = {
      names = names,
      placement = { "va", "ca", "eu", "va", "ca" },
      rtt = { { 0.0005, 0.085, 0.090 }, { 0.085, 0.0005, 0.156 }, { 0.090, 0.156, 0.0005 } },
    },
  },
  nemesis = every {
    min = 10, max = 14, duration = { 5, 10 },
    fault = function(cluster)
      local lost = region == "any" and choose(names) or region
      local how = loss == "any" and choose { "cut", "power" } or loss
      if how == "cut" then return partition.region(lost) end
      return disk.power_loss(cluster:region(lost))
    end,
  },
  checks = { linearizable(), available { within = 9, during = true } },
}
