-- What accounts have used, summed up by hour and by day: what a month shows is read off some thousand rows, however many
-- requests it had. The sums are those of the rows of `requests` and `request_energy` at every moment: triggers note each
-- change, and a reader adds the notes that are not in the sums yet. So nobody who writes requests waits for a row that
-- others write too.

create table usage_changes (
    account_id uuid not null,
    -- when the hour begins
    start timestamptz not null,
    key_id uuid not null,
    user_id uuid not null,
    model text not null,
    node_id uuid,
    outcome text not null,
    -- below zero where something was taken back
    requests bigint not null,
    -- numeric, since what a single node claims may be as much as a bigint holds
    prompt_tokens numeric not null,
    cached_tokens numeric not null,
    completion_tokens numeric not null,
    nanocredits numeric not null,
    microjoules numeric not null,
    facility_microjoules numeric not null,
    micrograms_co2e numeric not null
);

create index usage_changes_by_account on usage_changes (account_id, start);

create table usage_sums (
    like usage_changes,
    span text not null check (span in ('hour', 'day')),
    constraint usage_sums_key
        unique nulls not distinct (account_id, span, start, key_id, user_id, model, node_id, outcome)
);

-- When the hour of an id began.
create function hour_of(id uuid) returns timestamptz language sql stable as $$
    select date_trunc('hour', to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0), 'UTC')
$$;

-- What a request is summed up under stays as it was written: only its figures change.
create function note_requests() returns trigger language plpgsql as $$
begin
    if tg_op <> 'DELETE' then
        insert into usage_changes
        select account_id, hour_of(id), key_id, user_id, model, node_id, outcome, count(*), sum(prompt_tokens),
            sum(cached_tokens), sum(completion_tokens), sum(nanocredits), sum(microjoules), 0, 0
        from new_rows group by 1, 2, 3, 4, 5, 6, 7;
    end if;
    if tg_op <> 'INSERT' then
        insert into usage_changes
        select account_id, hour_of(id), key_id, user_id, model, node_id, outcome, -count(*), -sum(prompt_tokens),
            -sum(cached_tokens), -sum(completion_tokens), -sum(nanocredits), -sum(microjoules), 0, 0
        from old_rows group by 1, 2, 3, 4, 5, 6, 7;
    end if;
    return null;
end
$$;

-- What sites draw and emit is told of the tries whose answers were delivered, by nodes that are believed.
create function note_energy() returns trigger language plpgsql as $$
begin
    if tg_op <> 'DELETE' then
        insert into usage_changes
        select r.account_id, hour_of(r.id), r.key_id, r.user_id, r.model, r.node_id, r.outcome, 0, 0, 0, 0, 0, 0,
            sum(e.facility_microjoules), sum(coalesce(e.micrograms_co2e, 0))
        from new_rows e join requests r on r.id = e.request_id where e.delivered and e.believed
        group by 1, 2, 3, 4, 5, 6, 7;
    end if;
    if tg_op <> 'INSERT' then
        insert into usage_changes
        select r.account_id, hour_of(r.id), r.key_id, r.user_id, r.model, r.node_id, r.outcome, 0, 0, 0, 0, 0, 0,
            -sum(e.facility_microjoules), -sum(coalesce(e.micrograms_co2e, 0))
        from old_rows e join requests r on r.id = e.request_id where e.delivered and e.believed
        group by 1, 2, 3, 4, 5, 6, 7;
    end if;
    return null;
end
$$;

-- From here on to the end of this migration what gateways have settled waits in their journals.
create trigger requests_note_new after insert on requests
    referencing new table as new_rows for each statement execute function note_requests();
create trigger requests_note_changed after update on requests
    referencing old table as old_rows new table as new_rows for each statement execute function note_requests();
create trigger requests_note_gone after delete on requests
    referencing old table as old_rows for each statement execute function note_requests();
create trigger request_energy_note_new after insert on request_energy
    referencing new table as new_rows for each statement execute function note_energy();
create trigger request_energy_note_changed after update on request_energy
    referencing old table as old_rows new table as new_rows for each statement execute function note_energy();
create trigger request_energy_note_gone after delete on request_energy
    referencing old table as old_rows for each statement execute function note_energy();

set local work_mem = '256MB';
with sites as (
    select request_id, sum(facility_microjoules) as facility, sum(micrograms_co2e) as micrograms
    from request_energy where delivered and believed group by request_id)
insert into usage_sums
select account_id, hour_of(id), key_id, user_id, model, node_id, outcome, count(*), sum(prompt_tokens), sum(cached_tokens),
    sum(completion_tokens), sum(nanocredits), sum(microjoules), coalesce(sum(facility), 0), coalesce(sum(micrograms), 0), 'hour'
from requests left join sites on sites.request_id = requests.id group by 1, 2, 3, 4, 5, 6, 7;
insert into usage_sums
select account_id, date_trunc('day', start, 'UTC'), key_id, user_id, model, node_id, outcome, sum(requests),
    sum(prompt_tokens), sum(cached_tokens), sum(completion_tokens), sum(nanocredits), sum(microjoules),
    sum(facility_microjoules), sum(micrograms_co2e), 'day'
from usage_sums group by 1, 2, 3, 4, 5, 6, 7;
reset work_mem;
