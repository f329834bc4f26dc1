-- Takes cells of rate limits that several gateways share, all or none, by this server's clock.
-- Times are in ticks of 62.5 ns since 2025: whole numbers stay exact in a double until 2042.
-- KEYS: one counter for each limit; its value is its theoretical arrival time.
-- ARGV, four for each: ticks of a cell, burst, cells wanted, ticks owed from before or, below 0,
-- given back. A burst of 0 is not known here: such a limit is only charged.
-- Answers {number of the limit that refuses or 0, ticks to wait}, and for each limit the cells it
-- gave and how many ticks ahead it was.
local time = redis.call('TIME')
local now = (time[1] - 1735689600) * 16000000 + time[2] * 16
local limits, refused, wait = {}, 0, 0
for i, key in ipairs(KEYS) do
  local cell, burst = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local wanted, owed = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local tat = math.max(tonumber(redis.call('GET', key) or now), now)
  tat = math.max(tat + owed, now)
  local room = 0
  if burst > 0 then
    -- What a larger limit or a clock ahead left behind counts for a full burst at most.
    local full = cell * burst
    tat = math.min(tat, now + full)
    room = math.floor((now + full - tat) / cell)
    if wanted > 0 and room < 1 and refused == 0 then
      refused, wait = i, tat - now - full + cell
    end
  end
  limits[i] = {tat, math.min(wanted, room) * cell, math.min(wanted, room), owed}
end
local answer = {refused, wait}
for i, key in ipairs(KEYS) do
  local tat, cost, cells, owed = unpack(limits[i])
  if refused > 0 then
    cost, cells = 0, 0
  end
  if cost > 0 or owed ~= 0 then
    local lives = math.ceil((tat + cost - now) / 16000) + 1
    redis.call('SET', key, string.format('%.0f', tat + cost), 'PX', string.format('%.0f', lives))
  end
  answer[2 * i + 1], answer[2 * i + 2] = cells, tat - now
end
return answer
