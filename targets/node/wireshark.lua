-- A Wireshark dissector of harrow's wire protocol (targets/node/wire.h): frames over TCP, the messages of each protocol
-- (targets/protocols/*/message.c), the commands and results of the store (targets/kv/codec.c). Checksums are shown, not
-- verified. On its usual ports, and on others by the magic at the start of a segment:
--
--     wireshark -X lua_script:wireshark.lua capture.pcap
--
-- Which protocol the nodes speak stands in the HELLO of a connection. Of one whose HELLO is not in the capture it is
-- the preference harrow.protocol (-o harrow.protocol:epaxos), else raft.

local harrow = Proto("harrow", "harrow wire protocol")

local MAGIC = "hrw1"
local HEADER = 16
local PAYLOAD_MAX = 2 * 1024 * 1024
local NODE_NONE = 255

local types = { "HELLO", "MESSAGE", "REQUEST", "REPLY", "STATUS", "ASK", "TRANSFER" }
local kinds = {
  "VOTE_REQUEST", "VOTE_REPLY", "APPEND_REQUEST", "APPEND_REPLY", "SNAPSHOT_REQUEST", "SNAPSHOT_REPLY", "TIMEOUT_NOW",
}
local multipaxos_kinds = {
  "PREPARE", "PROMISE", "ACCEPT", "ACCEPTED", "SNAPSHOT", "SNAPSHOT_REPLY", "HANDOVER",
}
local paxos_kinds = {
  "PREPARE", "PROMISE", "ACCEPT", "ACCEPTED", "CHOSEN", "FETCH", "SNAPSHOT", "ASK", "TELL",
}
local epaxos_kinds = {
  "PREACCEPT", "PREACCEPT_REPLY", "ACCEPT", "ACCEPT_REPLY", "COMMIT", "PREPARE", "PREPARE_REPLY", "TRY_PREACCEPT",
  "TRY_PREACCEPT_REPLY", "WAITING", "STATE", "FETCH", "SNAPSHOT_OFFER", "SNAPSHOT_REQUEST", "SNAPSHOT_CHUNK",
}
local entry_kinds = { [0] = "command", "noop", "configuration" }
local statuses = { [0] = "ok", "not leader", "busy", "unknown" }
local roles = { [0] = "follower", "candidate", "leader", "peer" }
local op_kinds = { [0] = "get", "put", "delete", "cas", "append", "add" }
local value_kinds = { [0] = "absent", "bytes", "counter", "list" }
local results = {
  [0] = "ok", "cas mismatch", "wrong type", "too large", "no session", "stale", "bad command",
}

-- Filter names are harrow.NAME.
local f = {
  type = ProtoField.uint8("harrow.type", "Type", base.DEC, types),
  check = ProtoField.uint24("harrow.check", "Header check", base.HEX),
  size = ProtoField.uint32("harrow.size", "Payload size"),
  checksum = ProtoField.uint32("harrow.checksum", "Checksum", base.HEX),
  cluster = ProtoField.uint64("harrow.cluster", "Cluster", base.HEX),
  from = ProtoField.uint8("harrow.from", "From"),
  to = ProtoField.uint8("harrow.to", "To"),
  token = ProtoField.uint64("harrow.token", "Token", base.HEX),
  status = ProtoField.uint8("harrow.status", "Status", base.DEC, statuses),
  leader = ProtoField.uint8("harrow.leader", "Leader"),
  node = ProtoField.uint8("harrow.node", "Node"),
  role = ProtoField.uint8("harrow.role", "Role", base.DEC, roles),
  serving = ProtoField.uint8("harrow.serving", "Serving"),
  commit = ProtoField.uint64("harrow.commit", "Commit"),
  applied = ProtoField.uint64("harrow.applied", "Applied"),
  last_index = ProtoField.uint64("harrow.last_index", "Last index"),
  state_hash = ProtoField.uint64("harrow.state_hash", "State hash", base.HEX),
  fast_commits = ProtoField.uint64("harrow.fast_commits", "Fast commits"),
  slow_commits = ProtoField.uint64("harrow.slow_commits", "Slow commits"),
  reason = ProtoField.string("harrow.reason", "Reason"),
  kind = ProtoField.uint8("harrow.raft.kind", "Kind", base.DEC, kinds),
  pre_vote = ProtoField.bool("harrow.raft.pre_vote", "Pre-vote", 8, nil, 0x01),
  transfer = ProtoField.bool("harrow.raft.transfer", "Transfer", 8, nil, 0x02),
  success = ProtoField.bool("harrow.raft.success", "Success", 8, nil, 0x04),
  last = ProtoField.bool("harrow.raft.last", "Last", 8, nil, 0x08),
  term = ProtoField.uint64("harrow.term", "Term"),
  index = ProtoField.uint64("harrow.index", "Index"),
  log_term = ProtoField.uint64("harrow.raft.log_term", "Log term"),
  round = ProtoField.uint64("harrow.raft.round", "Round"),
  rejected = ProtoField.uint64("harrow.raft.rejected", "Rejected"),
  offset = ProtoField.uint64("harrow.raft.offset", "Offset"),
  entries = ProtoField.uint32("harrow.raft.entries", "Entries"),
  entry_term = ProtoField.uint64("harrow.raft.entry_term", "Entry term"),
  entry_kind = ProtoField.uint8("harrow.raft.entry_kind", "Entry kind", base.DEC, entry_kinds),
  data = ProtoField.bytes("harrow.data", "Data"),
  protocol = ProtoField.string("harrow.protocol", "Protocol"),
  multipaxos_kind = ProtoField.uint8("harrow.multipaxos.kind", "Kind", base.DEC, multipaxos_kinds),
  paxos_kind = ProtoField.uint8("harrow.paxos.kind", "Kind", base.DEC, paxos_kinds),
  epaxos_kind = ProtoField.uint8("harrow.epaxos.kind", "Kind", base.DEC, epaxos_kinds),
  flags = ProtoField.uint8("harrow.flags", "Flags", base.HEX),
  ballot = ProtoField.uint64("harrow.ballot", "Ballot"),
  slot = ProtoField.uint64("harrow.slot", "Slot"),
  held = ProtoField.uint64("harrow.multipaxos.held", "Held"),
  answered = ProtoField.uint64("harrow.multipaxos.answered", "Answered"),
  accepted = ProtoField.uint64("harrow.accepted", "Accepted at"),
  instance_replica = ProtoField.uint8("harrow.epaxos.replica", "Led by"),
  instance_number = ProtoField.uint32("harrow.epaxos.number", "Number"),
  seq = ProtoField.uint64("harrow.epaxos.seq", "Seq"),
  dependency = ProtoField.uint32("harrow.epaxos.dependency", "Depends up to"),
  executed = ProtoField.uint32("harrow.epaxos.executed", "Executed up to"),
  floor = ProtoField.uint32("harrow.epaxos.floor", "Floor"),
  leaders = ProtoField.uint16("harrow.epaxos.leaders", "Leaders of conflicts", base.HEX),
  count = ProtoField.uint32("harrow.epaxos.count", "Count"),
  instance_status = ProtoField.uint8("harrow.epaxos.status", "Status"),
  session = ProtoField.uint64("harrow.kv.session", "Session"),
  sequence = ProtoField.uint64("harrow.kv.sequence", "Sequence"),
  op = ProtoField.uint8("harrow.kv.op", "Operation", base.DEC, op_kinds),
  key = ProtoField.string("harrow.kv.key", "Key"),
  value_kind = ProtoField.uint8("harrow.kv.value_kind", "Value", base.DEC, value_kinds),
  value = ProtoField.bytes("harrow.kv.value", "Bytes"),
  counter = ProtoField.int64("harrow.kv.counter", "Number"),
  result = ProtoField.uint8("harrow.kv.result", "Result", base.DEC, results),
  failed_at = ProtoField.uint8("harrow.kv.failed_at", "Failed at"),
  revision = ProtoField.uint64("harrow.kv.revision", "Revision"),
}
local fields = {}
for _, field in pairs(f) do fields[#fields + 1] = field end
harrow.fields = fields

local malformed = ProtoExpert.new("harrow.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
harrow.experts = { malformed }

-- A cursor over a part of the packet: each call shows a field and moves on. Reading past the end stops the payload by
-- an error, which `guarded` below turns into an expert note.
local Cursor = {}
Cursor.__index = Cursor

local function cursor(range, tree) return setmetatable({ range = range, at = 0, tree = tree }, Cursor) end

function Cursor:left() return self.range:len() - self.at end

function Cursor:take(size)
  if size > self:left() then error("the payload is too short", 0) end
  local part = size > 0 and self.range(self.at, size) or nil
  self.at = self.at + size
  return part
end

function Cursor:u8(field, tree)
  local part = self:take(1)
  if field then (tree or self.tree):add_le(field, part) end
  return part:uint()
end

function Cursor:u32(field, tree)
  local part = self:take(4)
  if field then (tree or self.tree):add_le(field, part) end
  return part:le_uint()
end

function Cursor:u64(field, tree)
  local part = self:take(8)
  if field then (tree or self.tree):add_le(field, part) end
  return part:le_uint64()
end

function Cursor:bytes(field, tree)
  local size = self:u32()
  local part = self:take(size)
  if part and field then (tree or self.tree):add(field, part) end
  return part, size
end

local function node_name(number)
  return number == NODE_NONE and "none" or "n" .. (number + 1)
end

function Cursor:node(field)
  local part = self:take(1)
  self.tree:add(field, part):append_text(" (" .. node_name(part:uint()) .. ")")
  return node_name(part:uint())
end

-- The store's commands and results.

local function kv_value(c, tree)
  local kind = c:u8(f.value_kind, tree)
  if kind == 1 then
    c:bytes(f.value, tree)
  elseif kind == 2 then
    c:u64(f.counter, tree)
  elseif kind == 3 then
    local list = c:bytes()
    for at = 0, (list and list:len() or 0) - 8, 8 do tree:add_le(f.counter, list(at, 8)) end
  end
end

local function kv_op(c)
  local part = c:take(1)
  local kind = part:uint()
  local tree = c.tree:add(harrow, part, "Operation")
  tree:add(f.op, part)
  local key = c:take(c:take(2):le_uint())
  local name = key and key:string() or ""
  if key then tree:add(f.key, key) end
  if kind == 1 then
    kv_value(c, tree)
  elseif kind == 3 then
    kv_value(c, tree)
    kv_value(c, tree)
  elseif kind == 4 or kind == 5 then
    c:u64(f.counter, tree)
  end
  local text = (op_kinds[kind] or "?") .. " " .. name
  tree:append_text(": " .. text)
  return text
end

local function kv_command(c)
  c:u64(f.session)
  c:u64(f.sequence)
  local ops = {}
  for i = 1, c:u8() do ops[i] = kv_op(c) end
  return #ops > 0 and table.concat(ops, ", ") or "open a session"
end

local function kv_result(c)
  local status = c:u8(f.result)
  c:u8(f.failed_at)
  c:u64(f.revision)
  c:u64(f.session)
  for _ = 1, c:u8() do kv_value(c, c.tree) end
  return results[status] or "?"
end

-- Raft's messages.

local function raft_entries(c, count)
  local data = c:bytes()
  if not data then return end
  local inner = cursor(data, c.tree)
  for i = 1, count do
    local tree = c.tree:add(harrow, data(inner.at, 1), "Entry " .. i)
    inner.tree = tree
    inner:u64(f.entry_term)
    local kind = inner:u8(f.entry_kind)
    local payload = inner:bytes(f.data)
    tree:append_text(": " .. (entry_kinds[kind] or "?"))
    if kind == 0 and payload then tree:append_text(", " .. kv_command(cursor(payload, tree))) end
  end
end

-- Returns texts for the list: its fields after the term, and flags.
local raft_kinds = {
  [1] = function(c) return " last " .. tostring(c:u64(f.index)) .. " of term " .. tostring(c:u64(f.log_term)) end,
  [3] = function(c)
    local previous = tostring(c:u64(f.index))
    c:u64(f.log_term)
    local commit = tostring(c:u64(f.commit))
    c:u64(f.round)
    local count = c:u32(f.entries)
    raft_entries(c, count)
    return " after " .. previous .. " commit " .. commit .. ", " .. count .. " entries"
  end,
  [4] = function(c)
    local index = tostring(c:u64(f.index))
    c:u64(f.log_term)
    c:u64(f.round)
    c:u64(f.rejected)
    return " index " .. index
  end,
  [5] = function(c)
    local index = tostring(c:u64(f.index))
    c:u64(f.log_term)
    local offset = tostring(c:u64(f.offset))
    local _, size = c:bytes(f.data)
    return " index " .. index .. " offset " .. offset .. ", " .. size .. " bytes"
  end,
  [6] = function(c)
    local index = tostring(c:u64(f.index))
    local offset = tostring(c:u64(f.offset))
    c:u64(f.rejected)
    return " index " .. index .. " wants " .. offset
  end,
}

local function raft_message(c)
  local kind = c:u8(f.kind)
  local flags = c:take(1)
  for _, field in ipairs({ f.pre_vote, f.transfer, f.success, f.last }) do c.tree:add(field, flags) end
  local term = c:u64(f.term)
  local rest = raft_kinds[kind] and raft_kinds[kind](c) or ""
  local bits = flags:uint()
  return (kinds[kind] or "?") .. " term " .. tostring(term) .. rest .. (bits % 2 == 1 and " pre-vote" or "") ..
    (bits % 8 >= 4 and " success" or "")
end

-- Multi-Paxos and Paxos: kind, flags, and then of each kind 64-bit numbers in this order; behind them perhaps how many
-- entries or values are in the data, and the data.

local function ballot_name(ballot) return tostring(ballot:rshift(4)) .. ".n" .. (ballot:band(15):tonumber() + 1) end

-- Fields of the message `layout`, their texts for the list joined.
local function numbers(c, layout)
  local text = ""
  for _, name in ipairs(layout) do
    local value = c:u64(f[name])
    local is_ballot = name == "ballot" or name == "accepted"
    text = text .. " " .. name .. " " .. (is_ballot and ballot_name(value) or tostring(value))
  end
  return text
end

local multipaxos_layouts = {
  { "slot" }, { "slot", "index", entries = true, data = true },
  { "slot", "commit", "round", entries = true, data = true },
  { "slot", "index", "held", "round", entries = true }, { "index", "answered", "offset", data = true },
  { "index", "answered", "offset" }, {},
}

local function multipaxos_entries(c, kind, count)
  local data = c:bytes()
  if not data then return "" end
  local inner, text = cursor(data, c.tree), ""
  for i = 1, count do
    local tree = c.tree:add(harrow, data(inner.at, 1), "Entry " .. i)
    inner.tree = tree
    if kind == 2 then numbers(inner, { "slot", "ballot" }) end
    local entry_kind = inner:u8(f.entry_kind)
    local value = inner:bytes(f.data)
    local command = entry_kind == 0 and value and kv_command(cursor(value, tree))
    text = text .. ", " .. (command or entry_kinds[entry_kind] or "?")
  end
  return text
end

local function multipaxos_message(c)
  local kind = c:u8(f.multipaxos_kind)
  local flags = c:u8(f.flags)
  local layout = multipaxos_layouts[kind]
  if not layout then error("a message of an unknown kind", 0) end
  local text = multipaxos_kinds[kind] .. numbers(c, { "ballot" }) .. numbers(c, layout)
  local count = layout.entries and c:u32(f.entries)
  if count then text = text .. ", " .. count .. " entries" end
  if layout.data and count then
    text = text .. multipaxos_entries(c, kind, count)
  elseif layout.data then
    c:bytes(f.data)
  end
  return text .. (flags % 2 == 1 and " canvass" or "") .. (flags % 8 >= 4 and " success" or "")
end

local paxos_layouts = {
  { "ballot" }, { "ballot", "accepted", data = true }, { "ballot", data = true }, { "ballot" },
  { "commit", values = true, data = true }, { "offset" }, { "ballot", "offset", data = true }, { "round" }, { "round" },
}

-- Of a value: the number of who proposed it, and commands, each behind its size.
local function paxos_value(range, tree)
  local c, texts = cursor(range, tree), {}
  c:node(f.node)
  while c:left() > 0 do
    local command = c:bytes()
    if command then texts[#texts + 1] = kv_command(cursor(command, tree)) end
  end
  return table.concat(texts, ", ")
end

local function paxos_values(c, count)
  local data = c:bytes()
  local inner = data and cursor(data, c.tree)
  for i = 1, count do
    inner.tree = c.tree:add(harrow, data(inner.at, 1), "Value " .. i)
    local kind = inner:u8(f.entry_kind)
    local value = inner:bytes(f.data)
    if kind == 0 and value then inner.tree:append_text(": " .. paxos_value(value, inner.tree)) end
  end
end

local function paxos_message(c)
  local kind = c:u8(f.paxos_kind)
  local flags = c:u8(f.flags)
  local value_kind = c:u8(f.entry_kind)
  local layout = paxos_layouts[kind]
  if not layout then error("a message of an unknown kind", 0) end
  local text = paxos_kinds[kind] .. numbers(c, { "slot" }) .. numbers(c, layout)
  if layout.values then
    local count = c:u32(f.entries)
    paxos_values(c, count)
    text = text .. ", " .. count .. " values"
  elseif layout.data then
    local data = c:bytes(f.data)
    local is_value = data and kind ~= 7 and value_kind == 0
    if is_value then text = text .. ", " .. paxos_value(data, c.tree) end
  end
  return text .. (flags % 2 == 1 and " success" or "")
end

-- EPaxos: kind, flags, then the parts of that kind in this order. A part may hold a number for each node.

local epaxos_parts = {
  id = { size = 5 }, ballot = { size = 4 }, accepted = { size = 5 }, at = { size = 8, vectors = 1 },
  leaders = { size = 2 }, count = { size = 4 }, vector = { size = 0, vectors = 1 }, floor = { size = 0, vectors = 1 },
  index = { size = 16 }, command = { size = 1, data = true }, data = { size = 0, data = true },
}
local epaxos_layouts = {
  { "id", "at", "command" }, { "id", "ballot", "at" }, { "id", "ballot", "at", "command" }, { "id", "ballot" },
  { "id", "at", "command" }, { "id", "ballot" }, { "id", "ballot", "accepted", "at", "command" },
  { "id", "ballot", "at", "command" }, { "id", "ballot", "leaders" }, { "id", "count" }, { "vector", "floor" },
  { "id", "count" }, { "index" }, { "vector", "index" }, { "count", "vector", "index", "data" },
}

-- How many nodes there are: as many as make the message end where it does.
local function epaxos_nodes(range, layout)
  for nodes = 1, 15 do
    local size, data = 2, false
    for _, name in ipairs(layout) do
      local part = epaxos_parts[name]
      size = size + part.size + 4 * nodes * (part.vectors or 0)
      data = data or part.data
    end
    local fits = data and size + 4 <= range:len()
    if size == range:len() or (fits and size + 4 + range(size, 4):le_uint() == range:len()) then return nodes end
  end
  error("a message of no number of nodes", 0)
end

local function epaxos_ballot(number) return math.floor(number / 16) .. ".n" .. (number % 16 + 1) end

local read_epaxos = {
  id = function(c)
    local replica = c:u8(f.instance_replica)
    return " " .. (replica + 1) .. "." .. c:u32(f.instance_number)
  end,
  ballot = function(c) return " ballot " .. epaxos_ballot(c:u32(f.ballot)) end,
  accepted = function(c)
    c:u8(f.instance_status)
    return " accepted " .. epaxos_ballot(c:u32(f.accepted))
  end,
  at = function(c, nodes)
    local text = " seq " .. tostring(c:u64(f.seq))
    for _ = 1, nodes do c:u32(f.dependency) end
    return text
  end,
  leaders = function(c)
    c.tree:add_le(f.leaders, c:take(2))
    return ""
  end,
  count = function(c) return " count " .. c:u32(f.count) end,
  vector = function(c, nodes)
    local numbers_of = {}
    for i = 1, nodes do numbers_of[i] = c:u32(f.executed) end
    return " executed " .. table.concat(numbers_of, " ")
  end,
  floor = function(c, nodes)
    for _ = 1, nodes do c:u32(f.floor) end
    return ""
  end,
  index = function(c) return numbers(c, { "index", "offset" }) end,
  command = function(c)
    local kind = c:u8(f.entry_kind)
    local command = c:bytes(f.data)
    return ", " .. (kind == 0 and command and kv_command(cursor(command, c.tree)) or entry_kinds[kind] or "?")
  end,
  data = function(c)
    c:bytes(f.data)
    return ""
  end,
}

local function epaxos_message(c)
  local kind = c:u8(f.epaxos_kind)
  local flags = c:u8(f.flags)
  local layout = epaxos_layouts[kind]
  if not layout then error("a message of an unknown kind", 0) end
  local nodes, text = epaxos_nodes(c.range, layout), epaxos_kinds[kind]
  for _, name in ipairs(layout) do text = text .. read_epaxos[name](c, nodes) end
  return text .. (flags % 2 == 1 and " unchanged" or "") .. (flags % 4 >= 2 and " refused" or "")
end

local messages = {
  raft = raft_message, multipaxos = multipaxos_message, paxos = paxos_message, epaxos = epaxos_message,
}

harrow.prefs.protocol = Pref.string("Protocol", "raft", "Of connections whose HELLO is not in the capture")

local stream_of = Field.new("tcp.stream")
local protocol_of = {} -- by stream, as its HELLO says

function harrow.init() protocol_of = {} end

local function stream()
  local found = stream_of()
  return found and found.value
end

-- Payloads, by the frame's type. Each returns what the packet list shows.

local payloads = {
  [1] = function(c)
    c:u64(f.cluster)
    local text = "from " .. c:node(f.from) .. " to " .. c:node(f.to)
    if c:left() == 0 then return text end
    local part = c:take(c:left())
    c.tree:add(f.protocol, part)
    protocol_of[stream() or 0] = part:string()
    return text .. ", " .. part:string()
  end,
  [2] = function(c)
    local read = messages[protocol_of[stream() or 0] or harrow.prefs.protocol]
    if not read then error("a message of an unknown protocol", 0) end
    return read(c)
  end,
  [3] = function(c)
    c:u64(f.token)
    return kv_command(c)
  end,
  [4] = function(c)
    c:u64(f.token)
    local status = c:u8(f.status)
    local leader = c:node(f.leader)
    c:u64(f.index)
    if c:left() > 0 then return kv_result(c) end
    return (statuses[status] or "?") .. ", leader " .. leader
  end,
  [5] = function(c)
    local node = c:node(f.node)
    local role = c:u8(f.role)
    c:node(f.leader)
    c:u8(f.serving)
    local term = c:u64(f.term)
    for _, name in ipairs({ "commit", "applied", "last_index", "state_hash", "fast_commits", "slow_commits" }) do
      c:u64(f[name])
    end
    c:bytes(f.reason)
    return node .. " " .. (roles[role] or "?") .. " of term " .. tostring(term)
  end,
  [6] = function() return "" end,
  [7] = function(c) return "to " .. c:node(f.to) end,
}

local function guarded(payload, range, tree, type)
  local c = cursor(range, tree)
  local fine, text = pcall(payload, c)
  if fine and c:left() > 0 then fine, text = false, "bytes after the payload's end" end
  if fine then return text end
  tree:add_proto_expert_info(malformed, types[type] .. ": " .. tostring(text))
  return "malformed"
end

local function frame_size(buffer, _, at)
  return HEADER + buffer(at + 8, 4):le_uint()
end

local first_of_packet -- several frames may be in one: they share the info column

local function dissect_frame(buffer, pinfo, root)
  local type, size = buffer(4, 1):uint(), buffer(8, 4):le_uint()
  local tree = root:add(harrow, buffer(0, HEADER + size), "harrow " .. (types[type] or "of an unknown type"))
  tree:add(f.type, buffer(4, 1))
  tree:add_le(f.check, buffer(5, 3))
  tree:add_le(f.size, buffer(8, 4))
  tree:add_le(f.checksum, buffer(12, 4))
  local text = ""
  if payloads[type] then
    text = size > 0 and guarded(payloads[type], buffer(HEADER, size), tree, type) or ""
  end
  tree:append_text(" " .. text)
  pinfo.cols.protocol = "harrow"
  if first_of_packet then pinfo.cols.info:clear() else pinfo.cols.info:append("; ") end
  first_of_packet = false
  pinfo.cols.info:append((types[type] or "?") .. (text ~= "" and " " or "") .. text)
  return HEADER + size
end

local function is_frame(buffer)
  return buffer:len() >= HEADER and buffer(0, 4):string() == MAGIC and buffer(8, 4):le_uint() <= PAYLOAD_MAX
end

function harrow.dissector(buffer, pinfo, root)
  first_of_packet = true
  if buffer:len() >= 4 and buffer(0, 4):string() ~= MAGIC then return 0 end
  dissect_tcp_pdus(buffer, root, HEADER, frame_size, dissect_frame)
  return buffer:len()
end

local ports = DissectorTable.get("tcp.port")
for _, port in ipairs({ 7400, 7401, 7402 }) do ports:add(port, harrow) end

harrow:register_heuristic("tcp", function(buffer, pinfo, root)
  if not is_frame(buffer) then return false end
  pinfo.conversation = harrow
  harrow.dissector(buffer, pinfo, root)
  return true
end)
