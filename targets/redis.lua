-- Redis 7 (Debian's redis-server): node 1 is the primary, the others replicate from it; nobody is promoted. Replication
-- is asynchronous. Reads and writes ask the primary; with reads=any, reads ask the node that the client is bound to,
-- and may be stale. A value is stored as its JSON text, a list as a Redis list.

local port = 6379

-- A command's reply, or an outcome that says why there is none.
local function call(connection, ...)
  local reply, word, sent, text = connection:command(...)
  if word == "reply" then return nil, fail(text) end
  if word then return nil, sent and info(word) or fail(word) end
  return reply
end

local function decode(text)
  if text == nil then return nil end
  return (json.decode(text))
end

-- The primary, and whom reads ask.
local function open(cluster, node)
  local primary, word = redis.connect(cluster.nodes[1].address, port)
  if not primary then return nil, word end
  local read = primary
  if cluster.settings.reads == "any" then
    read, word = redis.connect(node.address, port)
    if not read then return nil, word end
  end
  return { primary = primary, read = read }
end

-- KEYS[1]; ARGV: whether it must exist, what it must hold, what it shall hold.
local compare_and_set = [[
local held = redis.call('GET', KEYS[1])
if ARGV[1] == '1' and held ~= ARGV[2] or ARGV[1] == '0' and held then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
return 1]]

return {
  doc = "Redis 7, of the package redis-server: one primary (node 1) and replicas, without failover",
  install = { package = "redis-server", command = "redis-server" },
  ports = { client = port },
  settings = { reads = { "primary", "any" }, appendfsync = { "everysec", "always", "no" } },

  node = function(cluster, node)
    local argv = {
      "redis-server", "--port", port, "--bind", node.address, "--protected-mode", "no", "--dir", node.folder,
      "--appendonly", "yes", "--appendfsync", cluster.settings.appendfsync, "--save", "",
    }
    if node.id > 1 then
      for _, word in ipairs { "--replicaof", cluster.nodes[1].address, port } do argv[#argv + 1] = word end
    end
    return { argv = argv }
  end,

  ready = function(_, node)
    local connection = redis.connect(node.address, port)
    return connection ~= nil and connection:command("PING") == "PONG"
  end,

  leader = function()
    return 1
  end,

  status = function(_, node)
    local connection = redis.connect(node.address, port)
    local text = connection and connection:command("INFO", "replication")
    if type(text) ~= "string" then return nil end
    local offset = math.tointeger(tonumber(text:match("master_repl_offset:(%d+)")))
    return {
      role = text:find("role:master", 1, true) and "leader" or "follower",
      leader = 1,
      applied = offset,
      last = offset,
    }
  end,

  open = open,

  close = function(connection)
    connection.primary:close()
    connection.read:close()
  end,

  operations = {
    read = function(connection, key)
      local kind, failure = call(connection.read, "TYPE", key)
      if failure then return failure end
      local reply
      if kind == "list" then
        reply, failure = call(connection.read, "LRANGE", key, 0, -1)
        if failure then return failure end
        for i, text in ipairs(reply) do reply[i] = decode(text) end
        return ok(reply)
      end
      reply, failure = call(connection.read, "GET", key)
      return failure or ok(decode(reply))
    end,

    write = function(connection, key, value)
      local _, failure = call(connection.primary, "SET", key, json.encode(value))
      return failure or ok(value)
    end,

    delete = function(connection, key)
      local _, failure = call(connection.primary, "DEL", key)
      return failure or ok(nil)
    end,

    cas = function(connection, key, expected, value)
      local exists, held = "0", ""
      if expected ~= nil then exists, held = "1", json.encode(expected) end
      local done, failure = call(connection.primary, "EVAL", compare_and_set, 1, key, exists, held, json.encode(value))
      if failure then return failure end
      return done == 1 and ok(nil) or fail("mismatch")
    end,

    append = function(connection, key, element)
      local _, failure = call(connection.primary, "RPUSH", key, json.encode(element))
      return failure or ok(nil)
    end,

    add = function(connection, key, amount)
      local count, failure = call(connection.primary, "INCRBY", key, amount)
      return failure or ok(count)
    end,
  },
}
