-- The batch that is the most frequent: one new regular file, with a plain content, where nothing is in
-- its way. commit.lua does the same and everything else; this says {1004} (otherwise) and has done
-- nothing where that is asked for, or where it would refuse. It is one piece, without functions: making
-- those is most of what a script of this length costs. The layout is at the head of lib.lua.
--
-- ARGV: gen, namespace, 'session epoch number now id dir mode uid gid rdev mtime hash', name, content.

local call, concat = redis.call, table.concat
local name, data, OTHERWISE = ARGV[4], ARGV[5], {1004}
local session, epoch, number, now, id, dir, mode, uid, gid, rdev, mtime, hash = string.match(ARGV[3],
	'^(%d+) (%d+) (%d+) (%-?%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%-?%d+) (%d+)$')
local own, at = '/' .. ARGV[2] .. ':', 'r' .. tonumber(number) % 128

local known = call('HMGET', '//s' .. session, 'gen', 'e', at)
if known[1] ~= ARGV[1] or known[2] ~= epoch or
	(known[3] and string.match(known[3], '^%d+') == number) then
	return OTHERWISE
end
local d = call('HMGET', own .. 'd' .. dir, '', '/', name)
local key = d[1] and ARGV[2] .. ':' .. d[2] .. name
if not key or d[3] or call('EXISTS', key) == 1 then
	return OTHERWISE
end
local m = call('HMGET', own .. 'm', 'seq', 'objects', 'bytes')
local before, version, cversion, mtime_d, ctime_d, after = string.match(d[1],
	'^(%a %d+ %d+ %d+ %d+ %d+) (%d+) (%d+) (%-?%d+) (%-?%d+) (.*)$')
local a, b = tonumber(now), tonumber(ctime_d)
if a > b or (a == b and now > ctime_d) then
	mtime_d, ctime_d = now, now
end

-- What is refused is refused at the first write.
local first = redis.pcall('HSET', own .. 'm', 'seq', m[1] + 1, 'objects', m[2] + 1, 'bytes',
	m[3] + #data)
if type(first) ~= 'number' then
	return first
end
local text = concat({'f', id, mode, uid, gid, rdev, '1 1', mtime, now, now, #data, #data, '0 0 '}, ' ')
call('SET', key, data)
call('HSET', own .. 'o', id, dir .. '/' .. name)
call('HSET', own .. 'd' .. dir, name, text, '',
	concat({before, version + 1, cversion, mtime_d, ctime_d, after}, ' '))
call('ZADD', own .. 's' .. dir, m[1] + 1, name)
call('PUBLISH', '//changes ' .. ARGV[1], concat({session, ' E', dir, ' ', #name, ':', name, ';V', hash,
	' ', #data, ' ', #key, ':', key, ';'}))
local reply = {0, '1 ' .. text, '', 0}
call('HSET', '//s' .. session, 'n', number, at, number .. ' ' .. cmsgpack.pack(reply))
return reply
