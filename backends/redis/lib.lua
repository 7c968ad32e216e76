-- The beginning of every script of the Redis engine: names of keys, records, and what other programs
-- did to content keys. The build joins it with notes.lua and one or more
-- of the others.
--
-- Of namespace NS, the store's data as other programs see it:
--   NS:a/b            string: the content of file a/b, up to 8 MiB and without large holes
-- and beside it, under names that no file can have:
--   /NS:d<id>         hash, a directory: '' its own record, '/' its path (with a '/' behind, the
--                     root's is empty), '..' its place, and each child by name: a record, or
--                     'd <id>' for a directory
--   /NS:s<id>         zset of a directory's names by sequence, the cursor of listings
--   /NS:o             hash: id -> place '<directory>/<name>'; 'd' for a directory; 'u <record>' for
--                     what has lost its name
--   /NS:m             hash: root, seq (the last sequence), objects, bytes (of those with a name)
--   /NS:u             zset of ids without a name, by number of their going; /NS:u<id>: their content
--   /NS:c<content>    zset of the chunks that a chunked content has; /NS:c<content>/<n>: the n-th MiB
--   /NS:t             hash: staged content -> '<session> <kind> <stored>'; as a plain string it is
--                     at /NS:c<content>/s
--   /NS:x<id>         hash of extended attributes
--   /NS:l<id>         hash of locks: '<session>:<owner>' -> '<start> <end> <mode>;' ...
--   /NS:g             set of contents that nobody has any more, to be removed piece by piece
-- Of the whole database:
--   //meta            hash: layout, gen (changes when data was lost), id (the last issued), gone (how
--                     many objects have lost their names), run (of the server)
--   //ns              hash: namespace -> id of its root
--   //sessions        zset of sessions by the ms at which they are dead unless they tell otherwise
--   //s<session>      hash: gen, e (its epoch), n (its last commit), r<slot> (results), ack (the last
--                     'gone' that it has heard of)
--   //k<session>      set of what goes with it: 't <content> <ns>', 'l <id> <ns>', and 'h <id> <ns>':
--                     objects without a name that it holds
-- Changes are published on '//changes <gen>'; see announce().

local call, try = redis.call, redis.pcall
local match, sub, format, floor = string.match, string.sub, string.format, math.floor
local tonumber, concat = tonumber, table.concat

local C = { -- constants: errno, then what is not errno, then sizes
	EPERM = 1, ENOENT = 2, EIO = 5, ENXIO = 6, EAGAIN = 11, EEXIST = 17, EXDEV = 18, ENOTDIR = 20,
	EISDIR = 21, EINVAL = 22, EFBIG = 27, ENOTEMPTY = 39, ENODATA = 61,
	-- The data is another one now; the session is not known; its epoch has moved.
	OTHER_DATA = 1001, NO_SESSION = 1002, OLD_EPOCH = 1003,
	CHUNK = 1048576, PLAIN_MAX = 8388608, COPY_MAX = 4194304, SIZE_MAX = 1099511627776,
	-- As in backend.h.
	F_NOREPLACE = 1, F_EXCHANGE = 2, F_DIR = 4, F_CREATE = 8, F_REPLACE = 16,
	SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_MTIME = 8, SET_KILLPRIV = 16, SET_EXPIRES = 32,
}
-- The functions are in a table: a script is run from its beginning every time, and making functions that
-- share many locals is what takes longest then. What is needed seldom is made when it is first asked for.
local F, loaders = {}, {}
setmetatable(F, {__index = function(_, name)
	setmetatable(F, nil)
	for _, load in ipairs(loaders) do
		load()
	end
	return F[name]
end})

local GEN, NS = ARGV[1], ARGV[2]
local P, Q = NS .. ':', '/' .. NS .. ':'

local cursor = 2
function F.arg()
	cursor = cursor + 1
	return ARGV[cursor]
end

-- ---- time --------------------------------------------------------------------------------------

local clock
function F.now()
	if not clock then
		local t = call('TIME')
		clock = {
			ms = tonumber(t[1]) * 1000 + floor(tonumber(t[2]) / 1000),
			ns = t[1] .. format('%06d', t[2]) .. '000',
		}
	end
	return clock
