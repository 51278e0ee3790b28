-- PUT the content of the first argument to the paths in the second, one a line, in turn. Each path is a signed link to an
-- object of its own. The last line of the output is JSON for load.py.

local paths, place = {}, 0

function init(args)
  wrk.method = "PUT"
  wrk.body = io.open(args[1], "rb"):read("*a")
  wrk.headers["Authorization"] = nil
  for line in io.lines(args[2]) do paths[#paths + 1] = line end
end

function request()
  place = place % #paths + 1
  return wrk.format(nil, paths[place])
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '\n{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
