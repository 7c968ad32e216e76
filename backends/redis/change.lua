-- As create.lua, for a batch that writes one piece into one regular file with a plain content which no
-- other program has changed since, and leaves it plain.
--
-- ARGV: gen, namespace, 'session epoch number now id letter mask mtime offset hash', bytes. The letters are
-- those of commit.lua: W at the offset, P at the end, R in place of everything.

local call, concat = redis.call, table.concat
local data, OTHERWISE = ARGV[4], {1004}
local session, epoch, number, now, id, letter, mask, mtime, off, hash = string.match(ARGV[3],
	'^(%d+) (%d+) (%d+) (%-?%d+) (%d+) (%a) (%d+) (%-?%d+) (%d+) (%d+)$')
local own, at = '/' .. ARGV[2] .. ':', 'r' .. tonumber(number) % 128

local known = call('HMGET', '//s' .. session, 'gen', 'e', at)
if known[1] ~= ARGV[1] or known[2] ~= epoch or
	(known[3] and string.match(known[3], '^%d+') == number) then
	return OTHERWISE
end
local dir, name = string.match(call('HGET', own .. 'o', id) or '', '^(%d+)/(.*)$')
if not dir or not redis.REDIS_VERSION_NUM or redis.REDIS_VERSION_NUM < 0x00070000 then
	return OTHERWISE -- nothing, a directory, without a name; or no PEXPIRETIME
end
local d = call('HMGET', own .. 'd' .. dir, '/', name)
local before, mode, owner, version, cversion, btime, size = string.match(d[2] or '',
	'^(f %d+) (%d+) (%d+ %d+ %d+) (%d+) (%d+) %-?%d+ %-?%d+ (%-?%d+) (%d+) ')
if not before then
	return OTHERWISE
end
local key = ARGV[2] .. ':' .. d[1] .. name
local expires, len = call('PEXPIRETIME', key), redis.pcall('STRLEN', key)
if expires == -2 or len ~= tonumber(size) then
	return OTHERWISE
end
off = letter == 'P' and len or letter == 'R' and 0 or tonumber(off)
local fin = letter == 'R' and #data or math.max(off + #data, len)
local killpriv = tonumber(mask) >= 16 -- setuid and setgid go; otherwise only mtime is in the mask
if fin > 8388608 or off > len + 1048576 or (killpriv and math.floor(mode / 1024) % 4 > 0) then
	return OTHERWISE
end

-- What is refused is refused at the first write.
local first
if letter == 'R' or (off == 0 and #data >= len) then
	first = redis.pcall('SET', key, data, 'KEEPTTL')
elseif #data == 0 then
	return OTHERWISE
else
	first = redis.pcall('SETRANGE', key, off, data)
end
if type(first) == 'table' and first.err then
	return first
end
if fin ~= len then
	call('HINCRBY', own .. 'm', 'bytes', fin - len)
end
local text = concat({before, mode, owner, version + 1, cversion + 1,
	tonumber(mask) % 16 >= 8 and mtime or now, now, btime, fin, fin, '0',
	expires > 0 and expires or 0, ''}, ' ')
call('HSET', own .. 'd' .. dir, name, text)
call('PUBLISH', '//changes ' .. ARGV[1], concat({session, ' C', id, ';V', hash, ' ', fin, ' ', #key, ':',
	key, ';'}))
local reply = {0, '1 ' .. text, '', letter == 'P' and len or 0}
call('HSET', '//s' .. session, 'n', number, at, number .. ' ' .. cmsgpack.pack(reply))
return reply
