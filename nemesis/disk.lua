-- Disks: power loss under unsynced writes, syncs that stall, fail or lie, reads that fail or rot, slow disks, no space
-- left. Each function returns a fault on the nodes that `who` means when it starts.
local core = ...
local lib = core.import("nemesis/cluster.lua")
local disk = {}

local function on_nodes(kind, name, who, strengths)
  return lib.primitive(name, lib.colours[kind], function(cluster)
    local nodes = cluster:pick(who)
    local spec = { kind = kind, nodes = nodes, detail = lib.names(nodes) }
    for key, value in pairs(strengths) do spec[key] = lib.draw(name, value) end
    return spec
  end)
end

-- The machines lose power: every write that was not synced survives whole with probability keep, in part with tear, and
-- is gone otherwise. They start again at the end. who may be several nodes at once, also all.
function disk.power_loss(who, options)
  options = lib.options_of("disk.power_loss", options, { keep = 0.3, tear = 0.2 })
  return on_nodes("power", "power loss", who, options)
end

-- Every sync takes `by` seconds longer.
function disk.stall(who, options)
  options = lib.options_of("disk.stall", options, { by = 0.2 })
  return on_nodes("disk", "disk stall", who, { stall = options.by })
end

-- Syncs and writes fail with an input/output error, each with its probability.
function disk.error(who, options)
  options = lib.options_of("disk.error", options, { sync = 0.05, write = 0 })
  return on_nodes("disk", "disk error", who, { sync_error = options.sync, write_error = options.write })
end

-- No file system space is left beyond `bytes`.
function disk.full(who, options)
  options = lib.options_of("disk.full", options, { bytes = 1 })
  return on_nodes("disk", "disk full", who, { capacity = lib.draw_whole("disk.full: bytes", options.bytes) })
end

-- Syncs say that they succeeded and make nothing durable, with probability `sync`: a power loss shows it.
function disk.lie(who, options)
  options = lib.options_of("disk.lie", options, { sync = 1 })
  return on_nodes("disk", "disk lie", who, { sync_lie = options.sync })
end

-- Reads fail with an input/output error, with probability `read`.
function disk.read_error(who, options)
  options = lib.options_of("disk.read_error", options, { read = 0.05 })
  return on_nodes("disk", "disk read error", who, { read_error = options.read })
end

-- Reads return one flipped bit, with probability `read`; the disk itself keeps the right one.
function disk.rot(who, options)
  options = lib.options_of("disk.rot", options, { read = 0.01 })
  return on_nodes("disk", "disk rot", who, { read_rot = options.read })
end

-- Every read and write takes `by` seconds longer. Simulated, it is paid once, at the sync that waits for the writes.
function disk.slow(who, options)
  options = lib.options_of("disk.slow", options, { by = 0.01 })
  return on_nodes("disk", "disk slow", who, { io_delay = options.by })
end

return { disk = disk }
