-- A model for `harrow check --model`: a FIFO queue whose dequeue returns nothing when it is empty.
return {
  init = function()
    return {}
  end,

  step = function(queue, op)
    if op.f == "enqueue" then
      queue[#queue + 1] = op.argument
      return true, queue
    end
    local first = table.remove(queue, 1)
    return op.status == "info" or op.result == first, queue
  end,
}
