-- Sessions and what is theirs, ids, namespaces, locks, and the removal of what nobody can reach.
-- ARGV: gen, namespace, verb, its arguments. The reply is a list that begins with 0, or with what is
-- wrong.

local verb = {}

function F.alive(id)
	local at = call('ZSCORE', '//sessions', id)
	return at and tonumber(at) > F.now().ms
end

-- ---- the end of a session ----------------------------------------------------------------------

function F.remove_staged(ns, cid, session)
	local table_ = '/' .. ns .. ':t'
	if match(call('HGET', table_, cid) or '', '^%d+') ~= session then
		return
	end
	local old = Q
	Q = '/' .. ns .. ':'
	F.drop_chunks(cid)
	call('UNLINK', Q .. 'c' .. cid .. '/s')
	Q = old
	call('HDEL', table_, cid)
end

function F.remove_locks(ns, id, session)
	local key = '/' .. ns .. ':l' .. id
	for _, field in ipairs(call('HKEYS', key)) do
		if match(field, '^%d+') == session then
			call('HDEL', key, field)
		end
	end
end

-- Take away what goes with the session, a part at a time. True: it is gone.
function F.end_session(session)
	for _, thing in ipairs(call('SRANDMEMBER', '//k' .. session, 500)) do
		local letter, id, ns = match(thing, '^(%a) (%d+) (.*)$')
		if letter == 't' then
			F.remove_staged(ns, id, session)
		elseif letter == 'l' then
			F.remove_locks(ns, id, session)
		end
		call('SREM', '//k' .. session, thing)
	end
	if call('EXISTS', '//k' .. session) == 1 then
		return false
	end
	call('UNLINK', '//s' .. session)
	call('ZREM', '//sessions', session)
	F.announce(session, 'S' .. #F.live_sessions() .. ';')
	return true
end

function F.live_sessions()
	return call('ZRANGEBYSCORE', '//sessions', '(' .. F.now().ms, '+inf')
end

-- ---- sessions ----------------------------------------------------------------------------------

-- layout, '1' to create, a new gen, first id, run: then the gen that is there.
function verb.layout()
	local layout, create, gen, first, run = F.arg(), F.arg(), F.arg(), F.arg(), F.arg()
	local kind = call('TYPE', '//meta').ok
	if kind ~= 'none' and kind ~= 'hash' then
		return {C.EINVAL, 'key //meta is a ' .. kind .. ' of somebody else'}
	end
	local meta = call('HMGET', '//meta', 'layout', 'gen')
	if kind == 'hash' and not (meta[1] and meta[2]) then
		return {C.EINVAL, 'key //meta is a hash of somebody else'}
	elseif meta[1] then
		if meta[1] ~= layout then
			return {C.EINVAL, 'the data has layout ' .. meta[1] .. ', this persistfs knows layout ' ..
				layout}
		end
		return {0, meta[2]}
	elseif create ~= '1' then
		return {C.ENOENT}
	end
	call('HSET', '//meta', 'layout', layout, 'gen', gen, 'id', first, 'gone', 0, 'run', run)
	return {0, gen}
end

-- ms that it lives without a beat: then its id, which is also its first epoch's.
function verb.begin()
	local lease = F.arg()
	local id = format('%.0f', call('HINCRBY', '//meta', 'id', 1))
	call('HSET', '//s' .. id, 'gen', GEN, 'e', 1, 'n', 0, 'ack', call('HGET', '//meta', 'gone'))
	call('ZADD', '//sessions', F.now().ms + lease, id)
	local n = #F.live_sessions()
	F.announce(id, 'S' .. n .. ';')
	return {0, id, n}
end

-- session, ms to live: then how many sessions live. Buries what was silent for too long.
function verb.beat()
	local session, lease = F.arg(), F.arg()
	for _, dead in ipairs(call('ZRANGEBYSCORE', '//sessions', '-inf', F.now().ms, 'LIMIT', 0, 4)) do
		F.end_session(dead)
	end
	if not call('ZSCORE', '//sessions', session) then
		return {C.NO_SESSION}
	end
	call('ZADD', '//sessions', F.now().ms + lease, session)
	return {0, #F.live_sessions()}
end

-- session: then 1 when it has gone, 0 for: again.
function verb.finish()
	return {0, F.end_session(F.arg()) and 1 or 0}
end

-- session, the highest of its commits that was done and answered, run: after a broken connection. A new epoch: whatever
-- is still on its way is refused. Another run of the server may have forgotten some of what it had
-- answered: ids issued since must not come again, and if our own commits are missing, the data is
-- another one.
function verb.resume()
	local session, number, run = F.arg(), tonumber(F.arg()), F.arg()
	local s = call('HMGET', '//s' .. session, 'e', 'r' .. number % 128)
	if call('HGET', '//meta', 'run') ~= run then
		call('HSET', '//meta', 'run', run)
		call('HINCRBY', '//meta', 'id', 1048576)
	end
	if not s[1] then
		return {C.NO_SESSION}
	elseif number > 0 and tonumber(match(s[2] or '0', '^%d+')) < number then
		return {C.OTHER_DATA} -- its result, or one that took its place, must be there
	end
	return {0, call('HINCRBY', '//s' .. session, 'e', 1)}
end

-- The data lost what was promised: a new gen, unless somebody has made one since `GEN`.
function verb.renew()
	local gen = F.arg()
	call('HINCRBY', '//meta', 'id', 1048576)
	call('HSET', '//meta', 'gen', gen)
	return {0}
end

function verb.ids()
	local n = tonumber(F.arg())
	local last = call('HINCRBY', '//meta', 'id', n)
	return {0, last - n + 1}
end

-- ---- namespaces --------------------------------------------------------------------------------

-- '1' to create, uid, gid: then the id of the root.
function verb.open()
	local create, uid, gid = F.arg(), F.arg(), F.arg()
	local root = call('HGET', '//ns', NS)
	if root then
		return {0, root}
	elseif create ~= '1' then
		return {C.ENOENT}
	end
	for _, other in ipairs(call('HKEYS', '//ns')) do
		if sub(other .. ':', 1, #P) == P or sub(P, 1, #other + 1) == other .. ':' then
			return {C.EINVAL, "its keys would be among those of namespace '" .. other .. "'"}
		end
	end
	root = format('%.0f', call('HINCRBY', '//meta', 'id', 1))
	local o = {
		kind = 'd', id = root, mode = '16877', uid = uid, gid = gid, rdev = '0', version = 1,
		cversion = 1, mtime = F.now().ns, ctime = F.now().ns, btime = F.now().ns, size = 0, stored = 0,
		cid = '0', expires = 0, target = '',
	}
	call('HSET', Q .. 'd' .. root, '', F.record(o), '/', '', '..', root .. '/')
	call('HSET', Q .. 'o', root, 'd')
	call('HSET', Q .. 'm', 'root', root, 'seq', 16, 'objects', 0, 'bytes', 0)
	call('HSET', '//ns', NS, root)
	return {0, root}
end

function verb.namespaces()
	return {0, call('HGETALL', '//ns')}
end

function F.destroy(id)
	local place = call('HGET', Q .. 'o', id)
	local o = place and sub(place, 1, 1) == 'u' and F.parse(sub(place, 3))
	if o then
		if o.kind == 'F' then
			F.drop_chunks(o.cid)
		end
		call('HDEL', Q .. 'o', id)
	end
	call('UNLINK', Q .. 'u' .. id, Q .. 'x' .. id, Q .. 'l' .. id)
	call('ZREM', Q .. 'u', id)
end

function verb.remove()
	local root = call('HGET', '//ns', NS)
	if not root then
		return {C.ENOENT}
	elseif call('EXISTS', Q .. 's' .. root) == 1 then
		return {C.ENOTEMPTY}
	end
	for _, id in ipairs(call('ZRANGE', Q .. 'u', 0, -1)) do
		F.destroy(id)
	end
	call('HDEL', '//ns', NS)
	call('UNLINK', Q .. 'd' .. root, Q .. 'o', Q .. 'm', Q .. 'u', Q .. 'x' .. root, Q .. 'l' .. root)
	F.announce(0, 'A' .. root .. ';')
	return {0}
end

-- ---- what has no name --------------------------------------------------------------------------

-- Chunks of contents that nobody has, at most `budget`; 1: there are more.
function F.sweep_contents(budget)
	for _, cid in ipairs(call('SRANDMEMBER', Q .. 'g', 8)) do
		local index = Q .. 'c' .. cid
		local some = call('ZRANGE', index, 0, budget - 1)
		for _, i in ipairs(some) do
			call('UNLINK', index .. '/' .. i)
			call('ZREM', index, i)
		end
		budget = budget - #some
		if budget <= 0 then
			return 1
		end
		call('SREM', Q .. 'g', cid)
	end
	return call('EXISTS', Q .. 'g')
end

-- session, how far it has heard, n and ids that it holds among what it heard of, m and ids that it holds
-- no more. Then everything goes that all sessions have heard of and none holds. Reply: how many remain,
-- and 1 when there is more to do.
function verb.sweep()
	local session, heard = F.arg(), tonumber(F.arg())
	local mine = '//k' .. session
	if not call('ZSCORE', '//sessions', session) then
		return {C.NO_SESSION}
	end
	for _ = 1, tonumber(F.arg()) do
		local id = F.arg()
		if call('ZSCORE', Q .. 'u', id) then
			call('SADD', mine, 'h ' .. id .. ' ' .. NS)
		end
	end
	for _ = 1, tonumber(F.arg()) do
		call('SREM', mine, 'h ' .. F.arg() .. ' ' .. NS)
	end
	if tonumber(call('HGET', '//s' .. session, 'ack') or 0) < heard then
		call('HSET', '//s' .. session, 'ack', heard)
	end
	local all, least = F.live_sessions(), '+inf'
	for _, s in ipairs(all) do
		local ack = call('HGET', '//s' .. s, 'ack')
		if ack and (least == '+inf' or tonumber(ack) < tonumber(least)) then
			least = ack
		end
	end
	local ids, more = call('ZRANGEBYSCORE', Q .. 'u', '-inf', least, 'LIMIT', 0, 300), 0
	for i, id in ipairs(ids) do
		local held = false
		for _, s in ipairs(all) do
			held = held or call('SISMEMBER', '//k' .. s, 'h ' .. id .. ' ' .. NS) == 1
		end
		if not held then
			F.destroy(id)
			more = i == 300 and 1 or 0
		end
	end
	if F.sweep_contents(500) == 1 then
		more = 1
	end
	return {0, call('ZCARD', Q .. 'u'), more}
end

-- Which of these ids have no name? How far would one have heard who asks now?
function verb.nameless()
	local out, id = {}, F.arg()
	while id do
		if call('ZSCORE', Q .. 'u', id) then
			out[#out + 1] = id
		end
		id = F.arg()
	end
	return {0, tonumber(call('HGET', '//meta', 'gone')), out}
end

-- Is directory `dir` as all the records say? Reply: 0 and the directories in it, or EIO and what is wrong.
function verb.verify()
	local dir = F.arg()
	local all = call('HGETALL', Q .. 'd' .. dir)
	local out, names = {0}, 0
	if #all == 0 then
		return {C.ENOENT}
	end
	for i = 1, #all, 2 do
		local name, text = all[i], all[i + 1]
		local below = match(text, '^d (%d+)$')
		local o = not below and name ~= '' and name ~= '/' and name ~= '..' and F.parse(text)
		local wrong
		if below then
			local place = call('HMGET', Q .. 'd' .. below, '..', '')
			out[#out + 1] = below
			if place[1] ~= dir .. '/' .. name or call('HGET', Q .. 'o', below) ~= 'd' or
				F.parse(place[2]).id ~= below then
				wrong = 'the place of directory ' .. below
			end
		elseif o and call('HGET', Q .. 'o', o.id) ~= dir .. '/' .. name then
			wrong = 'the place of ' .. tostring(o.id)
		elseif o and o.kind == 'F' then
			local index, stored = Q .. 'c' .. o.cid, 0
			for _, n in ipairs(call('ZRANGE', index, 0, -1)) do
				stored = stored + call('STRLEN', index .. '/' .. n)
			end
			wrong = stored ~= o.stored and 'the chunks of ' .. o.id
		end
		if (below or o) and not call('ZSCORE', Q .. 's' .. dir, name) then
			wrong = 'the sequence of ' .. name
		end
		names = names + ((below or o) and 1 or 0)
		if wrong then
			return {C.EIO, wrong .. ' in directory ' .. dir .. ' is damaged'}
		end
	end
	if call('ZCARD', Q .. 's' .. dir) ~= names then
		return {C.EIO, 'directory ' .. dir .. ' has a sequence of names that are not there'}
	end
	return out
end

-- ---- locks -------------------------------------------------------------------------------------

-- Positions are texts of 20 digits, so that they compare as texts.
local LAST = '18446744073709551615'

function F.step(at, by)
	local high, low = tonumber(sub(at, 1, 10)), tonumber(sub(at, 11)) + by
	if low < 0 then
		high, low = high - 1, low + 1e10
	elseif low >= 1e10 then
		high, low = high + 1, low - 1e10
	end
	return format('%010.0f%010.0f', high, low)
end

local RANGE = '(%d+) (%d+) (%d);'

-- What the owner has, with [first, last] in this mode put in.
function F.put_range(have, first, last, mode)
	local from, to, out = first, last, {}
	local before = tonumber(first) > 0 and F.step(first, -1) or first
	local after = last ~= LAST and F.step(last, 1) or last
	for a, b, m in string.gmatch(have, RANGE) do
		if m == mode and b >= before and a <= after then
			from, to = a < from and a or from, b > to and b or to
		elseif b < first or a > last then
			out[#out + 1] = a .. ' ' .. b .. ' ' .. m .. ';'
		else
			if a < first then
				out[#out + 1] = a .. ' ' .. before .. ' ' .. m .. ';'
			end
			if b > last then
				out[#out + 1] = after .. ' ' .. b .. ' ' .. m .. ';'
			end
		end
	end
	if mode ~= '0' then
		out[#out + 1] = from .. ' ' .. to .. ' ' .. mode .. ';'
	end
	return concat(out)
end

-- session, id, held, owner, start, end, mode. Where others are in the way: EAGAIN, owner, start, end,
-- mode.
function verb.lock()
	local session, id, held, owner = F.arg(), F.arg(), F.arg(), F.arg()
	local first, last, mode = F.arg(), F.arg(), F.arg()
	local place = call('HGET', Q .. 'o', id)
	if not place or (sub(place, 1, 1) == 'u' and held ~= '1') then
		return {C.ENOENT}
	elseif not call('ZSCORE', '//sessions', session) then
		return {C.NO_SESSION}
	end
	local key, me, have = Q .. 'l' .. id, session .. ':' .. owner, ''
	local all = call('HGETALL', key)
	for i = 1, #all, 2 do
		local who, whose = match(all[i], '^(%d+):(%d+)$')
		if all[i] == me then
			have = all[i + 1]
		elseif mode ~= '0' and (who == session or F.alive(who)) then
			for a, b, m in string.gmatch(all[i + 1], RANGE) do
				if a <= last and first <= b and (m == '2' or mode == '2') then
					if who ~= session then
						F.announce(session, 'L' .. who .. ' ' .. id .. ';')
					end
					return {C.EAGAIN, whose, a, b, m}
				end
			end
		end
	end
	local ranges = F.put_range(have, first, last, mode)
	if ranges == '' then
		call('HDEL', key, me)
	else
		call('HSET', key, me, ranges)
		call('SADD', '//k' .. session, 'l ' .. id .. ' ' .. NS)
	end
	return {0}
end

local UNREFUSED = {
	begin = true, beat = true, finish = true, resume = true, renew = true, remove = true, sweep = true,
	lock = true,
}
local name = ARGV[3]
if name ~= 'layout' and call('HGET', '//meta', 'gen') ~= GEN then
	return {C.OTHER_DATA}
end
F.arg()
-- What keeps a session alive, and what gives room back, is not refused for want of memory: the server
-- refuses nothing behind a script's first write, and this one never.
if UNREFUSED[name] then
	call('HDEL', '//meta', '-')
end
return verb[name]()
