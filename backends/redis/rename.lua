-- As create.lua, for a batch that removes one regular file, or renames one to a name that is free or
-- that of another one. All of them plain, as their records say, and without expiry.
--
-- ARGV: gen, namespace, 'session epoch number now dir dir2', name, and to rename it, the new name.

local call, match, sub, concat = redis.call, string.match, string.sub, table.concat
local name, name2, OTHERWISE = ARGV[4], ARGV[5], {1004}
local session, epoch, number, now, dir, dir2 = match(ARGV[3],
	'^(%d+) (%d+) (%d+) (%-?%d+) (%d+) (%d+)$')
local own, at = '/' .. ARGV[2] .. ':', 'r' .. tonumber(number) % 128

local known = call('HMGET', '//s' .. session, 'gen', 'e', at)
if known[1] ~= ARGV[1] or known[2] ~= epoch or (known[3] and match(known[3], '^%d+') == number) or
	(dir == dir2 and name == name2) then
	return OTHERWISE
end

-- A file's key and its record in parts; false: not one that is simple; nil: there is none. A function
-- all the same: a rename asks for two.
local function find(d, file)
	local key = d[1] and ARGV[2] .. ':' .. d[2] .. file
	if not key or not d[3] then
		return key and call('EXISTS', key) == 0 and key or false, nil
	end
	local before, version, mid, btime, size, after = match(d[3],
		'^(f %d+ %d+ %d+ %d+ %d+) (%d+) (%d+ %-?%d+) %-?%d+ (%-?%d+) (%d+) (%d+ 0 0 )$')
	if not before or call('PTTL', key) ~= -1 or redis.pcall('STRLEN', key) ~= tonumber(size) then
		return false
	end
	return key, {
		id = match(before, '%d+'), size = tonumber(size),
		text = concat({before, version + 1, mid, now, btime, size, after}, ' '),
	}
end

-- A directory's record with its times moved.
local function touched(text)
	local before, version, cversion, mtime, ctime, after = match(text,
		'^(%a %d+ %d+ %d+ %d+ %d+) (%d+) (%d+) (%-?%d+) (%-?%d+) (.*)$')
	local a, b = tonumber(now), tonumber(ctime)
	if a > b or (a == b and now > ctime) then
		mtime, ctime = now, now
	end
	return concat({before, version + 1, cversion, mtime, ctime, after}, ' ')
end

local d = call('HMGET', own .. 'd' .. dir, '', '/', name)
local key, o = find(d, name)
if not o then
	return OTHERWISE
end
local d2, key2, gone = d, nil, o -- what loses its name
if name2 then
	d2 = call('HMGET', own .. 'd' .. dir2, '', '/', name2)
	key2, gone = find(d2, name2)
	if not key2 then
		return OTHERWISE
	end
end

-- What is refused is refused at the first write; a removal is not refused for want of memory.
local first
if name2 then
	first = redis.pcall('HSET', '//s' .. session, 'n', number)
else
	first = redis.pcall('HDEL', '//s' .. session, '-')
end
if type(first) ~= 'number' then
	return first
end
local items = {session, ' E', dir, ' ', #name, ':', name, ';K', #key, ':', key, ';'}
if gone then
	local n = call('HINCRBY', '//meta', 'gone', 1)
	call('RENAME', key2 or key, own .. 'u' .. gone.id)
	call('HSET', own .. 'o', gone.id, 'u ' .. gone.text)
	call('ZADD', own .. 'u', n, gone.id)
	call('HINCRBY', own .. 'm', 'objects', -1)
	if gone.size > 0 then
		call('HINCRBY', own .. 'm', 'bytes', -gone.size)
	end
	items[#items + 1] = 'G' .. n .. ' ' .. gone.id .. ';'
end
call('HDEL', own .. 'd' .. dir, name)
call('ZREM', own .. 's' .. dir, name)
if name2 then
	call('RENAME', key, key2)
	call('HSET', own .. 'o', o.id, dir2 .. '/' .. name2)
	if not gone then
		call('ZADD', own .. 's' .. dir2, call('HINCRBY', own .. 'm', 'seq', 1), name2)
	end
	call('HSET', own .. 'd' .. dir2, name2, o.text, '', touched(d2[1]))
	items[#items + 1] = concat({'E', dir2, ' ', #name2, ':', name2, ';K', #key2, ':', key2, ';A', o.id,
		';'})
end
if not name2 or dir ~= dir2 then
	call('HSET', own .. 'd' .. dir, '', touched(d[1]))
end
call('PUBLISH', '//changes ' .. ARGV[1], concat(items))
local reply = {0, name2 and '1 ' .. o.text or '', gone and '0 ' .. gone.text or '', 0}
call('HSET', '//s' .. session, 'n', number, at, number .. ' ' .. cmsgpack.pack(reply))
return reply
