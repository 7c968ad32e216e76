-- One batch, all or nothing. First every mutation is checked and worked out in tables here, where
-- later ones see what earlier ones did; nothing is written. What must happen to contents waits in
-- `todo`, in order. Only when all have passed are these run and the records written: nothing in that
-- part can fail, and what can be refused (no memory, a replica) is refused at its first write.
--
-- ARGV: gen, namespace, session, its epoch, number of the commit, now (ns), rename_limit, number of
-- mutations, then each: letter, flags, id, the version it must have or '', '1' if the session holds
-- the id, and what the letter needs. Reply: 0 and, for each mutation, attributes, other attributes and
-- a number; or an error and the index of the mutation (from 0).

local session, epoch, number, NOW = F.arg(), F.arg(), F.arg(), F.arg()

local B = { -- the batch
	rename_limit = tonumber(F.arg()),
	count_ops = tonumber(F.arg()),
	objects = {},    -- id -> object, false: none
	dirty = {},      -- objects whose record must be written
	dirs = {},       -- directories with entries that must be written
	todo = {},       -- what is to be done with contents, in order
	events = {},
	orphans = {},    -- in the order of their going
	staged = {},     -- content -> staged content, false: none
	xattrs = {},     -- object -> name -> value, false: removed
	wrote_keys = {},
	new_ids = 0,     -- taken after next_id
	objects_delta = 0,
	bytes_delta = 0,
	gathered = {},   -- commands that are still to be sent
	-- seq: the last sequence that was taken; then also what was counted before the batch
}

function F.has(flags, bit_)
	return floor(flags / bit_) % 2 == 1
end

function F.fresh_id()
	B.next_id = B.next_id or tonumber(call('HGET', '//meta', 'id'))
	B.new_ids = B.new_ids + 1
	return format('%.0f', B.next_id + B.new_ids)
end

function F.fresh_seq()
	if not B.seq then
		local m = call('HMGET', Q .. 'm', 'seq', 'objects', 'bytes')
		B.seq, B.objects_count, B.bytes_count = tonumber(m[1]), tonumber(m[2]), tonumber(m[3])
	end
	B.seq = B.seq + 1
	return B.seq
end

-- ---- finding -----------------------------------------------------------------------------------

