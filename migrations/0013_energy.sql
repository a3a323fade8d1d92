-- Energy: what each attempt took, and the nodes' own reports of their counters, in which every microjoule is somebody's.

-- One row an attempt that a node began to compute; by month, as requests are.
create table request_energy (
    request_id uuid not null,
    attempt integer not null,
    node_id uuid not null,
    -- true for the attempt whose answer went to the client
    delivered boolean not null,
    -- in microjoules: its share, with the ends of its 90 % interval, what it caused, and what went into the prompt
    microjoules bigint not null check (microjoules >= 0),
    low_microjoules bigint not null check (low_microjoules between 0 and microjoules),
    high_microjoules bigint not null check (high_microjoules >= microjoules),
    marginal_microjoules bigint not null check (marginal_microjoules between 0 and microjoules),
    prefill_microjoules bigint not null check (prefill_microjoules between 0 and microjoules),
    -- its share of the node's idle time
    idle_microjoules bigint not null check (idle_microjoules >= 0),
    tier text not null check (tier in ('A', 'B', 'C', 'D', 'E', 'X')),
    boundary text not null,
    method text not null,
    -- provisional: a part is predicted; settled: read from the counter; final: the node's day is closed
    status text not null check (status in ('provisional', 'settled', 'final')),
    -- false when the gateway does not believe the node
    believed boolean not null,
    grid_zone text,
    grid_mg_per_kwh bigint check (grid_mg_per_kwh >= 0),
    grid_source text,
    grid_basis text,
    pue_milli integer not null check (pue_milli >= 1000),
    embodied_nanograms_per_joule bigint,
    -- joules of the site, and carbon in micrograms: openapi/src/energy/usage.rs has the same sums
    facility_microjoules bigint not null generated always as
        (trunc((microjoules::numeric + idle_microjoules) * pue_milli / 1000)::bigint) stored,
    micrograms_co2e bigint generated always as
        (trunc(trunc((microjoules::numeric + idle_microjoules) * pue_milli / 1000) * grid_mg_per_kwh / 3600000000)::bigint) stored,
    primary key (request_id, attempt)
) partition by range (request_id);

create index request_energy_by_node on request_energy (node_id, request_id);
create table request_energy_default partition of request_energy default;

-- A node's statement on its counters, as it signed it.
create table energy_reports (
    node_id uuid not null,
    sequence bigint not null check (sequence > 0),
    statement text not null,
    from_at timestamptz not null,
    to_at timestamptz not null,
    busy_microseconds bigint not null check (busy_microseconds >= 0),
    -- the whole energy of the attempts that it settles
    settled_microjoules bigint not null check (settled_microjoules >= 0),
    received_at timestamptz not null default now(),
    primary key (node_id, sequence)
);

create index energy_reports_by_time on energy_reports (node_id, to_at);

-- One counter's part of a report.
create table energy_windows (
    node_id uuid not null,
    pool text not null,
    sequence bigint not null,
    to_at timestamptz not null,
    tier text not null check (tier in ('A', 'B', 'C', 'D', 'E', 'X')),
    boundary text not null,
    counter_from bigint not null check (counter_from >= 0),
    counter_to bigint not null check (counter_to >= counter_from),
    total_microjoules bigint not null check (total_microjoules = counter_to - counter_from),
    -- to requests; of these, to others than this gateway's
    attributed_microjoules bigint not null check (attributed_microjoules >= 0),
    elsewhere_microjoules bigint not null check (elsewhere_microjoules between 0 and attributed_microjoules),
    idle_microjoules bigint not null check (idle_microjoules >= 0),
    foreign_microjoules bigint not null check (foreign_microjoules >= 0),
    primary key (node_id, pool, sequence),
    foreign key (node_id, sequence) references energy_reports on delete cascade,
    constraint every_microjoule_is_somebodys
        check (total_microjoules = attributed_microjoules + idle_microjoules + foreign_microjoules)
);

create index energy_windows_by_time on energy_windows (node_id, to_at);

