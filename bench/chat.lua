-- POST a short chat request. The last line of the output is JSON for load.py.

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"m","messages":[{"role":"user","content":"hello"}]}'

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '\n{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
