-- One beat of a process: it says that it lives, what part of every limit's free half lies with it, and for which limits
-- its calls wait; it hears what part may lie with it, how many live and what is waited for.
--
-- KEYS: the processes by their last beat, the part of each, the epoch, the waits, the used-up limits by their tat.
-- ARGV: our name; ms after which a silent process is dead; our part, at most; how many processes we reckon with at least;
-- all parts together; ms for which nobody's part grows after this Redis began; a new epoch; ms for which a wait is known;
-- then the keys that our calls wait for.
-- Returns {part, whether the one we named may have gone to another, processes, epoch, waits}. A part that is smaller than
-- the one we named counts as the larger until the beat that gives up the rest: so the parts of those who live are never
-- more than all.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me, dead, mine, least, all = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]

redis.call('ZADD', KEYS[1], now, me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - dead)
redis.call('PEXPIRE', KEYS[1], dead)
local epoch = redis.call('GET', KEYS[3])
-- A server that was started again has forgotten what it was told since it last wrote to its disk.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and info:match('run_id:(%x+)') or ''
if not epoch or not epoch:find(run, 1, true) then
  epoch = ARGV[7] .. ':' .. run .. ':' .. string.format('%.0f', now)
  redis.call('SET', KEYS[3], epoch)
end

local began = tonumber(epoch:match(':(%d+)$')) or 0
local known, young = redis.call('HEXISTS', KEYS[2], me) == 1, now - began < tonumber(ARGV[6])
local others, parts, silent = 0, redis.call('HGETALL', KEYS[2]), {}
for i = 1, #parts, 2 do
  if not redis.call('ZSCORE', KEYS[1], parts[i]) then
    silent[#silent + 1] = parts[i]
  elseif parts[i] ~= me then
    others = others + parts[i + 1]
  end
end
local count = redis.call('ZCARD', KEYS[1])
local part = math.min(math.floor(all / math.max(count, least)), math.max(all - others, 0))
-- Somebody may have a part that this Redis has not heard of yet.
if young then part = math.min(part, mine) end
local lost = not known and not young and mine > 0
if lost then
  part = 0                              -- and again, until the next beat shows that it was heard
else
  -- Who is silent keeps its part only as long as nobody else gets more.
  if part > mine and #silent > 0 then redis.call('HDEL', KEYS[2], unpack(silent)) end
  redis.call('HSET', KEYS[2], me, math.max(part, mine))
  redis.call('PEXPIRE', KEYS[2], 86400000)
end

for i = 9, #ARGV do redis.call('ZADD', KEYS[4], now, me .. ' ' .. ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now - ARGV[8])
if #ARGV > 8 then redis.call('PEXPIRE', KEYS[4], ARGV[8]) end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', string.format('%.0f', now) .. '000')
redis.call('PEXPIRE', KEYS[5], 86400000)
return {part, lost and 1 or 0, count, epoch, redis.call('ZRANGE', KEYS[4], 0, 999)}
