-- What keys, users and accounts may use, and how the replicas of the gateway share it without asking each other: each
-- one leases a part with one statement, spends it from memory, and brings back what it did not need.

create table limits (
    -- a key, a user or an account
    subject uuid primary key,
    kind text not null check (kind in ('key', 'user', 'account')),
    -- null: no limit
    requests_per_minute bigint check (requests_per_minute >= 0),
    tokens_per_minute bigint check (tokens_per_minute >= 0),
    concurrent_requests bigint check (concurrent_requests >= 0),
    nanocredits_per_day bigint check (nanocredits_per_day >= 0),
    nanocredits_per_month bigint check (nanocredits_per_month >= 0),
    microjoules_per_day bigint check (microjoules_per_day >= 0),
    -- null: all
    models text[],
    -- addresses and networks in CIDR notation; null: all
    networks text[],
    updated_at timestamptz not null default now()
);

-- The gateways that run. One that was not seen for the lease's time is dead, and what it held returns.
create table replicas (
    id uuid primary key,
    -- where the other replicas reach it; null when it is alone
    address text,
    version text not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now()
);

-- Credit that a replica may spend without asking. What is left for others is the balance less all of these.
create table credit_leases (
    replica_id uuid not null references replicas on delete cascade,
    account_id uuid not null references accounts,
    nanocredits bigint not null check (nanocredits >= 0),
    primary key (replica_id, account_id)
);

create index credit_leases_by_account on credit_leases (account_id);

-- How much of a limit is used or leased in a window of time, counted by the database's clock.
create table allowances (
    subject uuid not null,
    -- the limit's column in `limits`
    what text not null,
    -- the epoch for what has no window: requests at the same time
    window_start timestamptz not null,
    taken bigint not null check (taken >= 0),
    primary key (subject, what, window_start)
);

-- The part of it that lies unspent at a replica. Windows of a minute need none: they are over before a lease is.
create table allowance_leases (
    replica_id uuid not null references replicas on delete cascade,
    subject uuid not null,
    what text not null,
    window_start timestamptz not null,
    amount bigint not null check (amount >= 0),
    primary key (replica_id, subject, what, window_start)
);

-- How much to give of what is left: all that is needed and up to an eighth of the rest beyond it; when not even that is
-- there, as many whole units as fit.
create function share_of(remaining bigint, unit bigint, needed bigint, wanted bigint) returns bigint
language sql immutable as $$
    select case
        when remaining >= needed then least(remaining, greatest(needed, least(wanted, remaining / 8)))
        when unit > 0 and remaining >= unit then remaining - remaining % unit
        else 0
    end
$$;

-- Leases credit. `left_over` is what others may still lease afterwards, `elsewhere` what others have leased.
create function lease_credit(replica uuid, account uuid, unit bigint, needed bigint, wanted bigint,
    out granted bigint, out left_over bigint, out elsewhere bigint) language plpgsql as $$
declare
    here bigint;
begin
    select b.nanocredits into left_over from balances b where b.account = 'customer:' || lease_credit.account for update;
    select coalesce(sum(l.nanocredits) filter (where l.replica_id = replica), 0),
        coalesce(sum(l.nanocredits) filter (where l.replica_id <> replica), 0) into here, elsewhere
        from credit_leases l where l.account_id = lease_credit.account;
    left_over := coalesce(left_over, 0) - here - elsewhere;
    granted := share_of(left_over, unit, needed, wanted);
    left_over := left_over - granted;
    if granted > 0 then
        insert into credit_leases as l values (replica, account, granted)
        on conflict (replica_id, account_id) do update set nanocredits = l.nanocredits + excluded.nanocredits;
    end if;
end
$$;

-- Leases a part of a limit in the window that is now. `ends_in` is in microseconds, null without a window. What others
-- have leased of a minute is not known, and not for long.
create function lease_allowance(replica uuid, of_subject uuid, of_what text, span text, cap bigint, unit bigint,
    needed bigint, wanted bigint, out granted bigint, out left_over bigint, out elsewhere bigint, out window_at timestamptz,
    out ends_in bigint)
language plpgsql as $$
begin
    window_at := case when span = 'none' then 'epoch' else date_trunc(span, clock_timestamp(), 'UTC') end;
    ends_in := case when span <> 'none' then
        ceil(extract(epoch from window_at + ('1 ' || span)::interval - clock_timestamp()) * 1000000)::bigint end;
    insert into allowances values (of_subject, of_what, window_at, 0) on conflict do nothing;
    select cap - a.taken into left_over from allowances a
        where a.subject = of_subject and a.what = of_what and a.window_start = window_at for update;
    granted := share_of(left_over, unit, needed, wanted);
    left_over := left_over - granted;
    select coalesce(sum(l.amount), 0) into elsewhere from allowance_leases l
        where l.subject = of_subject and l.what = of_what and l.window_start = window_at and l.replica_id <> replica;
    if granted > 0 then
        update allowances a set taken = a.taken + granted
            where a.subject = of_subject and a.what = of_what and a.window_start = window_at;
        if span <> 'minute' then
            insert into allowance_leases as l values (replica, of_subject, of_what, window_at, granted)
            on conflict (replica_id, subject, what, window_start) do update set amount = l.amount + excluded.amount;
        end if;
    end if;
end
$$;

-- Brings back what was leased and not spent.
create function return_allowance(replica uuid, of_subject uuid, of_what text, window_at timestamptz, unspent bigint)
returns void language plpgsql as $$
begin
    update allowances a set taken = greatest(a.taken - unspent, 0)
        where a.subject = of_subject and a.what = of_what and a.window_start = window_at;
    update allowance_leases l set amount = greatest(l.amount - unspent, 0)
        where l.replica_id = replica and l.subject = of_subject and l.what = of_what and l.window_start = window_at;
end
$$;

-- Takes back all that a replica holds.
create function release_leases(of_replica uuid) returns void language plpgsql as $$
begin
    delete from credit_leases where replica_id = of_replica;
    with returned as (delete from allowance_leases where replica_id = of_replica returning *)
    update allowances a set taken = greatest(a.taken - r.amount, 0) from returned r
        where a.subject = r.subject and a.what = r.what and a.window_start = r.window_start;
end
$$;
