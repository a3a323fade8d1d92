-- Double entry: every movement of credits is an event whose postings add up to zero. Nothing here is ever changed; what
-- was wrong is put right by another event. Money is in nanocredits.
--
-- A ledger account is a text: 'customer:<account>' holds what an account may spend, 'operator:<account>' what its nodes
-- earned, 'author:<name>' what a model's author earned; 'gateway', 'audit_fund', 'losses' and 'external' are one each.

create table splits (
    version integer generated always as identity primary key,
    operator_ppm integer not null check (operator_ppm >= 0),
    authors_ppm integer not null check (authors_ppm >= 0),
    gateway_ppm integer not null check (gateway_ppm >= 0),
    audit_fund_ppm integer not null check (audit_fund_ppm >= 0),
    effective_from timestamptz not null,
    created_by uuid references users,
    created_at timestamptz not null default now(),
    constraint splits_are_whole check (operator_ppm + authors_ppm + gateway_ppm + audit_fund_ppm = 1000000)
);

insert into splits (operator_ppm, authors_ppm, gateway_ppm, audit_fund_ppm, effective_from)
values (850000, 50000, 80000, 20000, '-infinity');

create table events (
    id uuid primary key,
    kind text not null check (kind in ('settlement', 'top_up', 'grant', 'refund', 'adjustment', 'payout')),
    -- a settlement's is its request's id; the others' come from whoever asks, so that asking twice is asking once
    idempotency_key text not null constraint events_idempotency_key_key unique
        check (length(idempotency_key) between 1 and 300),
    -- no foreign key: requests are removed after their retention, the ledger never
    request_id uuid,
    split_version integer references splits,
    reason text,
    created_by uuid references users,
    created_at timestamptz not null default now(),
    check ((kind = 'settlement') = (split_version is not null))
);

create index events_by_request on events (request_id) where request_id is not null;

create table postings (
    event_id uuid not null references events,
    seq smallint not null,
    account text not null check (
        account ~ '^(customer|operator):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
        or account ~ '^author:.{1,200}$'
        or account in ('gateway', 'audit_fund', 'losses', 'external')),
    nanocredits bigint not null check (nanocredits <> 0),
    primary key (event_id, seq)
);

create index postings_by_account on postings (account, event_id);

-- A projection of the postings, kept by a trigger and compared every night with what they add up to.
create table balances (
    account text primary key,
    nanocredits bigint not null,
    -- No overdraft, whatever the software above believes.
    constraint customers_are_never_overdrawn check (nanocredits >= 0 or account not like 'customer:%')
);

create function post_to_balances() returns trigger language plpgsql as $$
declare
    line record;
begin
    -- in one order everywhere, so that two settlements never wait for each other in a circle
    for line in select account, sum(nanocredits)::bigint as nanocredits from posted group by account order by account loop
        -- not in one upsert: a constraint judges the row to be inserted before it is seen that there is one
        insert into balances (account, nanocredits) values (line.account, 0) on conflict (account) do nothing;
        update balances b set nanocredits = b.nanocredits + line.nanocredits where b.account = line.account;
    end loop;
    return null;
end
$$;

create trigger postings_to_balances after insert on postings
    referencing new table as posted for each statement execute function post_to_balances();

create function check_zero_sum() returns trigger language plpgsql as $$
begin
    if (select sum(nanocredits) from postings where event_id = new.event_id) <> 0 then
        raise exception 'the postings of event % do not add up to zero', new.event_id
            using errcode = 'check_violation', constraint = 'events_add_up_to_zero';
    end if;
    return null;
end
$$;

create constraint trigger events_add_up_to_zero after insert on postings
    deferrable initially deferred for each row execute function check_zero_sum();

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: put an error right with another event', tg_table_name
        using errcode = 'insufficient_privilege';
end
$$;

create trigger events_append_only before update or delete or truncate on events
    for each statement execute function refuse_change();
create trigger postings_append_only before update or delete or truncate on postings
    for each statement execute function refuse_change();
create trigger splits_append_only before update or delete or truncate on splits
    for each statement execute function refuse_change();
