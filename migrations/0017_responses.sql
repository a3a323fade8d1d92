-- Responses of /v1/responses as they are kept, so that they can be asked for again and gone on from. What was said stands
-- here in clear, unless the request or the gateway's setting says that nothing be stored.

create table responses (
    -- the request that made it
    id uuid primary key,
    account_id uuid not null references accounts on delete cascade,
    -- what it goes on from; no foreign key, since either may be deleted
    previous_id uuid,
    created_at timestamptz not null default now(),
    -- its own input, as openapi/src/responses/item.rs has it; json and not jsonb, which takes no NUL in a text
    input json not null,
    -- as it was answered
    response json not null,
    -- of all that was said, here and in what it goes on from
    bytes bigint not null check (bytes >= 0)
);

create index responses_by_age on responses (created_at);

-- Rows that are there satisfied the narrower check, so they need not be read again.
alter table requests drop constraint requests_endpoint_check1;
alter table requests add constraint requests_endpoint_check
    check (endpoint in ('chat.completions', 'completions', 'responses')) not valid;
