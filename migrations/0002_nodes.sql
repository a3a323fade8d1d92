-- The machines that serve, and the tokens with which they join.

create table nodes (
    id uuid primary key,
    -- the operator
    account_id uuid not null references accounts,
    name text not null check (length(name) between 1 and 100),
    -- Ed25519
    public_key bytea not null check (length(public_key) = 32),
    -- as the node last published it; null until it first connected
    offer jsonb,
    created_at timestamptz not null default now(),
    last_seen_at timestamptz,
    removed_at timestamptz
);

create unique index nodes_public_key_key on nodes (public_key) where removed_at is null;
create index nodes_by_account on nodes (account_id, created_at);

create table enrolment_tokens (
    id uuid primary key,
    account_id uuid not null references accounts,
    -- BLAKE3, keyed as for keys
    token_hash bytea not null constraint enrolment_tokens_token_hash_key unique check (length(token_hash) = 32),
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    -- set by the one node that used it
    used_at timestamptz,
    node_id uuid references nodes
);

create index enrolment_tokens_by_account on enrolment_tokens (account_id, created_at);
