-- A Wireshark dissector of harrow's wire protocol (targets/node/wire.h): frames over TCP, raft's messages
-- (targets/protocols/raft/message.c), the commands and results of the store (targets/kv/codec.c). Checksums are shown,
-- not verified. On its usual ports, and on others by the magic at the start of a segment:
--
--     wireshark -X lua_script:wireshark.lua capture.pcap

local harrow = Proto("harrow", "harrow wire protocol")

local MAGIC = "hrw1"
local HEADER = 16
local PAYLOAD_MAX = 2 * 1024 * 1024
local NODE_NONE = 255

local types = { "HELLO", "MESSAGE", "REQUEST", "REPLY", "STATUS", "ASK", "TRANSFER" }
local kinds = {
  "VOTE_REQUEST", "VOTE_REPLY", "APPEND_REQUEST", "APPEND_REPLY", "SNAPSHOT_REQUEST", "SNAPSHOT_REPLY", "TIMEOUT_NOW",
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
  fast_commits = ProtoField.uint64("harrow.fast_commits", "Commits in one round trip"),
  slow_commits = ProtoField.uint64("harrow.slow_commits", "Commits in more"),
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

-- Payloads, by the frame's type. Each returns what the packet list shows.

local payloads = {
  [1] = function(c)
    c:u64(f.cluster)
    return "from " .. c:node(f.from) .. " to " .. c:node(f.to)
  end,
  [2] = raft_message,
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
    for _, field in ipairs({ f.commit, f.applied, f.last_index, f.state_hash, f.fast_commits, f.slow_commits }) do
      c:u64(field)
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
