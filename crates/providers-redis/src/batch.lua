-- KEYS: keys of rows, each once. ARGV: 'all' where held rows are known to be short, else 'head'; the rows;
-- and, if rows expire, when: milliseconds since 1970, or nothing for never.
-- Answers one character a key: n new, w won against the row held, l lost; or W alone if all won.
local n = #KEYS
local expires = #ARGV > n + 1
local unpack_row = struct.unpack
local held = nil
if ARGV[1] == 'all' then held = redis.call('MGET', unpack(KEYS)) end
local verdicts, pairs_to_set, at = nil, {}, 0
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
    -- The event times alone decide between nearly all rows, and calling nothing else for them is quicker.
    local is_newer = nil
    if #old >= 18 then
      local version, flags, old_low, old_high = unpack_row('<BBxxxxxxxxI4i4', old)
      if version == 1 and flags <= 7 then
        local _, _, new_low, new_high = unpack_row('<BBxxxxxxxxI4i4', new)
        if new_high ~= old_high then
          is_newer = new_high > old_high
        elseif new_low ~= old_low then
          is_newer = new_low > old_low
        end
      end
    end
    if is_newer == nil then is_newer = wins(key, new, old) end
    if is_newer then verdict = 'w' else verdict = 'l' end
  end
  if verdict ~= 'w' and not verdicts then
    verdicts = {}
    for before = 1, i - 1 do verdicts[before] = 'w' end
  end
  if verdicts then verdicts[i] = verdict end
  if verdict ~= 'l' then
    if expires and ARGV[n + 1 + i] ~= '' then
      redis.call('SET', key, new, 'PXAT', ARGV[n + 1 + i])
    else
      pairs_to_set[at + 1] = key
      pairs_to_set[at + 2] = new
      at = at + 2
    end
  end
end
if at > 0 then redis.call('MSET', unpack(pairs_to_set)) end
if verdicts then return table.concat(verdicts) end
return 'W'
