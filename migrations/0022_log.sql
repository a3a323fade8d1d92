-- The public log: a Merkle tree that only grows. What is signed is made from these rows and from a key that is not in the
-- database, so whoever changes a row makes the rows and the last signature disagree, which is looked for all the time.

-- What is to be logged, put here by the transaction that makes it. Rows go when they are leaves.
create table log_queue (
    id bigint generated always as identity primary key,
    kind text not null check (kind in ('receipt', 'price-list', 'manifest', 'split', 'statement', 'verdict', 'key')),
    -- SHA-256 of the document
    hash bytea not null check (length(hash) = 32),
    queued_at timestamptz not null default now()
);

create table log_leaves (
    index bigint primary key check (index >= 0),
    kind text not null,
    entry bytea not null check (length(entry) between 1 and 65535),
    -- what stands for the entry in the tree: the same entry twice is one leaf
    leaf_hash bytea not null constraint log_leaves_leaf_hash_key unique check (length(leaf_hash) = 32)
);

-- What entries are about, where no other table has it.
create table log_documents (
    hash bytea primary key check (length(hash) = 32),
    kind text not null,
    document text not null,
    logged_at timestamptz not null default now()
);

-- As C2SP tlog-tiles has them. What is partial grows until it has 256 hashes.
create table log_tiles (
    level smallint not null check (level between 0 and 7),
    index bigint not null check (index >= 0),
    hashes bytea not null check (length(hashes) between 32 and 8192 and length(hashes) % 32 = 0),
    primary key (level, index)
);
alter table log_tiles alter column hashes set storage external;

create table log_checkpoints (
    size bigint primary key check (size > 0),
    root bytea not null check (length(root) = 32),
    -- with the log's own signatures, as C2SP tlog-checkpoint has it
    note text not null,
    signed_at timestamptz not null default now()
);

-- Nodes that cosign, each with the key that it has now.
create table log_witnesses (
    node_id uuid primary key references nodes,
    -- as C2SP signed-note writes it
    key text not null,
    -- of the tree that it has cosigned first with this key, and last; 0: none yet
    first_size bigint not null default 0,
    last_size bigint not null default 0,
    signed_at timestamptz,
    -- why it did not cosign when it was asked last
    refusal text,
    refused_at timestamptz,
    -- it has seen another tree than this one
    conflicts boolean not null default false,
    check ((last_size = 0) = (signed_at is null)),
    check ((refusal is null) = (refused_at is null) and (refusal is not null or not conflicts))
);

-- Signatures that came after a checkpoint. They are kept for a week.
create table log_cosignatures (
    size bigint not null references log_checkpoints,
    key text not null,
    -- null: the log's own, with a key that followed the one that signed first
    node_id uuid references nodes,
    line text not null,
    received_at timestamptz not null default now(),
    primary key (size, key)
);
create index log_cosignatures_by_time on log_cosignatures (received_at);

create trigger log_leaves_append_only before update or delete or truncate on log_leaves
    for each statement execute function refuse_to_forget();
create trigger log_documents_append_only before update or delete or truncate on log_documents
    for each statement execute function refuse_to_forget();
create trigger log_checkpoints_append_only before update or delete or truncate on log_checkpoints
    for each statement execute function refuse_to_forget();
create trigger log_tiles_stay before delete or truncate on log_tiles
    for each statement execute function refuse_to_forget();

create function refuse_to_shrink() returns trigger language plpgsql as $$
begin
    if (new.level, new.index) <> (old.level, old.index) or length(new.hashes) <= length(old.hashes)
        or substring(new.hashes for length(old.hashes)) <> old.hashes then
        raise exception '% is append-only: a tile grows at its end', tg_table_name using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger log_tiles_grow before update on log_tiles for each row execute function refuse_to_shrink();

create function refuse_to_change() returns trigger language plpgsql as $$
begin
    raise exception 'rows of % are added and removed, never changed', tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger log_queue_unchanged before update on log_queue for each statement execute function refuse_to_change();
create trigger log_cosignatures_unchanged before update on log_cosignatures
    for each statement execute function refuse_to_change();

do $$
begin
    if exists (select from pg_roles where rolname = 'commonwatt_service') then
        revoke update, delete, truncate on log_leaves, log_documents, log_checkpoints from commonwatt_service;
        revoke delete, truncate on log_tiles from commonwatt_service;
        revoke update, truncate on log_queue, log_cosignatures from commonwatt_service;
    end if;
end
$$;
