-- Generators: what the clients do next, as values that combine (the design of Jepsen's generators). All are pure: asked
-- for an operation, a generator returns it together with the generator of what follows, and itself stays as it was; so
-- the loop can ask, wait, learn of a completion, and ask again. (Some remember an answer to save asking twice.)
--
-- A generator is one of
--   nil                       nothing more
--   { f = "read", key = "x" } one operation
--   function(ctx)             called for a generator whenever one is needed, until it returns nil
--   { g1, g2, ... }           one after the other
--   an object that the functions below make: it has ask(self, ctx) and tell(self, ctx, event)
--
-- ask returns nil (it is over), or operation and next generator, or PENDING, next generator and perhaps a time: nothing
-- can be done before a completion comes or that time (in nanoseconds) is reached. tell returns what the generator
-- becomes by an event. A context has now (nanoseconds), time (seconds), clients (numbers of all), free (those with
-- nothing open), is_free and process (by client).
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

local function copy_list(list)
  return table.move(list, 1, #list, 1, {})
end

local function copy_op(op)
  return { f = op.f, key = op.key, value = op.value, client = op.client, time = op.time }
end

local function function_of(f, what)
  if type(f) ~= "function" then core.fail(what .. ": a function is needed, not a " .. type(f)) end
  return f
end

local function earlier(a, b)
  if a and b then return math.min(a, b) end
  return a or b
end

-- --- the protocol ---

-- A kind of object: its table of methods. An object that does not react stays what it is.
local function class()
  local methods = { __name = "generator", tell = function(self) return self end }
  methods.__index = methods
  return methods
end

local function is_object(g)
  local methods = type(g) == "table" and getmetatable(g)
  return methods and methods.__name == "generator"
end

local function is_operation(g)
  return type(g) == "table" and rawget(g, "f") ~= nil
end

-- What follows in a list: `first` before the elements from `at` on.
local Sequence = class()

local function sequence(first, list, at)
  if first == nil and at > #list then return nil end
  return setmetatable({ first = first, list = list, at = at }, Sequence)
end

function Sequence:ask(ctx)
  local head, at, list = self.first, self.at, self.list
  while true do
    if head ~= nil then
      local op, rest, wake = ask(head, ctx)
      if op then return op, sequence(rest, list, at), wake end
    end
    if at > #list then return nil end
    head, at = list[at], at + 1
  end
end

function Sequence:tell(ctx, event)
  local first = tell(self.first, ctx, event)
  if first == self.first then return self end
  return sequence(first, self.list, self.at)
end

-- A function, with what is left of its last call in front.
local Calls = class()

local function calls(f, current)
  if current == nil then return f end
  return setmetatable({ f = f, current = current }, Calls)
end

local function ask_calls(f, head, ctx)
  for _ = 1, EMPTY_STEPS_MAX do
    if head == nil then
      head = f(ctx)
      if head == nil then return nil end
    end
    local op, rest, wake = ask(head, ctx)
    if op then return op, calls(f, rest), wake end
    head = nil
  end
  core.fail("a generator function returned nothing but generators without operations")
end

function Calls:ask(ctx)
  return ask_calls(self.f, self.current, ctx)
end

function Calls:tell(ctx, event)
  local current = tell(self.current, ctx, event)
  return current == self.current and self or calls(self.f, current)
end

-- Asks any generator.
function ask(g, ctx)
  if g == nil then return nil end
  local kind = type(g)
  if kind == "function" then return ask_calls(g, nil, ctx) end
  if kind == "table" then
    if rawget(g, "f") ~= nil and not is_object(g) then
      local op = core.operation(g, ctx.free, ctx.is_free, ctx.now)
      if op then return op, nil end
      return PENDING, g
    end
    if is_object(g) then return g:ask(ctx) end
    if getmetatable(g) == nil and (#g > 0 or next(g) == nil) then return Sequence.ask({ list = g, at = 1 }, ctx) end
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

-- --- order ---

-- One after the other, as a plain list does.
function gen.sequence(...)
  return sequence(nil, { ... }, 1)
end

-- Waits until every client is free, then goes on as g.
local Synchronize = class()

function gen.synchronize(g)
  return setmetatable({ g = g }, Synchronize)
end

function Synchronize:ask(ctx)
  if #ctx.free < #ctx.clients then return PENDING, self end
  return ask(self.g, ctx)
end

-- Each part begins when every operation of the one before has ended.
function gen.phases(...)
  local parts = {}
  for i, g in ipairs { ... } do parts[i] = gen.synchronize(g) end
  return sequence(nil, parts, 1)
end

-- Alternates between a and b, until one is over.
local FlipFlop = class()

function gen.flip_flop(a, b)
  return setmetatable({ a = a, b = b }, FlipFlop)
end

function FlipFlop:ask(ctx)
  local op, rest, wake = ask(self.a, ctx)
  if op == nil then return nil end
  if op == PENDING then return PENDING, gen.flip_flop(rest, self.b), wake end
  return op, gen.flip_flop(self.b, rest)
end

function FlipFlop:tell(ctx, event)
  local a, b = tell(self.a, ctx, event), tell(self.b, ctx, event)
  return a == self.a and b == self.b and self or gen.flip_flop(a, b)
end

-- Runs g to its end, and again from its beginning: cycle(g) for ever, cycle(times, g).
local Cycle = class()

local function cycle(g, left, current)
  return setmetatable({ g = g, left = left, current = current }, Cycle)
end

function gen.cycle(times, g)
  if g == nil then times, g = nil, times end
  if times then count_of(times, "gen.cycle") end
  return cycle(g, times, g)
end

function Cycle:ask(ctx)
  local head, left = self.current, self.left
  for _ = 1, EMPTY_STEPS_MAX do
    if left == 0 then return nil end
    local op, rest, wake = ask(head, ctx)
    if op then return op, cycle(self.g, left, rest), wake end
    head, left = self.g, left and left - 1
  end
  core.fail("gen.cycle: the generator has no operations")
end

function Cycle:tell(ctx, event)
  local current = tell(self.current, ctx, event)
  return current == self.current and self or cycle(self.g, self.left, current)
end

-- The first operation of g again and again: repeated(g), repeated(times, g). g itself never advances.
local Repeated = class()

local function repeated(times, g)
  return setmetatable({ times = times, g = g }, Repeated)
end

function gen.repeated(times, g)
  if g == nil then times, g = nil, times end
  if times then count_of(times, "gen.repeated") end
  return repeated(times, g)
end

function Repeated:ask(ctx)
  local times = self.times
  if times == 0 then return nil end
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  if op == PENDING then return PENDING, repeated(times, rest), wake end
  return op, repeated(times and times - 1, self.g)
end

function Repeated:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or repeated(self.times, g)
end

-- --- how many, how long ---

-- At most n operations.
local Limit = class()

local function limit(n, g)
  return setmetatable({ n = n, g = g }, Limit)
end

function gen.limit(n, g)
  return limit(count_of(n, "gen.limit"), g)
end

function Limit:ask(ctx)
  if self.n == 0 then return nil end
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  return op, limit(op == PENDING and self.n or self.n - 1, rest), wake
end

function Limit:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or limit(self.n, g)
end

-- The first operation only.
function gen.once(g)
  return limit(1, g)
end

-- Operations that are due within so many seconds from when it is first asked.
local TimeLimit = class()

local function time_limit(duration, deadline, g)
  return setmetatable({ duration = duration, deadline = deadline, g = g }, TimeLimit)
end

function gen.time_limit(seconds, g)
  return time_limit(nanoseconds(seconds, "gen.time_limit"), nil, g)
end

function TimeLimit:ask(ctx)
  local deadline = self.deadline or ctx.now + self.duration
  if ctx.now >= deadline then return nil end
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  if op == PENDING then return PENDING, time_limit(self.duration, deadline, rest), earlier(wake, deadline) end
  if op.time >= deadline then return nil end
  return op, time_limit(self.duration, deadline, rest)
end

function TimeLimit:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or time_limit(self.duration, self.deadline, g)
end

-- Ends when n different processes have acted. A process whose operation ended unknown is succeeded by a new one.
local ProcessLimit = class()

local function process_limit(n, seen, g)
  return setmetatable({ n = n, seen = seen, g = g }, ProcessLimit)
end

function gen.process_limit(n, g)
  return process_limit(count_of(n, "gen.process_limit"), {}, g)
end

function ProcessLimit:ask(ctx)
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  if op == PENDING then return PENDING, process_limit(self.n, self.seen, rest), wake end
  local process, seen = ctx.process[op.client], self.seen
  for _, other in ipairs(seen) do
    if other == process then return op, process_limit(self.n, seen, rest) end
  end
  if #seen == self.n then return nil end
  seen = copy_list(seen)
  seen[#seen + 1] = process
  return op, process_limit(self.n, seen, rest)
end

function ProcessLimit:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or process_limit(self.n, self.seen, g)
end

-- Operations of g until one of them has ended ok.
local UntilOk = class()

local function until_ok(open, g) -- open: processes with an operation of g
  return setmetatable({ open = open, g = g }, UntilOk)
end

function gen.until_ok(g)
  return until_ok({}, g)
end

function UntilOk:ask(ctx)
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  if op == PENDING then return PENDING, until_ok(self.open, rest), wake end
  local open = copy_list(self.open)
  open[#open + 1] = ctx.process[op.client]
  return op, until_ok(open, rest)
end

function UntilOk:tell(ctx, event)
  local rest, open, mine = tell(self.g, ctx, event), {}, false
  if event.type == "invoke" then return rest == self.g and self or until_ok(self.open, rest) end
  for _, process in ipairs(self.open) do
    if process == event.process then mine = true else open[#open + 1] = process end
  end
  if mine and event.type == "ok" then return nil end
  return until_ok(open, rest)
end

-- --- when ---

-- Operations on average so many seconds apart (exponentially distributed), over all clients together.
local Stagger = class()

local function stagger(mean, due, g)
  return setmetatable({ mean = mean, due = due, g = g }, Stagger)
end

function gen.stagger(seconds, g)
  return stagger(nanoseconds(seconds, "gen.stagger"), nil, g)
end

function Stagger:ask(ctx)
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  local due = self.due or ctx.now + core.exponential_ns(self.mean)
  if op == PENDING then return PENDING, stagger(self.mean, due, rest), wake end
  if op.time < due then
    op = copy_op(op)
    op.time = due
  end
  return op, stagger(self.mean, op.time + core.exponential_ns(self.mean), rest)
end

function Stagger:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or stagger(self.mean, self.due, g)
end

-- Operations at least so many seconds apart; evenly, as long as clients are free.
local Delay = class()

local function delay(distance, due, g)
  return setmetatable({ distance = distance, due = due, g = g }, Delay)
end

function gen.delay(seconds, g)
  return delay(nanoseconds(seconds, "gen.delay"), nil, g)
end

function Delay:ask(ctx)
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  if op == PENDING then return PENDING, delay(self.distance, self.due, rest), wake end
  if self.due and op.time < self.due then
    op = copy_op(op)
    op.time = self.due
  end
  return op, delay(self.distance, op.time + self.distance, rest)
end

function Delay:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or delay(self.distance, self.due, g)
end

-- Nothing for so many seconds from when it is first asked; then it is over.
local Sleep = class()

function gen.sleep(seconds)
  return setmetatable({ duration = nanoseconds(seconds, "gen.sleep") }, Sleep)
end

function Sleep:ask(ctx)
  local deadline = self.deadline or ctx.now + self.duration
  if ctx.now >= deadline then return nil end
  return PENDING, setmetatable({ duration = self.duration, deadline = deadline }, Sleep), deadline
end

-- Prints the text into the history, in its turn; takes no time and no client.
local Log = class()

function gen.log(text)
  return setmetatable({ text = tostring(text) }, Log)
end

function Log:ask(ctx)
  return { log = self.text, time = ctx.now }, nil
end

-- --- choice ---

-- Each time one of the list, by chance, until all are over.
function gen.mix(list)
  if type(list) ~= "table" or #list == 0 then core.fail("gen.mix: a list of generators is needed") end
  local weighted = {}
  for i, g in ipairs(list) do weighted[i] = { 1, g } end
  return gen.weighted(weighted)
end

-- The same with weights: weighted { {3, reads}, {1, writes} }.
local Weighted = class()

local function weighted(entries, chosen)
  if #entries == 0 then return nil end
  return setmetatable({ entries = entries, chosen = chosen }, Weighted)
end

function gen.weighted(list)
  if type(list) ~= "table" or #list == 0 then core.fail("gen.weighted: a list of { weight, generator } is needed") end
  for _, entry in ipairs(list) do
    if type(entry) ~= "table" or #entry ~= 2 or math.type(entry[1]) ~= "integer" or entry[1] < 1 then
      core.fail("gen.weighted: elements are { weight, generator } with whole weights above 0")
    end
  end
  return weighted(list, nil)
end

local function draw_entry(entries)
  local sum, i = 0, 1
  for _, entry in ipairs(entries) do sum = sum + entry[1] end
  local at = random(sum)
  while at > entries[i][1] do
    at = at - entries[i][1]
    i = i + 1
  end
  return i
end

local function replaced(entries, i, g)
  if g == entries[i][2] then return entries end
  local out = copy_list(entries)
  if g == nil then table.remove(out, i) else out[i] = { entries[i][1], g } end
  return out
end

function Weighted:ask(ctx)
  local entries = self.entries
  local i = self.chosen or draw_entry(entries)
  while true do
    local op, rest, wake = ask(entries[i][2], ctx)
    if op == PENDING then return PENDING, weighted(replaced(entries, i, rest), i), wake end
    if op then return op, weighted(replaced(entries, i, rest), nil) end
    entries = replaced(entries, i, nil)
    if #entries == 0 then return nil end
    i = draw_entry(entries)
  end
end

function Weighted:tell(ctx, event)
  local entries = self.entries
  for i, entry in ipairs(self.entries) do
    -- What has become nothing keeps its place as an empty list, so that `chosen` still means the same.
    local rest = tell(entry[2], ctx, event)
    if rest ~= entry[2] then entries = replaced(entries, i, rest == nil and {} or rest) end
  end
  return entries == self.entries and self or weighted(entries, self.chosen)
end

-- Whichever of several has the next operation first; among equals a random one.
local Any = class()

local function any(list, count)
  return setmetatable({ list = list, count = count }, Any)
end

function gen.any(...)
  local list = table.pack(...)
  return any(list, list.n)
end

function Any:ask(ctx)
  local list, best, best_op, best_rest, equals, wake, over = {}, nil, nil, nil, 0, nil, true
  for i = 1, self.count do
    local op, rest, part_wake = ask(self.list[i], ctx)
    list[i] = self.list[i]
    over = over and op == nil
    if op == PENDING then
      list[i], wake = rest, earlier(wake, part_wake)
    elseif op then
      equals = best and op.time == best_op.time and equals + 1 or 1
      if not best or op.time < best_op.time or (op.time == best_op.time and random(equals) == 1) then
        best, best_op, best_rest = i, op, rest
      end
    end
  end
  if over then return nil end
  if not best then return PENDING, any(list, self.count), wake end
  list[best] = best_rest
  return best_op, any(list, self.count)
end

function Any:tell(ctx, event)
  local list, changed = {}, false
  for i = 1, self.count do
    list[i] = tell(self.list[i], ctx, event)
    changed = changed or list[i] ~= self.list[i]
  end
  return changed and any(list, self.count) or self
end

-- --- change ---

-- Every operation as f(op, ctx) returns it.
local Map = class()

local function map(f, g)
  return setmetatable({ change = f, g = g }, Map)
end

function gen.map(f, g)
  return map(function_of(f, "gen.map"), g)
end

function Map:ask(ctx)
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  if op ~= PENDING and not op.log then
    local time, client = op.time, op.client
    op = self.change(copy_op(op), ctx)
    if not is_operation(op) then core.fail("gen.map: the function must return an operation, not a " .. type(op)) end
    op.time, op.client = op.time or time, op.client or client
  end
  return op, map(self.change, rest), wake
end

function Map:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or map(self.change, g)
end

-- Only the operations for which f(op, ctx) is true.
local Filter = class()

local function filter(f, g)
  return setmetatable({ passes = f, g = g }, Filter)
end

function gen.filter(f, g)
  return filter(function_of(f, "gen.filter"), g)
end

function Filter:ask(ctx)
  local current = self.g
  for _ = 1, EMPTY_STEPS_MAX do
    local op, rest, wake = ask(current, ctx)
    if op == nil then return nil end
    if op == PENDING or op.log or self.passes(op, ctx) then return op, filter(self.passes, rest), wake end
    current = rest
  end
  core.fail("gen.filter: none of " .. EMPTY_STEPS_MAX .. " operations passed")
end

function Filter:tell(ctx, event)
  local g = tell(self.g, ctx, event)
  return g == self.g and self or filter(self.passes, g)
end

-- As g, but at every event f(g, ctx, event) decides what it becomes; gen.update(g, ctx, event) is what it would become.
local OnUpdate = class()

local function on_update(f, g)
  return setmetatable({ react = f, g = g }, OnUpdate)
end

function gen.on_update(f, g)
  return on_update(function_of(f, "gen.on_update"), g)
end

function OnUpdate:ask(ctx)
  local op, rest, wake = ask(self.g, ctx)
  if op == nil then return nil end
  return op, on_update(self.react, rest), wake
end

function OnUpdate:tell(ctx, event)
  local g = self.react(self.g, ctx, event)
  return g == self.g and self or on_update(self.react, g)
end

gen.update = tell

-- --- the other rooms ---

local protocol = {
  PENDING = PENDING, EMPTY_STEPS_MAX = EMPTY_STEPS_MAX, ask = ask, tell = tell, class = class, is_object = is_object,
  is_operation = is_operation, nanoseconds = nanoseconds, count_of = count_of, function_of = function_of,
  copy_list = copy_list, earlier = earlier,
}
core.import("harness/lua/generator_clients.lua").add(gen, protocol)
local run = core.import("harness/lua/generator_run.lua").add(gen, protocol)

return { gen = gen, generator = run.generator, driver = run.driver, prepare = run.prepare }
