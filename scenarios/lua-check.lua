-- A check written in Lua: each client appends to a list of its own; the check looks that the final reads show every
-- acknowledged element, in order.
local clients = 5

local function appends()
  local next_value = 0
  return gen.each_client(gen.stagger(0.05, function(ctx)
    next_value = next_value + 1
    return { f = "append", key = "list" .. ctx.clients[1], value = next_value }
  end))
end

local function final_reads()
  local reads = {}
  for client = 1, clients do reads[client] = gen.until_ok(gen.repeated(5, { f = "read", key = "list" .. client })) end
  return reads
end

local function nothing_lost(history)
  local final, count = {}, 0
  for op in history:ops { f = "read", status = "ok", final = true } do
    final[op.key] = {}
    for place, value in ipairs(op.result or {}) do final[op.key][value] = place end
  end
  local last = {}
  for op in history:ops { f = "append", status = "ok" } do
    local list = final[op.key]
    if not list then return nil, "no final read of " .. op.key .. " succeeded" end
    local place = list[op.argument]
    if not place then return false, "element " .. op.argument .. " of " .. op.key .. " is lost", { op.index } end
    if last[op.key] and place < last[op.key] then
      return false, "element " .. op.argument .. " of " .. op.key .. " stands too early", { op.index }
    end
    last[op.key] = place
    count = count + 1
  end
  return true, count .. " acknowledged elements are all there, in order"
end

return {
  doc = "A check in Lua: what each client appended is there in the end, in its order.",
  workload = generator { clients = clients, final = final_reads(), appends() },
  nemesis = every { min = 2, max = 5, duration = { 1, 3 }, fault = process.kill("leader") },
  checks = { check("nothing lost", nothing_lost), append() },
}
