-- Epochs: parts of the log that are closed, what everybody earned in each, and what is paid out for it. The documents are in
-- log_documents; these rows say where, and can be made again from the log. Money is in nanocredits.

alter table log_queue drop constraint log_queue_kind_check;
alter table log_queue add constraint log_queue_kind_check
    check (kind in ('receipt', 'price-list', 'manifest', 'split', 'statement', 'epoch', 'verdict', 'key'));

create table epochs (
    number integer primary key check (number > 0),
    -- leaves of the log, the end exclusive
    first_index bigint not null check (first_index >= 0),
    end_index bigint not null check (end_index >= first_index),
    began_at timestamptz not null,
    ended_at timestamptz not null check (ended_at > began_at),
    -- SHA-256 of its document
    digest bytea not null check (length(digest) = 32),
    -- nanocredits that the ledger has settled otherwise than its receipts say; 0 in a gateway that does what it should
    differing bigint not null check (differing >= 0),
    closed_at timestamptz not null default now()
);

create table statements (
    epoch integer not null references epochs,
    party text not null,
    digest bytea not null check (length(digest) = 32),
    opening bigint not null,
    -- by receipts
    earned bigint not null,
    closing bigint not null,
    receipts bigint not null check (receipts >= 0),
    primary key (epoch, party)
);
create index statements_by_party on statements (party, epoch);

-- In which epoch's statements an event is that is no settlement.
create table epoch_events (
    event_id uuid primary key references events,
    epoch integer not null references epochs
);
create index epoch_events_by_epoch on epoch_events (epoch);
create index events_beside_settlements on events (created_at, id) where kind <> 'settlement';

-- Authors of models whose earnings belong to an account.
create table author_claims (
    -- as manifests name them
    author text primary key check (length(author) between 1 and 200),
    account_id uuid not null references accounts,
    -- what the author has signed, as compact JWS; null where an administrator says so
    claim text,
    claimed_by uuid references users,
    claimed_at timestamptz not null default now()
);
create index author_claims_by_account on author_claims (account_id);

-- Where an account wants to be paid, in words that whoever pays understands.
create table payout_destinations (
    account_id uuid primary key references accounts,
    destination text not null check (length(destination) between 1 and 500),
    set_by uuid references users,
    set_at timestamptz not null default now()
);

create table payouts (
    id uuid primary key,
    epoch integer not null references epochs,
    party text not null check (party ~ '^(operator|author):'),
    nanocredits bigint not null check (nanocredits > 0),
    state text not null default 'due' check (state in ('due', 'held', 'paid', 'cancelled')),
    -- why it is held or cancelled
    reason text check (length(reason) between 1 and 500),
    -- under which whoever paid it has it
    reference text check (length(reference) between 1 and 200),
    -- where it went
    destination text,
    event_id uuid references events,
    changed_by uuid references users,
    changed_at timestamptz not null default now(),
    unique (epoch, party),
    check ((state in ('held', 'cancelled')) = (reason is not null)),
    check ((state = 'paid') = (event_id is not null) and (state = 'paid') = (reference is not null))
);
create index payouts_open on payouts (party) where state in ('due', 'held');

create trigger epochs_append_only before update or delete or truncate on epochs
    for each statement execute function refuse_to_forget();
create trigger statements_append_only before update or delete or truncate on statements
    for each statement execute function refuse_to_forget();
create trigger epoch_events_append_only before update or delete or truncate on epoch_events
    for each statement execute function refuse_to_forget();

create function payouts_end() returns trigger language plpgsql as $$
begin
    if old.state in ('paid', 'cancelled')
        or (new.id, new.epoch, new.party, new.nanocredits) <> (old.id, old.epoch, old.party, old.nanocredits) then
        raise exception 'a payout keeps its amount, and one that is paid or cancelled stays so' using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger payouts_end before update on payouts for each row execute function payouts_end();
create trigger payouts_stay before delete or truncate on payouts for each statement execute function refuse_to_forget();

do $$
begin
    if exists (select from pg_roles where rolname = 'commonwatt_service') then
        revoke update, delete, truncate on epochs, statements, epoch_events from commonwatt_service;
        revoke delete, truncate on payouts from commonwatt_service;
    end if;
end
$$;
