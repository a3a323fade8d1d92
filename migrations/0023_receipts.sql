-- Receipts: what node and gateway sign of every attempt of which something was computed.

-- One row an attempt, from its settlement on; by month, as requests are.
create table receipts (
    request_id uuid not null,
    attempt integer not null,
    node_id uuid not null,
    -- what the gateway has seen of it itself, the customer's salt among it: gateway/src/inference/record.rs
    noted jsonb not null,
    -- then the gateway signs without the node
    due_at timestamptz not null default now() + interval '30 seconds',
    -- the gateway's compact JWS; null until it is signed
    receipt text,
    -- of the key that signed it
    kid text,
    -- its SHA-256, under which it is logged
    digest bytea,
    check ((receipt is null) = (kid is null) and (receipt is null) = (digest is null)),
    primary key (request_id, attempt)
) partition by range (request_id);

create index receipts_unsigned on receipts (due_at) where receipt is null;
create index receipts_by_digest on receipts (digest) where digest is not null;
create table receipts_default partition of receipts default;

create function receipts_are_final() returns trigger language plpgsql as $$
begin
    raise exception 'a receipt that is signed is never changed';
end
$$;
create trigger receipts_are_final before update on receipts
    for each row when (old.receipt is not null) execute function receipts_are_final();

-- What nodes have sent and no receipt bears yet.
create table node_receipts (
    node_id uuid not null,
    sequence bigint not null check (sequence > 0),
    request_id uuid not null,
    attempt integer not null,
    -- the key that signed it
    public_key bytea not null,
    -- compact JWS
    statement text not null,
    received_at timestamptz not null default now(),
    primary key (node_id, sequence)
);

create index node_receipts_by_attempt on node_receipts (request_id, attempt);

-- The newest of each node.
create table receipt_chains (
    node_id uuid primary key,
    sequence bigint not null check (sequence > 0),
    -- SHA-256 of its compact JWS, in hexadecimal
    digest text not null,
    -- how often one did not go on from the one before it
    breaks bigint not null default 0
);

-- The keys that have signed receipts, those of before among them.
create table receipt_keys (
    kid text primary key,
    public_key bytea not null check (octet_length(public_key) = 32),
    since timestamptz not null default now()
);

create or replace function create_month(month date) returns void language plpgsql security definer set search_path from current as $$
declare
    suffix text := to_char(month, 'YYYY_MM');
    first uuid := first_id_at(date_trunc('month', month::timestamp) at time zone 'UTC');
    past uuid := first_id_at((date_trunc('month', month::timestamp) + interval '1 month') at time zone 'UTC');
    parent text;
begin
    -- one replica at a time
    perform pg_advisory_xact_lock(hashtext('commonwatt create_month'));
    foreach parent in array '{requests,attempts,request_energy,receipts}'::text[] loop
        execute format('create table if not exists %I partition of %I for values from (%L) to (%L)',
            parent || '_' || suffix, parent, first, past);
    end loop;
exception when check_violation then
    raise warning 'rows of % lie in the default partition already and stay there', suffix;
end
$$;

create or replace function drop_months_before(at timestamptz) returns setof text
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
            execute format('drop table if exists request_energy_%s', suffix);
            execute format('drop table if exists receipts_%s', suffix);
            execute format('drop table requests_%s', suffix);
            return next replace(suffix, '_', '-');
        end if;
    end loop;
end
$$;

select create_month(to_date(suffix, 'YYYY_MM')) from (
    select substring(c.relname from '\d{4}_\d{2}$') as suffix from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'requests'::regclass and c.relname ~ '^requests_\d{4}_\d{2}$') as months;
