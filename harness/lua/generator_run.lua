-- Running generators: the driver that the loop in C speaks to, a made-up clock to try generators on, and generators as
-- a workload. Part of gen (generator.lua), which explains what a generator is.
local core = ...

local function add(gen, protocol)
  local PENDING, EMPTY_STEPS_MAX, ask, tell = protocol.PENDING, protocol.EMPTY_STEPS_MAX, protocol.ask, protocol.tell
  local is_object, is_operation = protocol.is_object, protocol.is_operation
  local nanoseconds, copy_list = protocol.nanoseconds, protocol.copy_list

  -- --- running ---

  -- What the loop in C speaks to. peek(now, free, is_free, process) returns the time of the next operation, or of when
  -- to ask again, nil (wait for a completion) or false (over); take() commits to the operation; update(...) tells of an
  -- end.
  local function driver(g, clients)
    local all, announced, following, open = {}, nil, nil, {}
    for client = 1, clients do all[client] = client end
    local ctx
    local self = {}

    function self.peek(now, free, is_free, process)
      ctx = { now = now, time = core.seconds(now), clients = all, free = free, is_free = is_free, process = process }
      if announced then return announced.time end -- nothing has happened since
      for _ = 1, EMPTY_STEPS_MAX do
        local op, rest, wake = ask(g, ctx)
        if op == nil then
          g = nil
          return false
        end
        if op == PENDING then
          g = rest
          if not wake then return nil end
          if wake > now then return wake end
        elseif not op.log then
          if not is_free[op.client] then core.fail("gen.map: the client that the function chose is not free") end
          op.time = math.max(op.time, 0)
          announced, following = op, rest
          return op.time
        elseif op.time > now then
          return op.time
        else
          print(op.log)
          g = rest
        end
      end
      core.fail("the generator does nothing but wait for the present moment")
    end

    function self.update(now, kind, client, process, f, key, value)
      if kind == "invoke" then return end -- take has told of it
      if f ~= "read" and open[client] then value = open[client].value end
      open[client] = nil
      announced = nil
      g = tell(g, ctx, { type = kind, client = client, process = process, f = f, key = key, value = value, now = now,
        time = core.seconds(now) })
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

  -- The made-up clock of gen.simulate: what is open, in order of its end.
  local function simulated_free(open, clients)
    local free, is_free = {}, {}
    for client = 1, clients do is_free[client] = true end
    for _, entry in ipairs(open) do is_free[entry.op.client] = false end
    for client = 1, clients do
      if is_free[client] then free[#free + 1] = client end
    end
    return free, is_free
  end

  -- Runs a generator on a made-up clock and returns the events in order: { type, f, key, value, client, process, time
  -- }.
  --   clients = 3           how many
  --   latency = 0.01        seconds of each operation, or function(op)
  --   result = "ok"         how each ends, "ok", "fail" or "info", or function(op); a second result is the value
  --   most = 1000           operations; time = seconds; whichever comes first
  function gen.simulate(g, given)
    local options = { clients = 3, latency = 0.01, result = "ok", most = 1000, time = math.huge }
    for key, value in pairs(given or {}) do options[key] = value end
    local run, events, open, now_ns, count, process = driver(g, options.clients), {}, {}, 0, 0, {}
    for client = 1, options.clients do process[client] = client - 1 end
    local function outcome(option, op)
      if type(option) == "function" then return option(op) end
      return option
    end
    local function note(kind, op, value)
      events[#events + 1] = { type = kind, f = op.f, key = op.key, value = value, client = op.client,
        process = process[op.client], time = core.seconds(now_ns) }
    end
    local function invoke()
      local op = run.take()
      count = count + 1
      note("invoke", op, op.value)
      local kind, value = outcome(options.result, op)
      if value == nil then value = op.value end
      local ends = now_ns + nanoseconds(outcome(options.latency, op), "gen.simulate: latency")
      local at = #open + 1
      while at > 1 and open[at - 1].ends > ends do at = at - 1 end
      table.insert(open, at, { op = op, kind = kind, value = value, ends = ends })
    end
    local function complete()
      local entry = table.remove(open, 1)
      local op, client = entry.op, entry.op.client
      now_ns = math.max(now_ns, entry.ends)
      note(entry.kind, op, entry.value)
      run.update(now_ns, entry.kind, client, process[client], op.f, op.key, entry.value)
      if entry.kind == "info" then process[client] = process[client] + options.clients end
    end
    while true do
      local free, is_free = simulated_free(open, options.clients)
      local due = count < options.most and run.peek(now_ns, free, is_free, copy_list(process))
      local ends = open[1] and open[1].ends
      if due and (not ends or due < ends) and core.seconds(math.max(due, now_ns)) < options.time then
        if due > now_ns then now_ns = due else invoke() end
      elseif ends then
        complete()
      else
        return events
      end
    end
  end

  -- --- as a workload ---

  local Workload = { __name = "generator workload" }

  -- generator { clients = 10, final = g, g1, g2, ... }: a workload of generators; several run one after the other.
  -- final is what the clients do after everything has healed.
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
    if #given == 0 then
      core.fail("generator: the generator itself is missing: generator { clients = 10, gen.mix { ... } }")
    end
    local body = #given == 1 and given[1] or copy_list(given)
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

  return { generator = generator, driver = driver, prepare = prepare }
end

return { add = add }
