-- Every administrative act, by whom, and whether it was done. Never what was in it: there are secrets in bodies.
create table audit_log (
    -- the request's id, under which the log has it too
    id uuid primary key,
    at timestamptz not null default now(),
    -- null: whoever has the database and the secret at hand, at the command line
    user_id uuid references users,
    account_id uuid references accounts,
    -- the session, or the management key, with which it was done
    session_id uuid,
    key_id uuid,
    address text,
    -- as `POST /api/keys`, or `admin grant`
    act text not null check (length(act) between 1 and 2000),
    -- the HTTP status; 0 at the command line
    status smallint not null
);

create index audit_log_by_account on audit_log (account_id, id desc);

create function refuse_to_forget() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only', tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger audit_log_append_only before update or delete or truncate on audit_log
    for each statement execute function refuse_to_forget();

do $$
begin
    if exists (select from pg_roles where rolname = 'commonwatt_service') then
        revoke update, delete, truncate on audit_log from commonwatt_service;
    end if;
end
$$;
