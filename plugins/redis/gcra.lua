-- Limits by GCRA, all in integer microseconds, as smartoken/adapters/memory.py has them: one number for each key, its
-- tat, the moment at which the limit is whole again. Every value stays far below 2^53, where Lua's numbers are exact.
--
-- KEYS: one for each want; a key may occur more than once.
-- ARGV: now in us, or 0 for this server's own clock; then for each want
--   shift: microseconds by which the tat is corrected first, signed;
--   most, least: microseconds to take, as many as there are up to `most`, but `least` or nothing;
--   burst: microseconds that the tat may lie ahead of now.
-- Returns {now, refused, wait, taken..., ahead...}: `refused` is the 1-based want that must wait longest, 0 if none, and
-- then nothing is taken (corrections are kept); `ahead` is how far each key's tat lies ahead of now afterwards.
local now = tonumber(ARGV[1])
local mine = now == 0
if mine then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local tats, order = {}, {}
for i, key in ipairs(KEYS) do
  if not tats[key] then
    tats[key] = math.max(tonumber(redis.call('GET', key) or 0), now)
    order[#order + 1] = key
  end
  tats[key] = math.max(tats[key] + tonumber(ARGV[4 * i - 2]), now)
end

local after, taken, refused, wait = {}, {}, 0, 0
for key, tat in pairs(tats) do after[key] = tat end
for i, key in ipairs(KEYS) do
  local most, least, burst = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1])
  local room = burst - (after[key] - now)
  local take = math.max(math.min(most, room), 0)
  if room < least then
    if least - room > wait then refused, wait = i, least - room end
    take = least
  end
  taken[i] = take
  after[key] = after[key] + take
end

local answer = {now, refused, wait}
for i in ipairs(KEYS) do
  answer[#answer + 1] = refused == 0 and taken[i] or 0
end
if refused == 0 then tats = after end
for _, key in ipairs(order) do
  if tats[key] > now then
    -- A caller's clock may stand still: what expires by ours would be lost to it.
    local px = mine and math.ceil((tats[key] - now) / 1000) or 86400000
    redis.call('SET', key, string.format('%.0f', tats[key]), 'PX', px)
  else
    redis.call('DEL', key)
  end
end
for _, key in ipairs(KEYS) do
  answer[#answer + 1] = tats[key] - now
end
return answer
