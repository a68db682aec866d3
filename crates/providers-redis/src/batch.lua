-- KEYS: keys of rows, each once. ARGV: 'all' where held rows are known to be short, else 'head'; the rows;
-- and, if rows expire, when: milliseconds since 1970, or nothing for never.
-- Answers one character a key: n new, w won against the row held, l lost.
local n = #KEYS
local expires = #ARGV > n + 1
local held = nil
if ARGV[1] == 'all' then held = redis.call('MGET', unpack(KEYS)) end
local verdicts, pairs_to_set = {}, {}
for i = 1, n do
  local key, new = KEYS[i], ARGV[i + 1]
  local old
  if held then
    old = held[i]
  else
    old = redis.pcall('GETRANGE', key, 0, 25)
    if type(old) ~= 'string' or old == '' then old = false end
  end
  local verdict = 'n'
  if old then
    if wins(key, new, old) then verdict = 'w' else verdict = 'l' end
  end
  verdicts[i] = verdict
  if verdict ~= 'l' then
    if expires and ARGV[n + 1 + i] ~= '' then
      redis.call('SET', key, new, 'PXAT', ARGV[n + 1 + i])
    else
      pairs_to_set[#pairs_to_set + 1] = key
      pairs_to_set[#pairs_to_set + 1] = new
    end
  end
end
if #pairs_to_set > 0 then redis.call('MSET', unpack(pairs_to_set)) end
return table.concat(verdicts)
