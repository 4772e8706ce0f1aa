"""The steps of a job in Redis, as Lua scripts, which Redis runs one at a time.

Keys: `job:ID`, a hash of the fields of a job; `media:ID`, a list of blocks; `queued`, a sorted set of ids by position;
`running`, by the expiry of the lease; `ended`, by the expiry of the job; `uploads`, by the time of their latest block;
`bytes`, the size of the media of uploads and of jobs that have not ended; `idempotency`, digests to ids; `position`, a
counter. The hash tag in braces would keep them on one node of a cluster.

Time is an argument: Redis' own, asked for before. A script that runs late finds leases to have expired no sooner.
In an instance that has reached `maxmemory`, a script may write only after a command that needs no memory; therefore
those that end jobs begin with one.
"""

PREFIX = "{capjax-jobs}:"

_COMMON = (
    f"local P = '{PREFIX}'"
    + """
local function job(id) return P .. 'job:' .. id end
local function remove_media(id)
  redis.call('UNLINK', P .. 'media:' .. id)
  redis.call('HDEL', P .. 'bytes', id)
end
local function end_job(id, state, result, err, now, expires)
  remove_media(id)
  redis.call('ZREM', P .. 'queued', id)
  redis.call('ZREM', P .. 'running', id)
  redis.call('HDEL', job(id), 'token', 'worker')
  redis.call('HSET', job(id), 'state', state, 'finished', now, 'expires', expires)
  if state == 'done' then redis.call('HSET', job(id), 'progress', 1) end
  if result ~= '' then redis.call('HSET', job(id), 'result', result) end
  if err ~= '' then redis.call('HSET', job(id), 'error', err) end
  redis.call('ZADD', P .. 'ended', expires, id)
end
local function queue(id, position)
  redis.call('ZREM', P .. 'running', id)
  redis.call('HDEL', job(id), 'token', 'worker')
  redis.call('HSET', job(id), 'state', 'queued', 'progress', 0, 'position', position)
  redis.call('ZADD', P .. 'queued', position, id)
end
local function holds(id, token) return redis.call('HGET', job(id), 'token') == token end
local function queue_is_full(max_queued) return redis.call('ZCARD', P .. 'queued') >= tonumber(max_queued) end
"""
)

# id, now, max_queued -> whether the queue has space.
BEGIN_UPLOAD = """
local id, now, max_queued = unpack(ARGV)
if queue_is_full(max_queued) then return 0 end
redis.call('ZADD', P .. 'uploads', now, id)
return 1
"""

# id, now, block, max_spool_bytes -> "ok", "full" or "gone".
APPEND = """
local id, now, block, max_bytes = unpack(ARGV)
if not redis.call('ZSCORE', P .. 'uploads', id) then return 'gone' end
local bytes = #block
for _, size in ipairs(redis.call('HVALS', P .. 'bytes')) do bytes = bytes + tonumber(size) end
if bytes > tonumber(max_bytes) then return 'full' end
redis.call('RPUSH', P .. 'media:' .. id, block)
redis.call('HINCRBY', P .. 'bytes', id, #block)
redis.call('ZADD', P .. 'uploads', now, id)
return 'ok'
"""

# id -> nothing.
DISCARD = """
remove_media(ARGV[1])
redis.call('ZREM', P .. 'uploads', ARGV[1])
"""

# id, now, max_queued, idempotency or "", fields and values of the job -> "ok", "full", "gone", or the fields of the job
# that the idempotency key has by now.
ENQUEUE = """
local id, now, max_queued, idempotency = unpack(ARGV)
if idempotency ~= '' then
  local earlier = redis.call('HGET', P .. 'idempotency', idempotency)
  if earlier and redis.call('EXISTS', job(earlier)) == 1 then
    local expires = redis.call('HGET', job(earlier), 'expires')
    if not expires or tonumber(expires) > tonumber(now) then return redis.call('HGETALL', job(earlier)) end
  end
end
if queue_is_full(max_queued) then return 'full' end
if redis.call('ZREM', P .. 'uploads', id) == 0 then return 'gone' end
redis.call('HSET', job(id), unpack(ARGV, 5))
queue(id, redis.call('INCR', P .. 'position'))
if idempotency ~= '' then redis.call('HSET', P .. 'idempotency', idempotency, id) end
return 'ok'
"""

