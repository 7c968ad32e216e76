-- One create of a file of 4 KiB, as a script: its value, its attributes, its place in the directory,
-- where its id leads, and the parent's time. ARGV: name, value.
local name, value = ARGV[1], ARGV[2]
local id = redis.call('INCR', 'bench:id')
redis.call('SET', 'bench:' .. name, value)
redis.call('HSET', 'bench::attr', name, string.rep('a', 80))
redis.call('ZADD', 'bench::seq', id, name)
redis.call('HSET', 'bench::ids', id, name)
redis.call('HSET', 'bench::dir', 'mtime', id)
return id
