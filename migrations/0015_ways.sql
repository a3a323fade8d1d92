-- Three ways to a node: the tunnel that it opens, an HTTPS URL at which it is dialled, and any server with OpenAI's API
-- that an administrator has attached.

alter table nodes
    -- attached servers have no key: nothing of theirs is signed
    add column kind text not null default 'node' check (kind in ('node', 'attached')),
    alter column public_key drop not null,
    -- where every replica dials it, beside the tunnel that it may have
    add column direct_url text check (length(direct_url) between 1 and 2048),
    add constraint nodes_key_of_kind check ((kind = 'node') = (public_key is not null)),
    add constraint nodes_direct_is_a_node check (direct_url is null or kind = 'node');

create table attached_servers (
    node_id uuid primary key references nodes,
    -- up to what comes before /chat/completions
    url text not null check (length(url) between 1 and 2048),
    -- its API key, encrypted with a key that is derived from the gateway's secret; null where it asks for none
    sealed_key bytea check (length(sealed_key) > 12),
    -- what it serves and how, as gateway/src/nodes/attached/described.rs has it
    description jsonb not null check (jsonb_typeof(description) = 'object'),
    created_by uuid not null references users,
    created_at timestamptz not null default now(),
    changed_at timestamptz not null default now()
);

drop trigger nodes_announce on nodes;
create trigger nodes_announce after update of removed_at, paused_at, name, public_key, direct_url on nodes
    for each row when ((old.removed_at, old.paused_at, old.name, old.public_key, old.direct_url)
        is distinct from (new.removed_at, new.paused_at, new.name, new.public_key, new.direct_url))
    execute function announce_node();

create function announce_attached() returns trigger language plpgsql as $$
begin
    perform announce('node', coalesce(new.node_id, old.node_id));
    return null;
end
$$;
create trigger attached_servers_announce after insert or update or delete on attached_servers
    for each row execute function announce_attached();

-- The key of a server must not outlive it, whoever removes it.
create function forget_attached() returns trigger language plpgsql as $$
begin
    delete from attached_servers where node_id = new.id;
    return null;
end
$$;
create trigger nodes_forget_attached after update of removed_at on nodes
    for each row when (new.kind = 'attached' and new.removed_at is not null) execute function forget_attached();
