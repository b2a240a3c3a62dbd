-- Generators that divide the clients: reserved ones, each for itself, groups that share a key; and keys one by one.
-- Part of gen (generator.lua), which explains what a generator is.
local core = ...

local function add(gen, protocol)
  local PENDING, EMPTY_STEPS_MAX = protocol.PENDING, protocol.EMPTY_STEPS_MAX
  local ask, tell, class = protocol.ask, protocol.tell, protocol.class
  local count_of, function_of, earlier = protocol.count_of, protocol.function_of, protocol.earlier

  -- The context of some clients only.
  local function restrict(ctx, clients)
    local free, count, is_free = {}, 0, ctx.is_free
    for _, client in ipairs(clients) do
      if is_free[client] then
        count = count + 1
        free[count] = client
      end
    end
    return { now = ctx.now, time = ctx.time, process = ctx.process, is_free = is_free, clients = clients, free = free }
  end

  -- --- who ---

  -- Several generators, each with clients of its own: part i has the clients lists[i] and the generator gens[i]. An
  -- answer is remembered (in answers[i]) until something happens to its part. refill(state, i), if there is one, gives
  -- a part that is over its next generator and what the state becomes, or nil.
  local Parts = class()

  local function parts(lists, gens, refill, state)
    local of = {}
    for i, clients in ipairs(lists) do
      for _, client in ipairs(clients) do of[client] = i end
    end
    return setmetatable({ lists = lists, of = of, gens = gens, answers = {}, refill = refill, state = state }, Parts)
  end

  local function copy_parts(self)
    local gens, answers = {}, {}
    for i = 1, #self.lists do gens[i], answers[i] = self.gens[i], self.answers[i] end
    return setmetatable({ lists = self.lists, of = self.of, gens = gens, answers = answers, refill = self.refill,
      state = self.state }, Parts)
  end

  function Parts:answer_of(i, ctx)
    local part = restrict(ctx, self.lists[i])
    for _ = 1, EMPTY_STEPS_MAX do
      local op, rest, wake = ask(self.gens[i], part)
      if op == PENDING then self.gens[i] = rest end
      if op or not self.refill then return { op = op, rest = rest, wake = wake } end
      local g, state = self.refill(self.state, i)
      if g == nil then return {} end
      self.gens[i], self.state = g, state
    end
    core.fail("gen.concurrent_keys: there are keys, but no operations for them")
  end

  function Parts:ask(ctx)
    local best, best_time, equals, wake, over = nil, nil, 0, nil, true
    for i = 1, #self.lists do
      local answer = self.answers[i]
      if not answer or (answer.wake and answer.wake <= ctx.now) then
        answer = self:answer_of(i, ctx)
        self.answers[i] = answer
      end
      local op = answer.op
      if op == PENDING then
        over, wake = false, earlier(wake, answer.wake)
      elseif op then
        over = false
        if not best or op.time < best_time then
          best, best_time, equals = i, op.time, 1
        elseif op.time == best_time then -- among equals a random one
          equals = equals + 1
          if random(equals) == 1 then best = i end
        end
      end
    end
    if over then return nil end
    if not best then return PENDING, self, wake end
    local following, answer = copy_parts(self), self.answers[best]
    following.gens[best], following.answers[best] = answer.rest, nil
    return answer.op, following
  end

  function Parts:tell(ctx, event)
    local i = self.of[event.client]
    if not i then return self end
    local g = tell(self.gens[i], ctx, event)
    if g == self.gens[i] then
      self.answers[i] = nil
      return self
    end
    local following = copy_parts(self)
    following.gens[i], following.answers[i] = g, nil
    return following
  end

  -- What the parts are depends on which clients there are, and so is found at the first question.
  local Unparted = class()

  local function unparted(lay_out)
    return setmetatable({ lay_out = lay_out }, Unparted)
  end

  function Unparted:ask(ctx)
    return self.lay_out(ctx.clients):ask(ctx)
  end

  -- n1, g1, n2, g2, ..., rest: the first n1 clients run g1, the next n2 run g2; all others run the rest, if it is
  -- given.
  function gen.reserve(...)
    local arguments = table.pack(...)
    for i = 1, arguments.n - 1, 2 do count_of(arguments[i], "gen.reserve") end
    return unparted(function(clients)
      local lists, gens, first = {}, {}, 1
      for i = 1, arguments.n - 1, 2 do
        local last = first + arguments[i] - 1
        if last > #clients then
          core.fail("gen.reserve: " .. last .. " clients are reserved, but there are only " .. #clients)
        end
        lists[#lists + 1] = table.move(clients, first, last, 1, {})
        gens[#lists] = arguments[i + 1]
        first = last + 1
      end
      if arguments.n % 2 == 1 then
        lists[#lists + 1] = table.move(clients, first, #clients, 1, {})
        gens[#lists] = arguments[arguments.n]
      end
      return parts(lists, gens)
    end)
  end

  -- Every client runs g for itself, from its beginning.
  function gen.each_client(g)
    return unparted(function(clients)
      local lists, gens = {}, {}
      for i, client in ipairs(clients) do lists[i], gens[i] = { client }, g end
      return parts(lists, gens)
    end)
  end

  -- --- per key ---

  local function key_at(keys, i)
    if type(keys) == "function" then return keys(i) end
    if type(keys) == "number" then return i <= keys and "k" .. (i - 1) or nil end
    return keys[i]
  end

  local function keys_of(keys, what)
    if type(keys) ~= "table" and type(keys) ~= "function" and math.type(keys) ~= "integer" then
      core.fail(what .. ": the keys are a list, a count or a function(i), not a " .. type(keys))
    end
    return keys
  end

  -- g with that key in every operation.
  local Keyed = class()

  local function with_key(key, g)
    return setmetatable({ key = key, g = g }, Keyed)
  end

  function Keyed:ask(ctx)
    local op, rest, wake = ask(self.g, ctx)
    if op == nil then return nil end
    if op ~= PENDING and not op.log then op.key = self.key end
    return op, with_key(self.key, rest), wake
  end

  function Keyed:tell(ctx, event)
    local g = tell(self.g, ctx, event)
    return g == self.g and self or with_key(self.key, g)
  end

  -- f(key) for one key after the other: keys is a list, a count ("k0", "k1", ...), or function(i).
  function gen.sequential_keys(keys, f)
    function_of(f, "gen.sequential_keys")
    keys_of(keys, "gen.sequential_keys")

    local at = class()
    local function from(next_key, current)
      return setmetatable({ next_key = next_key, current = current }, at)
    end
    function at:ask(ctx)
      local head, n = self.current, self.next_key
      for _ = 1, EMPTY_STEPS_MAX do
        if head == nil then
          local key = key_at(keys, n)
          if key == nil then return nil end
          head, n = with_key(key, f(key)), n + 1
        end
        local op, rest, wake = ask(head, ctx)
        if op then return op, from(n, rest), wake end
        head = nil
      end
      core.fail("gen.sequential_keys: there are keys, but no operations for them")
    end
    function at:tell(ctx, event)
      local current = tell(self.current, ctx, event)
      return current == self.current and self or from(self.next_key, current)
    end
    return from(1, nil)
  end

  -- Groups of n clients, each on a key of its own with f(key); a group that is done takes the next key. So each key
  -- sees little concurrency, and its history stays cheap to check.
  function gen.concurrent_keys(n, keys, f)
    if count_of(n, "gen.concurrent_keys") == 0 then core.fail("gen.concurrent_keys: at least one client per key") end
    function_of(f, "gen.concurrent_keys")
    keys_of(keys, "gen.concurrent_keys")
    return unparted(function(clients)
      local lists = {}
      for i = 1, #clients // n do lists[i] = table.move(clients, (i - 1) * n + 1, i * n, 1, {}) end
      if #lists == 0 then
        core.fail("gen.concurrent_keys: " .. n .. " clients per key are needed, there are " .. #clients)
      end
      return parts(lists, {}, function(next_key)
        local key = key_at(keys, next_key)
        if key == nil then return nil end
        return with_key(key, f(key)), next_key + 1
      end, 1)
    end)
  end
end

return { add = add }
