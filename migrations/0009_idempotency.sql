-- What was asked under an Idempotency-Key, for a day: who sends it again gets the first answer. Neither key nor request
-- nor answer stands here in clear.

create table idempotent_requests (
    account_id uuid not null references accounts on delete cascade,
    -- keyed BLAKE3 of the Idempotency-Key
    key_hash bytea not null check (length(key_hash) = 32),
    -- keyed BLAKE3 of key, path and body: another one under the same key is a conflict
    fingerprint bytea not null check (length(fingerprint) = 32),
    -- the request that computes the answer; only the gateway that runs it may change the row
    request_id uuid not null,
    -- no foreign key: replicas come and go, answers stay
    replica_id uuid not null,
    state text not null check (state in ('running', 'kept', 'too_long')),
    status smallint,
    headers jsonb,
    -- nonce and AES-256-GCM, under a key that only the client's own request gives
    answer bytea,
    created_at timestamptz not null default now(),
    -- renewed while it runs; a run that falls silent may be taken over
    alive_at timestamptz not null default now(),
    expires_at timestamptz not null default now() + interval '24 hours',
    primary key (account_id, key_hash),
    constraint idempotent_requests_are_kept_whole
        check (num_nonnulls(status, headers, answer) = case state when 'kept' then 3 else 0 end)
);

-- ciphertext does not compress
alter table idempotent_requests alter column answer set storage external;

create index idempotent_requests_by_expiry on idempotent_requests (expires_at);
