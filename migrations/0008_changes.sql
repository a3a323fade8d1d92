-- What every replica has to hear of within a second: a notice for speed, and a row with a version so that a notice that
-- was missed is found at the next look.

create table changes (
    version bigint generated always as identity primary key,
    kind text not null check (kind in ('key', 'limits', 'price', 'node', 'cancel', 'short')),
    subject uuid not null,
    -- whose request a cancel is for
    account_id uuid,
    -- Versions are given before the commit and become visible in any order. With this a look finds exactly what was not
    -- committed at the look before.
    transaction_id xid8 not null default pg_current_xact_id(),
    created_at timestamptz not null default now()
);

create index changes_by_time on changes (created_at);
create index changes_by_transaction on changes (transaction_id);

create function announce(kind text, subject uuid, account uuid default null) returns void language plpgsql as $$
declare
    change bigint;
begin
    insert into changes (kind, subject, account_id) values (kind, subject, account) returning version into change;
    perform pg_notify('changes', change::text);
end
$$;

drop trigger keys_announce_revocation on keys;
drop function announce_revoked_key;

create function announce_key() returns trigger language plpgsql as $$
begin
    perform announce('key', new.id);
    return null;
end
$$;
create trigger keys_announce after update of revoked_at on keys
    for each row when (old.revoked_at is distinct from new.revoked_at) execute function announce_key();

create function announce_limits() returns trigger language plpgsql as $$
begin
    perform announce('limits', coalesce(new.subject, old.subject));
    return null;
end
$$;
create trigger limits_announce after insert or update or delete on limits
    for each row execute function announce_limits();

create function announce_price() returns trigger language plpgsql as $$
begin
    perform announce('price', new.node_id);
    return null;
end
$$;
create trigger prices_announce after insert on prices for each row execute function announce_price();

create function announce_node() returns trigger language plpgsql as $$
begin
    perform announce('node', new.id);
    return null;
end
$$;
create trigger nodes_announce after update of removed_at on nodes
    for each row when (old.removed_at is distinct from new.removed_at) execute function announce_node();
