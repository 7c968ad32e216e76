-- Part of the script of a batch, its end: what was worked out is written.

-- ---- writing -----------------------------------------------------------------------------------

function F.place_of(o)
	if o.orphan then
		return 'u ' .. F.record(o)
	elseif o.kind == 'd' then
		return 'd'
	end
	return o.dir.id .. '/' .. o.name
end

-- Commands that take many fields are put together, and sent in parts.
function F.gather(command, key, a, b)
	local id = command .. key
	local list = B.gathered[id]
	if not list or #list > 500 then
		if list then
			call(unpack(list))
		end
		list = {command, key}
		B.gathered[id] = list
	end
	list[#list + 1] = a
	list[#list + 1] = b
end

function F.flush_directory(d)
	local key = Q .. 'd' .. d.id
	if d.orphan then
		call('UNLINK', key, Q .. 's' .. d.id)
		return
	end
	if d.moved then
		F.gather('HSET', key, '/', d.path)
		F.gather('HSET', key, '..', d.up .. '/' .. d.name)
	end
	for name in pairs(d.flush or {}) do
		local o = d.kids[name]
		if o and o.kind == 'd' then
			F.gather('HSET', key, name, 'd ' .. o.id)
		elseif o then
			F.gather('HSET', key, name, F.record(o))
			B.dirty[o] = nil
		else
			F.gather('HDEL', key, name)
			F.gather('ZREM', Q .. 's' .. d.id, name)
		end
		if o and d.seqs and d.seqs[name] then
			F.gather('ZADD', Q .. 's' .. d.id, d.seqs[name], name)
		end
	end
end

function F.flush_object(o)
	if o.orphan then
		return -- with its place
	elseif o.kind == 'd' then
		F.gather('HSET', Q .. 'd' .. o.id, '', F.record(o))
	else
		F.gather('HSET', Q .. 'd' .. o.dir.id, o.name, F.record(o))
	end
end

function F.flush_expiry(o)
	local key = F.key_of(o)
	if o.expires > 0 then
		call('PEXPIREAT', key, format('%.0f', o.expires))
	else
		call('PERSIST', key)
	end
	if not B.wrote_keys[key] then
		F.wrote(key)
	end
end

function F.flush_objects()
	for _, o in pairs(B.objects) do
		if o and (o.moved or (o.orphan and B.dirty[o])) then
			F.gather('HSET', Q .. 'o', o.id, F.place_of(o))
		end
		if o and o.retime and o.kind == 'f' and not o.orphan then
			F.flush_expiry(o)
		end
	end
	for d in pairs(B.dirs) do
		F.flush_directory(d)
	end
	for o in pairs(B.dirty) do
		F.flush_object(o)
	end
	for _, list in pairs(B.gathered) do
		call(unpack(list))
	end
	for _, o in ipairs(B.orphans) do
		if o.kind == 'd' then
			call('UNLINK', Q .. 'd' .. o.id, Q .. 's' .. o.id)
		end
		local n = call('HINCRBY', '//meta', 'gone', 1)
		call('ZADD', Q .. 'u', n, o.id)
		B.events[#B.events + 1] = 'G' .. n .. ' ' .. o.id .. ';'
	end
end

function F.flush_rest()
	for o, mine in pairs(B.xattrs) do
		for name, value in pairs(mine) do
			if value then
				call('HSET', Q .. 'x' .. o.id, name, value)
			else
				call('HDEL', Q .. 'x' .. o.id, name)
			end
		end
	end
	for cid, c in pairs(B.staged) do
		if c and c.dirty then
			call('HSET', Q .. 't', cid, session .. ' ' .. c.kind .. ' ' .. c.stored)
			call('SADD', '//k' .. session, 't ' .. cid .. ' ' .. NS)
		end
	end
	if not B.seq then
		F.count(B.objects_delta, B.bytes_delta)
	end
	if B.new_ids > 0 then
		call('HINCRBY', '//meta', 'id', B.new_ids)
	end
end

-- Does the batch only give room back? Then it is not refused for want of memory.
local FREEING = {D = true, H = true, B = true, Z = true}

function F.run()
	local results, frees = {}, true
	for i = 1, B.count_ops do
		local letter = F.arg()
		local m = {flags = tonumber(F.arg()), id = F.arg(), version = F.arg(), held = F.arg()}
		if m.version ~= '' then
			local o = F.object(m.id, m.held)
			if not o or o == 'alien' then
				return {o and C.EIO or C.ENOENT, i - 1}
			elseif o.version ~= tonumber(m.version) then
				return {C.EAGAIN, i - 1}
			end
		end
		local err, o, other, n = F['op_' .. letter](m)
		if err then
			return {err, i - 1}
		end
		frees = frees and FREEING[letter] and not B.seq
		if B.count_ops > 1 then -- later mutations may change them again
			for _, which in ipairs({o or false, other or false}) do
				if which then
					local copy_ = {}
					for k, v in pairs(which) do
						copy_[k] = v
					end
					copy_.live = which
					if which == o then
						o = copy_
					end
					if which == other then
						other = copy_
					end
				end
			end
		end
		results[3 * i - 2], results[3 * i - 1], results[3 * i] = o or false, other or false, n or 0
	end

	-- The first write: what can be refused is refused here.
	local first
	if frees then
		first = try('HDEL', '//s' .. session, '-')
	elseif B.seq then
		first = try('HSET', Q .. 'm', 'seq', B.seq, 'objects', B.objects_count + B.objects_delta,
			'bytes', B.bytes_count + B.bytes_delta)
	else
		first = try('HSET', '//s' .. session, 'n', number)
	end
	if type(first) ~= 'number' then
		return first
	end
	for _, step in ipairs(B.todo) do
		step()
	end
	F.flush_objects()
	F.flush_rest()

	local reply = {0}
	for i = 1, 3 * B.count_ops do
		local o = results[i]
		if type(o) == 'table' then
			local live = o.live or o
			o.kind = o.kind ~= 'd' and live.kind or o.kind
			o.stored, o.cid = live.stored, live.cid
			reply[i + 1] = F.attr(o)
		else
			reply[i + 1] = o or ''
		end
	end
	for key, hash in pairs(B.wrote_keys) do
		if sub(key, 1, #P) == P then
			local item = hash == '-' and 'K' or 'V' .. hash .. ' ' .. call('STRLEN', key) .. ' '
			B.events[#B.events + 1] = item .. #key .. ':' .. key .. ';'
		end
	end
	F.announce(session, concat(B.events))
	call('HSET', '//s' .. session, 'n', number, 'r' .. tonumber(number) % 128,
		number .. ' ' .. cmsgpack.pack(reply))
	return reply
end

local known = call('HMGET', '//s' .. session, 'e', 'r' .. tonumber(number) % 128, 'gen')
if known[3] ~= GEN and call('HGET', '//meta', 'gen') ~= GEN then
	return {C.OTHER_DATA}
elseif not known[1] or known[3] ~= GEN then
	return {C.NO_SESSION}
elseif known[1] ~= epoch then
	return {C.OLD_EPOCH}
end
local done = match(known[2] or '', '^%d+')
if done == number then
	return cmsgpack.unpack(sub(known[2], #done + 2))
end
return F.run()