-- Files and directories are tables, the same one for the same id throughout the batch:
--	dir, name	where it is (dir: of a file, the directory's table; up: of a directory, an id)
--	kids		of a directory: name -> object, false: nothing, 'alien': a key that is no string
--	flush, seqs	of a directory: names that must be written, with a new sequence

function F.flush_entry(d, name)
	d.flush = d.flush or {}
	d.flush[name] = true
	B.dirs[d] = true
end

function F.put(d, name, o, new_place)
	d.kids[name] = o
	F.flush_entry(d, name)
	if new_place then
		d.seqs = d.seqs or {}
		d.seqs[name] = F.fresh_seq()
	end
	o.name, o.moved = name, true
	if o.kind == 'd' then
		o.up = d.id
		B.dirs[o] = true
	else
		o.dir = d
	end
end

function F.take_out(d, name)
	d.kids[name] = false
	F.flush_entry(d, name)
	if d.seqs then
		d.seqs[name] = nil
	end
end

function F.key_of(o)
	if o.orphan then
		return Q .. 'u' .. o.id
	end
	return P .. o.dir.path .. o.name
end

function F.find_child(d, name, text)
	if text and sub(text, 1, 2) == 'd ' then
		return F.directory(match(text, '%d+'))
	end
	local key = P .. d.path .. name
	if text then
		local o = F.parse(text)
		local size = o.size
		o.dir, o.name = d, name
		B.objects[o.id] = o
		local state = F.refresh(o, key)
		if state == 'gone' then
			F.forget(d, name, o)
			return nil
		elseif state == 'alien' then
			return 'alien'
		elseif state == 'changed' then
			B.bytes_delta = B.bytes_delta + o.size - size
			B.dirty[o] = true
			B.events[#B.events + 1] = 'C' .. o.id .. ';'
		end
		return o
	end
	local len, at = F.ask(key)
	if len == nil then
		return nil
	elseif len == false then
		return 'alien'
	end
	local o = {
		kind = 'f', id = F.fresh_id(), mode = '33188', uid = d.uid, gid = d.gid, rdev = '0',
		version = 1, cversion = 1, mtime = F.now().ns, ctime = F.now().ns, btime = F.now().ns,
		size = len, stored = len, cid = '0', expires = at, target = '',
	}
	B.objects[o.id] = o
	F.put(d, name, o, true)
	B.dirty[o] = true
	B.objects_delta, B.bytes_delta = B.objects_delta + 1, B.bytes_delta + len
	return o
end

function F.entry(d, name)
	local o = d.kids[name]
	if o == nil then
		local text = d.first_text
		if d.first ~= name then
			text = not d.new and call('HGET', Q .. 'd' .. d.id, name)
		end
		o = F.find_child(d, name, text)
		if d.kids[name] == nil then
			d.kids[name] = o or false
		end
	end
	return o or nil
end

-- `name` will be asked for next.
function F.directory(id, name)
	local d = B.objects[id]
	if d == nil then
		local r = call('HMGET', Q .. 'd' .. id, '', '/', '..', name or '')
		if not r[1] then
			return nil
		end
		d = F.parse(r[1])
		d.first, d.first_text = name, r[4]
		d.path, d.kids = r[2], {}
		d.up, d.name = match(r[3], '^(%d+)/(.*)$')
		B.objects[id] = d
	end
	return d and d.kids and not d.orphan and d or nil
end

-- The object with this id: a table, nil: none, 'alien'. What has no name is there for its holders.
function F.object(id, held)
	local o = B.objects[id]
	if o == nil then
		local place = call('HGET', Q .. 'o', id)
		if not place then
			return nil
		elseif place == 'd' then
			return F.directory(id)
		elseif sub(place, 1, 1) == 'u' then
			o = F.parse(sub(place, 3))
			o.orphan = true
			B.objects[id] = o
		else
			local dir, name = match(place, '^(%d+)/(.*)$')
			local d = F.directory(dir)
			o = d and F.entry(d, name)
			return o
		end
	end
	if o and o.orphan and held ~= '1' then
		return nil
	end
	return o or nil
end

function F.find_directory(id, name)
	local d = F.directory(id, name) or F.object(id, '1')
	if not d then
		return nil, C.ENOENT
	elseif d == 'alien' or d.kind ~= 'd' then
		return nil, C.ENOTDIR
	elseif d.orphan then
		return nil, C.ENOENT
	end
	return d
end

function F.find_file(id, held)
	local o = F.object(id, held)
	if not o then
		return nil, C.ENOENT
	elseif o == 'alien' then
		return nil, C.EIO
	elseif o.kind == 'd' then
		return nil, C.EISDIR
	elseif o.kind ~= 'f' and o.kind ~= 'F' then
		return nil, C.EINVAL
	end
	return o
end

-- ---- changing records --------------------------------------------------------------------------

function F.change(o)
	o.version = o.version + 1
	o.ctime = NOW
	B.dirty[o] = true
end

function F.touch_parent(d)
	if d.touched then
		return
	end
	d.touched = true
	d.version = d.version + 1
	if F.later(NOW, d.ctime) then
		d.mtime, d.ctime = NOW, NOW
	end
	B.dirty[d] = true
end

-- A content op's mask, mtime and expiry (ms).
function F.get_set()
	return {mask = tonumber(F.arg()), mtime = F.arg(), expires = tonumber(F.arg())}
end

function F.change_content(o, set, size)
	F.change(o)
	o.cversion = o.cversion + 1
	o.mtime = F.has(set.mask, C.SET_MTIME) and set.mtime or NOW
	if F.has(set.mask, C.SET_KILLPRIV) then
		o.mode = F.without_setid(o.mode)
	end
	if F.has(set.mask, C.SET_EXPIRES) then
		F.set_expiry(o, set.expires)
	end
	if not o.orphan then
		B.bytes_delta = B.bytes_delta + size - o.size
	end
	o.size = size
	B.events[#B.events + 1] = 'C' .. o.id .. ';'
end
