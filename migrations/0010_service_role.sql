-- The role that the gateway works under: it may add to the ledger, never change it. Where the migrating role may not
-- create roles, the triggers of 0004 stand alone.
do $$
begin
    if not exists (select from pg_roles where rolname = 'commonwatt_service') then
        create role commonwatt_service nologin;
        execute format('grant commonwatt_service to %I', current_user);
    end if;
exception
    when insufficient_privilege then raise warning 'no right to create the role commonwatt_service';
    when duplicate_object or unique_violation then null; -- another database of this server has just made it
end
$$;

do $$
begin
    if exists (select from pg_roles where rolname = 'commonwatt_service') then
        execute format('grant usage on schema %I to commonwatt_service', current_schema());
        execute format('grant select, insert, update, delete on all tables in schema %I to commonwatt_service', current_schema());
        execute format('grant usage on all sequences in schema %I to commonwatt_service', current_schema());
        revoke update, delete, truncate on events, postings, splits from commonwatt_service;
        alter default privileges grant select, insert, update, delete on tables to commonwatt_service;
        alter default privileges grant usage on sequences to commonwatt_service;
    end if;
end
$$;
