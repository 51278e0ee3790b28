-- GET by default. With two arguments, POST the first one's content, a multipart form with the boundary "bench", and
-- write the id in each answer to the second. The last line of the output is JSON for load.py.

function init(args)
  if not args[1] then return end
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "multipart/form-data; boundary=bench"
  wrk.body = io.open(args[1], "rb"):read("*a")
  local answers = io.open(args[2], "w")

  function response(status, headers, body)
    if status == 200 then answers:write(body:match('"id": *"([^"]+)"') or "no id", "\n") end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format(
    '\n{"requests": %d, "seconds": %.6f, "refused": %d, "broken": %d}',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
