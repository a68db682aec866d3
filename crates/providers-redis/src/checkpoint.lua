-- KEYS: the mark of a view's version on one server. ARGV: the new checkpoint; the one that must be held here, or
-- nothing if there was no mark here; the tags of all marks of this checkpoint; the checkpoint that the history
-- begins with where there was no mark.
-- Answers 1, or 0 if what must be held is not.
local first = ARGV[4]
if ARGV[2] ~= '' then
  local held = redis.call('HMGET', KEYS[1], 'first', 'last')
  if not held[1] or tonumber(held[1]) > tonumber(ARGV[2]) or tonumber(held[2]) < tonumber(ARGV[2]) then
    return 0
  end
  first = held[1]
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'first', first, 'last', ARGV[1], 'tags', ARGV[3])
return 1
