-- GET by default. With two arguments, POST the first one's content, a multipart form with the boundary "bench", and
-- write the id in each answer to the second.

require "summary"

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
