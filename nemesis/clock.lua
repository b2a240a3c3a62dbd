-- Clocks: offsets of the wall clock (a jump there and a jump back), drift of all clocks of a node, and flickering.
-- Each function returns a fault on the nodes that `who` means when it starts.
local core = ...
local lib = core.import("nemesis/cluster.lua")
local clock = {}

local function off(name, who, strengths)
  return lib.primitive(name, lib.colours.clock, function(cluster)
    local nodes = cluster:pick(who)
    local spec = { kind = "clock", nodes = nodes, detail = lib.names(nodes) }
    return strengths(cluster, spec)
  end)
end

local function seconds_text(seconds)
  return string.format("%+.3f s", seconds)
end

-- The wall clock is off by `offset` seconds: a number or { low, high }; by default up to 10 s either way.
function clock.skew(who, options)
  options = lib.options_of("clock.skew", options, { offset = { -10, 10 } })
  return off("clock skew", who, function(_, spec)
    spec.offset = lib.draw("clock.skew: offset", options.offset)
    spec.detail = spec.detail .. " " .. seconds_text(spec.offset)
    return spec
  end)
end

-- The wall clock jumps far: `by` seconds, by default a minute to an hour, forward or back.
function clock.jump(who, options)
  options = lib.options_of("clock.jump", options, { by = lib.none })
  return off("clock jump", who, function(_, spec)
    local by = options.by or uniform(60, 3600) * choose { -1, 1 }
    spec.offset = lib.draw("clock.jump: by", by)
    spec.detail = spec.detail .. " " .. seconds_text(spec.offset)
    return spec
  end)
end

-- All clocks of the node run fast or slow by `ppm` millionths: by default at the bound that the cluster allows for
-- (cluster.clock_drift_ppm), fast or slow by chance.
function clock.drift(who, options)
  options = lib.options_of("clock.drift", options, { ppm = lib.none })
  return off("clock drift", who, function(cluster, spec)
    local ppm = options.ppm and lib.draw("clock.drift: ppm", options.ppm) or cluster.clock_drift_ppm * choose { -1, 1 }
    spec.drift_ppm = math.tointeger(ppm // 1)
    spec.detail = string.format("%s %+d ppm", spec.detail, spec.drift_ppm)
    return spec
  end)
end

-- The wall clock flickers: off by `offset` for `period` seconds, right for as long, and so on.
function clock.strobe(who, options)
  options = lib.options_of("clock.strobe", options, { offset = { -5, 5 }, period = 0.5 })
  return {
    name = "clock strobe",
    colour = lib.colours.clock,
    start = function(cluster)
      local nodes = cluster:pick(who)
      local state = { running = true }
      local offset = lib.draw("clock.strobe: offset", options.offset)
      local period = lib.draw("clock.strobe: period", options.period)
      if period < 0.01 then core.fail("clock.strobe: the period must be at least 0.01 seconds") end
      spawn(function(flicker)
        while state.running do
          local handle = flicker:inject { kind = "clock", name = "clock strobe", nodes = nodes, offset = offset,
            detail = lib.names(nodes) .. " " .. seconds_text(offset), colour = lib.colours.clock }
          sleep(period)
          flicker:lift(handle)
          sleep(period)
        end
      end)
      return state
    end,
    stop = function(_, state) state.running = false end,
  }
end

return { clock = clock }
