-- The schedule of Figure 8 in the Raft paper: entries of an old term reach a majority under a later leader, who must
-- not count them as committed before an entry of its own term is. The nemesis watches the cluster and cuts at the
-- moments that matter; small messages and slow links keep those moments apart.
local function wait_for(condition, seconds)
  local deadline = now() + seconds
  while now() < deadline do
    if condition() then return true end
    sleep(0.004)
  end
  return false
end

local function one_round(cluster)
  local a = cluster:await_leader()
  if not a then return end
  local others = shuffle(cluster:without(a))
  local b, three = others[1], { others[2], others[3], others[4] }

  -- The leader is left with one follower, and with entries that it cannot commit.
  local split = cluster:start(partition.groups { { a, b }, three })
  local x
  local elected = wait_for(function()
    x = cluster:leader()
    return x and x ~= a and x ~= b
  end, 6)
  if not elected then return cluster:stop(split) end

  -- The new leader is cut off before even its first entry has reached anyone.
  local lone = cluster:start(partition.isolate(x))
  local c, d
  for _, node in ipairs(three) do
    if node ~= x then c, d = d, node end
  end
  sleep(0.1)

  -- The old entries spread from the first two to a third node: a majority, under a leader of a later term ...
  cluster:stop(split)
  split = cluster:start(partition.groups { { a, b, d }, { c, x } })
  local before = math.max(cluster:status(a).commit_index, cluster:status(b).commit_index)
  wait_for(function()
    return math.max(cluster:status(a).commit_index, cluster:status(b).commit_index) > before
  end, 4)

  -- ... and if they count as committed already now, then the cut-off leader's entry wins over them.
  cluster:stop(split)
  cluster:stop(lone)
  cluster:during(partition.groups { { a, b }, { c, d, x } }, 4)
end

return {
  doc = "Figure 8 of the Raft paper: entries of an earlier term on a majority are not yet committed.",
  time = 60,
  network = { latency = 0.025, jitter = 0.005 },
  client = { timeout = 12, try_timeout = 5 }, -- somebody must still be waiting when the first leader commits
  cluster = { message_bytes = 512, election_timeout = 0.4, snapshot_entries = 2000 },
  workload = append { keys = 5, clients = 60, rate = 150, mix = { read = 1, append = 3 } },
  nemesis = function(cluster)
    while true do
      sleep(1)
      one_round(cluster)
      cluster:heal()
    end
  end,
  checks = { append() },
}
