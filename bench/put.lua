-- PUT the content of the first argument to the paths in the second, one a line, in turn. Each path is a signed link to an
-- object of its own.

require "summary"

local paths, place = {}, 0

function init(args)
  wrk.method = "PUT"
  wrk.body = io.open(args[1], "rb"):read("*a")
  for line in io.lines(args[2]) do paths[#paths + 1] = line end
end

function request()
  place = place % #paths + 1
  return wrk.format(nil, paths[place])
end
