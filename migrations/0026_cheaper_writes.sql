-- What is checked of each settlement is checked once for a batch of them, what waits for a signature is found without a look at
-- all that waits, and nothing is verified twice.

drop trigger events_add_up_to_zero on postings;

-- An event's postings come in one statement. Each adds up to zero, so all of them do.
create or replace function check_zero_sum() returns trigger language plpgsql as $$
declare
    wrong uuid;
begin
    select event_id into wrong from posted group by event_id having sum(nanocredits) <> 0 limit 1;
    if found then
        raise exception 'the postings of event % do not add up to zero', wrong
            using errcode = 'check_violation', constraint = 'events_add_up_to_zero';
    end if;
    return null;
end
$$;

create trigger events_add_up_to_zero after insert on postings
    referencing new table as posted for each statement execute function check_zero_sum();

-- The same for the event that postings are of: events are never changed or deleted.
alter table postings drop constraint postings_event_id_fkey;

create function check_events() returns trigger language plpgsql as $$
declare
    wrong uuid;
begin
    select p.event_id into wrong from posted p
    where not exists (select from events e where e.id = p.event_id) limit 1;
    if found then
        raise exception 'there is no event % to post to', wrong
            using errcode = 'foreign_key_violation', constraint = 'postings_event_id_fkey';
    end if;
    return null;
end
$$;

create trigger postings_have_events after insert on postings
    referencing new table as posted for each statement execute function check_events();

create index node_receipts_by_time on node_receipts (received_at);
create index receipts_attached on receipts (due_at)
    where receipt is null and (noted ->> 'is_attached')::boolean;

-- The same names as before, the cheap ones to match first. What is there has passed the same.
alter table postings drop constraint postings_account_check;
alter table postings add constraint postings_account_check check (
    account in ('gateway', 'audit_fund', 'losses', 'external')
    or case when starts_with(account, 'author:') then length(account) between 8 and 207
       else account ~ '^(customer|operator):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' end) not valid;

-- Signatures and what they sign, in base64, are hardly smaller when they are compressed, and that took longer than all else.
alter table receipts alter column receipt set storage external;
alter table node_receipts alter column statement set storage external;

-- Keyed BLAKE3 by a gateway that has verified the statement's signature; null where an older one has put it here.
alter table node_receipts add column voucher bytea;
