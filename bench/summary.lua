-- The end of each script: its last line of output is JSON for load.py, which names this folder in LUA_PATH.

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '\n{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
