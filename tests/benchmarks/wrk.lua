-- Sends the requests that are stored in a folder, one after another, and prints the result as JSON.
-- Arguments: the folder, and the number of the files in it, which are named from 1.
local requests = {}
local turn = 0

function init(args)
  for number = 1, tonumber(args[2]) do
    local file = assert(io.open(args[1] .. "/" .. number, "rb"))
    requests[number] = file:read("*a")
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "not_200": %d, "failed": %d, "p50": %d, "p95": %d, "p99": %d}\n',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
