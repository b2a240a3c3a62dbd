-- The cluster object that a nemesis gets: who is there, who leads, and short ways to start and end faults. Also what
-- the other fault files share: choosing nodes, link tables, and making a fault out of one primitive. Nodes are numbered
-- from 1 and printed as n1, n2, ...
local core = ...

local colours = {
  link = "#d62728", kill = "#111111", pause = "#9467bd", slow = "#8c564b", clock = "#17becf", power = "#ff7f0e",
  disk = "#bcbd22", traffic = "#e377c2",
}

local Cluster = { __name = "cluster" }
Cluster.__index = Cluster

-- regions: a list of { name, nodes }. clients: the endpoints of the clients, one for each region or one for all.
local function new(nodes, drift_ppm, regions)
  local ids = {}
  for id = 1, nodes do ids[id] = id end
  local self = { nodes = ids, size = nodes, majority = nodes // 2 + 1, clients = { nodes + 1 }, active = {} }
  self.minority = nodes - self.majority
  self.clock_drift_ppm = drift_ppm
  self.region_nodes, self.region_clients, self.regions = {}, {}, {}
  for i, region in ipairs(regions) do
    self.regions[i], self.region_nodes[region.name] = region.name, region.nodes
    self.clients[i], self.region_clients[region.name] = nodes + i, nodes + i
  end
  return setmetatable(self, Cluster)
end

-- Text for a list of nodes.
local function names(nodes)
  local words = {}
  for i, node in ipairs(nodes) do words[i] = "n" .. node end
  return table.concat(words, " ")
end

local function contains(list, value)
  for _, element in ipairs(list) do
    if element == value then return true end
  end
  return false
end

-- --- who is there ---

-- Where no node leads, a live one chosen at random stands in for the leader, and the run's log says so.
local function stand_in(cluster)
  local peers = {}
  for _, node in ipairs(cluster.nodes) do
    local status = core.status(node)
    if status.up and status.role == "peer" then peers[#peers + 1] = node end
  end
  if #peers == 0 then return nil end
  if not cluster.leaderless then print("this target has no leader: where one is asked for, a random node stands in") end
  cluster.leaderless = true
  return choose(peers)
end

-- The live leader, or nil; of a target without leaders any live node.
function Cluster:leader()
  return core.leader() or stand_in(self)
end

-- Sleeps until there is a leader, at most that many seconds; returns it, or nil.
function Cluster:await_leader(timeout)
  local deadline = now() + (timeout or 30)
  local leader = self:leader()
  while not leader and now() < deadline do
    sleep(0.01)
    leader = self:leader()
  end
  return leader
end

function Cluster:followers()
  return self:without(self:leader())
end

-- The nodes in a region, as a list.
function Cluster:region(name)
  local nodes = rawget(self.region_nodes, name)
  if not nodes then
    core.fail("there is no region '" .. tostring(name) .. "'; there are: " .. table.concat(self.regions, ", "))
  end
  return table.move(nodes, 1, #nodes, 1, {})
end

function Cluster:random_node()
  return random(self.size)
end

-- up, paused, role, leader, term, commit_index, applied_index, last_index
function Cluster:status(node)
  return core.status(node)
end

-- Asks the leader to hand over to that node; false when there is none, or it cannot.
function Cluster:transfer(to)
  return core.transfer(to)
end

-- All nodes except those of a node, a list, or nil.
function Cluster:without(who)
  local out, rest = type(who) == "table" and who or { who }, {}
  for _, node in ipairs(self.nodes) do
    if not contains(out, node) then rest[#rest + 1] = node end
  end
  return rest
end

local selectors = {
  random = function(cluster) return { cluster:random_node() } end,
  leader = function(cluster) return { cluster:await_leader(5) or cluster:random_node() } end,
  follower = function(cluster) return { choose(cluster:followers()) } end,
  followers = function(cluster) return cluster:followers() end,
  minority = function(cluster) return subset(cluster.nodes, math.max(1, cluster.minority)) end,
  majority = function(cluster) return subset(cluster.nodes, cluster.majority) end,
  some = function(cluster) return subset(cluster.nodes) end,
  all = function(cluster) return cluster.nodes end,
}

-- The nodes that `who` means, as a sorted list: a node, a list, a function(cluster), or one of the words above.
function Cluster:pick(who)
  if who == nil then who = "random" end
  if type(who) == "function" then who = who(self) end
  local chosen = {}
  if type(who) == "string" then
    if self.size == 1 and (who == "follower" or who == "followers") then
      core.fail("a cluster of one node has no " .. who)
    end
    local select_nodes = rawget(selectors, who)
    if not select_nodes then
      core.fail("there are no nodes '" .. who .. "'; use a number, a list, or one of: leader, follower, followers, "
        .. "random, minority, majority, some, all")
    end
    who = select_nodes(self)
  end
  if type(who) ~= "table" then who = { who } end
  for _, node in ipairs(who) do
    if math.type(node) ~= "integer" or node < 1 or node > self.size then
      core.fail("there is no node " .. tostring(node) .. "; nodes are numbered from 1 to " .. self.size)
    end
    if not contains(chosen, node) then chosen[#chosen + 1] = node end
  end
  if #chosen == 0 then core.fail("no node is named: " .. (next(who) == nil and "the list is empty" or "not a list")) end
  table.sort(chosen)
  return chosen
end

-- --- where the leader is ---

local LEADER_REST = 5 -- seconds between two looks, so that who leads for once can lead

-- A nemesis that is none: asks whoever leads to hand over to one of these nodes, at the start and whenever another one
-- leads later. Where none leads it says so and ends.
local function keep_leader(wanted)
  return function(cluster)
    local placed = false
    while true do
      local leader = core.leader()
      if leader and contains(wanted, leader) then
        placed = true
      elseif leader then
        for _, node in ipairs(wanted) do
          if core.status(node).up then
            core.transfer(node)
            break
          end
        end
      elseif core.status(1).role == "peer" then
        print("this target has no leader: that one is to be " .. names(wanted) .. " means nothing to it")
        return
      end
      sleep(placed and LEADER_REST or 0.1)
    end
  end
end

-- --- links ---

-- links[from] = { to... }: everything that the nodes in `from` send to those in `to`. Adds to `links` when given.
local function directed(from, to, links)
  links = links or {}
  for _, a in ipairs(from) do
    links[a] = links[a] or {}
    for _, b in ipairs(to) do
      if a ~= b and not contains(links[a], b) then table.insert(links[a], b) end
    end
  end
  return links
end

local function both_ways(a, b, links)
  return directed(b, a, directed(a, b, links))
end

-- --- faults ---

-- Starts one primitive fault: kind, name, detail, colour, nodes or links, and its strengths. Returns its handle.
function Cluster:inject(spec)
  spec.colour = spec.colour or colours[spec.kind]
  local handle = { id = core.begin(spec), kind = spec.kind, nodes = spec.nodes or {} }
  table.insert(self.active, handle)
  return handle
end

-- Ends what inject started. Returns how often it had an effect; nil when it had ended before.
function Cluster:lift(handle)
  local affected = core.finish(handle.id)
  for i, other in ipairs(self.active) do
    if other == handle then
      table.remove(self.active, i)
      break
    end
  end
  return affected
end

local function lift_where(cluster, condition)
  for i = #cluster.active, 1, -1 do
    if condition(cluster.active[i]) then
      core.finish(table.remove(cluster.active, i).id)
    end
  end
end

local function check_fault(fault)
  if type(fault) ~= "table" or type(fault.start) ~= "function" then
    core.fail("a fault is needed (a table with start and stop, such as partition.halves()), not a " .. type(fault))
  end
  return fault
end

-- Starts any fault; the handle that comes back is for stop.
function Cluster:start(fault)
  check_fault(fault)
  return { fault = fault, state = fault.start(self) }
end

-- Returns how often the fault had an effect, where it can tell.
function Cluster:stop(handle)
  if type(handle) ~= "table" or not handle.fault then
    core.fail("stop needs the handle that start returned, not a " .. type(handle))
  end
  if handle.stopped then return end
  handle.stopped = true
  return handle.fault.stop and handle.fault.stop(self, handle.state)
end

-- Starts the fault, sleeps, ends it; returns what stop does.
function Cluster:during(fault, seconds)
  local handle = self:start(fault)
  sleep(seconds)
  return self:stop(handle)
end

-- Ends every fault of links that this object started.
function Cluster:heal()
  lift_where(self, function(handle) return handle.kind == "link" end)
end

-- Ends every fault that this object started.
function Cluster:restore()
  lift_where(self, function() return true end)
end

-- --- short ways ---

-- Cuts the nodes off from all other nodes; among themselves, and to clients, they still talk.
function Cluster:isolate(who)
  local inside = self:pick(who)
  local outside = self:without(inside)
  if #outside == 0 then core.fail("isolate: these are all nodes; nobody is left to be cut off from") end
  return self:inject { kind = "link", name = "isolate", detail = names(inside) .. " | " .. names(outside), cut = true,
    links = both_ways(inside, outside) }
end

-- Cuts the links between different groups: partition { {1, 2}, {3, 4, 5} }. Nodes that are not named form one more.
-- name and filter (which frames, as a tcpdump expression) may be left out.
function Cluster:partition(groups, name, filter)
  if type(groups) ~= "table" or #groups == 0 then
    core.fail("partition: a list of groups is needed, as in { {1, 2}, {3, 4, 5} }")
  end
  local parts, seen, words, links = {}, {}, {}, {}
  for i, group in ipairs(groups) do
    parts[i] = self:pick(group)
    for _, node in ipairs(parts[i]) do
      if contains(seen, node) then core.fail("partition: n" .. node .. " is in two groups") end
      seen[#seen + 1] = node
    end
  end
  local rest = self:without(seen)
  if #rest > 0 then parts[#parts + 1] = rest end
  if #parts < 2 then core.fail("partition: all nodes are in one group") end
  for i, part in ipairs(parts) do
    words[i] = names(part)
    for j = i + 1, #parts do both_ways(part, parts[j], links) end
  end
  return self:inject { kind = "link", name = name or "partition", detail = table.concat(words, " | "), cut = true,
    links = links, filter = filter }
end

local function on_nodes(kind, name)
  return function(self, who, options)
    local nodes = self:pick(who)
    local spec = { kind = kind, name = name, detail = names(nodes), nodes = nodes }
    for key, value in pairs(options or {}) do spec[key] = value end
    return self:inject(spec)
  end
end

Cluster.kill = on_nodes("kill", "kill") -- until start_node
Cluster.pause = on_nodes("pause", "pause") -- until resume

-- SIGTERM, and kill -9 for what still runs `grace` seconds later; until start_node.
function Cluster:terminate(who, options)
  local nodes = self:pick(who)
  return self:inject { kind = "kill", name = "terminate", detail = names(nodes), nodes = nodes,
    grace = options and options.grace or 10 }
end

-- Kills the nodes, and of each write that was not synced a share survives whole (keep) or in part (tear).
function Cluster:power_loss(who, options)
  options = options or {}
  local nodes = self:pick(who)
  return self:inject { kind = "power", name = "power loss", detail = names(nodes), nodes = nodes,
    keep = options.keep or 0.3, tear = options.tear or 0.2 }
end

local function end_on_nodes(...)
  local kinds = { ... }
  return function(self, who)
    local nodes = who and self:pick(who)
    lift_where(self, function(handle)
      if not contains(kinds, handle.kind) then return false end
      if not nodes then return true end
      for _, node in ipairs(handle.nodes) do
        if contains(nodes, node) then return true end
      end
      return false
    end)
  end
end

Cluster.start_node = end_on_nodes("kill", "power") -- what this object killed; without an argument, all of it
Cluster.resume = end_on_nodes("pause")

-- --- for the other files ---

-- A fault of one primitive. build(cluster) returns its spec at the time of the start.
local function primitive(name, colour, build)
  return {
    name = name,
    colour = colour,
    start = function(cluster)
      local spec = build(cluster)
      spec.name, spec.colour = spec.name or name, colour
      return cluster:inject(spec)
    end,
    stop = function(cluster, handle) return cluster:lift(handle) end,
  }
end

-- Reads a table of options: returns a copy with defaults; refuses names that are not in the defaults. A default of
-- `core.none` stands for nil.
local none = {}
local function options_of(what, given, defaults)
  if given ~= nil and type(given) ~= "table" then
    core.fail(what .. ": the options are a table of named fields, not a " .. type(given))
  end
  local out, known = {}, {}
  for key, value in pairs(defaults) do
    known[#known + 1] = key
    if value ~= none then out[key] = value end
  end
  for key, value in pairs(given or {}) do
    if rawget(defaults, key) == nil then
      core.fail(what .. ": unknown option '" .. tostring(key) .. "'; there are: " .. table.concat(known, ", "))
    end
    out[key] = value
  end
  return out
end

-- A number, or drawn from { low, high }, or what a function returns.
local function draw(what, value)
  if type(value) == "function" then value = value() end
  if type(value) == "table" then
    if type(value[1]) ~= "number" or type(value[2]) ~= "number" then
      core.fail(what .. ": a number or { low, high } is needed")
    end
    value = uniform(value[1], value[2])
  end
  if type(value) ~= "number" then core.fail(what .. ": a number is needed, not a " .. type(value)) end
  return value
end

-- The same for a field that takes whole numbers only: drawn, when the fault starts, from those between low and high.
local function draw_whole(what, value)
  return function()
    local drawn = draw(what, value)
    return type(value) == "number" and drawn or math.tointeger(drawn // 1)
  end
end

return {
  new = new, names = names, contains = contains, directed = directed, both_ways = both_ways, primitive = primitive,
  options_of = options_of, none = none, draw = draw, draw_whole = draw_whole, colours = colours,
  check_fault = check_fault, keep_leader = keep_leader,
}
