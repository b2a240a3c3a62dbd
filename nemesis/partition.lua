-- Partitions: ways to cut a network in parts. Each function returns a fault; who is on which side is decided when it
-- starts. Clients reach every node all the time, unless said otherwise. The last argument of each is a table of
-- options; all know
--   filter =   cuts only frames that match this tcpdump expression, such as "tcp port 7400" (real networks only)
local core = ...
local lib = core.import("nemesis/cluster.lua")
local partition = {}

-- The options of partition.<what>, which all have a filter.
local function options_of(what, given, defaults)
  defaults = defaults or {}
  defaults.filter = lib.none
  return lib.options_of("partition." .. what, given, defaults)
end

local function cut(name, options, plan)
  return lib.primitive(name, lib.colours.link, function(cluster)
    if cluster.size < 2 then core.fail(name .. ": a cluster of one node cannot be parted") end
    local links, detail = plan(cluster)
    return { kind = "link", cut = true, links = links, detail = detail, filter = options.filter }
  end)
end

local function sides(a, b)
  return lib.both_ways(a, b), lib.names(a) .. " | " .. lib.names(b)
end

local function split_off(cluster, inside, what)
  local outside = cluster:without(inside)
  if #outside == 0 then core.fail(what .. ": these are all nodes; nobody is left on the other side") end
  return sides(inside, outside)
end

-- The chosen nodes against all others. options: clients = true cuts them off from the clients too.
function partition.isolate(who, options)
  options = options_of("isolate", options, { clients = false })
  return cut("isolate", options, function(cluster)
    local inside = cluster:pick(who)
    local links, detail = split_off(cluster, inside, "partition.isolate")
    if options.clients then lib.both_ways(inside, cluster.clients, links) end
    return links, detail
  end)
end

-- A whole region, its clients with it, against all others: by name, or a random one.
function partition.region(name, options)
  return cut("region cut", options_of("region", options), function(cluster)
    if #cluster.regions < 2 then core.fail("partition.region: the scenario has no two regions") end
    local region = name or choose(cluster.regions)
    local inside = cluster:region(region)
    if #inside == 0 or #inside == cluster.size then
      core.fail("partition.region: " .. region .. " has " .. (#inside == 0 and "no node" or "all nodes"))
    end
    local outside = cluster:without(inside)
    local links = lib.both_ways(inside, outside)
    local clients = cluster.region_clients[region]
    lib.both_ways({ clients }, outside, links)
    for _, other in ipairs(cluster.clients) do
      if other ~= clients then lib.both_ways({ other }, inside, links) end
    end
    return links, region .. ": " .. lib.names(inside) .. " | " .. lib.names(outside)
  end)
end

-- One node against all others; which one: "leader" and so on, by default any.
function partition.one(who, options)
  return cut("partition one", options_of("one", options), function(cluster)
    return split_off(cluster, cluster:pick(who), "partition.one")
  end)
end

-- Two random halves; with an odd number of nodes one side is a majority.
function partition.halves(options)
  return cut("partition halves", options_of("halves", options), function(cluster)
    local order = shuffle(cluster.nodes)
    local inside = cluster:pick(table.pack(table.unpack(order, 1, cluster.size // 2)))
    return split_off(cluster, inside, "partition.halves")
  end)
end

-- A majority against the largest minority. options: leader = "minority" or "majority" says on which side the leader is.
function partition.majority_minority(options)
  options = options_of("majority_minority", options, { leader = lib.none })
  local side = options.leader
  if side ~= nil and side ~= "minority" and side ~= "majority" then
    core.fail("partition.majority_minority: leader must be \"minority\" or \"majority\"")
  end
  return cut("partition majority", options, function(cluster)
    local leader = side and cluster:await_leader(5)
    local order = shuffle(cluster.nodes)
    if leader then -- to the front, where the minority is taken from, or to the back
      order = shuffle(cluster:without(leader))
      table.insert(order, side == "minority" and 1 or #order + 1, leader)
    end
    local inside = cluster:pick(table.pack(table.unpack(order, 1, math.max(1, cluster.minority))))
    return split_off(cluster, inside, "partition.majority_minority")
  end)
end

-- The nodes in a random ring, each seeing only its nearest neighbours, just enough for a majority: everyone sees a
-- majority, and no two see the same one. Three nodes are too few for that: they become a line, the leader at an end.
function partition.ring(options)
  return cut("partition ring", options_of("ring", options), function(cluster)
    local order, links = shuffle(cluster.nodes), {}
    local n = cluster.size
    if n == 3 then
      local leader = cluster:await_leader(5) or order[1]
      lib.both_ways({ leader }, { choose(cluster:without(leader)) }, links)
    end
    local reach = cluster.majority // 2 -- on each side: with itself at least a majority
    for i = 1, n do
      for j = i + 1, n do
        local distance = math.min(j - i, n - (j - i))
        if distance > reach then lib.both_ways({ order[i] }, { order[j] }, links) end
      end
    end
    return links, "ring " .. lib.names(order)
  end)
end

-- Two halves that see each other only through one node, which sees all. who: the bridge, by default a follower (all
-- that a leader does goes through itself: as the bridge it would notice nothing).
function partition.bridge(who, options)
  return cut("partition bridge", options_of("bridge", options), function(cluster)
    if cluster.size < 3 then core.fail("partition.bridge: at least three nodes are needed") end
    local bridge = cluster:pick(who or "follower")[1]
    local order = shuffle(cluster:without(bridge))
    local half = #order // 2
    local a = cluster:pick(table.pack(table.unpack(order, 1, half)))
    local b = cluster:pick(table.pack(table.unpack(order, half + 1)))
    return lib.both_ways(a, b), lib.names(a) .. " | " .. lib.names { bridge } .. " | " .. lib.names(b)
  end)
end

-- What `from` sends to `to` is lost; the other direction works. By default from the leader to a follower.
function partition.one_way(from, to, options)
  return cut("one-way cut", options_of("one_way", options), function(cluster)
    local senders = cluster:pick(from or "leader")
    local others = cluster:without(senders)
    if #others == 0 then core.fail("partition.one_way: all nodes are senders; nobody is left to receive") end
    local receivers = to and cluster:pick(to) or { choose(others) }
    return lib.directed(senders, receivers), lib.names(senders) .. " -> " .. lib.names(receivers)
  end)
end

-- Any groups: partition.groups { {1, 2}, {3, 4, 5} }.
function partition.groups(groups, options)
  options = options_of("groups", options)
  return {
    name = "partition",
    colour = lib.colours.link,
    start = function(cluster) return cluster:partition(groups, nil, options.filter) end,
    stop = function(cluster, handle) return cluster:lift(handle) end,
  }
end

return { partition = partition }
