-- Part of every script: changing records for what another program did, and removing contents.

loaders[#loaders + 1] = function()

function F.drop_chunks(cid)
	local index = Q .. 'c' .. cid
	local n = call('ZCARD', index)
	if n > 2048 then
		call('SADD', Q .. 'g', cid)
		return
	end
	for _, i in ipairs(n > 0 and call('ZRANGE', index, 0, -1) or {}) do
		call('UNLINK', index .. '/' .. i)
	end
	call('UNLINK', index)
end

function F.count(objects, bytes)
	if objects ~= 0 then
		call('HINCRBY', Q .. 'm', 'objects', objects)
	end
	if bytes ~= 0 then
		call('HINCRBY', Q .. 'm', 'bytes', bytes)
	end
end

-- A child of directory `dir` came or went by another program's doing.
function F.touch_directory(dir)
	local text = call('HGET', Q .. 'd' .. dir, '')
	local d = text and F.parse(text)
	if d then
		d.version, d.mtime, d.ctime = d.version + 1, F.now().ns, F.now().ns
		call('HSET', Q .. 'd' .. dir, '', F.record(d))
	end
end

-- The three below note in our records what another program did. On a server that takes no writes
-- nothing is noted; the first command tells.

function F.note_changed(dir, name, o, old_size)
	if type(try('HSET', Q .. 'd' .. dir, name, F.record(o))) == 'number' then
		F.count(0, o.size - old_size)
		F.announce(0, 'C' .. o.id .. ';')
	end
end

function F.note_gone(dir, name, o)
	if type(try('HDEL', Q .. 'd' .. dir, name)) ~= 'number' then
		return
	end
	call('ZREM', Q .. 's' .. dir, name)
	call('HDEL', Q .. 'o', o.id)
	call('UNLINK', Q .. 'x' .. o.id, Q .. 'l' .. o.id)
	if o.kind == 'F' then
		F.drop_chunks(o.cid)
	end
	F.count(-1, -o.size)
	F.touch_directory(dir)
	F.announce(0, F.entry_item(dir, name) .. 'C' .. o.id .. ';')
end

-- A new object of `mode` for a key that another program made, below directory `d` (its record).
-- Returns nil where nothing can be written.
function F.note_new(d, name, mode, kind, size, expires)
	local id = try('HINCRBY', '//meta', 'id', 1)
	if type(id) ~= 'number' then
		return nil
	end
	local o = {
		kind = kind, id = format('%.0f', id), mode = mode, uid = d.uid, gid = d.gid, rdev = '0',
		version = 1, cversion = 1, mtime = F.now().ns, ctime = F.now().ns, btime = F.now().ns,
		size = size, stored = size, cid = '0', expires = expires, target = '',
	}
	local seq = call('HINCRBY', Q .. 'm', 'seq', 1)
	call('HSET', Q .. 'd' .. d.id, name, kind == 'd' and 'd ' .. o.id or F.record(o))
	call('ZADD', Q .. 's' .. d.id, seq, name)
	call('HSET', Q .. 'o', o.id, kind == 'd' and 'd' or d.id .. '/' .. name)
	F.count(1, size)
	F.touch_directory(d.id)
	F.announce(0, F.entry_item(d.id, name))
	return o
end

function F.note_new_file(d, name, size, expires)
	return F.note_new(d, name, '33188', 'f', size, expires)
end

end
