-- For the benchmark: short schedules with a light load, in which one directed link, drawn by chance, is cut or mended
-- twice a second.
return {
  doc = "Ten seconds of light load while directed links flip every half second.",
  nodes = 5,
  time = 10,
  min_ops = 20,
  workload = register { keys = 4, clients = 5, rate = 10, steady = true },
  nemesis = function(cluster)
    local cuts = {}
    while true do
      sleep(0.5)
      local from = cluster:random_node()
      local to = choose(cluster:without(from))
      local link = from * 100 + to
      if cuts[link] then
        cluster:stop(cuts[link])
        cuts[link] = nil
      else
        cuts[link] = cluster:start(partition.one_way(from, to))
      end
    end
  end,
  checks = { linearizable() },
}
