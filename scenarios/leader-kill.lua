-- kill -9 for whoever leads, again and again. What it acknowledged must be known to the next leader.
return {
  doc = "Kill the leader, let the rest elect another, start it again.",
  workload = register { keys = 8, clients = 10, rate = 200 },
  nemesis = every { min = 4, max = 7, duration = { 1, 4 }, fault = process.kill("leader") },
  checks = { linearizable(), available { within = 3 } },
}