end

-- Is time a (ns, as text) later than b? Numbers in Lua have 53 bits.
function F.later(a, b)
	local x, y = tonumber(a), tonumber(b)
	if x ~= y then
		return x > y
	end
	return #a == #b and (x > 0) == (a > b) and a ~= b
end

-- When a key expires: ms, -1: never, -2: there is no such key.
local MODERN = redis.REDIS_VERSION_NUM and redis.REDIS_VERSION_NUM >= 0x00070000
function F.expiry(key)
	if MODERN then
		return call('PEXPIRETIME', key)
	end
	local left = call('PTTL', key)
	return left < 0 and left or F.now().ms + left
end

-- ---- records -----------------------------------------------------------------------------------

-- kind: f a file whose content is the string at its key; F one whose content is in chunks; d, l, o
-- directory, symlink, others. size of f is what the key had when it was last looked at; expires (ms)
-- and stored of f are the key's own business.
local RECORD = '^(%a) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%-?%d+) (%-?%d+) (%-?%d+) ' ..
	'(%d+) (%d+) (%d+) (%d+) ?(.*)$'

function F.parse(text)
	local o = {}
	o.kind, o.id, o.mode, o.uid, o.gid, o.rdev, o.version, o.cversion, o.mtime, o.ctime, o.btime,
		o.size, o.stored, o.cid, o.expires, o.target = match(text, RECORD)
	o.version, o.cversion = tonumber(o.version), tonumber(o.cversion)
	o.size, o.stored, o.expires = tonumber(o.size), tonumber(o.stored), tonumber(o.expires)
	return o
end

function F.record(o)
	return concat({o.kind, o.id, o.mode, o.uid, o.gid, o.rdev, o.version, o.cversion, o.mtime,
		o.ctime, o.btime, o.size, o.stored, o.cid, o.expires, o.target}, ' ')
end

-- What a reply says of an object: its link count and its record.
function F.attr(o)
	return (o.orphan and '0 ' or o.kind == 'd' and '2 ' or '1 ') .. F.record(o)
end

-- ---- what others did ---------------------------------------------------------------------------

-- Ask the content key itself: length and expiry (0: never). nil: there is none; false: no string.
function F.ask(key)
	local at = F.expiry(key)
	if at == -2 then
		return nil
	end
	local len = try('STRLEN', key)
	if type(len) ~= 'number' then
		return false
	end
	return len, at > 0 and at or 0
end

-- Bring a file up to what its key says. Returns 'gone', 'alien' (the key is no string), 'changed' (in
-- content, by another program) or nil. Writes nothing.
function F.refresh(o, key)
	if o.kind ~= 'f' and o.kind ~= 'F' then
		return nil
	end
	local len, at = F.ask(key)
	if len == false then
		return 'alien'
	end
	if not len then
		if o.kind == 'f' or (o.expires > 0 and F.now().ms >= o.expires) then
			return 'gone'
		end
		return nil
	end
	o.expires = at
	if o.kind == 'f' and o.size == len then
		return nil
	end
	o.kind, o.size, o.stored = 'f', len, len
	o.version, o.cversion = o.version + 1, o.cversion + 1
	o.mtime, o.ctime = F.now().ns, F.now().ns
	return 'changed'
end

-- Tell every session. `items` are, one after the other, each with ';' behind:
--   E<dir> <len>:<name>  that entry         A<id>  attributes      C<id>  content
--   G<n> <id>            it lost its name, as the n-th             K<len>:<key>  this key was written
--   L<session> <id>      that session is in the way of a lock    S<n>  so many sessions live
--   V<hash> <size> <len>:<key>  as K; its content is so long, and has this hash of the session's own
--                        making (0: not known), which that session holds against the key later
-- `who` is the session that did it, 0 for another program.
function F.announce(who, items)
	call('PUBLISH', '//changes ' .. GEN, who .. ' ' .. items)
end

function F.entry_item(dir, name)
	return 'E' .. dir .. ' ' .. #name .. ':' .. name .. ';'
end
