-- Other names under which models can be asked, by the gateway's administrators.

create table model_aliases (
    alias text primary key check (length(alias) between 1 and 100),
    -- its name or content address; no foreign key, since models come and go with the nodes that serve them
    model text not null check (model <> alias),
    set_by uuid not null references users,
    updated_at timestamptz not null default now()
);

alter table changes drop constraint changes_kind_check;
alter table changes add constraint changes_kind_check
    check (kind in ('key', 'limits', 'price', 'node', 'cancel', 'short', 'routing', 'aliases'));

-- They are few, and read again together: no single one is the subject.
create function announce_aliases() returns trigger language plpgsql as $$
begin
    perform announce('aliases', '00000000-0000-0000-0000-000000000000');
    return null;
end
$$;
create trigger model_aliases_announce after insert or update or delete on model_aliases
    for each row execute function announce_aliases();
