-- Which of two packed rows is newer, as docs/online-rows.md says. Numbers are compared as numbers, in halves
-- of 32 bits, since Lua's do not hold 64; bytes are compared one by one, since Lua's own order of strings
-- is the locale's.

-- Halves of the event and created time (no created time is lower than any), and where the tie breakers
-- start (0 without any); nothing if the bytes are no row.
local function times(row)
  if #row < 18 or string.byte(row, 1) ~= 1 then return nil end
  local flags = string.byte(row, 2)
  if flags > 7 then return nil end
  local elow, ehigh = struct.unpack('<I4i4', row, 11)
  local clow, chigh, at = 0, -4294967296, 19
  if flags % 2 == 1 then
    if #row < 26 then return nil end
    clow, chigh = struct.unpack('<I4i4', row, 19)
    at = 27
  end
  if flags < 4 then at = 0 end
  return ehigh, elow, chigh, clow, at
end

-- The tie breakers' bytes; nothing if the row is cut short.
local function ties(row, at)
  if at == 0 then return '' end
  if #row < at + 1 then return nil end
  local n = struct.unpack('<I2', row, at)
  if #row < at + 1 + n then return nil end
  return string.sub(row, at + 2, at + 1 + n)
end

-- Whether the bytes a come before the bytes b.
local function before(a, b)
  if a == b then return false end
  local n = math.min(#a, #b)
  local at = 1
  while at <= n and string.sub(a, at, at + 255) == string.sub(b, at, at + 255) do at = at + 256 end
  while at <= n do
    local x, y = string.byte(a, at), string.byte(b, at)
    if x ~= y then return x < y end
    at = at + 1
  end
  return #a < #b
end

-- The bytes under a key from its start, as many as the greatest header has; none for a value of another
-- type, which is no row either.
local function header(key)
  local found = redis.pcall('GETRANGE', key, 0, 65562)
  if type(found) ~= 'string' then return '' end
  return found
end

-- Whether new wins against held, of which the tie breakers may be cut off. A full tie goes to the new row,
-- and bytes that are no row lose against any.
local function wins(key, new, held)
  local ne, nf, nc, nd, nat = times(new)
  local he, hf, hc, hd, hat = times(held)
  if he == nil then return true end
  if ne ~= he then return ne > he end
  if nf ~= hf then return nf > hf end
  if nc ~= hc then return nc > hc end
  if nd ~= hd then return nd > hd end
  if nat == 0 and hat == 0 then return true end
  local held_ties = ties(held, hat) or ties(header(key), hat)
  if held_ties == nil then return true end
  return not before(ties(new, nat), held_ties)
end
