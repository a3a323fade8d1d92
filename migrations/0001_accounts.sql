-- Who may sign in, who holds credits, and the keys that speak for them.

create table users (
    id uuid primary key,
    -- stored in lower case, so that one address is one user
    email text not null constraint users_email_key unique check (email = lower(email)),
    name text not null,
    -- argon2id in PHC format
    password_hash text not null,
    is_admin boolean not null default false,
    created_at timestamptz not null default now()
);

create table accounts (
    id uuid primary key,
    name text not null,
    created_at timestamptz not null default now()
);

create table members (
    account_id uuid not null references accounts,
    user_id uuid not null references users,
    role text not null check (role in ('owner', 'member')),
    created_at timestamptz not null default now(),
    primary key (account_id, user_id)
);

create index members_by_user on members (user_id, created_at);

create table keys (
    id uuid primary key,
    -- the part of the key that may be shown; the secret part is never stored
    public_id text not null constraint keys_public_id_key unique,
    account_id uuid not null references accounts,
    created_by uuid not null references users,
    name text not null check (length(name) between 1 and 100),
    -- inference keys ask models; management keys use /api in the name of their creator
    scope text not null check (scope in ('inference', 'management')),
    -- BLAKE3 of the whole key, keyed with a secret outside the database
    secret_hash bytea not null check (length(secret_hash) = 32),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);

create index keys_by_account on keys (account_id, created_at);

create table sessions (
    id uuid primary key,
    user_id uuid not null references users,
    -- BLAKE3 of the refresh token that is valid now
    refresh_hash bytea not null check (length(refresh_hash) = 32),
    -- and of the one before it: whoever presents that one has a stolen token, or lost theirs to a thief
    previous_hash bytea,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at timestamptz
);

create unique index sessions_by_refresh on sessions (refresh_hash);
create index sessions_by_previous on sessions (previous_hash) where previous_hash is not null;

-- Every gateway replica listens, so that a revoked key is refused everywhere at once, live streams included.
create function announce_revoked_key() returns trigger language plpgsql as $$
begin
    perform pg_notify('key_revoked', new.public_id);
    return new;
end
$$;

create trigger keys_announce_revocation
    after update of revoked_at on keys
    for each row when (old.revoked_at is null and new.revoked_at is not null)
    execute function announce_revoked_key();
