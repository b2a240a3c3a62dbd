-- Acknowledgements reach the leader late; then nothing that it sends reaches the others. For a moment it takes old
-- answers for a quorum that stands behind it, while another leader is elected. Reads must not trust that. The clients
-- stay with their node, so that somebody asks the old leader.
local function deafen_then_mute(cluster)
  while true do
    sleep(uniform(1, 2))
    local leader = cluster:await_leader()
    if leader then
      local others = cluster:without(leader)
      local late = cluster:start(network.delay { from = others, to = leader, by = { 0.2, 0.27 }, jitter = 0 })
      sleep(uniform(0.6, 1))
      local mute = cluster:start(partition.one_way(leader, others))
      sleep(uniform(1, 2))
      cluster:stop(mute)
      cluster:stop(late)
    end
  end
end

return {
  doc = "An old leader, behind late answers and a one-way cut, is asked for what it no longer knows.",
  time = 40,
  client = { pinned = true },
  cluster = { reads = "index" },
  workload = register { keys = 3, clients = 25, rate = 400, mix = { read = 6, write = 4 } },
  nemesis = deafen_then_mute,
  checks = { linearizable() },
}
