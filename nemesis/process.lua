-- Processes: killed, terminated, failing to start, paused, slowed. Each function returns a fault on the nodes that
-- `who` means when it starts.
local core = ...
local lib = core.import("nemesis/cluster.lua")
local process = {}

local function on_nodes(kind, name, who, strengths)
  return lib.primitive(name, lib.colours[kind], function(cluster)
    local nodes = cluster:pick(who)
    local spec = { kind = kind, nodes = nodes, detail = lib.names(nodes) }
    for key, value in pairs(strengths or {}) do spec[key] = lib.draw(name .. ": " .. key, value) end
    return spec
  end)
end

-- kill -9 at the start, started again at the end. What was written but not synced stays: the machine lives on.
function process.kill(who)
  return on_nodes("kill", "kill", who)
end

-- SIGTERM at the start: it may end in order, and what it does about that is part of the test. After `grace` seconds
-- (10) it is killed. Started again at the end.
function process.terminate(who, options)
  options = lib.options_of("process.terminate", options, { grace = 10 })
  return on_nodes("kill", "terminate", who, { grace = options.grace })
end

-- kill -9 at the start, and its supervisor starts it again at once, but the first `times` (3) starts fail, a second
-- apart. When the fault ends before that, the next start succeeds.
function process.start_failure(who, options)
  options = lib.options_of("process.start_failure", options, { times = 3 })
  return on_nodes("kill", "start failure", who, {
    failed_starts = lib.draw_whole("process.start_failure: times", options.times) })
end

-- Killed and started again after `down` seconds (0.5), while the fault itself takes no longer than that.
function process.restart(who, options)
  options = lib.options_of("process.restart", options, { down = 0.5 })
  local fault = on_nodes("kill", "restart", who)
  return {
    name = fault.name,
    colour = fault.colour,
    start = function(cluster) cluster:during(fault, lib.draw("process.restart: down", options.down)) end,
    stop = function() end,
  }
end

-- SIGSTOP at the start, SIGCONT at the end: it keeps its memory, and what it was sent waits for it.
function process.pause(who)
  return on_nodes("pause", "pause", who)
end

-- Gets only a share of its processor time: percent (20).
function process.slow(who, options)
  options = lib.options_of("process.slow", options, { percent = 20 })
  return on_nodes("slow", "slow process", who, {
    percent = lib.draw_whole("process.slow: percent", options.percent) })
end

return { process = process }
