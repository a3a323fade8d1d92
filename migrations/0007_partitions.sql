-- Requests by month. Their ids are UUIDv7, whose first 48 bits are the time in milliseconds: a range of ids is a range of
-- time, so the key that says "once" needs no second column.

create function first_id_at(at timestamptz) returns uuid language sql immutable as $$
    select (lpad(to_hex(floor(extract(epoch from at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

alter table attempts rename to attempts_before;
alter table requests rename to requests_before;
alter table attempts_before drop constraint attempts_request_id_fkey;
drop index requests_by_account, attempts_by_node;

create table requests (
    id uuid primary key,
    account_id uuid not null,
    user_id uuid not null,
    key_id uuid not null,
    endpoint text not null check (endpoint in ('chat.completions', 'completions')),
    model text not null,
    streamed boolean not null,
    -- what became of it: see the README, "How a request ends"
    outcome text not null check (outcome in ('completed', 'cut_short', 'cancelled', 'refused', 'client_left',
        'node_failed', 'no_node', 'key_revoked', 'gateway_failed')),
    -- the HTTP status that the client saw, or would have seen
    status smallint not null,
    -- the node of the last attempt
    node_id uuid,
    -- tokens that were delivered: the prompt's count once the answer began
    prompt_tokens bigint not null check (prompt_tokens >= 0),
    cached_tokens bigint not null check (cached_tokens between 0 and prompt_tokens),
    completion_tokens bigint not null check (completion_tokens >= 0),
    -- what they cost; an answer that ended in a failure of ours is free
    nanocredits bigint not null check (nanocredits >= 0),
    price_version bigint,
    -- energy in microjoules of the attempt that delivered, with the ends of its 90 % interval; all attempts stand below
    microjoules bigint not null check (microjoules >= 0),
    low_microjoules bigint not null check (low_microjoules between 0 and microjoules),
    high_microjoules bigint not null check (high_microjoules >= microjoules),
    -- null when no node began to compute
    energy_tier text check (energy_tier in ('A', 'B', 'C', 'D', 'E', 'X')),
    energy_boundary text,
    energy_method text,
    replica_id uuid,
    started_at timestamptz not null,
    first_byte_microseconds bigint,
    duration_microseconds bigint not null
) partition by range (id);

create table attempts (
    request_id uuid not null,
    -- from 1
    attempt integer not null,
    node_id uuid not null,
    outcome text not null check (outcome in ('completed', 'cut_short', 'cancelled', 'refused', 'client_left',
        'node_failed', 'key_revoked', 'gateway_failed')),
    -- what the node computed, delivered or not
    prompt_tokens bigint not null check (prompt_tokens >= 0),
    completion_tokens bigint not null check (completion_tokens >= 0),
    -- tokens that the node claimed beyond those that the gateway counted; they are paid by nobody
    overclaimed_tokens bigint not null check (overclaimed_tokens >= 0),
    microjoules bigint not null check (microjoules >= 0),
    duration_microseconds bigint not null,
    primary key (request_id, attempt)
) partition by range (request_id);

create index requests_by_account on requests (account_id, id);
create index attempts_by_node on attempts (node_id, request_id);

-- For a clock that is far off: nothing is refused for want of a partition.
create table requests_default partition of requests default;
create table attempts_default partition of attempts default;

-- Makes the partitions of a month, unless they are there. The owner's rights, so that the service needs none.
create function create_month(month date) returns void language plpgsql security definer set search_path from current as $$
declare
    suffix text := to_char(month, 'YYYY_MM');
    first uuid := first_id_at(date_trunc('month', month::timestamp) at time zone 'UTC');
    past uuid := first_id_at((date_trunc('month', month::timestamp) + interval '1 month') at time zone 'UTC');
begin
    -- one replica at a time
    perform pg_advisory_xact_lock(hashtext('commonwatt create_month'));
    execute format('create table if not exists requests_%s partition of requests for values from (%L) to (%L)', suffix, first, past);
    execute format('create table if not exists attempts_%s partition of attempts for values from (%L) to (%L)', suffix, first, past);
exception when check_violation then
    raise warning 'rows of % lie in the default partition already and stay there', suffix;
end
$$;

-- Makes the partitions of this month and the next ones.
create function create_months(ahead integer) returns void language sql security definer set search_path from current as $$
    select create_month(month::date) from generate_series(date_trunc('month', now() at time zone 'UTC'),
        date_trunc('month', now() at time zone 'UTC') + make_interval(months => ahead), interval '1 month') as month
$$;

-- Removes whole months that ended before a time, and says which.
create function drop_months_before(at timestamptz) returns setof text
language plpgsql security definer set search_path from current as $$
declare
    suffix text;
begin
    perform pg_advisory_xact_lock(hashtext('commonwatt create_month'));
    for suffix in
        select substring(c.relname from '\d{4}_\d{2}$') from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = 'requests'::regclass and c.relname ~ '^requests_\d{4}_\d{2}$'
    loop
        if (to_date(suffix, 'YYYY_MM') + interval '1 month') at time zone 'UTC' <= at then
            execute format('drop table if exists attempts_%s', suffix);
            execute format('drop table requests_%s', suffix);
            return next replace(suffix, '_', '-');
        end if;
    end loop;
end
$$;

select create_month(month::date) from (
    select distinct date_trunc('month', started_at at time zone 'UTC') as month from requests_before) as months;
select create_months(3);

insert into requests
select r.id, r.account_id, k.created_by, r.key_id, r.endpoint, r.model, r.streamed, r.outcome, r.status,
    (select a.node_id from attempts_before a where a.request_id = r.id order by a.attempt desc limit 1),
    r.prompt_tokens, 0, r.completion_tokens, 0, null, r.microjoules, r.low_microjoules, r.high_microjoules,
    r.energy_tier, r.energy_boundary, r.energy_method, null, r.started_at, r.first_byte_microseconds, r.duration_microseconds
from requests_before r join keys k on k.id = r.key_id;
insert into attempts
select request_id, attempt, node_id, outcome, prompt_tokens, completion_tokens, 0, microjoules, duration_microseconds
from attempts_before;
drop table attempts_before;
drop table requests_before;
