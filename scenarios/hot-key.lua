-- Nearly everybody wants the same key: what commutes elsewhere does not commute here. A protocol that orders all
-- commands does not notice; one that orders only what interferes loses its short way. Now and then a node restarts, and
-- its commands are finished by others.
--   harrow run hot-key --target epaxos --set conflict=1
local conflict = param("conflict", 0.8) -- the share of operations on that key

return {
  doc = "Most commands are on one key, while nodes restart now and then.",
  time = 60,
  workload = register { clients = 20, keys = 4, rate = 150, conflict = conflict },
  nemesis = every { min = 5, max = 9, fault = process.restart("random", { down = 1 }) },
  checks = { linearizable(), available { within = 3 } },
}
