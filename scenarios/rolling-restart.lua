-- What an upgrade does: one node after the other goes down and comes back, the leader handing over before its turn.
-- Clients should hardly notice.
return {
  doc = "Restart every node in turn, as an upgrade does, with leadership handed over first.",
  workload = counter { keys = 2, clients = 10, rate = 150 },
  nemesis = function(cluster)
    while true do
      for _, node in ipairs(shuffle(cluster.nodes)) do
        sleep(uniform(1, 2))
        if cluster:leader() == node then
          cluster:transfer(choose(cluster:followers()))
          sleep(0.2)
        end
        cluster:kill(node)
        sleep(uniform(0.3, 1.5))
        cluster:start_node(node)
      end
    end
  end,
  checks = { counter(), linearizable(), available { within = 3, during = true } },
}