-- What a node's reports have settled and the rows of `request_energy` do not have yet: a row may be on its way from a
-- gateway's journal.
create table energy_settlements (
    node_id uuid not null,
    request_id uuid not null,
    attempt integer not null,
    microjoules bigint not null check (microjoules >= 0),
    low_microjoules bigint not null check (low_microjoules between 0 and microjoules),
    high_microjoules bigint not null check (high_microjoules >= microjoules),
    marginal_microjoules bigint not null check (marginal_microjoules between 0 and microjoules),
    prefill_microjoules bigint not null check (prefill_microjoules between 0 and microjoules),
    tier text not null check (tier in ('A', 'B', 'C', 'D', 'E', 'X')),
    boundary text not null,
    method text not null,
    at timestamptz not null default now(),
    primary key (node_id, request_id, attempt)
);

-- A node's day, closed once: from then on the idle shares of its requests are final, and
-- Σ idle_microjoules of the requests that began on it = shared. Over all days Σ microjoules = Σ (attributed − elsewhere).
create table node_energy_days (
    node_id uuid not null,
    day date not null,
    total_microjoules bigint not null,
    attributed_microjoules bigint not null,
    elsewhere_microjoules bigint not null,
    idle_microjoules bigint not null,
    foreign_microjoules bigint not null,
    busy_microseconds bigint not null,
    -- the part of the idle energy that the requests of this gateway bear, and what the node's reports say that they took
    shared_microjoules bigint not null,
    settled_microjoules bigint not null,
    closed_at timestamptz not null default now(),
    primary key (node_id, day),
    check (total_microjoules = attributed_microjoules + idle_microjoules + foreign_microjoules)
);

-- What is known of a node now.
create table node_energy (
    node_id uuid primary key,
    -- the newest report
    sequence bigint not null default 0,
    -- of the last 24 hours
    total_microjoules bigint not null default 0,
    attributed_microjoules bigint not null default 0,
    idle_microjoules bigint not null default 0,
    busy_microseconds bigint not null default 0,
    costs jsonb,
    grid jsonb,
    reported_at timestamptz
);

-- What speaks against a node's figures.
create table energy_verdicts (
    id uuid primary key,
    node_id uuid not null,
    kind text not null,
    -- what follows: a closer look, a worse tier, or no belief
    severity text not null check (severity in ('watch', 'lower', 'reject')),
    reason text not null,
    evidence jsonb not null,
    replica_id uuid,
    at timestamptz not null default now()
);

create index energy_verdicts_by_node on energy_verdicts (node_id, at desc);

-- How a node stands in the eyes of each replica: the worst counts, and none for longer than a day.
create table energy_standings (
    node_id uuid not null,
    replica_id uuid not null,
    believed boolean not null,
    tier_cap text not null check (tier_cap in ('A', 'B', 'C', 'D', 'E', 'X')),
    updated_at timestamptz not null default now(),
    primary key (node_id, replica_id)
);

-- The partitions of a month and their removal, with the new table.
create or replace function create_month(month date) returns void language plpgsql security definer set search_path from current as $$
declare
    suffix text := to_char(month, 'YYYY_MM');
    first uuid := first_id_at(date_trunc('month', month::timestamp) at time zone 'UTC');
    past uuid := first_id_at((date_trunc('month', month::timestamp) + interval '1 month') at time zone 'UTC');
    parent text;
begin
    -- one replica at a time
    perform pg_advisory_xact_lock(hashtext('commonwatt create_month'));
    foreach parent in array '{requests,attempts,request_energy}'::text[] loop
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
            execute format('drop table requests_%s', suffix);
            return next replace(suffix, '_', '-');
        end if;
    end loop;
end
$$;

select create_month(to_date(suffix, 'YYYY_MM')) from (
    select substring(c.relname from '\d{4}_\d{2}$') as suffix from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'requests'::regclass and c.relname ~ '^requests_\d{4}_\d{2}$') as months;

-- What earlier gateways have written of energy.
insert into request_energy (request_id, attempt, node_id, delivered, microjoules, low_microjoules, high_microjoules,
    marginal_microjoules, prefill_microjoules, idle_microjoules, tier, boundary, method, status, believed, pue_milli)
select id, (select max(attempt) from attempts where request_id = id), node_id, true, microjoules, low_microjoules,
    high_microjoules, 0, 0, 0, energy_tier, energy_boundary, energy_method, 'settled', true, 1000
from requests where energy_tier is not null and node_id is not null and energy_boundary is not null
    and energy_method is not null and exists (select from attempts where request_id = id);
