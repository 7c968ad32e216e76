-- Keys that somebody wrote are held against our records. What other programs made gets a record, and
-- so do the directories that its name implies; what they removed loses its own.
-- ARGV: gen, namespace, session, then keys, each with a letter before it: 'k' it may have a record or
-- not; 'w' it was written, and not by a session: a file of this name has another content, also where
-- its length is the same. One session notes that, the oldest. Reply: 0 and the ids of files whose change
-- this session was not to note.

if call('HGET', '//meta', 'gen') ~= GEN then
	return {C.OTHER_DATA}
end
local root = call('HGET', '//ns', NS)
if not root then
	return {C.ENOENT}
end

local session, oldest = ARGV[3], true
for _, other in ipairs(call('ZRANGEBYSCORE', '//sessions', '(' .. F.now().ms, '+inf')) do
	oldest = oldest and tonumber(other) >= tonumber(session)
end

local known = {} -- path -> id of the directory

-- Can a file have this path? Components are 1 to 255 bytes, without NUL, and neither '.' nor '..'.
function F.is_path(path)
	if path == '' or string.find(path, '%z') or sub(path, -1) == '/' or
		string.find('/' .. path, '//', 1, true) then
		return false
	end
	for part in string.gmatch(path, '[^/]+') do
		if #part > 255 or part == '.' or part == '..' then
			return false
		end
	end
	return true
end

-- The directory for `path` ('' or with '/' behind), made where it is missing and `make`. nil: none, or
-- something else has one of its names.
function F.directory(path, make)
	if path == '' then
		return root
	elseif known[path] ~= nil then
		return known[path] or nil
	end
	local above, name = match(path, '^(.-)([^/]+)/$')
	local up = F.directory(above, make)
	if not up then
		return nil
	end
	local text = call('HGET', Q .. 'd' .. up, name)
	local id
	if text and sub(text, 1, 2) == 'd ' then
		id = match(text, '%d+')
	elseif not text and make then
		if F.expiry(P .. above .. name) ~= -2 then
			return nil -- a file of this name, which is yet to be noted, goes first
		end
		local d = F.parse(call('HGET', Q .. 'd' .. up, ''))
		local o = F.note_new(d, name, '16877', 'd', 0, 0)
		if o then
			id = o.id
			call('HSET', Q .. 'd' .. id, '', F.record(o), '/', path, '..', up .. '/' .. name)
		end
	end
	known[path] = id or false
	return id
end

local out = {0}
local at = 4
while ARGV[at] do
	local letter, key = ARGV[at], ARGV[at + 1]
	local path = sub(key, #P + 1)
	at = at + 2
	if sub(key, 1, #P) == P and F.is_path(path) then
		local len, expires = F.ask(key)
		local above, name = match(path, '^(.-)([^/]+)$')
		local dir = F.directory(above, len)
		local text = dir and call('HGET', Q .. 'd' .. dir, name)
		if text and sub(text, 1, 2) ~= 'd ' then
			local o = F.parse(text)
			local size = o.size
			local state = F.refresh(o, key)
			if state == 'gone' then
				F.note_gone(dir, name, o)
			elseif state == 'changed' then
				F.note_changed(dir, name, o, size)
			elseif not state and len and letter == 'w' and oldest then
				o.version, o.cversion = o.version + 1, o.cversion + 1
				o.mtime, o.ctime = F.now().ns, F.now().ns
				F.note_changed(dir, name, o, size)
			elseif not state and len and letter == 'w' then
				out[#out + 1] = o.id
			end
		elseif dir and not text and len then
			F.note_new_file(F.parse(call('HGET', Q .. 'd' .. dir, '')), name, len, expires)
		end
	end
end
return out
