-- Everything that is asked and not changed, one call a question. ARGV: gen, namespace, verb, its
-- arguments. The reply is a list that begins with 0, or with what is wrong.

local verb = {}

-- A child of directory `dir` (whose path is given) by its record.
function F.child(dir, path, name, text)
	if sub(text, 1, 2) == 'd ' then
		local own = call('HGET', Q .. 'd' .. match(text, '%d+'), '')
		return own and F.parse(own)
	end
	local o = F.parse(text)
	local size = o.size
	local state = F.refresh(o, P .. path .. name)
	if state == 'gone' then
		F.note_gone(dir, name, o)
		return nil
	elseif state == 'alien' then
		return false
	elseif state == 'changed' then
		F.note_changed(dir, name, o, size)
	end
	return o
end

-- The same, as the reply tells it. Most files are plain, do not expire and are as their records say:
-- then the record is the answer.
function F.child_attr(dir, path, name, text)
	if sub(text, 1, 2) == 'f ' then
		local size, expires = match(sub(text, -64), ' (%d+) %d+ %d+ (%d+) $')
		local key = P .. path .. name
		if expires == '0' and F.expiry(key) == -1 and try('STRLEN', key) == tonumber(size) then
			return '1 ' .. text
		end
	end
	local o = F.child(dir, path, name, text)
	return o and F.attr(o)
end

-- The object with this id and the key of its content. nil: none; false: its key is no string. What has
-- no name any more is there for those who hold it. `child` is one of the two above.
function F.find(id, held, child)
	local place = call('HGET', Q .. 'o', id)
	if not place then
		return nil
	end
	if place == 'd' then
		local own = call('HGET', Q .. 'd' .. id, '')
		return own and F.parse(own)
	end
	local dir, name = match(place, '^(%d+)/(.*)$')
	if not dir then
		local o = F.parse(sub(place, 3))
		o.orphan = true
		if held ~= '1' then
			return nil
		end
		return o, Q .. 'u' .. id
	end
	local d = call('HMGET', Q .. 'd' .. dir, '/', name)
	if not d[1] or not d[2] then
		return nil
	end
	return (child or F.child)(dir, d[1], name, d[2]), P .. d[1] .. name
end

function F.no_directory(id)
	return {call('HEXISTS', Q .. 'o', id) == 1 and C.ENOTDIR or C.ENOENT}
end

function F.alien(key)
	return {C.EIO, 'key ' .. key .. ' is a ' .. call('TYPE', key).ok .. ', not a string'}
end

function verb.lookup()
	local dir, name = F.arg(), F.arg()
	local d = call('HMGET', Q .. 'd' .. dir, '', '/', name)
	if not d[1] then
		return F.no_directory(dir)
	end
	local o
	if d[3] then
		o = F.child_attr(dir, d[2], name, d[3])
	else
		local len, at = F.ask(P .. d[2] .. name)
		o = len
		if len then
			o = F.note_new_file(F.parse(d[1]), name, len, at)
			o = o and F.attr(o)
		end
	end
	if o == false then
		return F.alien(P .. d[2] .. name)
	end
	return o and {0, o} or {C.ENOENT}
end

function verb.getattr()
	local o, key = F.find(F.arg(), F.arg(), F.child_attr)
	if o == false then
		return F.alien(key)
	end
	return o and {0, type(o) == 'table' and F.attr(o) or o} or {C.ENOENT}
end

