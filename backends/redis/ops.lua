-- Part of the script of a batch: the mutations that are few. Made when the first of them comes.

loaders[#loaders + 1] = function()

-- Its key is gone: so is the object, whatever becomes of the batch's other parts.
function F.forget(d, name, o)
	B.objects[o.id] = false
	F.take_out(d, name)
	B.objects_delta, B.bytes_delta = B.objects_delta - 1, B.bytes_delta - o.size
	B.todo[#B.todo + 1] = function()
		if o.kind == 'F' then
			F.drop_chunks(o.cid)
		end
		call('HDEL', Q .. 'o', o.id)
		call('UNLINK', Q .. 'x' .. o.id, Q .. 'l' .. o.id)
	end
end

-- Has the directory anything in it? Names whose keys others have removed do not count.
function F.has_children(d)
	for _, o in pairs(d.kids) do
		if o then
			return true
		end
	end
	local from = '-inf'
	while not d.new do
		local page = call('ZRANGEBYSCORE', Q .. 's' .. d.id, from, '+inf', 'WITHSCORES',
			'LIMIT', 0, 100)
		for i = 1, #page, 2 do
			if d.kids[page[i]] == nil and F.entry(d, page[i]) then
				return true
			end
		end
		if #page < 200 then
			break
		end
		from = '(' .. page[#page]
	end
	return false
end

function F.without_setid(mode)
	mode = tonumber(mode)
	if F.has(mode, 2048) then
		mode = mode - 2048
	end
	if F.has(mode, 8) and F.has(mode, 1024) then
		mode = mode - 1024
	end
	return format('%.0f', mode)
end

function F.set_expiry(o, expires)
	if o.kind ~= 'f' and o.kind ~= 'F' then
		return
	end
	o.expires = expires
	o.retime = true
	B.dirty[o] = true
end

-- o has lost its name; its content waits under its id for those who hold it.
function F.make_orphan(o)
	local key = o.kind == 'f' and F.key_of(o) or o.kind == 'F' and F.key_of(o)
	F.change(o)
	o.orphan = true
	B.orphans[#B.orphans + 1] = o
	B.objects_delta, B.bytes_delta = B.objects_delta - 1, B.bytes_delta - o.size
	if key then
		B.todo[#B.todo + 1] = function()
			if o.kind == 'f' then
				call('RENAME', key, Q .. 'u' .. o.id)
				call('PERSIST', Q .. 'u' .. o.id)
				F.wrote(key)
			end
			o.expires = 0
		end
	end
end

function F.op_T(m)
	local size, content, set = tonumber(F.arg()), F.arg(), F.get_set()
	if content ~= '0' then
		local c = F.find_staged(content)
		if not c then
			return C.ENOENT
		end
		c.dirty = true
		B.todo[#B.todo + 1] = function()
			local key = F.stage_key(content)
			if c.kind == 'F' or call('STRLEN', key) > size then
				F.resize(c, key, size)
			end
		end
		return nil
	end
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local key = F.key_of(o)
	F.change_content(o, set, size)
	B.todo[#B.todo + 1] = function()
		F.resize(o, key, size)
	end
	return nil, o
end

function F.op_H(m)
	local off, len, content, set = tonumber(F.arg()), tonumber(F.arg()), F.arg(), F.get_set()
	if content ~= '0' then
		local c = F.find_staged(content)
		if not c then
			return C.ENOENT
		end
		c.dirty = true
		B.todo[#B.todo + 1] = function()
			F.punch(c, F.stage_key(content), off, off + len)
		end
		return nil
	end
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local key, fin = F.key_of(o), math.min(off + len, o.size)
	F.change_content(o, set, o.size)
	B.todo[#B.todo + 1] = function()
		F.punch(o, key, off, fin)
	end
	return nil, o
end

function F.copy(to, to_key, off2, from, from_key, off, len)
	if from.kind == 'f' then
		F.write(to, to_key, off2, call('GETRANGE', from_key, off, off + len - 1))
		return
	end
	local index, fin = Q .. 'c' .. from.cid, off + len
	while off < fin do
		local i = floor(off / C.CHUNK)
		local stop = math.min((i + 1) * C.CHUNK, fin)
		local data = call('GETRANGE', index .. '/' .. i, off - i * C.CHUNK, stop - i * C.CHUNK - 1)
		F.write(to, to_key, off2, data)
		F.punch(to, to_key, off2 + #data, off2 + stop - off)
		off2 = off2 + stop - off
		off = stop
	end
end

function F.op_Y(m)
	local source, source_held, off, len, off2 = F.arg(), F.arg(), tonumber(F.arg()), tonumber(F.arg()),
		tonumber(F.arg())
	local set = F.get_set()
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local from
	from, err = F.find_file(source, source_held)
	if not from then
		return err
	end
	len = math.max(math.min(len, from.size - off, C.COPY_MAX), 0)
	if len > 0 and off2 + len > C.SIZE_MAX then
		return C.EFBIG
	end
	local size = len > 0 and math.max(o.size, off2 + len) or o.size
	local from_key, key = F.key_of(from), F.key_of(o)
	F.change_content(o, set, size)
	if len > 0 then
		B.todo[#B.todo + 1] = function()
			F.copy(o, key, off2, from, from_key, off, len)
			if o.kind == 'f' and call('STRLEN', key) < size then
				F.resize(o, key, size)
			end
		end
	end
	return nil, o, nil, len
end

function F.op_D(m)
	local dir, name = F.arg(), F.arg()
	local d, err = F.find_directory(dir, name)
	if not d then
		return err
	end
	local o = F.entry(d, name)
	if not o then
		return C.ENOENT
	elseif o == 'alien' then
		return C.EIO
	elseif F.has(m.flags, C.F_DIR) and o.kind ~= 'd' then
		return C.ENOTDIR
	elseif not F.has(m.flags, C.F_DIR) and o.kind == 'd' then
		return C.EISDIR
	elseif o.kind == 'd' and F.has_children(o) then
		return C.ENOTEMPTY
	end
	F.make_orphan(o)
	F.take_out(d, name)
	F.touch_parent(d)
	B.events[#B.events + 1] = F.entry_item(dir, name)
	return nil, nil, o
end

function F.is_below(d, top)
	while d do
		if d == top then
			return true
		end
		if d.up == d.id then
			return false
		end
		d = F.directory(d.up)
	end
	return false
end

-- Gather what moving directory d to `path` moves: keys with their new names, and directories with
-- their new paths. false: more than rename_limit.
function F.walk(d, path, moves)
	local names = {}
	if not d.new then
		if moves.n + call('HLEN', Q .. 'd' .. d.id) > B.rename_limit + 3 then
			return false
		end
		local all = call('HGETALL', Q .. 'd' .. d.id)
		for i = 1, #all, 2 do
			names[all[i]] = all[i + 1]
		end
		names[''], names['/'], names['..'] = nil, nil, nil
	end
	for name, o in pairs(d.kids) do
		names[name] = o ~= 'alien' and o or nil
	end
	moves.dirs[#moves.dirs + 1] = {d, path}
	for name, o in pairs(names) do
		moves.n = moves.n + 1
		local kind = type(o) == 'table' and o.kind or sub(o, 1, 1)
		if kind == 'd' then
			o = type(o) == 'table' and o or F.directory(match(o, '%d+'))
			if o and not F.walk(o, path .. name .. '/', moves) then
				return false
			end
		elseif kind == 'f' then
			moves.keys[#moves.keys + 1] = {P .. d.path .. name, P .. path .. name}
		end
	end
	return moves.n <= B.rename_limit
end

-- What must be moved when o goes to (d, name).
function F.moves_of(o, d, name)
	local moves = {n = 0, keys = {}, dirs = {}}
	if o.kind == 'd' then
		return F.walk(o, d.path .. name .. '/', moves) and moves
	elseif o.kind == 'f' then
		moves.keys[1] = {F.key_of(o), P .. d.path .. name}
	end
	return moves
end

-- Keys may have gone by another program's hand since they were noted: then there is nothing to move.
function F.move_key(from, to)
	try('RENAME', from, to)
	F.wrote(from)
	F.wrote(to)
end

function F.repath(moves)
	for _, move in ipairs(moves.dirs) do
		move[1].path = move[2]
		move[1].moved = true
		B.dirs[move[1]] = true
	end
end

function F.exchange(a, d, name, b, d2, name2)
	local one, two = F.moves_of(a, d2, name2), F.moves_of(b, d, name)
	if not one or not two then
		return C.EXDEV
	end
	F.repath(one)
	F.repath(two)
	F.put(d, name, b)
	F.put(d2, name2, a)
	F.change(a)
	F.change(b)
	B.todo[#B.todo + 1] = function()
		for i, key in ipairs(one.keys) do
			try('RENAME', key[1], Q .. 'c/' .. i)
			F.wrote(key[1])
		end
		for _, key in ipairs(two.keys) do
			F.move_key(key[1], key[2])
		end
		for i, key in ipairs(one.keys) do
			F.move_key(Q .. 'c/' .. i, key[2])
		end
	end
	return nil
end

function F.check_rename(m, o, d, t, d2)
	if t and F.has(m.flags, C.F_NOREPLACE) then
		return C.EEXIST
	elseif o.kind == 'd' and F.is_below(d2, o) then
		return C.EINVAL
	elseif not t then
		return nil
	elseif F.has(m.flags, C.F_EXCHANGE) then
		return t.kind == 'd' and F.is_below(d, t) and C.EINVAL or nil
	elseif o.kind == 'd' and t.kind ~= 'd' then
		return C.ENOTDIR
	elseif o.kind ~= 'd' and t.kind == 'd' then
		return C.EISDIR
	end
	return t.kind == 'd' and F.has_children(t) and C.ENOTEMPTY or nil
end

function F.replace(o, d, name, t, d2, name2)
	local moves = F.moves_of(o, d2, name2)
	if not moves then
		return C.EXDEV
	end
	if t then
		if (o.kind == 'f' or o.kind == 'F') and o.expires == 0 and t.expires > 0 then
			F.set_expiry(o, t.expires)
		end
		F.make_orphan(t)
	end
	F.repath(moves)
	F.take_out(d, name)
	F.put(d2, name2, o, not t)
	F.change(o)
	B.todo[#B.todo + 1] = function()
		for _, key in ipairs(moves.keys) do
			F.move_key(key[1], key[2])
		end
	end
	return nil
end

function F.op_N(m)
	local dir, name, dir2, name2 = F.arg(), F.arg(), F.arg(), F.arg()
	local d, err = F.find_directory(dir, name)
	local d2
	if d then
		d2, err = F.find_directory(dir2, name2)
	end
	if err then
		return err
	end
	local o, t = F.entry(d, name), F.entry(d2, name2)
	if not o or (not t and F.has(m.flags, C.F_EXCHANGE)) then
		return C.ENOENT
	elseif o == 'alien' or (t == 'alien' and not F.has(m.flags, C.F_NOREPLACE)) then
		return C.EIO
	elseif o == t and not F.has(m.flags, C.F_NOREPLACE) then
		return nil, o
	end
	err = F.check_rename(m, o, d, t, d2)
	if not err and F.has(m.flags, C.F_EXCHANGE) then
		err = F.exchange(o, d, name, t, d2, name2)
	elseif not err then
		err = F.replace(o, d, name, t, d2, name2)
	end
	if err then
		return err
	end
	F.touch_parent(d)
	F.touch_parent(d2)
	B.events[#B.events + 1] = F.entry_item(dir, name) .. F.entry_item(dir2, name2) .. 'A' .. o.id .. ';' ..
		(t and 'A' .. t.id .. ';' or '')
	return nil, o, t
end

function F.op_L()
	return C.EPERM
end

-- Attributes are few: what the batch did to them is kept by object and name.
function F.xattr(o, name)
	local mine = B.xattrs[o]
	if mine and mine[name] ~= nil then
		return mine[name]
	end
	return call('HGET', Q .. 'x' .. o.id, name)
end

function F.set_xattr(o, name, value)
	B.xattrs[o] = B.xattrs[o] or {}
	B.xattrs[o][name] = value
	F.change(o)
	B.events[#B.events + 1] = 'A' .. o.id .. ';'
end

function F.op_X(m)
	local name, value = F.arg(), F.arg()
	local o = F.object(m.id, m.held)
	if not o or o == 'alien' then
		return o and C.EIO or C.ENOENT
	end
	local old = F.xattr(o, name)
	if old and F.has(m.flags, C.F_CREATE) then
		return C.EEXIST
	elseif not old and F.has(m.flags, C.F_REPLACE) then
		return C.ENODATA
	end
	F.set_xattr(o, name, value)
	return nil, o
end

function F.op_Z(m)
	local name = F.arg()
	local o = F.object(m.id, m.held)
	if not o or o == 'alien' then
		return o and C.EIO or C.ENOENT
	elseif not F.xattr(o, name) then
		return C.ENODATA
	end
	F.set_xattr(o, name, false)
	return nil, o
end

function F.op_G()
	local cid, segs = F.arg(), F.get_segs()
	local c = F.find_staged(cid)
	if not c then
		if call('HEXISTS', Q .. 't', cid) == 1 then
			return C.EINVAL
		end
		c = {kind = 'f', cid = cid, stored = 0, expires = 0, staged = true}
		B.staged[cid] = c
	end
	c.dirty = true
	B.todo[#B.todo + 1] = function()
		F.write_segs(c, F.stage_key(cid), segs)
	end
	return nil
end

function F.op_U(m)
	local cid, size, set = F.arg(), tonumber(F.arg()), F.get_set()
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local c = F.find_staged(cid)
	if not c then
		return C.ENOENT
	end
	local key, from = F.key_of(o), F.stage_key(cid)
	F.change_content(o, set, size)
	B.staged[cid] = false
	c.taken = true
	B.todo[#B.todo + 1] = function()
		F.resize(c, from, size)
		if o.kind == 'F' then
			F.drop_chunks(o.cid)
		end
		o.cid = '0'
		if c.kind == 'f' and call('EXISTS', from) == 1 then
			call('RENAME', from, key)
		elseif c.kind == 'f' then
			call('SET', key, '')
		else
			call('UNLINK', key)
			o.cid = cid
		end
		F.wrote(key, c.kind == 'f' and '0')
		o.kind, o.stored, o.retime = c.kind, c.stored, true
		call('HDEL', Q .. 't', cid)
		call('SREM', '//k' .. session, 't ' .. cid .. ' ' .. NS)
	end
	return nil, o
end

function F.op_B()
	local cid = F.arg()
	local c = F.find_staged(cid)
	if not c then
		return C.ENOENT
	end
	B.staged[cid] = false
	c.taken = true
	B.todo[#B.todo + 1] = function()
		F.drop_chunks(cid)
		call('UNLINK', F.stage_key(cid))
		call('HDEL', Q .. 't', cid)
		call('SREM', '//k' .. session, 't ' .. cid .. ' ' .. NS)
	end
	return nil
end

end
