-- Partners: other gateways that this one buys answers from, or sells answers to, or both. What they bill are their signed
-- receipts; what both owe each other is offset from time to time. Money is in nanocredits.

alter table log_queue drop constraint log_queue_kind_check;
alter table log_queue add constraint log_queue_kind_check
    check (kind in ('receipt', 'price-list', 'manifest', 'split', 'statement', 'epoch', 'netting', 'verdict', 'key'));

alter table events drop constraint events_kind_check;
alter table events add constraint events_kind_check
    check (kind in ('settlement', 'top_up', 'grant', 'refund', 'adjustment', 'payout', 'invoice', 'netting'));

alter table changes drop constraint changes_kind_check;
alter table changes add constraint changes_kind_check
    check (kind in ('key', 'limits', 'price', 'node', 'cancel', 'short', 'routing', 'aliases', 'partners'));

create table partners (
    id uuid primary key,
    -- whose keys the partner asks with here, and whose earnings are what it answers
    account_id uuid not null references accounts,
    name text not null check (length(name) between 1 and 100),
    -- what comes before /v1
    url text not null check (length(url) between 1 and 2000),
    -- what its log is called
    origin text not null check (length(origin) between 1 and 255),
    -- the keys of its log that count, as lines of a C2SP tlog-policy
    log_keys text not null check (length(log_keys) between 1 and 10000),
    -- the partner as a server that answers here; null when this gateway only sells to it
    node_id uuid unique references nodes,
    -- leaves of its log that were looked at for receipts of what it has answered here
    read_until bigint not null default 0 check (read_until >= 0),
    -- why nothing is read or netted now
    failure text,
    created_by uuid references users,
    created_at timestamptz not null default now(),
    ended_at timestamptz
);
create unique index partners_by_account on partners (account_id) where ended_at is null;

-- What a partner has signed for answers that this gateway had from it.
create table invoices (
    partner_id uuid not null references partners,
    -- the leaf in the partner's log
    index bigint not null check (index >= 0),
    leaf_hash bytea not null check (length(leaf_hash) = 32),
    -- this gateway's attempt that it is about; null where it names none
    request_id uuid,
    attempt integer,
    -- the partner's receipt, as compact JWS
    receipt text not null,
    nanocredits bigint not null check (nanocredits >= 0),
    -- null: it is owed
    dispute text check (length(dispute) between 1 and 1000),
    received_at timestamptz not null default now(),
    primary key (partner_id, index)
);
create unique index invoices_once on invoices (partner_id, request_id, attempt) where dispute is null and nanocredits > 0;
create index invoices_by_request on invoices (request_id);
create index invoices_disputed on invoices (partner_id, index) where dispute is not null;

-- What was offset with a partner: the document that both have signed, and what it comes to.
create table nettings (
    partner_id uuid not null references partners,
    number integer not null check (number > 0),
    -- SHA-256 of the document, which log_documents has
    digest bytea not null check (length(digest) = 32),
    -- leaves of both logs up to which receipts are netted
    our_end bigint not null check (our_end >= 0),
    their_end bigint not null check (their_end >= 0),
    -- what their receipts say that this gateway owes, and this gateway's that they owe
    we_owe bigint not null check (we_owe >= 0),
    they_owe bigint not null check (they_owe >= 0),
    event_id uuid references events,
    agreed_at timestamptz not null default now(),
    primary key (partner_id, number)
);

create trigger nettings_append_only before update or delete or truncate on nettings
    for each statement execute function refuse_to_forget();
create trigger invoices_stay before delete or truncate on invoices for each statement execute function refuse_to_forget();

create function announce_partners() returns trigger language plpgsql as $$
begin
    perform announce('partners', '00000000-0000-0000-0000-000000000000'::uuid);
    return null;
end
$$;
create trigger partners_announce after insert or update of ended_at, node_id on partners
    for each statement execute function announce_partners();

do $$
begin
    if exists (select from pg_roles where rolname = 'commonwatt_service') then
        revoke update, delete, truncate on nettings from commonwatt_service;
        revoke delete, truncate on invoices from commonwatt_service;
    end if;
end
$$;