# now, expiry of the lease, token, worker, max_attempts, error of jobs that are given up, their expiry
# -> {fields of the job, {id, worker, attempts of each expired lease}}.
CLAIM = """
local now, lease_expires, token, worker, max_attempts, err, expires = unpack(ARGV)
local lost = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'running', '-inf', now)) do
  local holder, attempts = unpack(redis.call('HMGET', job(id), 'worker', 'attempts'))
  for _, value in ipairs({id, holder, attempts}) do table.insert(lost, value) end
  if tonumber(attempts) >= tonumber(max_attempts) then
    end_job(id, 'failed', '', err, now, expires)
  else
    redis.call('ZREM', P .. 'running', id)
    queue(id, redis.call('INCR', P .. 'position'))
  end
end
local id = redis.call('ZRANGE', P .. 'queued', 0, 0)[1]
if not id then return {{}, lost} end
redis.call('ZREM', P .. 'queued', id)
redis.call('HSET', job(id), 'state', 'running', 'token', token, 'worker', worker)
redis.call('HINCRBY', job(id), 'attempts', 1)
redis.call('ZADD', P .. 'running', lease_expires, id)
return {redis.call('HGETALL', job(id)), lost}
"""

# id, token, progress, expiry of the lease -> whether the lease is held.
RENEW = """
local id, token, progress, lease_expires = unpack(ARGV)
if not holds(id, token) then return 0 end
redis.call('ZREM', P .. 'running', id)
redis.call('ZADD', P .. 'running', lease_expires, id)
redis.call('HSET', job(id), 'progress', progress)
return 1
"""

# id, token, state, result, error, now, expiry -> whether the lease was held.
FINISH = """
local id, token, state, result, err, now, expires = unpack(ARGV)
if not holds(id, token) then return 0 end
end_job(id, state, result, err, now, expires)
return 1
"""

# id, token -> whether the lease was held.
RELEASE = """
local id, token = unpack(ARGV)
if not holds(id, token) then return 0 end
redis.call('ZREM', P .. 'running', id)
redis.call('HINCRBY', job(id), 'attempts', -1)
queue(id, redis.call('HGET', job(id), 'position'))
return 1
"""

# id, now, expiry -> nothing.
CANCEL = """
local id, now, expires = unpack(ARGV)
local state = redis.call('HGET', job(id), 'state')
if state == 'queued' or state == 'running' then end_job(id, 'canceled', '', '', now, expires) end
"""

# now, time before which an upload is a leftover -> nothing. At most a thousand of each at a time.
PURGE = """
local now, stalled = unpack(ARGV)
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'ended', '-inf', now, 'LIMIT', 0, 1000)) do
  local key = redis.call('HGET', job(id), 'idempotency')
  if key and redis.call('HGET', P .. 'idempotency', key) == id then redis.call('HDEL', P .. 'idempotency', key) end
  redis.call('UNLINK', job(id))
  redis.call('ZREM', P .. 'ended', id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', P .. 'uploads', '-inf', stalled, 'LIMIT', 0, 1000)) do
  remove_media(id)
  redis.call('ZREM', P .. 'uploads', id)
end
"""

SCRIPTS = {
    name: _COMMON + body
    for name, body in {
        "begin_upload": BEGIN_UPLOAD,
        "append": APPEND,
        "discard": DISCARD,
        "enqueue": ENQUEUE,
        "claim": CLAIM,
        "renew": RENEW,
        "finish": FINISH,
        "release": RELEASE,
        "cancel": CANCEL,
        "purge": PURGE,
    }.items()
}
