-- For `harrow bench local`: a closed loop without faults against three nodes. The benchmark sets `clients` and `mix`.
local mixes = { put = { write = 1 }, get = { read = 1 } }
return {
  doc = "Three nodes under as much load as the clients make, one operation at a time each.",
  nodes = 3,
  time = 5,
  cluster = { reads = "index" },
  workload = register { keys = 1000, clients = 64, rate = 0, mix = mixes[param("mix", "put")] },
  checks = { available { within = 5 } },
}
