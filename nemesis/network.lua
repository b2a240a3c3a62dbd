-- Bad links that are not cut: slow, lossy, doubling, shuffling or corrupting. Each function takes one table: its own
-- strengths, and which links it means:
--   (nothing)       every link between two nodes
--   nodes = who     the links to and from these nodes
--   from =, to =    what these send to those (one direction)
--   clients = true  the links between clients and the nodes in question, too
--   filter =        only frames that match this tcpdump expression, such as "tcp port 7400" (real networks only)
-- A strength may be a number, or { low, high } to draw from at each start.
local core = ...
local lib = core.import("nemesis/cluster.lua")
local network = {}

local function links_of(cluster, options)
  local links, touched, detail
  if options.from or options.to then
    local from, to = cluster:pick(options.from or "all"), cluster:pick(options.to or "all")
    links, touched = lib.directed(from, to), from
    detail = lib.names(from) .. " -> " .. lib.names(to)
  elseif options.nodes then
    touched = cluster:pick(options.nodes)
    links, detail = lib.both_ways(touched, cluster.nodes), lib.names(touched)
  else
    touched = cluster.nodes
    links, detail = lib.both_ways(touched, touched), "all links"
  end
  if options.clients then
    lib.both_ways(touched, cluster.clients, links)
    detail = detail .. " and clients"
  end
  return links, detail
end

-- Makes the function for one kind of trouble; strengths: names of the primitive's fields and their defaults.
local function trouble(what, name, strengths, regardless)
  local defaults = { nodes = lib.none, from = lib.none, to = lib.none, clients = false, filter = lib.none }
  for key, value in pairs(strengths) do defaults[key] = value end
  return function(given)
    local options = lib.options_of("network." .. what, given, defaults)
    return lib.primitive(name, lib.colours.traffic, function(cluster)
      local spec = { kind = "link", filter = options.filter, corrupt_regardless = regardless }
      spec.links, spec.detail = links_of(cluster, options)
      for key in pairs(strengths) do
        local strength = options[key] and lib.draw("network." .. what .. ": " .. key, options[key])
        local field = key == "by" and "delay" or key == "p" and what or key == "bytes_per_s" and "rate" or key
        if field == "rate" then strength = strength and math.tointeger(strength // 1) end
        spec[field] = strength
      end
      return spec
    end)
  end
end

network.delay = trouble("delay", "delay", { by = 0.1, jitter = 0.02 }) -- seconds, one way
network.loss = trouble("loss", "packet loss", { p = 0.2 })
network.duplicate = trouble("duplicate", "duplication", { p = 0.2 })
network.reorder = trouble("reorder", "reordering", { p = 0.3, jitter = 0.005 })
-- checksums = "repaired": the application gets what was changed; "broken": the kernel notices and drops it. By default
-- repaired, but broken for a target that has no checksums of its own and so cannot notice.
local noticed = trouble("corrupt", "corruption", { p = 0.05 })
local repaired = trouble("corrupt", "corruption", { p = 0.05 }, true)
local broken = trouble("damage", "damaged frames", { p = 0.05 })
function network.corrupt(given)
  if type(given) ~= "table" or given.checksums == nil then return noticed(given) end
  local options = {}
  for key, value in pairs(given) do options[key] = value end
  local checksums = options.checksums
  options.checksums = nil
  if checksums ~= "repaired" and checksums ~= "broken" then
    core.fail("network.corrupt: checksums must be \"repaired\" or \"broken\"")
  end
  return checksums == "broken" and broken(options) or repaired(options)
end
network.rate = trouble("rate", "low bandwidth", { bytes_per_s = 50000 })
-- Several at once, as one fault.
network.storm = trouble("storm", "packet storm", {
  loss = 0.05, duplicate = 0.1, reorder = 0.2, corrupt = 0.01, by = 0.002, jitter = 0.005 })

-- One follower behind a thin and long line, both ways. who: another choice.
local slow = trouble("slow_link", "slow link", { by = 0.05, jitter = 0.02, bytes_per_s = 100000 })
function network.slow_link(given)
  local options = {}
  for key, value in pairs(given or {}) do options[key] = value end
  if not options.from and not options.to and not options.nodes then options.nodes = "follower" end
  return slow(options)
end

return { network = network }
