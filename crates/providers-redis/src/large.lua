-- KEYS: a row's key, and where the new row was put. ARGV: the new row's header; when it expires, or nothing.
-- Answers n new, w won against the row held, l lost, or x if the new row is not there any more.
if redis.call('EXISTS', KEYS[2]) == 0 then return 'x' end
local old = redis.pcall('GETRANGE', KEYS[1], 0, 25)
if type(old) ~= 'string' then old = '' end
local verdict = 'n'
if old ~= '' then
  if wins(KEYS[1], ARGV[1], old) then verdict = 'w' else verdict = 'l' end
end
if verdict == 'l' then
  redis.call('UNLINK', KEYS[2])
else
  redis.call('RENAME', KEYS[2], KEYS[1])
  if ARGV[2] == '' then redis.call('PERSIST', KEYS[1]) else redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
end
return verdict
