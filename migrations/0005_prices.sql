-- What nodes ask for their models, in nanocredits per token. A price is never changed, only followed by another.

create table prices (
    version bigint generated always as identity primary key,
    node_id uuid not null references nodes,
    -- the model's content address
    model text not null,
    prompt_nanocredits bigint not null check (prompt_nanocredits between 0 and 1000000000),
    cached_nanocredits bigint not null check (cached_nanocredits between 0 and 1000000000),
    completion_nanocredits bigint not null check (completion_nanocredits between 0 and 1000000000),
    effective_from timestamptz not null,
    -- whose word it is: the node's own offer, its operator through the API, or the gateway's list
    source text not null check (source in ('node', 'operator', 'gateway')),
    created_by uuid references users,
    created_at timestamptz not null default now()
);

create index prices_in_force on prices (node_id, model, effective_from desc, version desc);
