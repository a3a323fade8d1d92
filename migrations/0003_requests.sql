-- What was asked, what it used, and every try of it. One row a request, however it ended.

create table requests (
    id uuid primary key,
    account_id uuid not null references accounts,
    key_id uuid not null references keys,
    endpoint text not null check (endpoint in ('chat.completions', 'completions')),
    model text not null,
    streamed boolean not null,
    -- what became of it: see the README, "How a request ends"
    outcome text not null
        check (outcome in ('completed', 'refused', 'client_left', 'node_failed', 'no_node', 'key_revoked', 'gateway_failed')),
    -- the HTTP status that the client saw, or would have seen
    status smallint not null,
    prompt_tokens bigint not null check (prompt_tokens >= 0),
    -- tokens of the answer that were delivered
    completion_tokens bigint not null check (completion_tokens >= 0),
    -- energy in microjoules of the attempt that delivered, with the ends of its 90 % interval; all attempts stand below
    microjoules bigint not null check (microjoules >= 0),
    low_microjoules bigint not null check (low_microjoules between 0 and microjoules),
    high_microjoules bigint not null check (high_microjoules >= microjoules),
    -- null when no node began to compute
    energy_tier text check (energy_tier in ('A', 'B', 'C', 'D', 'E', 'X')),
    energy_boundary text,
    energy_method text,
    started_at timestamptz not null,
    first_byte_microseconds bigint,
    duration_microseconds bigint not null
);

create index requests_by_account on requests (account_id, started_at);

create table attempts (
    request_id uuid not null references requests,
    -- from 1
    attempt integer not null,
    node_id uuid not null references nodes,
    outcome text not null
        check (outcome in ('completed', 'refused', 'client_left', 'node_failed', 'key_revoked', 'gateway_failed')),
    prompt_tokens bigint not null,
    completion_tokens bigint not null,
    microjoules bigint not null,
    duration_microseconds bigint not null,
    primary key (request_id, attempt)
);

create index attempts_by_node on attempts (node_id);
