-- Part of the script of a batch: contents in chunks, and what is done to contents seldom. Made when it
-- is first needed.

loaders[#loaders + 1] = function()

-- From a plain string to chunks.
function F.explode(c, key)
	local data = call('GET', key) or ''
	if c.kind == 'f' and not c.staged then
		c.cid = F.fresh_id()
	end
	local index = Q .. 'c' .. c.cid
	for i = 0, floor((#data - 1) / C.CHUNK) do
		call('SET', index .. '/' .. i, sub(data, i * C.CHUNK + 1, (i + 1) * C.CHUNK))
		call('ZADD', index, i, i)
	end
	call('UNLINK', key)
	F.wrote(key)
	c.kind, c.stored = 'F', #data
end

-- Back to a plain string, where a file is small and has no large hole.
function F.implode(c, key, size)
	if c.kind ~= 'F' or size > C.PLAIN_MAX or c.stored < size - C.CHUNK then
		return
	end
	local index, parts, at = Q .. 'c' .. c.cid, {}, 0
	for _, i in ipairs(call('ZRANGE', index, 0, -1)) do
		local start = tonumber(i) * C.CHUNK
		if start > at then
			parts[#parts + 1] = string.rep('\0', start - at)
		end
		local data = call('GET', index .. '/' .. i)
		parts[#parts + 1] = data
		at = start + #data
	end
	if at < size then
		parts[#parts + 1] = string.rep('\0', size - at)
	end
	F.drop_chunks(c.cid)
	call('SET', key, concat(parts))
	F.wrote(key, '0')
	c.kind, c.stored, c.retime = 'f', size, c.retime or c.expires > 0
	c.cid = c.staged and c.cid or '0'
end

function F.drop_chunk(c, index, i, len)
	call('UNLINK', index .. '/' .. i)
	call('ZREM', index, i)
	c.stored = c.stored - len
end

function F.cut_chunk(c, index, i, from, len)
	call('SET', index .. '/' .. i, call('GETRANGE', index .. '/' .. i, 0, from - 1))
	c.stored = c.stored - (len - from)
end

-- [off, fin) reads as zeros; chunks that lie in it go.
function F.punch(c, key, off, fin)
	if fin <= off then
		return
	end
	if c.kind == 'f' then
		local len = call('STRLEN', key)
		if floor(math.min(fin, len) / C.CHUNK) <= math.ceil(off / C.CHUNK) then
			fin = math.min(fin, len)
			if fin > off then
				call('SETRANGE', key, off, string.rep('\0', fin - off))
				F.wrote(key, '0')
			end
			return
		end
		F.explode(c, key)
	end
	local index = Q .. 'c' .. c.cid
	local chunks = call('ZRANGEBYSCORE', index, floor(off / C.CHUNK), floor((fin - 1) / C.CHUNK))
	for _, i in ipairs(chunks) do
		local len = call('STRLEN', index .. '/' .. i)
		local from = math.max(off - tonumber(i) * C.CHUNK, 0)
		local to = math.min(fin - tonumber(i) * C.CHUNK, len)
		if from == 0 and to >= len then
			F.drop_chunk(c, index, i, len)
		elseif to >= len and from < len then
			F.cut_chunk(c, index, i, from, len)
		elseif from < to then
			call('SETRANGE', index .. '/' .. i, from, string.rep('\0', to - from))
		end
	end
end

-- Everything past `size` goes; a plain string grows to it.
function F.resize(c, key, size)
	if c.kind == 'f' then
		local len = call('STRLEN', key)
		if len > size then
			call('SET', key, size > 0 and call('GETRANGE', key, 0, size - 1) or '', 'KEEPTTL')
			c.stored = size
			F.wrote(key, '0')
		elseif size > C.PLAIN_MAX or size - len > C.CHUNK then
			F.explode(c, key)
		elseif size > len then
			call('SETRANGE', key, size - 1, '\0')
			c.stored = size
			F.wrote(key, '0')
		end
		return
	end
	local index = Q .. 'c' .. c.cid
	for _, i in ipairs(call('ZRANGEBYSCORE', index, floor(size / C.CHUNK), '+inf')) do
		local len = call('STRLEN', index .. '/' .. i)
		local from = size - tonumber(i) * C.CHUNK
		if from <= 0 then
			F.drop_chunk(c, index, i, len)
		elseif from < len then
			F.cut_chunk(c, index, i, from, len)
		end
	end
	F.implode(c, key, size)
end

-- An empty content in place of what there was.
function F.clear(c, key, size)
	if c.kind == 'F' then
		F.drop_chunks(c.cid)
	end
	if size > C.PLAIN_MAX then
		if c.kind == 'f' then
			call('UNLINK', key)
			F.wrote(key)
		end
		c.kind, c.cid = 'F', F.fresh_id()
	else
		if c.kind == 'F' then
			c.retime = c.retime or c.expires > 0
		end
		call('SET', key, '', 'KEEPTTL')
		F.wrote(key, '0')
		c.kind, c.cid = 'f', '0'
	end
	c.stored = 0
end


-- A staged content of this session, nil: none.
function F.find_staged(cid)
	local c = B.staged[cid]
	if c == nil then
		local who, kind, stored = match(call('HGET', Q .. 't', cid) or '', '^(%d+) (%a) (%d+)$')
		c = who == session and {kind = kind, cid = cid, stored = tonumber(stored), expires = 0,
			staged = true} or false
		B.staged[cid] = c
	end
	return c or nil
end

function F.stage_key(cid)
	return Q .. 'c' .. cid .. '/s'
end

end
