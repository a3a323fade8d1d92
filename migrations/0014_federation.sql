-- A federation: why a node was chosen, what its operator says about it, and what an account asks of nodes by default.

alter table attempts add column choice text;

-- what spoke against the node then: its figures count for no better than this
alter table request_energy add column tier_cap text not null default 'A' check (tier_cap in ('A', 'B', 'C', 'D', 'E', 'X'));

alter table nodes
    -- it gets no new work until this is taken back
    add column paused_at timestamptz,
    -- the key before the last change: reports that the node signed with it are still read
    add column previous_public_key bytea check (length(previous_public_key) = 32);

-- Times in which a node gets no new work, known beforehand.
create table node_maintenance (
    id uuid primary key,
    node_id uuid not null references nodes,
    starts_at timestamptz not null,
    ends_at timestamptz not null check (ends_at > starts_at),
    created_at timestamptz not null default now()
);

create index node_maintenance_by_node on node_maintenance (node_id, ends_at);

-- The `provider` object that counts for an account's requests as far as they give none of their own.
create table account_routing (
    account_id uuid primary key references accounts,
    provider jsonb not null check (jsonb_typeof(provider) = 'object'),
    updated_at timestamptz not null default now()
);

alter table changes drop constraint changes_kind_check;
alter table changes add constraint changes_kind_check
    check (kind in ('key', 'limits', 'price', 'node', 'cancel', 'short', 'routing'));

drop trigger nodes_announce on nodes;
create trigger nodes_announce after update of removed_at, paused_at, name, public_key on nodes
    for each row when ((old.removed_at, old.paused_at, old.name, old.public_key)
        is distinct from (new.removed_at, new.paused_at, new.name, new.public_key)) execute function announce_node();

create trigger nodes_announce_new after insert on nodes for each row execute function announce_node();

create function announce_maintenance() returns trigger language plpgsql as $$
begin
    perform announce('node', coalesce(new.node_id, old.node_id));
    return null;
end
$$;
create trigger node_maintenance_announce after insert or delete on node_maintenance
    for each row execute function announce_maintenance();

create function announce_routing() returns trigger language plpgsql as $$
begin
    perform announce('routing', coalesce(new.account_id, old.account_id));
    return null;
end
$$;
create trigger account_routing_announce after insert or update or delete on account_routing
    for each row execute function announce_routing();
