-- For `harrow bench`: a saturating load without faults. Every client asks again as soon as it is answered.
return {
  doc = "Five nodes under as much load as 64 clients make.",
  nodes = 5,
  time = 2,
  workload = register { keys = 256, clients = 64, think = 0 },
  checks = { linearizable() },
}
