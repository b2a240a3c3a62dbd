-- Five regions with a node and clients in each, as far apart as data centres of a cloud are (round trips of the EPaxos
-- paper's wide-area setting). Nothing goes wrong: what shows is how many round trips, and to whom, a protocol needs for
-- a command, by the region of the client, the place of the leader and the share of commands that conflict.
--   harrow run geo-5 --target raft --set leader=eu
--   harrow run geo-5 --target paxos --set from=jp
--   harrow run geo-5 --target epaxos --set conflict=0.25 --set jitter=0 --set sync=0
local conflict = param("conflict", 0.02) -- the share of commands on one key of all; the others are on the client's own

local from = param("from", "all") -- the region of all clients, or "all": some in each

local names = { "va", "ca", "eu", "or", "jp" }
local ms = { -- there and back
  { 0.5,  85,  90,  81, 203 },
  {  85, 0.5, 156,  21, 118 },
  {  90, 156, 0.5, 172, 278 },
  {  81,  21, 172, 0.5, 127 },
  { 203, 118, 278, 127, 0.5 },
}
local rtt = {}
for i, row in ipairs(ms) do
  rtt[i] = {}
  for j, value in ipairs(row) do rtt[i][j] = value / 1000 end
end

return {
  doc = "Five regions, clients in each: what a command costs by region, leader and conflicts.",
  nodes = 5,
  time = 60,
  workload = register { clients = 15, keys = 2, think = 0.05, conflict = conflict, mix = { read = 1, write = 1 } },
  cluster = { leader = "va", heartbeat = 0.3, election_timeout = 1.5 },
  client = { timeout = 15, try_timeout = 4 },
  network = { jitter = 0.001, regions = { names = names, placement = names, rtt = rtt,
    clients = from ~= "all" and from or nil } },
  checks = { linearizable(), available { within = 10, during = true } },
}
