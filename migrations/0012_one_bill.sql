-- A run under an Idempotency-Key that takes over from a silent one bills in its name: should both come to an end, because
-- the first had only lost the database or died with its end in the journal, one of them is paid.
alter table idempotent_requests add column billed_as uuid;
update idempotent_requests set billed_as = request_id;
alter table idempotent_requests alter column billed_as set not null;
