-- A workload written in Lua from generators: two clients read all the time; the others, in groups of four, write and
-- swap the values of one key after another, while leaders are cut off.
local keys = param("keys", 40)

local function reads()
  return gen.stagger(0.02, function() return { f = "read", key = "k" .. random(0, 3) } end)
end

-- What a group of clients does to one key. Values only need to differ, so it does no harm that a generator may be asked
-- more often than its answers are used. What a swap expects is learned from what has succeeded.
local function group()
  local last, known = 0, nil
  local function fresh()
    last = last + 1
    return last
  end
  local function write() return { f = "write", value = fresh() } end
  local function swap() return known and { f = "cas", value = { known, fresh() } } or write() end
  local function read() return { f = "read" } end
  local function learn(g, _, event)
    if event.type == "ok" and event.f == "write" then known = event.value end
    if event.type == "ok" and event.f == "cas" then known = event.value[2] end
    return g
  end
  local mixed = gen.weighted { { 2, write }, { 1, swap }, { 2, read } }
  return gen.limit(150, gen.on_update(learn, gen.stagger(0.02, mixed)))
end

return {
  doc = "A workload of generators in Lua: readers beside groups that work on one key after another.",
  workload = generator {
    clients = 10,
    gen.reserve(2, reads(), gen.concurrent_keys(4, keys, group)),
    final = gen.sequential_keys(keys, function() return { f = "read" } end),
  },
  nemesis = every { min = 3, max = 6, duration = { 2, 5 }, fault = partition.isolate("leader") },
  checks = { linearizable("kv") },
}
