-- When faults happen: every{} repeats one, swarm{} runs a random choice of many side by side, all_of() joins several
-- into one. every and swarm return functions that a scenario names as its nemesis.
local core = ...
local lib = core.import("nemesis/cluster.lua")

-- Several faults as one: started in order, ended in reverse order.
local function all_of(...)
  local faults = { ... }
  local words = {}
  for i, fault in ipairs(faults) do words[i] = lib.check_fault(fault).name or "fault" end
  if #faults == 0 then core.fail("all_of: at least one fault is needed") end
  return {
    name = table.concat(words, " + "),
    colour = faults[1].colour,
    start = function(cluster)
      local handles = {}
      for i, fault in ipairs(faults) do handles[i] = cluster:start(fault) end
      return handles
    end,
    stop = function(cluster, handles)
      for i = #handles, 1, -1 do cluster:stop(handles[i]) end
    end,
  }
end

-- A fault, or what a function(cluster) makes; nil when it makes none this time.
local function next_fault(fault, cluster)
  if type(fault) == "function" then fault = fault(cluster) end
  return fault and lib.check_fault(fault)
end

-- Again and again: waits min to max seconds, then the fault for its duration.
--   fault = a fault, or function(cluster) that returns one (or nil: not this time)
--   min = 2, max = 8: seconds of rest before each; or mean = seconds, exponentially distributed
--   duration = { 2, 6 }: seconds it lasts; a number or { low, high }
--   times: how often; without it, to the end
local function every(given)
  local options = lib.options_of("every", given, {
    fault = lib.none, min = 2, max = 8, mean = lib.none, duration = { 2, 6 }, times = math.huge })
  if not options.fault then core.fail("every: the fault is missing: every { fault = partition.halves() }") end
  if type(options.fault) ~= "function" then lib.check_fault(options.fault) end
  if given.min and not given.max then options.max = math.max(options.max, options.min) end
  if given.max and not given.min then options.min = math.min(options.min, options.max) end
  if options.min > options.max then core.fail("every: min is greater than max") end
  if options.mean == nil and options.max <= 0 then core.fail("every: max must be above 0") end
  return function(cluster)
    local count = 0
    while count < options.times do
      sleep(options.mean and exponential(options.mean) or uniform(options.min, options.max))
      local fault = next_fault(options.fault, cluster)
      if fault then cluster:during(fault, lib.draw("every: duration", options.duration)) end
      count = count + 1
    end
  end
end

-- Swarm testing: each run draws a random subset of the faults and lets them come and go side by side, in storms with
-- calm between them. One run then tests few things together and hard, and many runs test all combinations.
--   faults = { ... }: faults, or functions(cluster) that return one
--   kinds = 6: how many of them at the most are drawn for one run
--   most = 2: how many at the same time
--   storm = { 8, 15 }, calm = { 4, 8 }: seconds
--   rest = 3: mean seconds between the faults of one kind; duration = { 1, 5 }: seconds that each lasts
local function swarm(given)
  local options = lib.options_of("swarm", given, {
    faults = lib.none, kinds = 6, most = 2, storm = { 8, 15 }, calm = { 4, 8 }, rest = 3, duration = { 1, 5 } })
  local faults = options.faults
  if type(faults) ~= "table" or #faults == 0 then core.fail("swarm: faults must be a list of at least one fault") end
  for _, fault in ipairs(faults) do
    if type(fault) ~= "function" then lib.check_fault(fault) end
  end
  return function()
    local weather = { storm = false, active = 0 }
    for _, fault in ipairs(subset(faults, 1, math.min(#faults, options.kinds))) do
      spawn(function(cluster)
        while true do
          sleep(0.1 + exponential(options.rest))
          if weather.storm and weather.active < options.most then
            weather.active = weather.active + 1
            -- Without a leader there is hardly anything to disturb; and what disturbed nothing proves nothing, so it is
            -- tried again.
            for _ = 1, 5 do
              local chosen = cluster:await_leader(2) and next_fault(fault, cluster)
              if chosen and cluster:during(chosen, lib.draw("swarm: duration", options.duration)) ~= 0 then break end
            end
            weather.active = weather.active - 1
          end
        end
      end)
    end
    while true do
      sleep(lib.draw("swarm: calm", options.calm))
      weather.storm = true
      sleep(lib.draw("swarm: storm", options.storm))
      weather.storm = false
    end
  end
end

return { every = every, swarm = swarm, all_of = all_of }
