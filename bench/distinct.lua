-- For wrk: every request has a target of its own.
local count = 0
request = function()
  count = count + 1
  return wrk.format(nil, wrk.path .. "?n=" .. count)
end
