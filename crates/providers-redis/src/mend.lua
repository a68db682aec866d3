-- KEYS: keys of rows. ARGV: for each the bytes that were found and cannot be read, then the rows that take
-- their places, then when these expire, or nothing. Answers y or n a key: whether it was still so.
local n = #KEYS
local verdicts = {}
for i = 1, n do
  verdicts[i] = 'n'
  if redis.call('GET', KEYS[i]) == ARGV[i] then
    verdicts[i] = 'y'
    if ARGV[2 * n + i] == '' then
      redis.call('SET', KEYS[i], ARGV[n + i])
    else
      redis.call('SET', KEYS[i], ARGV[n + i], 'PXAT', ARGV[2 * n + i])
    end
  end
end
return table.concat(verdicts)
