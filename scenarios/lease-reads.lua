-- Reads under a lease while acknowledgements come late and then everything that the leader sends is lost. The lease
-- must count from when the leader asked, not from when it heard: else it outlasts the time that the others keep to it.
-- Late by less than 0.2 s, at which TCP would send again: so the same happens on real connections.
return {
  doc = "Lease reads at a leader that hears late and is not heard any more.",
  time = 40,
  client = { pinned = true },
  cluster = { reads = "lease" },
  workload = register { keys = 2, clients = 25, rate = 400, mix = { read = 6, write = 4 } },
  nemesis = function(cluster)
    while true do
      sleep(uniform(1, 2))
      local leader = cluster:await_leader()
      if leader then
        local others = cluster:without(leader)
        local late = cluster:start(network.delay { from = others, to = leader, by = { 0.17, 0.195 }, jitter = 0 })
        sleep(uniform(0.6, 1))
        local mute = cluster:start(partition.one_way(leader, others))
        sleep(uniform(1, 2))
        cluster:stop(mute)
        cluster:stop(late)
      end
    end
  end,
  checks = { linearizable() },
}
