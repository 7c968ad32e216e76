-- Part of the script of a batch, which begins in batch.lua: the mutations that are many, and what they
-- do to contents.

-- ---- contents ----------------------------------------------------------------------------------

-- These run when all has been checked. c is an object or a staged content: kind, cid, stored and
-- expires; key is that of its plain string.

-- A content key was written. hash: what it holds from now on, as the session has hashed it, '0' where
-- that is not known; nil: it came or went as a whole.
function F.wrote(key, hash)
	B.wrote_keys[key] = hash or '-'
end

function F.get_segs()
	local n, segs = tonumber(F.arg()), {}
	for i = 1, n do
		segs[i] = {tonumber(F.arg()), F.arg()}
	end
	return segs
end

function F.end_of(segs, fin)
	for _, seg in ipairs(segs) do
		if #seg[2] > 0 and seg[1] + #seg[2] > fin then
			fin = seg[1] + #seg[2]
		end
	end
	return fin
end

function F.write_segs(c, key, segs, size)
	for _, seg in ipairs(segs) do
		F.write(c, key, seg[1], seg[2])
	end
	if size and c.kind == 'F' then
		F.implode(c, key, size)
	end
end

function F.fill(c, key, segs, size, hash)
	local only = segs[1] or {0, ''}
	if #segs <= 1 and only[1] == 0 and #only[2] == size and size <= C.PLAIN_MAX and c.kind == 'f' then
		call('SET', key, only[2], 'KEEPTTL')
		F.wrote(key, hash)
		c.stored = size
		return
	end
	F.clear(c, key, size)
	F.write_segs(c, key, segs)
	F.resize(c, key, size)
end

function F.write(c, key, off, data)
	local fin = off + #data
	if #data == 0 then
		return
	end
	if c.kind == 'f' then
		local len = call('STRLEN', key)
		if fin <= C.PLAIN_MAX and off <= len + C.CHUNK then
			if off == 0 and fin >= len then
				call('SET', key, data, 'KEEPTTL')
			else
				call('SETRANGE', key, off, data)
			end
			c.stored = math.max(len, fin)
			F.wrote(key, '0')
			return
		end
		F.explode(c, key)
	end
	local index, at = Q .. 'c' .. c.cid, off
	while at < fin do
		local i = floor(at / C.CHUNK)
		local start = at - i * C.CHUNK
		local n = math.min(C.CHUNK - start, fin - at)
		local chunk = index .. '/' .. i
		local before = call('STRLEN', chunk)
		local after = call('SETRANGE', chunk, start,
			n == #data and data or sub(data, at - off + 1, at - off + n))
		if before == 0 then
			call('ZADD', index, i, i)
		end
		c.stored = c.stored + after - before
		at = at + n
	end
end

-- ---- mutations ---------------------------------------------------------------------------------

-- Each reads its arguments and returns an error, or nil and the objects that its reply tells of: what
-- it worked on, the other one, and a number.

function F.op_C(m)
	local dir, name, mode, uid, gid, rdev = F.arg(), F.arg(), F.arg(), F.arg(), F.arg(), F.arg()
	local kind, mtime, size, expires = F.arg(), F.arg(), tonumber(F.arg()), tonumber(F.arg())
	local segs, hash = F.get_segs(), F.arg()
	local d, err = F.find_directory(dir, name)
	if not d then
		return err
	end
	if F.entry(d, name) then
		return C.EEXIST
	elseif expires > 0 and kind ~= 'f' then
		return C.EINVAL
	end
	local o = {
		kind = kind, id = m.id, mode = mode, uid = uid, gid = gid, rdev = rdev, version = 1,
		cversion = 1, mtime = mtime, ctime = NOW, btime = NOW, size = size, stored = 0, cid = '0',
		expires = expires, target = '',
	}
	B.objects[m.id] = o
	B.dirty[o] = true
	if kind == 'd' then
		o.kids, o.path, o.new = {}, d.path .. name .. '/', true
	elseif kind == 'l' then
		for _, seg in ipairs(segs) do
			o.target = o.target .. seg[2]
		end
	end
	F.put(d, name, o, true)
	F.touch_parent(d)
	B.objects_delta, B.bytes_delta = B.objects_delta + 1, B.bytes_delta + size
	if kind == 'f' then
		local key = F.key_of(o)
		o.retime = expires > 0
		B.todo[#B.todo + 1] = function()
			F.fill(o, key, segs, size, hash)
		end
	end
	B.events[#B.events + 1] = F.entry_item(dir, name)
	return nil, o
end

function F.op_W(m)
	local set, segs = F.get_set(), F.get_segs()
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local key, size = F.key_of(o), F.end_of(segs, o.size)
	F.change_content(o, set, size)
	B.todo[#B.todo + 1] = function()
		F.write_segs(o, key, segs, size)
	end
	return nil, o
end

function F.op_P(m)
	local set, segs = F.get_set(), F.get_segs()
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local start = o.size
	local fin, key = start, F.key_of(o)
	for _, seg in ipairs(segs) do
		seg[1] = fin
		fin = fin + #seg[2]
	end
	if fin > C.SIZE_MAX then
		return C.EFBIG
	end
	F.change_content(o, set, fin)
	B.todo[#B.todo + 1] = function()
		F.write_segs(o, key, segs, fin)
	end
	return nil, o, nil, start
end

function F.op_R(m)
	local size, set, segs, hash = tonumber(F.arg()), F.get_set(), F.get_segs(), F.arg()
	local o, err = F.find_file(m.id, m.held)
	if not o then
		return err
	end
	local key = F.key_of(o)
	F.change_content(o, set, size)
	B.todo[#B.todo + 1] = function()
		F.fill(o, key, segs, size, hash)
	end
	return nil, o
end

function F.op_S(m)
	local mask, mode, uid, gid = tonumber(F.arg()), tonumber(F.arg()), F.arg(), F.arg()
	local mtime, expires = F.arg(), tonumber(F.arg())
	local o = F.object(m.id, m.held)
	if not o then
		return C.ENOENT
	elseif o == 'alien' then
		return C.EIO
	elseif F.has(mask, C.SET_EXPIRES) and o.kind ~= 'f' and o.kind ~= 'F' then
		return C.EINVAL
	end
	F.change(o)
	if F.has(mask, C.SET_MODE) then
		o.mode = format('%.0f', floor(tonumber(o.mode) / 4096) * 4096 + mode % 4096)
	end
	o.uid = F.has(mask, C.SET_UID) and uid or o.uid
	o.gid = F.has(mask, C.SET_GID) and gid or o.gid
	o.mtime = F.has(mask, C.SET_MTIME) and mtime or o.mtime
	if F.has(mask, C.SET_KILLPRIV) then
		o.mode = F.without_setid(o.mode)
	end
	if F.has(mask, C.SET_EXPIRES) then
		F.set_expiry(o, expires)
	end
	B.events[#B.events + 1] = 'A' .. o.id .. ';'
	return nil, o
end
