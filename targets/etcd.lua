-- etcd 3.4 (Debian's etcd-server) through its JSON gateway: keys and values in base64, 64-bit numbers as texts. A value
-- is stored as its JSON text; a key that is not there is nil.
--
-- heartbeat and election are in ms. Reads that are serializable ask one member only, which answers with what it knows:
-- they may be stale.

local function url(node, port)
  return "http://" .. node.address .. ":" .. port
end

-- The body of a successful answer; else nil, the reason, and whether the request may have had an effect.
local function call(connection, path, request)
  local status, body, sent = connection.http:post(path, json.encode(request))
  if not status then return nil, body, sent end
  local answer = json.decode(body)
  if status == 200 and type(answer) == "table" then return answer end
  local reason = type(answer) == "table" and (answer.error or answer.message)
  reason = type(reason) == "string" and reason or ("HTTP status " .. status)
  -- Refused before it was proposed: by the quota on proposals, the limit of size, or for want of a known leader.
  local refused = reason:find("too many requests", 1, true) or reason:find("request is too large", 1, true)
    or reason == "etcdserver: no leader"
  return nil, reason, not refused
end

local function unanswered(reason, sent)
  return sent and info(reason) or fail(reason)
end

local function encode(value)
  return base64.encode(json.encode(value))
end

-- The value, and the revision in which the key last changed (0: it is not there); or false and the reason.
local function get(connection, key, serializable)
  local answer, reason = call(connection, "/v3/kv/range", { key = base64.encode(key), serializable = serializable })
  if not answer then return false, reason end
  local found = answer.kvs and answer.kvs[1]
  if not found then return true, nil, 0 end
  local value = json.decode(base64.decode(found.value))
  return true, value, math.tointeger(found.mod_revision)
end

local function put_request(key, value)
  return { requestPut = { key = base64.encode(key), value = encode(value) } }
end

-- True when the comparison held and the put was done; false when it did not hold; nil, reason, sent when unknown.
local function put_if(connection, compare, key, value)
  compare.key = base64.encode(key)
  compare.result = "EQUAL"
  local request = { compare = { compare }, success = { put_request(key, value) } }
  local answer, reason, sent = call(connection, "/v3/kv/txn", request)
  if not answer then return nil, reason, sent end
  return answer.succeeded == true
end

-- Reads, changes, and writes if nobody else did in between, again and again. An attempt that failed for certain may be
-- repeated; one that was not answered may not, since it may have been done.
local function update(connection, key, argument, kind, change)
  while true do
    local found, value, revision = get(connection, key, false)
    if not found then return fail(value) end
    if value ~= nil and type(value) ~= kind then return fail("the key holds a " .. type(value)) end
    local done, reason, sent = put_if(connection, { target = "MOD", mod_revision = revision }, key, change(value))
    if done then return ok(argument) end
    if done == nil then return unanswered(reason, sent) end
  end
end

local kept = {} -- connections to ask members how they are, by node

local function asking(node)
  kept[node.id] = kept[node.id] or { http = http.connect(url(node, 2379)) }
  return kept[node.id]
end

local numbers -- of nodes, by member id

-- What a member says of itself, and its id's number in the cluster.
local function ask(cluster, node)
  local connection = asking(node)
  if not numbers then
    local list = call(connection, "/v3/cluster/member/list", {})
    if not list or not list.members then return nil end
    local found = {}
    for _, member in ipairs(list.members) do
      for _, other in ipairs(cluster.nodes) do
        if member.name == other.name then found[member.ID] = other.id end
      end
    end
    numbers = found
  end
  return call(connection, "/v3/maintenance/status", {})
end

return {
  doc = "etcd 3.4, of the package etcd-server, asked through its JSON gateway",
  install = { package = "etcd-server", command = "etcd" },
  ports = { client = 2379, peer = 2380 },
  settings = {
    reads = { "linearizable", "serializable" },
    heartbeat = 100,
    election = 1000,
    snapshot_count = 100000,
    pre_vote = { "false", "true" },
  },

  node = function(cluster, node)
    local members = {}
    for _, other in ipairs(cluster.nodes) do
      members[#members + 1] = other.name .. "=" .. url(other, 2380)
    end
    local argv = {
      "etcd", "--name", node.name, "--data-dir", node.folder .. "/data",
      "--listen-client-urls", url(node, 2379), "--advertise-client-urls", url(node, 2379),
      "--listen-peer-urls", url(node, 2380), "--initial-advertise-peer-urls", url(node, 2380),
      "--initial-cluster", table.concat(members, ","), "--initial-cluster-state", "new",
      "--initial-cluster-token", "harrow" .. cluster.nodes[1].folder,
      "--heartbeat-interval", cluster.settings.heartbeat,
      "--election-timeout", cluster.settings.election,
      "--snapshot-count", cluster.settings.snapshot_count,
      "--logger", "zap", "--log-outputs", "stderr",
    }
    if cluster.settings.pre_vote == "true" then argv[#argv + 1] = "--pre-vote" end
    return { argv = argv }
  end,

  ready = function(_, node)
    local status, body = asking(node).http:get("/health")
    return status == 200 and body:find('"health":"true"', 1, true) ~= nil
  end,

  status = function(cluster, node)
    local answer = ask(cluster, node)
    if not answer then return nil end
    local own = answer.header.member_id
    local role = "follower"
    if answer.leader == own then
      role = "leader"
    elseif not answer.leader or answer.leader == "0" then
      role = "candidate"
    end
    return {
      role = role,
      leader = numbers[answer.leader],
      term = math.tointeger(answer.raftTerm),
      applied = math.tointeger(answer.raftAppliedIndex),
      last = math.tointeger(answer.raftIndex),
    }
  end,

  transfer = function(cluster, from, to)
    ask(cluster, from) -- so that the numbers are known
    for member, id in pairs(numbers or {}) do
      if id == to.id then call(asking(from), "/v3/maintenance/transfer-leadership", { targetID = member }) end
    end
  end,

  open = function(cluster, node)
    return { http = http.connect(url(node, 2379)), serializable = cluster.settings.reads == "serializable" }
  end,

  close = function(connection)
    connection.http:close()
  end,

  operations = {
    read = function(connection, key)
      local found, value = get(connection, key, connection.serializable)
      if not found then return fail(value) end
      return ok(value)
    end,

    write = function(connection, key, value)
      local request = put_request(key, value).requestPut
      local answer, reason, sent = call(connection, "/v3/kv/put", request)
      return answer and ok(value) or unanswered(reason, sent)
    end,

    delete = function(connection, key)
      local answer, reason, sent = call(connection, "/v3/kv/deleterange", { key = base64.encode(key) })
      return answer and ok(nil) or unanswered(reason, sent)
    end,

    cas = function(connection, key, expected, value)
      local compare = { target = "CREATE", create_revision = 0 }
      if expected ~= nil then compare = { target = "VALUE", value = encode(expected) } end
      local done, reason, sent = put_if(connection, compare, key, value)
      if done == nil then return unanswered(reason, sent) end
      return done and ok(nil) or fail("mismatch")
    end,

    append = function(connection, key, element)
      return update(connection, key, element, "table", function(list)
        list = list or json.array()
        list[#list + 1] = element
        return list
      end)
    end,

    add = function(connection, key, amount)
      return update(connection, key, amount, "number", function(count)
        return (count or 0) + amount
      end)
    end,
  },
}
