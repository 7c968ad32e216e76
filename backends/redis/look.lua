-- The question that is the most frequent: what has this name? As read.lua answers it, for directories,
-- plain files that are as their records say and never expire, and names that are not there; {1004}
-- (otherwise) for all else. In one piece for the reason that create.lua gives.
--
-- ARGV: gen, namespace, directory, name.

local call, sub, match = redis.call, string.sub, string.match
if call('HGET', '//meta', 'gen') ~= ARGV[1] then
	return {1001}
end
local own = '/' .. ARGV[2] .. ':'
local d = call('HMGET', own .. 'd' .. ARGV[3], '/', ARGV[4])
if not d[1] then
	return {1004}
end
local text, key = d[2], ARGV[2] .. ':' .. d[1] .. ARGV[4]
if not text then
	return {call('EXISTS', key) == 0 and 2 or 1004} -- ENOENT
end
local kind = sub(text, 1, 2)
if kind == 'd ' then
	local o = call('HGET', own .. 'd' .. match(text, '%d+'), '')
	return o and {0, '2 ' .. o} or {1004}
elseif kind == 'f ' then
	local size, expires = match(sub(text, -64), ' (%d+) %d+ %d+ (%d+) $')
	if expires == '0' and call('PTTL', key) == -1 and
		redis.pcall('STRLEN', key) == tonumber(size) then
		return {0, '1 ' .. text}
	end
end
return {1004}
