-- Generators: what the clients do next, as values that combine (the design of Jepsen's generators). All are pure: asked
-- for an operation, a generator returns it together with the generator of what follows, and itself stays as it was; so
-- the loop can ask, wait, learn of a completion, and ask again.
--
-- A generator is one of
--   nil                       nothing more
--   { f = "read", key = "x" } one operation
--   function(ctx)             called for a generator whenever one is needed, until it returns nil
--   { g1, g2, ... }           one after the other
--   an object that the functions below make
--
-- ask(generator, ctx) returns nil (it is over), or operation and next generator, or PENDING, next generator and perhaps
-- a time: nothing can be done before a completion comes or that time (in nanoseconds) is reached. A context has now
-- (nanoseconds), time (seconds), clients (numbers of all), free (those with nothing open), process (by client).
local core = ...
local gen = {}
local PENDING = setmetatable({}, { __name = "pending" })
local EMPTY_STEPS_MAX = 10000 -- of functions or filters that yield nothing, before it is an error
local ask, tell

-- --- helpers ---

local function nanoseconds(seconds, what)
  return core.nanoseconds(seconds, what)
end

local function count_of(n, what)
  if math.type(n) ~= "integer" or n < 0 then core.fail(what .. ": a whole number is needed, not " .. tostring(n)) end
  return n
end

local function copy(t)
  local out = {}
  for key, value in pairs(t) do out[key] = value end
  return out
end

local function copy_list(list)
  return table.move(list, 1, #list, 1, {})
end

local function function_of(f, what)
  if type(f) ~= "function" then core.fail(what .. ": a function is needed, not a " .. type(f)) end
  return f
end

-- The context of some clients only; set[client] is true for those.
local function restrict(ctx, set)
  local free, clients = {}, {}
  for _, client in ipairs(ctx.free) do
    if set[client] then free[#free + 1] = client end
  end
  for _, client in ipairs(ctx.clients) do
    if set[client] then clients[#clients + 1] = client end
  end
  return { now = ctx.now, time = ctx.time, process = ctx.process, clients = clients, free = free }
end

local function earlier(a, b)
  if a and b then return math.min(a, b) end
  return a or b
end

-- --- the protocol ---

local Generator = { __name = "generator" } -- the metatable of objects: an object has ask and, if it reacts, tell
Generator.__index = Generator

function Generator:tell()
  return self
end

local function make(object)
  return setmetatable(object, Generator)
end

local function is_object(g)
  return type(g) == "table" and getmetatable(g) == Generator
end

local function is_operation(g)
  return type(g) == "table" and rawget(g, "f") ~= nil
end

local operation_fields = { f = true, key = true, value = true, client = true, time = true }

-- Fills in time and client; PENDING when no client of the context, or not the wanted one, is free.
local function fill(op, ctx)
  for field in pairs(op) do
    if not operation_fields[field] then
      core.fail("an operation has no field '" .. tostring(field) .. "'; it has f, key, value, client and time")
    end
  end
  if type(op.f) ~= "string" then core.fail("an operation needs f, a text such as \"read\"") end
  if op.key ~= nil and type(op.key) ~= "string" and math.type(op.key) ~= "integer" then
    core.fail("the key of an operation is a text or a whole number, not a " .. type(op.key))
  end
  local client = op.client
  if client then
    local found = false
    for _, free in ipairs(ctx.free) do found = found or free == client end
    if not found then return PENDING end
  else
    if #ctx.free == 0 then return PENDING end
    client = ctx.free[random(#ctx.free)]
  end
  return { f = op.f, key = op.key, value = op.value, client = client, time = op.time or ctx.now }
end

-- What follows in a list: `first` before the elements from `at` on.
local function sequence(first, list, at)
  if first == nil and at > #list then return nil end
  return make {
    ask = function(self, ctx)
      local head, i = first, at
      while true do
        if head ~= nil then
          local op, rest, wake = ask(head, ctx)
          if op then return op, sequence(rest, list, i), wake end
        end
        if i > #list then return nil end
        head, i = list[i], i + 1
      end
    end,
    tell = function(self, ctx, event)
      if first == nil then return self end
      return sequence(tell(first, ctx, event), list, at)
    end,
  }
end

-- A function, with what its last call returned in front.
local function calls(f, current)
  return make {
    ask = function(self, ctx)
      local head = current
      for _ = 1, EMPTY_STEPS_MAX do
        if head == nil then
          head = f(ctx)
          if head == nil then return nil end
        end
        local op, rest, wake = ask(head, ctx)
        if op then
          if rest == nil then return op, f, wake end
          return op, calls(f, rest), wake
        end
        head = nil
      end
      core.fail("a generator function returned nothing but generators without operations")
    end,
    tell = function(self, ctx, event)
      return calls(f, tell(current, ctx, event))
    end,
  }
end

-- Asks any generator.
function ask(g, ctx)
  if g == nil then return nil end
  local kind = type(g)
  if kind == "function" then return calls(g):ask(ctx) end
  if kind == "table" then
    if is_object(g) then return g:ask(ctx) end
    if is_operation(g) then
      local op = fill(g, ctx)
      if op == PENDING then return PENDING, g end
      return op, nil
    end
    if getmetatable(g) == nil and (#g > 0 or next(g) == nil) then return sequence(nil, g, 1):ask(ctx) end
  end
  core.fail("this is no generator: " .. (kind == "table" and "a table without f and without elements" or "a " .. kind)
    .. "; it is an operation { f = ... }, a function, a list, or made by a function of gen")
end

-- Tells any generator of an event; returns what it becomes. An event has type ("invoke", "ok", "fail", "info"), client,
-- process, f, key, now, time, and value: of a read that is ok what was read, else what the operation was given.
function tell(g, ctx, event)
  if is_object(g) then return g:tell(ctx, event) end
  return g
end

-- Of several asked side by side, the one whose operation comes first; among equals a random one. Each entry of `asked`
-- is { op, rest, wake }; returns its index, or nil when all are over or pending.
local function soonest(asked)
  local best, equals
  for i, entry in ipairs(asked) do
    local op = entry.op
    if op and op ~= PENDING then
      if not best or op.time < asked[best].op.time then
        best, equals = i, 1
      elseif op.time == asked[best].op.time then
        equals = equals + 1
        if random(equals) == 1 then best = i end
      end
    end
  end
  return best
end

-- --- order ---

-- One after the other, as a plain list does.
function gen.sequence(...)
  return sequence(nil, { ... }, 1)
end

-- Waits until every client is free, then goes on as g.
function gen.synchronize(g)
  return make {
    ask = function(self, ctx)
      if #ctx.free < #ctx.clients then return PENDING, self end
      return ask(g, ctx)
    end,
  }
end

-- Each part begins when every operation of the one before has ended.
function gen.phases(...)
  local parts = {}
  for i, g in ipairs { ... } do parts[i] = gen.synchronize(g) end
  return sequence(nil, parts, 1)
end

-- Alternates between a and b, until one is over.
function gen.flip_flop(a, b)
  return make {
    ask = function(self, ctx)
      local op, rest, wake = ask(a, ctx)
      if op == nil then return nil end
      if op == PENDING then return PENDING, gen.flip_flop(rest, b), wake end
      return op, gen.flip_flop(b, rest)
    end,
    tell = function(self, ctx, event)
      return gen.flip_flop(tell(a, ctx, event), tell(b, ctx, event))
    end,
  }
end

-- Runs g to its end, and again from its beginning: times times, or for ever: cycle(g), cycle(times, g).
function gen.cycle(times, g)
  if g == nil then times, g = nil, times end
  if times then count_of(times, "gen.cycle") end
  local function round(left, current)
    return make {
      ask = function(self, ctx)
        local head, rounds = current, left
        for _ = 1, EMPTY_STEPS_MAX do
          if rounds and rounds <= 0 then return nil end
          local op, rest, wake = ask(head, ctx)
          if op then return op, round(rounds, rest), wake end
          head, rounds = g, rounds and rounds - 1
        end
        core.fail("gen.cycle: the generator has no operations")
      end,
      tell = function(self, ctx, event)
        return round(left, tell(current, ctx, event))
      end,
    }
  end
  return round(times, g)
end

-- The first operation of g again and again: repeated(g), repeated(times, g). g itself never advances.
function gen.repeated(times, g)
  if g == nil then times, g = nil, times end
  if times then count_of(times, "gen.repeated") end
  if times == 0 then return gen.sequence() or {} end
  return make {
    ask = function(self, ctx)
      local op, rest, wake = ask(g, ctx)
      if op == nil then return nil end
      if op == PENDING then return PENDING, gen.repeated(times, rest), wake end
      if times == 1 then return op, nil end
      return op, gen.repeated(times and times - 1, g)
    end,
    tell = function(self, ctx, event)
      return gen.repeated(times, tell(g, ctx, event))
    end,
  }
end

-- --- how many, how long ---

-- At most n operations.
function gen.limit(n, g)
  count_of(n, "gen.limit")
  return make {
    ask = function(self, ctx)
      if n == 0 then return nil end
      local op, rest, wake = ask(g, ctx)
      if op == nil then return nil end
      return op, gen.limit(op == PENDING and n or n - 1, rest), wake
    end,
    tell = function(self, ctx, event)
      return gen.limit(n, tell(g, ctx, event))
    end,
  }
end

-- The first operation only.
function gen.once(g)
  return gen.limit(1, g)
end

-- Operations that are due within so many seconds from when it is first asked.
function gen.time_limit(seconds, g)
  local duration = nanoseconds(seconds, "gen.time_limit")
  local function until_end(stop, current)
    return make {
      ask = function(self, ctx)
        local deadline = stop or ctx.now + duration
        if ctx.now >= deadline then return nil end
        local op, rest, wake = ask(current, ctx)
        if op == nil then return nil end
        if op == PENDING then return PENDING, until_end(deadline, rest), earlier(wake, deadline) end
        if op.time >= deadline then return nil end
        return op, until_end(deadline, rest)
      end,
      tell = function(self, ctx, event)
        return until_end(stop, tell(current, ctx, event))
      end,
    }
  end
  return until_end(nil, g)
end

-- Ends when n different processes have acted. A process whose operation ended unknown is succeeded by a new one.
function gen.process_limit(n, g)
  count_of(n, "gen.process_limit")
  local function limited(seen, count, current)
    return make {
      ask = function(self, ctx)
        local op, rest, wake = ask(current, ctx)
        if op == nil then return nil end
        if op == PENDING then return PENDING, limited(seen, count, rest), wake end
        local process = ctx.process[op.client]
        if seen[process] then return op, limited(seen, count, rest) end
        if count == n then return nil end
        local more = copy(seen)
        more[process] = true
        return op, limited(more, count + 1, rest)
      end,
      tell = function(self, ctx, event)
        return limited(seen, count, tell(current, ctx, event))
      end,
    }
  end
  return limited({}, 0, g)
end

-- Operations of g until one of them has ended ok.
function gen.until_ok(g)
  local function waiting(open, current)
    return make {
      ask = function(self, ctx)
        local op, rest, wake = ask(current, ctx)
        if op == nil then return nil end
        if op == PENDING then return PENDING, waiting(open, rest), wake end
        local more = copy(open)
        more[ctx.process[op.client]] = true
        return op, waiting(more, rest)
      end,
      tell = function(self, ctx, event)
        local rest = tell(current, ctx, event)
        if not open[event.process] or event.type == "invoke" then return waiting(open, rest) end
        if event.type == "ok" then return nil end
        local fewer = copy(open)
        fewer[event.process] = nil
        return waiting(fewer, rest)
      end,
    }
  end
  return waiting({}, g)
end

-- --- when ---

-- Operations on average so many seconds apart (exponentially distributed), over all clients together.
function gen.stagger(seconds, g)
  local mean = nanoseconds(seconds, "gen.stagger")
  local function staggered(due, current)
    return make {
      ask = function(self, ctx)
        local op, rest, wake = ask(current, ctx)
        if op == nil then return nil end
        local at = due or ctx.now + core.exponential_ns(mean)
        if op == PENDING then return PENDING, staggered(at, rest), wake end
        if op.time < at then
          op = copy(op)
          op.time = at
        end
        return op, staggered(op.time + core.exponential_ns(mean), rest)
      end,
      tell = function(self, ctx, event)
        return staggered(due, tell(current, ctx, event))
      end,
    }
  end
  return staggered(nil, g)
end

-- Operations at least so many seconds apart; evenly, as long as clients are free.
function gen.delay(seconds, g)
  local distance = nanoseconds(seconds, "gen.delay")
  local function delayed(due, current)
    return make {
      ask = function(self, ctx)
        local op, rest, wake = ask(current, ctx)
        if op == nil then return nil end
        if op == PENDING then return PENDING, delayed(due, rest), wake end
        if due and op.time < due then
          op = copy(op)
          op.time = due
        end
        return op, delayed(op.time + distance, rest)
      end,
      tell = function(self, ctx, event)
        return delayed(due, tell(current, ctx, event))
      end,
    }
  end
  return delayed(nil, g)
end

-- Nothing for so many seconds from when it is first asked; then it is over.
function gen.sleep(seconds)
  local duration = nanoseconds(seconds, "gen.sleep")
  local function asleep(deadline)
    return make {
      ask = function(self, ctx)
        local at = deadline or ctx.now + duration
        if ctx.now >= at then return nil end
        return PENDING, asleep(at), at
      end,
    }
  end
  return asleep(nil)
end

-- Prints the text into the history, in its turn; takes no time and no client.
function gen.log(text)
  text = tostring(text)
  return make {
    ask = function(self, ctx)
      return { log = text, time = ctx.now }, nil
    end,
  }
end

-- --- who ---

-- n1, g1, n2, g2, ..., rest: the first n1 clients run g1, the next n2 run g2; all others run the rest, if it is given.
function gen.reserve(...)
  local arguments, parts, sets, of = table.pack(...), {}, {}, {}
  local pairs_count = arguments.n // 2
  local first = 1
  for i = 1, pairs_count do
    local n = count_of(arguments[2 * i - 1], "gen.reserve")
    local set = {}
    for client = first, first + n - 1 do
      set[client] = true
      of[client] = i
    end
    first = first + n
    parts[i], sets[i] = arguments[2 * i], set
  end
  local rest = arguments.n % 2 == 1 and arguments[arguments.n] or nil
  return gen.among_reserved(parts, sets, of, first, rest)
end

-- Helper of reserve: parts[i] for the clients in sets[i]; rest for those from `first_rest` on.
function gen.among_reserved(parts, sets, of, first_rest, rest)
  local rest_at = #sets + 1
  local function build(list)
    return make {
      ask = function(self, ctx)
        local asked, next_list, wake, over = {}, {}, nil, true
        local remaining = {}
        for _, client in ipairs(ctx.clients) do remaining[client] = client >= first_rest or nil end
        for i = 1, rest_at do
          local entry = {}
          entry.op, entry.rest, entry.wake = ask(list[i], restrict(ctx, sets[i] or remaining))
          asked[i], next_list[i] = entry, list[i]
          if entry.op == PENDING then next_list[i], wake = entry.rest, earlier(wake, entry.wake) end
          over = over and entry.op == nil
        end
        if over then return nil end
        local best = soonest(asked)
        if not best then return PENDING, build(next_list), wake end
        next_list[best] = asked[best].rest
        return asked[best].op, build(next_list)
      end,
      tell = function(self, ctx, event)
        local i = of[event.client] or rest_at
        local next_list = {}
        for k = 1, rest_at do next_list[k] = list[k] end
        next_list[i] = tell(list[i], ctx, event)
        return build(next_list)
      end,
    }
  end
  local list = {}
  for i = 1, #sets do list[i] = parts[i] end
  list[rest_at] = rest
  return build(list)
end

-- Every client runs g for itself, from its beginning.
function gen.each_client(g)
  local function build(of, started)
    return make {
      ask = function(self, ctx)
        local asked, names, next_of, wake, over = {}, {}, copy(of), nil, true
        for i, client in ipairs(ctx.clients) do
          local current = of[client]
          if not started[client] then current = g end
          local entry = {}
          entry.op, entry.rest, entry.wake = ask(current, restrict(ctx, { [client] = true }))
          asked[i], names[i] = entry, client
          if entry.op == PENDING then next_of[client], wake = entry.rest, earlier(wake, entry.wake) end
          over = over and entry.op == nil
        end
        if over then return nil end
        local all = {}
        for _, client in ipairs(ctx.clients) do
          all[client] = true
          if not started[client] and next_of[client] == nil then next_of[client] = g end
        end
        local best = soonest(asked)
        if not best then return PENDING, build(next_of, all), wake end
        next_of[names[best]] = asked[best].rest
        return asked[best].op, build(next_of, all)
      end,
      tell = function(self, ctx, event)
        if not started[event.client] then return self end
        local next_of = copy(of)
        next_of[event.client] = tell(of[event.client], restrict(ctx, { [event.client] = true }), event)
        return build(next_of, started)
      end,
    }
  end
  return build({}, {})
end

-- --- choice ---

-- Each time one of the list, by chance, until all are over.
function gen.mix(list)
  local weighted = {}
  for i, g in ipairs(list) do weighted[i] = { 1, g } end
  return gen.weighted(weighted)
end

-- The same with weights: weighted { {3, reads}, {1, writes} }.
function gen.weighted(list)
  if type(list) ~= "table" or #list == 0 then core.fail("gen.mix: a list of generators is needed") end
  for _, entry in ipairs(list) do
    if type(entry) ~= "table" or #entry ~= 2 or math.type(entry[1]) ~= "integer" or entry[1] < 1 then
      core.fail("gen.weighted: elements are { weight, generator } with whole weights above 0")
    end
  end
  local function draw(entries)
    local sum = 0
    for _, entry in ipairs(entries) do sum = sum + entry[1] end
    local at, i = random(sum), 1
    while at > entries[i][1] do
      at = at - entries[i][1]
      i = i + 1
    end
    return i
  end
  local function replaced(entries, i, g)
    local out = copy_list(entries)
    if g == nil then table.remove(out, i) else out[i] = { entries[i][1], g } end
    return out
  end
  local function mixed(entries, chosen)
    if #entries == 0 then return nil end
    return make {
      ask = function(self, ctx)
        local left, i = entries, chosen or draw(entries)
        while true do
          local op, rest, wake = ask(left[i][2], ctx)
          if op == PENDING then return PENDING, mixed(replaced(left, i, rest), i), wake end
          if op then return op, mixed(replaced(left, i, rest), nil) end
          left = replaced(left, i, nil)
          if #left == 0 then return nil end
          i = draw(left)
        end
      end,
      tell = function(self, ctx, event)
        local out = {}
        for i, entry in ipairs(entries) do
          -- What has become nothing keeps its place as an empty list, so that `chosen` still means the same.
          local rest = tell(entry[2], ctx, event)
          out[i] = { entry[1], rest == nil and {} or rest }
        end
        return mixed(out, chosen)
      end,
    }
  end
  return mixed(list, nil)
end

-- Whichever of several has the next operation first.
function gen.any(...)
  local function build(list, count)
    return make {
      ask = function(self, ctx)
        local asked, next_list, wake, over = {}, {}, nil, true
        for i = 1, count do
          local entry = {}
          entry.op, entry.rest, entry.wake = ask(list[i], ctx)
          asked[i], next_list[i] = entry, list[i]
          if entry.op == PENDING then next_list[i], wake = entry.rest, earlier(wake, entry.wake) end
          over = over and entry.op == nil
        end
        if over then return nil end
        local best = soonest(asked)
        if not best then return PENDING, build(next_list, count), wake end
        next_list[best] = asked[best].rest
        return asked[best].op, build(next_list, count)
      end,
      tell = function(self, ctx, event)
        local next_list = {}
        for i = 1, count do next_list[i] = tell(list[i], ctx, event) end
        return build(next_list, count)
      end,
    }
  end
  local list = table.pack(...)
  return build(list, list.n)
end

-- --- change ---

-- Every operation as f(op, ctx) returns it.
function gen.map(f, g)
  function_of(f, "gen.map")
  return make {
    ask = function(self, ctx)
      local op, rest, wake = ask(g, ctx)
      if op == nil then return nil end
      if op ~= PENDING and not op.log then
        op = f(copy(op), ctx)
        if not is_operation(op) then core.fail("gen.map: the function must return an operation, not a " .. type(op)) end
        op.time = op.time or ctx.now
      end
      return op, gen.map(f, rest), wake
    end,
    tell = function(self, ctx, event)
      return gen.map(f, tell(g, ctx, event))
    end,
  }
end

-- Only the operations for which f(op, ctx) is true.
function gen.filter(f, g)
  function_of(f, "gen.filter")
  return make {
    ask = function(self, ctx)
      local current = g
      for _ = 1, EMPTY_STEPS_MAX do
        local op, rest, wake = ask(current, ctx)
        if op == nil then return nil end
        if op == PENDING or op.log or f(op, ctx) then return op, gen.filter(f, rest), wake end
        current = rest
      end
      core.fail("gen.filter: none of " .. EMPTY_STEPS_MAX .. " operations passed")
    end,
    tell = function(self, ctx, event)
      return gen.filter(f, tell(g, ctx, event))
    end,
  }
end

-- As g, but at every event f(g, ctx, event) decides what it becomes.
function gen.on_update(f, g)
  function_of(f, "gen.on_update")
  return make {
    ask = function(self, ctx)
      local op, rest, wake = ask(g, ctx)
      if op == nil then return nil end
      return op, gen.on_update(f, rest), wake
    end,
    tell = function(self, ctx, event)
      return gen.on_update(f, f(g, ctx, event))
    end,
  }
end

-- --- per key ---

local function key_at(keys, i)
  if type(keys) == "function" then return keys(i) end
  if type(keys) == "number" then return i <= keys and "k" .. (i - 1) or nil end
  return keys[i]
end

local function with_key(key, g)
  return gen.map(function(op)
    op.key = key
    return op
  end, g)
end

-- f(key) for one key after the other: keys is a list, a count ("k0", "k1", ...), or function(i).
function gen.sequential_keys(keys, f)
  function_of(f, "gen.sequential_keys")
  local function at(i, current)
    return make {
      ask = function(self, ctx)
        local head, n = current, i
        for _ = 1, EMPTY_STEPS_MAX do
          if head == nil then
            local key = key_at(keys, n)
            if key == nil then return nil end
            head, n = with_key(key, f(key)), n + 1
          end
          local op, rest, wake = ask(head, ctx)
          if op then return op, at(n, rest), wake end
          head = nil
        end
        core.fail("gen.sequential_keys: there are keys, but no operations for them")
      end,
      tell = function(self, ctx, event)
        return at(i, tell(current, ctx, event))
      end,
    }
  end
  return at(1, nil)
end

-- Groups of n clients, each on a key of its own with f(key); a group that is done takes the next key. So each key sees
-- little concurrency, and its history stays cheap to check.
function gen.concurrent_keys(n, keys, f)
  if count_of(n, "gen.concurrent_keys") == 0 then core.fail("gen.concurrent_keys: at least one client per key") end
  function_of(f, "gen.concurrent_keys")
  local function build(groups, next_key)
    local function group_of(client) return (client - 1) // n + 1 end
    return make {
      ask = function(self, ctx)
        local groups_count = #ctx.clients // n
        if groups_count == 0 then
          core.fail("gen.concurrent_keys: " .. n .. " clients per key are needed, there are " .. #ctx.clients)
        end
        local order = {}
        for i, client in ipairs(ctx.clients) do order[client] = i end
        local asked, now_groups, wake, over, coming = {}, {}, nil, true, next_key
        for i = 1, groups_count do
          local set, current = {}, groups[i]
          for client, place in pairs(order) do set[client] = group_of(place) == i or nil end
          local part, entry = restrict(ctx, set), {}
          for _ = 1, EMPTY_STEPS_MAX do
            if current == nil then
              local key = key_at(keys, coming)
              if key == nil then break end
              current, coming = with_key(key, f(key)), coming + 1
            end
            entry.op, entry.rest, entry.wake = ask(current, part)
            if entry.op then break end
            current = nil
          end
          if entry.op == PENDING then current, wake = entry.rest, earlier(wake, entry.wake) end
          asked[i], now_groups[i] = entry, current
          over = over and entry.op == nil
        end
        if over then return nil end
        local best = soonest(asked)
        if not best then return PENDING, build(now_groups, coming), wake end
        now_groups[best] = asked[best].rest
        return asked[best].op, build(now_groups, coming)
      end,
      tell = function(self, ctx, event)
        local out = {}
        for i, current in pairs(groups) do
          out[i] = current
          if group_of(event.client) == i then out[i] = tell(current, ctx, event) end
        end
        return build(out, next_key)
      end,
    }
  end
  return build({}, 1)
end

-- --- running ---

-- What the loop in C speaks to. peek(now, free, process) returns the time of the next operation, or of when to ask again,
-- nil (wait for a completion) or false (over); take() commits to the operation; update(...) tells of a completion.
local function driver(g, clients)
  local all, announced, following, open = {}, nil, nil, {}
  for client = 1, clients do all[client] = client end
  local ctx = { now = 0, time = 0, clients = all, free = all, process = all }
  local self = {}

  function self.peek(now_ns, free, process)
    ctx = { now = now_ns, time = core.seconds(now_ns), clients = all, free = free, process = process }
    -- Nothing has happened since: another question would only draw another, later time.
    if announced then return math.max(announced.time, 0) end
    for _ = 1, EMPTY_STEPS_MAX do
      local op, rest, wake = ask(g, ctx)
      if op == nil then
        g = nil
        return false
      end
      if op == PENDING then
        g = rest
        if not wake then return nil end
        if wake > now_ns then return wake end
      elseif not op.log then
        announced, following = op, rest
        return math.max(op.time, 0)
      elseif op.time > now_ns then
        return op.time
      else
        print(op.log)
        g = rest
      end
    end
    core.fail("the generator does nothing but wait for the present moment")
  end

  function self.update(now_ns, kind, client, process, f, key, value)
    if kind == "invoke" then return end -- take has told of it
    if f ~= "read" and open[client] then value = open[client].value end
    open[client] = nil
    local event = { type = kind, client = client, process = process, f = f, key = key, value = value, now = now_ns,
      time = core.seconds(now_ns) }
    announced = nil
    g = tell(g, ctx, event)
  end

  function self.take()
    local op = announced
    g, announced, open[op.client] = following, nil, op
    g = tell(g, ctx, { type = "invoke", client = op.client, process = ctx.process[op.client], f = op.f, key = op.key,
      value = op.value, now = ctx.now, time = ctx.time })
    return op
  end

  return self
end

-- Runs a generator on a made-up clock and returns the events in order: { type, f, key, value, client, process, time }.
--   clients = 3           how many
--   latency = 0.01        seconds of each operation, or function(op)
--   result = "ok"         how each ends, "ok", "fail" or "info", or function(op); a second result is the value
--   most = 1000           operations; time = seconds; whichever comes first
function gen.simulate(g, given)
  local options = { clients = 3, latency = 0.01, result = "ok", most = 1000, time = math.huge }
  for key, value in pairs(given or {}) do options[key] = value end
  local run, events, open, now_ns, count = driver(g, options.clients), {}, {}, 0, 0
  local process = {}
  for client = 1, options.clients do process[client] = client - 1 end
  local function outcome(option, op)
    if type(option) == "function" then return option(op) end
    return option
  end
  local function note(kind, op, value)
    events[#events + 1] = { type = kind, f = op.f, key = op.key, value = value, client = op.client,
      process = process[op.client], time = core.seconds(now_ns) }
  end
  local function complete(i)
    local entry = table.remove(open, i)
    local op = entry.op
    note(entry.kind, op, entry.value)
    run.update(now_ns, entry.kind, op.client, process[op.client], op.f, op.key, entry.value)
    if entry.kind == "info" then process[op.client] = process[op.client] + options.clients end
  end
  while true do
    local free, busy, first = {}, {}, nil
    for i, entry in ipairs(open) do
      busy[entry.op.client] = true
      if not first or entry.ends < open[first].ends then first = i end
    end
    for client = 1, options.clients do
      if not busy[client] then free[#free + 1] = client end
    end
    local due
    if count < options.most then due = run.peek(now_ns, free, copy_list(process)) else due = false end
    local ends = first and open[first].ends
    if due and (not ends or due < ends) and core.seconds(math.max(due, now_ns)) < options.time then
      if due > now_ns then
        now_ns = due
      else
        local op = run.take()
        count = count + 1
        note("invoke", op, op.value)
        local kind, value = outcome(options.result, op)
        if value == nil then value = op.value end
        open[#open + 1] = { op = op, kind = kind, value = value,
          ends = now_ns + nanoseconds(outcome(options.latency, op), "gen.simulate: latency") }
      end
    elseif ends then
      now_ns = math.max(now_ns, ends)
      complete(first)
    else
      return events
    end
  end
end

-- --- as a workload ---

local Workload = { __name = "generator workload" }

-- generator { clients = 10, final = g, g1, g2, ... }: a workload of generators; several run one after the other. final
-- is what the clients do after everything has healed.
local function generator(given)
  if type(given) ~= "table" or is_object(given) or is_operation(given) then
    core.fail("generator: a table is needed: generator { clients = 10, gen.mix { ... } }")
  end
  for field in pairs(given) do
    if type(field) == "string" and field ~= "clients" and field ~= "final" then
      core.fail("generator: unknown field '" .. field .. "'; there are: clients, final")
    end
  end
  local clients = given.clients
  if clients ~= nil and (math.type(clients) ~= "integer" or clients < 1 or clients > 4096) then
    core.fail("generator: clients must be a whole number from 1 to 4096, not " .. tostring(clients))
  end
  if #given == 0 then core.fail("generator: the generator itself is missing: generator { clients = 10, gen.mix { ... } }") end
  local body = #given == 1 and given[1] or table.move(given, 1, #given, 1, {})
  return setmetatable({ clients = clients, final = given.final, body = body }, Workload)
end

-- For the loader: generator, clients and final generator of what a scenario gives as its workload.
local function prepare(workload, clients, clients_given)
  if getmetatable(workload) == Workload then
    return workload.body, clients_given and clients or workload.clients or clients, workload.final
  end
  if type(workload) == "table" and not is_object(workload) and not is_operation(workload) and #workload == 0 then
    core.fail("the workload is an empty table; it must be register, append, counter or a generator")
  end
  return workload, clients, nil
end

-- For functions of on_update that pass the event on: what g becomes by it.
gen.update = tell

return { gen = gen, generator = generator, driver = driver, prepare = prepare }