-- directory, cursor, limit: then 1 when nothing follows, and three elements an entry.
function verb.list()
	local dir, from, limit = F.arg(), F.arg(), tonumber(F.arg())
	local d = call('HMGET', Q .. 'd' .. dir, '', '/')
	if not d[1] then
		return F.no_directory(dir)
	end
	local out, n, more = {0, 0}, 2, true
	local left = limit
	while left > 0 and more do
		local page = math.min(left, 1000)
		local names = call('ZRANGEBYSCORE', Q .. 's' .. dir, '(' .. from, '+inf', 'WITHSCORES',
			'LIMIT', 0, page + 1)
		local get = {'HMGET', Q .. 'd' .. dir}
		more = #names > 2 * page
		for i = 1, math.min(#names / 2, page) do
			get[i + 2] = names[2 * i - 1]
		end
		local texts = #get > 2 and call(unpack(get)) or {}
		for i = 1, #texts do
			local name = names[2 * i - 1]
			local o = texts[i] and F.child_attr(dir, d[2], name, texts[i])
			from = names[2 * i]
			if o then
				out[n + 1], out[n + 2], out[n + 3] = from, name, o
				n, left = n + 3, left - 1
			end
		end
	end
	out[2] = more and 0 or 1
	return out
end

function verb.parent()
	local id = F.arg()
	local place = call('HGET', Q .. 'd' .. id, '..')
	if not place then
		return F.no_directory(id)
	end
	return {0, match(place, '^%d+')}
end

-- Pieces of a content as (offset from `off`, bytes), holes left out.
function F.pieces(out, o, key, off, len)
	if o.kind ~= 'F' then
		out[#out + 1] = 0
		out[#out + 1] = call('GETRANGE', key, off, off + len - 1)
		return
	end
	local index, fin = Q .. 'c' .. o.cid, off + len
	local first, last = floor(off / C.CHUNK), floor((fin - 1) / C.CHUNK)
	for _, i in ipairs(call('ZRANGEBYSCORE', index, first, last)) do
		local start = tonumber(i) * C.CHUNK
		local from, to = math.max(off, start), math.min(fin, start + C.CHUNK)
		local data = call('GETRANGE', index .. '/' .. i, from - start, to - start - 1)
		if #data > 0 then
			out[#out + 1] = from - off
			out[#out + 1] = data
		end
	end
end

-- id, held, offset, length, session: then the number of bytes and the pieces.
function verb.read()
	local id, held, off, len, session = F.arg(), F.arg(), tonumber(F.arg()), tonumber(F.arg()), F.arg()
	local o, key = F.find(id, held)
	local out = {0, 0}
	if o == false then
		return F.alien(key)
	end
	if not o then
		local who, kind, stored = match(call('HGET', Q .. 't', id) or '', '^(%d+) (%a) (%d+)$')
		if who ~= session then
			return {C.ENOENT}
		end
		out[2] = len
		if len > 0 then
			F.pieces(out, {kind = kind, cid = id}, Q .. 'c' .. id .. '/s', off, len)
		end
		return out
	end
	if o.kind == 'd' then
		return {C.EISDIR}
	elseif o.kind == 'o' then
		return {C.EINVAL}
	end
	len = math.min(len, o.size - off)
	if len <= 0 then
		return out
	end
	out[2] = len
	if o.kind == 'l' then
		out[3], out[4] = 0, sub(o.target, off + 1, off + len)
	else
		F.pieces(out, o, key, off, len)
	end
	return out
end

-- Where a hole (or, with hole '0', data) begins at or after off, in a chunked file.
function F.seek_chunks(o, off, hole)
	local index = Q .. 'c' .. o.cid
	if hole == '1' then
		local at = off
		while at < o.size do
			local i = floor(at / C.CHUNK)
			local len = call('STRLEN', index .. '/' .. i)
			if i * C.CHUNK + len <= at then
				return at
			end
			at = i * C.CHUNK + len
			if len < C.CHUNK then
				break
			end
		end
		return math.min(at, o.size)
	end
	local page, skip = {}, 0
	repeat
		page = call('ZRANGEBYSCORE', index, floor(off / C.CHUNK), '+inf', 'LIMIT', skip, 2)
		for _, i in ipairs(page) do
			local start = tonumber(i) * C.CHUNK
			local fin = start + call('STRLEN', index .. '/' .. i)
			if fin > off and start < o.size then
				return math.max(off, start)
			end
		end
		skip = skip + 2
	until #page < 2
	return nil
end

function verb.seek()
	local id, held, off, hole = F.arg(), F.arg(), tonumber(F.arg()), F.arg()
	local o, key = F.find(id, held)
	if o == false then
		return F.alien(key)
	elseif not o then
		return {C.ENOENT}
	elseif o.kind == 'd' then
		return {C.EISDIR}
	elseif o.kind == 'o' then
		return {C.EINVAL}
	end
	local at
	if off < o.size then
		if o.kind == 'F' then
			at = F.seek_chunks(o, off, hole)
		else
			at = hole == '1' and o.size or off
		end
	end
	return at and {0, at} or {C.ENXIO}
end

function verb.xget()
	local id, held, name = F.arg(), F.arg(), F.arg()
	local value = call('HGET', Q .. 'x' .. id, name)
	local o = F.find(id, held)
	if o == nil then
		return {C.ENOENT}
	end
	return value and {0, value} or {C.ENODATA}
end

function verb.xlist()
	local id, held = F.arg(), F.arg()
	if F.find(id, held) == nil then
		return {C.ENOENT}
	end
	return {0, call('HKEYS', Q .. 'x' .. id)}
end

function verb.root()
	local root = call('HGET', '//ns', NS)
	return root and {0, root} or {C.ENOENT}
end

function verb.usage()
	local m = call('HMGET', Q .. 'm', 'objects', 'bytes')
	return m[1] and {0, m[1], m[2]} or {C.ENOENT}
end

if call('HGET', '//meta', 'gen') ~= GEN then
	return {C.OTHER_DATA}
end
return verb[F.arg()]()
