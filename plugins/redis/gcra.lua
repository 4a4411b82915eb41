-- Limits by GCRA, all in integer microseconds, as smartoken/adapters/memory.py has them: one number for each key, its
-- tat, the moment at which the limit is whole again. Every value stays far below 2^53, where Lua's numbers are exact.
--
-- KEYS: the key of the epoch; that of the used-up limits by their tat, or ''; then one for each want, also more than once.
-- ARGV: the epoch that the caller knows, '' for any: another one means that this server has forgotten what it knew, and
-- nothing is done (error EPOCH); now in us, or 0 for this server's own clock; then for each want
--   floor: microseconds by which the tat lies ahead of now at least, from the caller's memory;
--   shift: microseconds by which it is corrected then, signed;
--   most, least: microseconds to take, as many as there are up to `most`, but `least` or nothing;
--   burst: microseconds that the tat may lie ahead of now;
--   pool: beyond so many it is one of the used-up limits, 0 for not to say (see used_up.py).
-- Returns {now, refused, wait, taken..., ahead...}: `refused` is the 1-based want that must wait longest, 0 if none, and
-- then nothing is taken (corrections are kept); `ahead` is how far each key's tat lies ahead of now afterwards.
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('EPOCH has changed')
end
local now = tonumber(ARGV[2])
local mine = now == 0
if mine then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local wants = {}
for i = 3, #KEYS do wants[i - 2] = KEYS[i] end

local tats, order = {}, {}
for i, key in ipairs(wants) do
  if not tats[key] then
    tats[key] = math.max(tonumber(redis.call('GET', key) or 0), now)
    order[#order + 1] = key
  end
  local floor, shift = tonumber(ARGV[6 * i - 3]), tonumber(ARGV[6 * i - 2])
  tats[key] = math.max(math.max(tats[key], now + floor) + shift, now)
end

local after, taken, refused, wait = {}, {}, 0, 0
for key, tat in pairs(tats) do after[key] = tat end
for i, key in ipairs(wants) do
  local most, least, burst = tonumber(ARGV[6 * i - 1]), tonumber(ARGV[6 * i]), tonumber(ARGV[6 * i + 1])
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
for i in ipairs(wants) do
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
for i, key in ipairs(wants) do
  answer[#answer + 1] = tats[key] - now
  local pool = tonumber(ARGV[6 * i + 2])
  if pool > 0 and tats[key] - now > pool then
    redis.call('ZADD', KEYS[2], string.format('%.0f', tats[key]), key)
  elseif pool > 0 then
    redis.call('ZREM', KEYS[2], key)
  end
end
return answer
